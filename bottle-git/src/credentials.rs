//! Removes passwords and tokens from URLs.

use std::borrow::Cow;

/// The schemes of URLs behind whose host credentials may stand, too.
const WEB: &[&str] = &["http", "https"];

/// Where the parts of a URL (RFC 3986) begin and end in a text.
struct Url<'a> {
    /// The text before the URL.
    before: &'a [u8],
    scheme: &'a [u8],
    /// The colon and the slashes behind the scheme.
    mark: &'a [u8],
    /// The text that begins with the authority.
    rest: &'a [u8],
}

impl<'a> Url<'a> {
    /// Finds the first URL in `text`. There are two slashes behind the scheme, but curl takes any
    /// number of them for http and https. With one, the scheme has to be nothing else, because
    /// `my-http:/path` is a path on the host `my-http`.
    fn find(text: &'a [u8]) -> Option<Self> {
        let mut from = 0;
        loop {
            let colon = from + text[from..].windows(2).position(|bytes| bytes == b":/")?;
            let scheme = scheme_of(&text[..colon]);
            let is_web = WEB
                .iter()
                .any(|web| scheme.eq_ignore_ascii_case(web.as_bytes()));
            let slashes = text[colon + 1..]
                .iter()
                .take_while(|&&byte| byte == b'/')
                .count();
            if is_web || slashes >= 2 {
                let length = if is_web || ends_with(scheme, WEB) {
                    slashes
                } else {
                    2
                };
                let (mark, rest) = text[colon..].split_at(1 + length);
                let before = &text[..colon - scheme.len()];
                return Some(Self {
                    before,
                    scheme,
                    mark,
                    rest,
                });
            }
            from = colon + 1;
        }
    }

    /// Whether the URL's scheme is one of `schemes`, or ends with one, as `git+ssh` does.
    fn is_of(&self, schemes: &[&str]) -> bool {
        ends_with(self.scheme, schemes)
    }
}

/// Whether `scheme` ends with one of `schemes`, in upper or lower case.
fn ends_with(scheme: &[u8], schemes: &[&str]) -> bool {
    let scheme = scheme.to_ascii_lowercase();
    schemes.iter().any(|name| scheme.ends_with(name.as_bytes()))
}

/// Removes the credentials from all URLs in `text`: everything before the host, and in http and
/// https URLs also everything after a `?` or a `#`. In ssh URLs the user stays.
pub fn removed_from_text(text: &[u8]) -> Cow<'_, [u8]> {
    remove(text, u8::is_ascii_whitespace)
}

/// Removes the same from `text`. If it begins with a URL, the whole text is taken for one URL, even
/// if it contains white space.
pub fn removed_from_address(text: &[u8]) -> Cow<'_, [u8]> {
    if Url::find(text).is_some_and(|url| url.before.is_empty()) {
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
    while let Some(found) = Url::find(rest) {
        for part in [found.before, found.scheme, found.mark] {
            clean.extend_from_slice(part);
        }
        // Another URL may follow, even if no white space is in between.
        let next = Url::find(found.rest).map_or(found.rest.len(), |next| next.before.len());
        let url = &found.rest[..next];
        let is_authoritys_end = |byte: &u8| matches!(byte, b'/' | b'?' | b'#') || is_end(byte);
        let (authority, path) = split_at_first(url, is_authoritys_end);
        append_authority(&mut clean, authority, found.is_of(&["ssh"]));
        rest = &found.rest[authority.len()..];
        if found.is_of(WEB) {
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
            ("https:///a:b@host/r?c", "https:///host/r"),
            ("git+https:///a:b@host/r?c", "git+https:///host/r"),
            ("https:/a:b@host/r?c", "https:/host/r"),
            ("HTTP:////a:b@c,https:/d:e@f", "HTTP:////c,https:/f"),
            ("a:/b http:/c:d@e f", "a:/b http:/e f"),
            ("git@my-http:/srv/a#b?c@d", "git@my-http:/srv/a#b?c@d"),
            ("file:///a:b@c", "file:///a:b@c"),
            ("https:a:b@c", "https:a:b@c"),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&removed_from_address(text.as_bytes())),
                clean
            );
        }
    }
}
