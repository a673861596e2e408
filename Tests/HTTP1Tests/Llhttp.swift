import Glibc
import HTTP
import TestProcess

/// What a message means, to us or to llhttp.
struct Meaning: Equatable, CustomStringConvertible {
    var method = ""
    var target = ""
    var status = 0
    var fields: [Field] = []
    var trailers: [Field] = []
    var body: [UInt8] = []
    /// Bytes of the message; nil if its end has not come.
    var end: Int?

    var description: String {
        "\(method) \(target) \(status) \(fields) body \(body.count) trailers \(trailers) end "
            + (end.map(String.init) ?? "-")
    }
}

/// llhttp, the parser of Node.js, as an independent opinion: Debian's sources compiled with a small driver and loaded.
final class Llhttp {
    /// Why it could not be had.
    struct Unavailable: Error, CustomStringConvertible {
        var description: String
    }

    /// llhttp's verdict on one message.
    struct Verdict {
        /// 0 or the number of llhttp's error.
        var error: Int32
        var meaning: Meaning
        var keepsAlive: Bool
    }

    private typealias Run =
        @convention(c) (
            Int32, Int32, UnsafePointer<UInt8>?, Int, UnsafeMutablePointer<UInt8>?, Int, UnsafeMutablePointer<Int>?
        ) -> Int32
    private let run: Run
    private var output = [UInt8](repeating: 0, count: 1 << 20)

    private static let sources = ["/usr/share/llhttp/llhttp.c", "/usr/share/llhttp/api.c", "/usr/share/llhttp/http.c"]
    private static let includes = "/usr/share/include/llhttp"

    init() throws {
        for path in Self.sources + [Self.includes + "/llhttp.h"] where access(path, R_OK) != 0 {
            throw Unavailable(description: "\(path) is missing: run scripts/setup (package node-llhttp)")
        }
        var template = Array("/tmp/llhttp-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Unavailable(description: "no temporary folder") }
        let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer {
            for name in ["driver.c", "driver.so"] { unlink("\(folder)/\(name)") }
            rmdir(folder)
        }
        guard let file = fopen("\(folder)/driver.c", "w") else {
            throw Unavailable(description: "cannot write \(folder)")
        }
        fputs(Self.driver, file)
        fclose(file)
        let flags = ["-O0", "-w", "-shared", "-fPIC", "-DLLHTTP_STRICT_MODE=1", "-I\(Self.includes)"]
        let command = ["cc"] + flags + ["-o", "\(folder)/driver.so", "\(folder)/driver.c"] + Self.sources
        guard try TestProcess(command).waitForEnd() == 0 else {
            let words = command.joined(separator: " ")
            throw Unavailable(
                description: "cc failed: run scripts/setup (a C compiler, package node-llhttp); \(words)")
        }
        guard let library = dlopen("\(folder)/driver.so", RTLD_NOW | RTLD_LOCAL), let symbol = dlsym(library, "judge")
        else { throw Unavailable(description: "the compiled llhttp cannot be loaded") }
        run = unsafeBitCast(symbol, to: Run.self)
    }

    /// Judges one message that is there whole. `closes`: the connection ends after it.
    func judge(_ bytes: [UInt8], isResponse: Bool, answersHead: Bool = false) -> Verdict {
        var used = 0
        let error = bytes.withUnsafeBufferPointer { input in
            output.withUnsafeMutableBufferPointer { output in
                run(
                    isResponse ? 2 : 1, answersHead ? 1 : 0, input.baseAddress, input.count, output.baseAddress,
                    output.count, &used)
            }
        }
        var verdict = Verdict(error: error, meaning: Meaning(), keepsAlive: false)
        read(output[..<used], into: &verdict)
        return verdict
    }

    /// Reads the driver's records: a tag, four bytes of length, bytes.
    private func read(_ records: ArraySlice<UInt8>, into verdict: inout Verdict) {
        var rest = records
        var name = ""
        var inTrailers = false
        while let tag = rest.popFirst() {
            let length = rest.prefix(4).reversed().reduce(0) { $0 << 8 | Int($1) }
            rest = rest.dropFirst(4)
            let content = rest.prefix(length)
            rest = rest.dropFirst(length)
            let text = String(String.UnicodeScalarView(content.map { Unicode.Scalar($0) }))
            switch Character(Unicode.Scalar(tag)) {
            case "M": verdict.meaning.method = text
            case "U": verdict.meaning.target = text
            case "S": verdict.meaning.status = Int(text) ?? -1
            case "N": name = text
            case "V":
                let field = Field(name: name, value: trimmed(text), isHopByHop: false)
                if inTrailers { verdict.meaning.trailers.append(field) } else { verdict.meaning.fields.append(field) }
            case "H": inTrailers = true
            case "B": verdict.meaning.body += content
            case "E": verdict.meaning.end = Int(text)
            case "K": verdict.keepsAlive = text == "1"
            default: preconditionFailure("driver and test disagree")
            }
        }
    }

    private func trimmed(_ text: String) -> String {
        var scalars = text.unicodeScalars[...]
        while let last = scalars.last, last == " " || last == "\t" { scalars.removeLast() }
        while let first = scalars.first, first == " " || first == "\t" { scalars.removeFirst() }
        return String(String.UnicodeScalarView(scalars))
    }

    /// Notes what llhttp reports. Stops after the first message.
    private static let driver = """
        #include <stdio.h>
        #include <string.h>
        #include "llhttp.h"

        typedef struct {
          llhttp_t parser;
          unsigned char *out;
          size_t capacity, used;
          const char *name, *value, *url;
          size_t name_length, value_length, url_length;
          int answers_head, complete;
        } judge_t;

        static void note(judge_t *j, char tag, const char *bytes, size_t length) {
          if (j->used + 5 + length > j->capacity) return;
          unsigned char *out = j->out + j->used;
          out[0] = (unsigned char)tag;
          for (int i = 0; i < 4; i++) out[1 + i] = (unsigned char)(length >> (8 * i));
          memcpy(out + 5, bytes, length);
          j->used += 5 + length;
        }

        static void note_number(judge_t *j, char tag, long number) {
          char text[32];
          note(j, tag, text, (size_t)snprintf(text, sizeof text, "%ld", number));
        }

        static int on_url(llhttp_t *p, const char *at, size_t length) {
          judge_t *j = (judge_t *)p;
          if (!j->url) j->url = at;
          j->url_length += length;
          return 0;
        }
        static int on_field(llhttp_t *p, const char *at, size_t length) {
          judge_t *j = (judge_t *)p;
          if (!j->name) j->name = at;
          j->name_length += length;
          return 0;
        }
        static int on_value(llhttp_t *p, const char *at, size_t length) {
          judge_t *j = (judge_t *)p;
          if (!j->value) j->value = at;
          j->value_length += length;
          return 0;
        }
        static int on_value_complete(llhttp_t *p) {
          judge_t *j = (judge_t *)p;
          note(j, 'N', j->name ? j->name : "", j->name_length);
          note(j, 'V', j->value ? j->value : "", j->value_length);
          j->name = j->value = NULL;
          j->name_length = j->value_length = 0;
          return 0;
        }
        static int on_headers_complete(llhttp_t *p) {
          judge_t *j = (judge_t *)p;
          if (p->type == HTTP_REQUEST) {
            const char *name = llhttp_method_name((llhttp_method_t)p->method);
            note(j, 'M', name, strlen(name));
            note(j, 'U', j->url ? j->url : "", j->url_length);
          } else {
            note_number(j, 'S', p->status_code);
          }
          note(j, 'H', "", 0);
          p->upgrade = 0; /* What follows an upgrade is not the parser's business. */
          int code = p->status_code;
          int bodiless = j->answers_head || code / 100 == 1 || code == 204 || code == 304;
          return p->type == HTTP_RESPONSE && bodiless ? 1 : 0;
        }
        static int on_body(llhttp_t *p, const char *at, size_t length) {
          note((judge_t *)p, 'B', at, length);
          return 0;
        }
        static int on_message_complete(llhttp_t *p) {
          judge_t *j = (judge_t *)p;
          j->complete = 1;
          note_number(j, 'K', llhttp_should_keep_alive(p));
          return HPE_PAUSED;
        }

        int judge(int type, int answers_head, const char *bytes, long count,
                  unsigned char *out, long capacity, long *used) {
          llhttp_settings_t settings;
          llhttp_settings_init(&settings);
          settings.on_url = on_url;
          settings.on_header_field = on_field;
          settings.on_header_value = on_value;
          settings.on_header_value_complete = on_value_complete;
          settings.on_headers_complete = on_headers_complete;
          settings.on_body = on_body;
          settings.on_message_complete = on_message_complete;
          judge_t j;
          memset(&j, 0, sizeof j);
          llhttp_init(&j.parser, (llhttp_type_t)type, &settings);
          j.out = out;
          j.capacity = (size_t)capacity;
          j.answers_head = answers_head;
          llhttp_errno_t error = llhttp_execute(&j.parser, bytes, (size_t)count);
          if (error == HPE_OK) {
            llhttp_finish(&j.parser);
            if (j.complete) note_number(&j, 'E', count);
          } else if (error == HPE_PAUSED && j.complete) {
            note_number(&j, 'E', llhttp_get_error_pos(&j.parser) - bytes);
            error = HPE_OK;
          }
          *used = (long)j.used;
          return error;
        }
        """
}
