//! Text for people: what a terminal would obey and invalid UTF-8 are escaped, and sizes have units.

use std::borrow::Cow;
use std::fmt::Write;
use std::str::Utf8Chunk;

/// Escapes every character of `text` that is not seen as itself, so that file names and the output
/// of other programs can neither move the terminal's cursor, nor start a new line, nor turn the
/// direction of the text.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unseen(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// Does the same with JSON, in JSON's own way. There such characters are in strings, except for
/// white space, which stays.
#[must_use]
pub fn visible_json(json: &str) -> String {
    let mut visible = String::with_capacity(json.len());
    for character in json.chars() {
        if is_unseen(character) && !character.is_ascii_whitespace() {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(visible, "\\u{unit:04x}");
            }
        } else {
            visible.push(character);
        }
    }
    visible
}

/// Whether `character` is a control character (of ASCII, C1 or DEL), a separator of lines, a mark
/// of direction, or one that has no width (Unicode 16, chapter 23).
pub(crate) fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Decodes `bytes` as UTF-8. Bytes that are not UTF-8 are escaped (`\xff`), so that different
/// bytes give different text.
#[must_use]
pub fn lossless(bytes: &[u8]) -> String {
    let decode = |chunk: Utf8Chunk| chunk.valid().to_owned() + &escape(chunk.invalid());
    bytes.utf8_chunks().map(decode).collect()
}

fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Gives `text` as it is when it has at most `max` characters, else its beginning and `…`.
#[must_use]
pub fn shorten(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Formats a number of bytes with a binary unit and one decimal, rounded down, such as `1.2 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        let whole = bytes >> shift;
        if whole > 0 {
            let rest = bytes & ((1 << shift) - 1);
            return format!("{whole}.{} {unit}", (rest * 10) >> shift);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::{lossless, one_line, shorten, size, visible_json};

    #[test]
    fn control_characters_are_escaped() {
        for (text, line) in [
            ("plain ä 日本", "plain ä 日本"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("\0\u{7f}\u{85}", "\\u{0}\\u{7f}\\u{85}"),
            ("a\u{202e}b\u{2028}", "a\\u{202e}b\\u{2028}"),
            ("\u{200f}\u{2066}\u{feff}", "\\u{200f}\\u{2066}\\u{feff}"),
        ] {
            assert_eq!(one_line(text), line);
        }
    }

    #[test]
    fn unseen_characters_of_json_are_escaped_as_json() {
        for text in ["plain ä 日本 \"\\", "\u{7f}\u{9b}\u{202e}\u{e0041}", "a\nb"] {
            let json = serde_json::to_string(text).unwrap();
            let line = visible_json(&json);
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
            assert_eq!(one_line(&line), line);
        }
        assert_eq!(visible_json("{\t\"a\":\r\n1}"), "{\t\"a\":\r\n1}");
        assert_eq!(
            visible_json("\"\u{7f}\u{e0041}\""),
            r#""\u007f\udb40\udc41""#
        );
    }

    #[test]
    fn different_bytes_give_different_text() {
        assert_eq!(lossless("ä\n".as_bytes()), "ä\n");
        assert_eq!(lossless(b"a\xffb\xfe"), "a\\xffb\\xfe");
    }

    #[test]
    fn long_text_is_cut_at_the_end() {
        assert_eq!((shorten("", 0), shorten("äb", 2)), ("".into(), "äb".into()));
        assert_eq!(
            (shorten("a", 0), shorten("äbc", 2)),
            ("…".into(), "äb…".into())
        );
    }

    #[test]
    fn sizes_have_binary_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
