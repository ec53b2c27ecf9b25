//! Removes passwords and tokens from URLs.

use std::borrow::Cow;

/// What separates the scheme of a URL from the rest (RFC 3986).
const MARK: &[u8] = b"://";

/// Removes the credentials from all URLs in `text`: everything before the host, and in http and
/// https URLs also everything after a `?` or a `#`. In ssh URLs the user stays.
pub fn removed_from_text(text: &[u8]) -> Cow<'_, [u8]> {
    remove(text, u8::is_ascii_whitespace)
}

/// Removes the same from `text`. If it begins with a URL, the whole text is taken for one URL, even
/// if it contains white space.
pub fn removed_from_address(text: &[u8]) -> Cow<'_, [u8]> {
    let is_address = find(text, MARK).is_some_and(|end| scheme_of(&text[..end]).len() == end);
    if is_address {
        remove(text, |_| false)
    } else {
        removed_from_text(text)
    }
}

/// Returns the scheme at the end of `text`, which is empty if there is none.
fn scheme_of(text: &[u8]) -> &[u8] {
    let is_fit = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.');
    let length = text.iter().rev().take_while(|byte| is_fit(byte)).count();
    &text[text.len() - length..]
}

/// Removes the credentials from all URLs in `text`. A URL ends before the first byte for which
/// `is_end` is true.
fn remove(text: &[u8], is_end: fn(&u8) -> bool) -> Cow<'_, [u8]> {
    let mut clean = Vec::new();
    let mut rest = text;
    while let Some(start) = find(rest, MARK) {
        let (before, url) = rest.split_at(start + MARK.len());
        clean.extend_from_slice(before);
        let scheme = scheme_of(&rest[..start]).to_ascii_lowercase();
        // Another URL may follow, even if no white space is in between.
        let next = find(url, MARK).map(|next| next - scheme_of(&url[..next]).len());
        let (url, behind) = url.split_at(next.unwrap_or(url.len()));
        let is_authoritys_end = |byte: &u8| matches!(byte, b'/' | b'?' | b'#') || is_end(byte);
        let (authority, path) = split_at_first(url, is_authoritys_end);
        append_authority(&mut clean, authority, scheme.ends_with(b"ssh"));
        rest = &rest[rest.len() - path.len() - behind.len()..];
        if scheme.ends_with(b"http") || scheme.ends_with(b"https") {
            let (path, _) = split_at_first(path, is_end);
            let (path, query) = split_at_first(path, |byte| matches!(byte, b'?' | b'#'));
            clean.extend_from_slice(path);
            rest = &rest[path.len()..];
            if !query.is_empty() {
                // A URL in the query belongs to the query.
                rest = split_at_first(rest, is_end).1;
            }
        }
    }
    if clean.is_empty() {
        return Cow::Borrowed(text);
    }
    clean.extend_from_slice(rest);
    Cow::Owned(clean)
}

/// Appends `authority` (RFC 3986), without its credentials, to `clean`.
fn append_authority(clean: &mut Vec<u8>, authority: &[u8], is_ssh: bool) {
    let Some(at) = authority.iter().rposition(|&byte| byte == b'@') else {
        clean.extend_from_slice(authority);
        return;
    };
    if !is_ssh {
        clean.extend_from_slice(&authority[at + 1..]);
        return;
    }
    // The user is needed to log in. The text after the colon is a password.
    let (user, _) = split_at_first(&authority[..at], |byte| *byte == b':');
    clean.extend_from_slice(user);
    clean.extend_from_slice(&authority[at..]);
}

fn find(text: &[u8], words: &[u8]) -> Option<usize> {
    text.windows(words.len()).position(|window| window == words)
}

/// Splits `text` before the first byte for which `is_it` is true.
fn split_at_first(text: &[u8], is_it: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(is_it).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::{removed_from_address, removed_from_text};

    #[test]
    fn only_credentials_are_removed_from_urls() {
        let reflog = "Ada <ada@host> 0 +0000\tpull https://a:b@c/d e://f@g:\n";
        for (text, clean) in [
            ("https://ada:s3cret@host/repo.git", "https://host/repo.git"),
            (
                "https://t0ken@host:8443/a@b?id=1 c",
                "https://host:8443/a@b c",
            ),
            ("see <https://a:b'c\"d@host/p>", "see <https://host/p>"),
            ("ssh://git@host:22/repo.git", "ssh://git@host:22/repo.git"),
            ("ssh://git:s3cret@host/repo.git", "ssh://git@host/repo.git"),
            ("git@host:repo.git", "git@host:repo.git"),
            (reflog, "Ada <ada@host> 0 +0000\tpull https://c/d e://g:\n"),
            ("https://ada:p@ss@host", "https://host"),
            ("https://a:b@c,https://d:e@f/g", "https://c,https://f/g"),
            ("hg::https://a:b@c#d e", "hg::https://c e"),
            ("https://a/?b=https://c:d@e/f g", "https://a/ g"),
            ("", ""),
            ("://", "://"),
            ("https://\u{fc}:x@h\u{fc}st/p", "https://h\u{fc}st/p"),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&removed_from_text(text.as_bytes())),
                clean
            );
        }
        for (text, clean) in [
            ("https://ada:a b'c\"d<e>`f@host/r?token=x", "https://host/r"),
            ("HTTPS://t0ken@host/?t0ken", "HTTPS://host/"),
            (
                "see https://a:b@host/r?x and more",
                "see https://host/r and more",
            ),
            ("ssh://git:x@host/r?y", "ssh://git@host/r?y"),
            ("https://a:b@c/d https://e:f@g/h", "https://c/d https://g/h"),
            ("https://a:b@c https://e:f@g/h?i", "https://c https://g/h"),
            (
                "ssh://git:a@b/c,https://d:e@f/g?h",
                "ssh://git@b/c,https://f/g",
            ),
            ("https://a/b?c=https://d:e@f/g", "https://a/b"),
            ("http://t0ken@host/r?token=x", "http://host/r"),
            ("https://host?token=a@b", "https://host"),
            ("https://host#a@b", "https://host"),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&removed_from_address(text.as_bytes())),
                clean
            );
        }
    }
}
