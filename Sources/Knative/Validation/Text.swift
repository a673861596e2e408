/// `text` in double quotes with control characters escaped: what a manifest says must not forge lines of our output.
func quoted(_ text: String, limit: Int = 80) -> String {
    "\"" + escaped(text, quotes: true, limit: limit) + "\""
}

/// `text` cut at a length that suits a message, control characters escaped.
func shortened(_ text: String) -> String { escaped(text, quotes: false, limit: 80) }

/// `text` with control characters, line ends and direction overrides written as escapes; cut after `limit` characters.
func escaped(_ text: String, quotes: Bool, limit: Int) -> String {
    var result = ""
    var count = 0
    for scalar in text.unicodeScalars {
        guard count < limit else { return result + "…" }
        count += 1
        switch scalar.value {
        case 0x0A: result += "\\n"
        case 0x09: result += "\\t"
        case 0x0D: result += "\\r"
        case 0..<0x20, 0x7F..<0xA0, 0x200B...0x200F, 0x2028...0x202E, 0x2066...0x2069, 0xFEFF:
            result += "\\u{" + String(scalar.value, radix: 16) + "}"
        case 0x22 where quotes, 0x5C where quotes:
            result += "\\"
            result.unicodeScalars.append(scalar)
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result
}

/// The candidate that a mistyped `word` most likely meant, or nil if none is near.
public func nearest(to word: String, among candidates: [String]) -> String? {
    let typed = Array(word.lowercased().utf8)
    guard typed.count <= 64 else { return nil }
    var best: (word: String, distance: Int)?
    for candidate in candidates {
        let distance = editDistance(typed, Array(candidate.lowercased().utf8))
        let allowed = max(1, candidate.utf8.count / 3)
        if distance <= allowed, distance < best?.distance ?? .max { best = (candidate, distance) }
    }
    return best?.word
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `source` into `target`.
private func editDistance(_ source: [UInt8], _ target: [UInt8]) -> Int {
    guard !source.isEmpty, !target.isEmpty else { return max(source.count, target.count) }
    var beforeLast: [Int] = []
    var last = Array(0...target.count)
    for row in 1...source.count {
        var current = [row]
        for column in 1...target.count {
            let replaced = last[column - 1] + (source[row - 1] == target[column - 1] ? 0 : 1)
            var cost = min(replaced, last[column] + 1, current[column - 1] + 1)
            if row > 1, column > 1, source[row - 1] == target[column - 2], source[row - 2] == target[column - 1] {
                cost = min(cost, beforeLast[column - 2] + 1)
            }
            current.append(cost)
        }
        (beforeLast, last) = (last, current)
    }
    return last[target.count]
}

/// `value` in decimal with leading zeros up to `width` digits.
func zeroPadded(_ value: Int, width: Int) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
}
