/// One `--image REF=COMMAND`: what runs in place of a container image on one machine.
public struct ImageMapping: Hashable, Sendable {
    /// Why an argument was refused; `description` is for the user.
    public struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
        /// What was found and what would be accepted.
        public let description: String
    }

    /// The image as manifests name it; without a tag it stands for all tags.
    public let reference: String
    /// The program and its first arguments; never empty.
    public let command: [String]

    /// Reads `REF=COMMAND`. The command is split at white space as a shell does, with `'…'`, `"…"` and `\`; nothing is
    /// expanded.
    public static func parse(_ argument: String) throws(Failure) -> ImageMapping {
        guard let equals = argument.firstIndex(of: "=") else {
            throw Failure(description: "--image \(quoted(argument)): there is no `=`; write --image IMAGE=COMMAND")
        }
        let reference = String(argument[..<equals])
        guard ImageReference(reference) != nil else {
            throw Failure(
                description: "--image: \(quoted(reference)) is no image reference; write --image IMAGE=COMMAND")
        }
        let command = try split(String(argument[argument.index(after: equals)...]))
        guard !command.isEmpty else {
            throw Failure(description: "--image \(shortened(reference)): the command is empty")
        }
        return ImageMapping(reference: reference, command: command)
    }

    /// The words of `text` by a shell's quoting rules.
    static func split(_ text: String) throws(Failure) -> [String] {
        var words: [String] = []
        var word: String?
        var quote: Character?
        var rest = Substring(text)
        while let character = rest.popFirst() {
            switch (character, quote) {
            case ("\0", _): throw Failure(description: "--image: the command holds a NUL character")
            case ("'", "'"), ("\"", "\""): quote = nil
            case (_, "'"): word = (word ?? "") + String(character)
            case ("\\", _):
                guard let next = rest.popFirst() else {
                    throw Failure(description: "--image: the command ends with a single `\\`")
                }
                // Inside double quotes a backslash only escapes what would be special there.
                let isEscape = quote == nil || ["\"", "\\", "$", "`"].contains(next)
                word = (word ?? "") + (isEscape ? "" : "\\") + String(next)
            case (_, "\""): word = (word ?? "") + String(character)
            case ("'", _), ("\"", _):
                quote = character
                word = word ?? ""
            case (" ", _), ("\t", _), ("\n", _):
                if let finished = word { words.append(finished) }
                word = nil
            default: word = (word ?? "") + String(character)
            }
        }
        if let quote { throw Failure(description: "--image: the command has no closing \(quote)") }
        if let finished = word { words.append(finished) }
        return words
    }
}
