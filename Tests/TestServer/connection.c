// One connection: bytes in, request heads, bodies, bytes out. The endpoints themselves are in routes.c.
#define _GNU_SOURCE
#include "server.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

// ---------------------------------------------------------------- buffers and slices

size_t pending(const struct buffer *buffer) { return buffer->end - buffer->start; }

char *reserve(struct buffer *buffer, size_t room) {
    if (buffer->capacity - buffer->end < room && buffer->start) {
        memmove(buffer->bytes, buffer->bytes + buffer->start, pending(buffer));
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    if (buffer->capacity - buffer->end < room) {
        buffer->capacity = buffer->end + room + buffer->capacity / 2;
        buffer->bytes = realloc(buffer->bytes, buffer->capacity);
        if (!buffer->bytes) abort();
    }
    return buffer->bytes + buffer->end;
}

void append(struct buffer *buffer, const void *bytes, size_t count) {
    if (!count) return;
    memcpy(reserve(buffer, count), bytes, count);
    buffer->end += count;
}

void append_text(struct buffer *buffer, const char *text) { append(buffer, text, strlen(text)); }

void append_format(struct buffer *buffer, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int count = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    append(buffer, text, count < (int)sizeof text ? (size_t)count : sizeof text - 1);
}

void consume(struct buffer *buffer, size_t count) {
    buffer->start += count;
    if (buffer->start == buffer->end) buffer->start = buffer->end = 0;
}

bool same(struct slice slice, const char *text) {
    return slice.count == strlen(text) && !memcmp(slice.bytes, text, slice.count);
}

bool same_ignoring_case(struct slice slice, const char *text) {
    return slice.count == strlen(text) && !strncasecmp(slice.bytes, text, slice.count);
}

// ---------------------------------------------------------------- request heads

static struct slice trimmed(const char *start, const char *end) {
    while (start < end && (*start == ' ' || *start == '\t')) start++;
    while (end > start && (end[-1] == ' ' || end[-1] == '\t')) end--;
    return (struct slice){start, (size_t)(end - start)};
}

static bool contains_token(struct slice value, const char *token) {
    const char *end = value.bytes + value.count;
    for (const char *start = value.bytes; start < end;) {
        const char *comma = memchr(start, ',', (size_t)(end - start));
        if (!comma) comma = end;
        if (same_ignoring_case(trimmed(start, comma), token)) return true;
        start = comma + 1;
    }
    return false;
}

static bool parse_decimal(struct slice text, uint64_t *number) {
    *number = 0;
    for (size_t i = 0; i < text.count; i++) {
        if (text.bytes[i] < '0' || text.bytes[i] > '9' || *number > UINT64_MAX / 10 - 1) return false;
        *number = *number * 10 + (uint64_t)(text.bytes[i] - '0');
    }
    return text.count > 0;
}

// Returns 0, or the status to refuse with.
static int parse_field(struct request *r, struct slice name, struct slice value, bool *has_length) {
    if (same_ignoring_case(name, "content-length")) {
        uint64_t length;
        if (!parse_decimal(value, &length) || (*has_length && length != r->content_length)) return 400;
        r->content_length = length;
        *has_length = true;
        r->has_body = length > 0;
    } else if (same_ignoring_case(name, "transfer-encoding")) {
        if (!same_ignoring_case(value, "chunked") || r->is_chunked) return 501;
        r->is_chunked = true;
    } else if (same_ignoring_case(name, "connection")) {
        r->wants_close |= contains_token(value, "close");
        r->wants_keep_alive |= contains_token(value, "keep-alive");
    } else if (same_ignoring_case(name, "expect")) {
        r->expects_continue = same_ignoring_case(value, "100-continue");
    } else if (same_ignoring_case(name, "upgrade")) {
        r->upgrade = value;
    } else if (same_ignoring_case(name, "sec-websocket-key")) {
        r->websocket_key = value;
    }
    return 0;
}

static int parse_request_line(struct request *r, const char *line, const char *end) {
    const char *space = memchr(line, ' ', (size_t)(end - line));
    const char *version = space ? memrchr(line, ' ', (size_t)(end - line)) : NULL;
    if (!space || version <= space || end - version != 9 || memcmp(version, " HTTP/1.", 8)) return 400;
    r->method = (struct slice){line, (size_t)(space - line)};
    r->is_head = same(r->method, "HEAD");
    r->is_version_10 = version[8] == '0';
    const char *path = space + 1, *mark = memchr(path, '?', (size_t)(version - path));
    const char *path_end = mark ? mark : version;
    r->path = (struct slice){path, (size_t)(path_end - path)};
    r->query = mark ? (struct slice){mark + 1, (size_t)(version - mark - 1)} : (struct slice){version, 0};
    return 0;
}

// Reads the head in `r->head`, which ends with an empty line. Returns 0, or the status to refuse with.
static int parse_head(struct request *r) {
    const char *line = r->head.bytes, *end = line + r->head.count;
    const char *line_end = memmem(line, r->head.count, "\r\n", 2);
    bool has_length = false;
    int refusal = parse_request_line(r, line, line_end);
    for (line = line_end + 2; !refusal && line < end - 2; line = line_end + 2) {
        line_end = memmem(line, (size_t)(end - line), "\r\n", 2);
        const char *colon = memchr(line, ':', (size_t)(line_end - line));
        if (!colon || colon == line) return 400;
        struct slice name = {line, (size_t)(colon - line)}, value = trimmed(colon + 1, line_end);
        refusal = parse_field(r, name, value, &has_length);
    }
    if (!refusal && has_length && r->is_chunked) return 400;
    r->has_body |= r->is_chunked;
    if (r->is_version_10 && !r->wants_keep_alive) r->wants_close = true;
    return refusal;
}

// The client is gone, or broke off, before its answer was complete.
static void lose_client(struct connection *c) {
    statistics.aborted += c->mode == MODE_REQUEST;
    close_connection(c, false);
}

static void refuse(struct connection *c, int status) {
    if (c->head_sent) return close_connection(c, false);
    c->ending = CLOSE;
    c->body = BODY_END;
    answer_text(c, status, "refused by martlet-test-server\n");
}

static void start_request(struct connection *c, size_t head_bytes) {
    statistics.requests++;
    if (++statistics.in_flight > statistics.max_in_flight) statistics.max_in_flight = statistics.in_flight;
    c->deadline_ns = 0;
    c->mode = MODE_REQUEST;
    c->head_copy.start = c->head_copy.end = 0;
    append(&c->head_copy, c->in.bytes + c->in.start, head_bytes);
    consume(&c->in, head_bytes);
    struct request *r = &c->request;
    *r = (struct request){.head = {c->head_copy.bytes, head_bytes}};
    c->body_bytes = 0;
    c->body_hash = 0xcbf29ce484222325;
    c->fill_left = 0;
    c->echoes_body = c->answered = c->head_sent = false;
    int refusal = parse_head(r);
    if (refusal) return refuse(c, refusal);
    c->body = !r->has_body ? BODY_END : r->is_chunked ? BODY_SIZE_LINE : BODY_COUNTED;
    c->body_left = r->content_length;
    if (r->wants_close) c->ending = CLOSE;
    c->route = find_route(r->path);
    if (r->expects_continue && r->has_body && !same(r->path, "/early"))
        append_text(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
    c->hashes_body = same(r->path, "/upload");
    if (c->route->at_head || c->body == BODY_END) c->route->serve(c);
}

// A complete head starts a request. Returns whether anything happened.
static bool advance_head(struct connection *c) {
    while (pending(&c->in) >= 2 && !memcmp(c->in.bytes + c->in.start, "\r\n", 2)) consume(&c->in, 2);
    if (!pending(&c->in)) {
        if (c->input_ended || is_stopping) close_connection(c, false);
        return false;
    }
    const char *start = c->in.bytes + c->in.start, *end = memmem(start, pending(&c->in), "\r\n\r\n", 4);
    if (end) return start_request(c, (size_t)(end + 4 - start)), true;
    if (pending(&c->in) > HEAD_LIMIT) {
        statistics.requests++;
        statistics.in_flight++;
        c->mode = MODE_REQUEST;
        c->request = (struct request){0};
        c->head_sent = false;
        consume(&c->in, pending(&c->in));
        return refuse(c, 431), true;
    }
    if (c->input_ended) close_connection(c, false);
    return false;
}

// ---------------------------------------------------------------- request bodies

static void take_body(struct connection *c, const char *bytes, size_t count) {
    c->body_bytes += count;
    for (size_t i = 0; c->hashes_body && i < count; i++)
        c->body_hash = (c->body_hash ^ (unsigned char)bytes[i]) * 0x100000001b3;
    if (!c->echoes_body) return;
    if (c->request.is_chunked) append_format(&c->out, "%zx\r\n", count);
    append(&c->out, bytes, count);
    if (c->request.is_chunked) append(&c->out, "\r\n", 2);
}

static void end_body(struct connection *c) {
    c->body = BODY_END;
    if (c->echoes_body) c->answered = true;
    if (!c->route->at_head) c->route->serve(c);
}

// The line at the front of the input without its CRLF; false when it is not complete.
static bool whole_line(struct connection *c, struct slice *line) {
    const char *start = c->in.bytes + c->in.start, *end = memmem(start, pending(&c->in), "\r\n", 2);
    *line = (struct slice){start, end ? (size_t)(end - start) : 0};
    return end != NULL;
}

static bool advance_chunk_line(struct connection *c) {
    struct slice line;
    if (!whole_line(c, &line)) return false;
    if (c->body == BODY_CHUNK_END) {
        if (line.count) return refuse(c, 400), true;
        c->body = BODY_SIZE_LINE;
    } else if (c->body == BODY_TRAILERS) {
        if (c->echoes_body) append(&c->out, line.bytes, line.count + 2);
        consume(&c->in, line.count + 2);
        if (!line.count) end_body(c);
        return true;
    } else {
        char *after;
        c->body_left = strtoull(line.bytes, &after, 16);
        if (after == line.bytes) return refuse(c, 400), true;
        c->body = c->body_left ? BODY_CHUNK : BODY_TRAILERS;
        if (!c->body_left && c->echoes_body) append_text(&c->out, "0\r\n");
    }
    consume(&c->in, line.count + 2);
    return true;
}

static bool advance_body(struct connection *c) {
    if (c->echoes_body && pending(&c->out) > OUTPUT_LIMIT) return false;
    if (c->body == BODY_END || !pending(&c->in)) return false;
    if (c->body != BODY_COUNTED && c->body != BODY_CHUNK) return advance_chunk_line(c);
    size_t count = pending(&c->in) < c->body_left ? pending(&c->in) : (size_t)c->body_left;
    take_body(c, c->in.bytes + c->in.start, count);
    consume(&c->in, count);
    c->body_left -= count;
    if (!c->body_left && c->body == BODY_CHUNK) c->body = BODY_CHUNK_END;
    else if (!c->body_left) end_body(c);
    return true;
}

// ---------------------------------------------------------------- answers

static void keep_filling(struct connection *c) { (void)c; }   // the pause is over: drive() goes on

static bool advance_fill(struct connection *c) {
    static char filler[READ_BYTES];
    if (!c->fill_left || c->deadline_ns || pending(&c->out) > OUTPUT_LIMIT) return false;
    if (!filler[0]) memset(filler, 'x', sizeof filler);
    size_t count = c->fill_piece < c->fill_left ? c->fill_piece : (size_t)c->fill_left;
    if (c->fill_chunked) append_format(&c->out, "%zx\r\n", count);
    append(&c->out, filler, count);
    if (c->fill_chunked) append(&c->out, "\r\n", 2);
    c->fill_left -= count;
    if (c->fill_left && c->fill_pause_ns) set_timer(c, c->fill_pause_ns, keep_filling);
    if (!c->fill_left && c->fill_chunked) append_text(&c->out, "0\r\n\r\n");
    return true;
}

static bool end_request(struct connection *c) {
    if (!c->answered || c->fill_left || c->body != BODY_END || pending(&c->out) || c->deadline_ns) return false;
    statistics.in_flight--;
    c->mode = MODE_HEAD;
    if (c->ending != KEEP) return close_connection(c, c->ending == RESET), false;
    begin_idle(c);
    return true;
}

static void close_when_idle(struct connection *c) {
    if (c->mode == MODE_HEAD && !pending(&c->in)) close_connection(c, false);
}

void begin_idle(struct connection *c) {
    if (options.idle_ns) set_timer(c, options.idle_ns, close_when_idle);
}

// ---------------------------------------------------------------- the socket

void close_connection(struct connection *c, bool with_reset) {
    if (c->is_dead) return;
    if (c->mode != MODE_HEAD) statistics.in_flight--;
    struct linger abort_now = {.l_onoff = 1};
    if (with_reset) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &abort_now, sizeof abort_now);
    close(c->fd);
    statistics.open_connections--;
    bury(c);
}

static bool read_some(struct connection *c) {
    size_t limit = c->mode == MODE_HEAD || c->mode == MODE_WEBSOCKET ? 2 * HEAD_LIMIT : INPUT_LIMIT;
    if (!c->readable || pending(&c->in) > limit) return false;
    char *room = reserve(&c->in, READ_BYTES);
    ssize_t count = recv(c->fd, room, READ_BYTES, 0);
    if (count > 0) {
        if (!pending(&c->in)) c->arrived_ns = now_ns();
        c->in.end += (size_t)count;
        return true;
    }
    c->readable = false;
    if (count == 0) c->input_ended = true;
    else if (errno != EAGAIN && errno != EINTR) lose_client(c);
    return count == 0;
}

static bool write_some(struct connection *c) {
    bool moved = false;
    while (c->writable && pending(&c->out)) {
        ssize_t count = send(c->fd, c->out.bytes + c->out.start, pending(&c->out), MSG_NOSIGNAL);
        if (count < 0) {
            c->writable = false;
            if (errno != EAGAIN && errno != EINTR) lose_client(c);
            return moved;
        }
        consume(&c->out, (size_t)count);
        moved = true;
    }
    return moved;
}

static bool advance_tunnel(struct connection *c) {
    size_t count = pending(&c->in);
    if (c->input_ended && !count && !pending(&c->out)) return close_connection(c, false), false;
    if (!count || pending(&c->out) > OUTPUT_LIMIT) return false;
    append(&c->out, c->in.bytes + c->in.start, count);
    consume(&c->in, count);
    return true;
}

// A client that went away while we wait for a timer, or before its body was whole, is not waited for.
static bool is_abandoned(const struct connection *c) {
    if (c->mode != MODE_REQUEST || !c->input_ended) return false;
    bool lacks_body = c->body != BODY_END && !pending(&c->in);
    bool is_waiting = c->body == BODY_END && !c->answered;
    return lacks_body || is_waiting || (c->deadline_ns && c->fill_left);
}

static bool advance(struct connection *c) {
    switch (c->mode) {
    case MODE_HEAD: return advance_head(c);
    case MODE_WEBSOCKET: return advance_websocket(c);
    case MODE_TUNNEL: return advance_tunnel(c);
    case MODE_REQUEST: break;
    }
    bool moved = advance_body(c);
    moved |= !c->is_dead && advance_fill(c);
    return moved;
}

void drive(struct connection *c) {
    for (int round = 0; !c->is_dead; round++) {
        if (round == ROUNDS_PER_TURN) return queue_again(c);
        bool moved = read_some(c);
        if (!c->is_dead) moved |= advance(c);
        if (!c->is_dead) moved |= write_some(c);
        if (!c->is_dead && c->mode == MODE_REQUEST) moved |= end_request(c);
        if (!c->is_dead && is_abandoned(c)) lose_client(c);
        if (!moved) return;
    }
}
