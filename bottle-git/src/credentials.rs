//! Removes passwords and tokens from URLs.

use std::borrow::Cow;

/// What separates the scheme of a URL from the rest (RFC 3986).
const MARK: &[u8] = b"://";

/// Removes the user information before the hosts of all URLs in `text`. A URL of ssh keeps its
/// user.
pub fn removed_from_text(text: &[u8]) -> Cow<'_, [u8]> {
    remove(text, u8::is_ascii_whitespace, false)
}

/// Removes the same from `text`, which may be an address as a whole, even with spaces in it. The
/// queries of http and https URLs are removed, too.
pub fn removed_from_address(text: &[u8]) -> Cow<'_, [u8]> {
    let is_address = find(text, MARK).is_some_and(|end| is_scheme(&text[..end]));
    let is_end = if is_address {
        |_: &u8| false
    } else {
        u8::is_ascii_whitespace
    };
    remove(text, is_end, true)
}

fn is_scheme(text: &[u8]) -> bool {
    let is_fit = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.');
    !text.is_empty() && text.iter().all(is_fit)
}

/// Removes the credentials of each URL in `text`. A URL ends before a byte for which `is_end` is
/// true.
fn remove(text: &[u8], is_end: fn(&u8) -> bool, drops_query: bool) -> Cow<'_, [u8]> {
    let mut clean = Vec::new();
    let mut rest = text;
    while let Some(start) = find(rest, MARK) {
        let (before, url) = rest.split_at(start + MARK.len());
        let (url, behind) = split_at_first(url, is_end);
        let (authority, path) = split_at_first(url, |byte| matches!(byte, b'/' | b'?' | b'#'));
        let scheme = before.to_ascii_lowercase();
        clean.extend_from_slice(before);
        append_authority(&mut clean, authority, scheme.ends_with(b"ssh://"));
        let is_web = scheme.ends_with(b"http://") || scheme.ends_with(b"https://");
        let (path, query) = split_at_first(path, |byte| *byte == b'?');
        clean.extend_from_slice(path);
        if !is_web || !drops_query {
            clean.extend_from_slice(query);
        }
        rest = behind;
    }
    if clean.is_empty() {
        return Cow::Borrowed(text);
    }
    clean.extend_from_slice(rest);
    Cow::Owned(clean)
}

/// Appends `authority` (RFC 3986) without its credentials to `clean`.
fn append_authority(clean: &mut Vec<u8>, authority: &[u8], is_ssh: bool) {
    let Some(at) = authority.iter().rposition(|&byte| byte == b'@') else {
        clean.extend_from_slice(authority);
        return;
    };
    if !is_ssh {
        clean.extend_from_slice(&authority[at + 1..]);
        return;
    }
    // The user is needed to log in. The text after a colon is a secret.
    let (user, _) = split_at_first(&authority[..at], |byte| *byte == b':');
    clean.extend_from_slice(user);
    clean.extend_from_slice(&authority[at..]);
}

fn find(text: &[u8], words: &[u8]) -> Option<usize> {
    text.windows(words.len()).position(|window| window == words)
}

fn split_at_first(text: &[u8], is_it: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(is_it).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::{removed_from_address, removed_from_text};

    #[test]
    fn credentials_in_urls_go_and_all_else_stays() {
        let reflog = "Ada <ada@host> 0 +0000\tpull https://a:b@c/d e://f@g:\n";
        for (text, clean) in [
            ("https://ada:s3cret@host/repo.git", "https://host/repo.git"),
            (
                "https://t0ken@host:8443/a@b?id=1",
                "https://host:8443/a@b?id=1",
            ),
            ("see <https://a:b'c\"d@host/p>", "see <https://host/p>"),
            ("ssh://git@host:22/repo.git", "ssh://git@host:22/repo.git"),
            ("ssh://git:s3cret@host/repo.git", "ssh://git@host/repo.git"),
            ("git@host:repo.git", "git@host:repo.git"),
            (reflog, "Ada <ada@host> 0 +0000\tpull https://c/d e://g:\n"),
            ("https://ada:p@ss@host", "https://host"),
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
        ] {
            assert_eq!(
                String::from_utf8_lossy(&removed_from_address(text.as_bytes())),
                clean
            );
        }
    }
}
