//! Text for people: control characters and invalid UTF-8 are escaped, and sizes have units.

use std::borrow::Cow;
use std::str::Utf8Chunk;

/// Escapes every control character of `text`, so that file names and the output of other programs
/// can neither move the terminal's cursor nor start a new line.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
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
    use super::{lossless, one_line, shorten, size};

    #[test]
    fn control_characters_are_escaped() {
        for (text, line) in [
            ("plain ä 日本", "plain ä 日本"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("\0\u{7f}\u{85}", "\\u{0}\\u{7f}\\u{85}"),
        ] {
            assert_eq!(one_line(text), line);
        }
    }

    #[test]
    fn different_bytes_give_different_text() {
        assert_eq!(lossless("ä\n".as_bytes()), "ä\n");
        assert_eq!(lossless(b"a\xffb\xfe"), "a\\xffb\\xfe");
    }

    #[test]
    fn long_text_is_cut() {
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
