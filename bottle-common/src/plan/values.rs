//! Types of strings that are checked once. A value of one of these types is safe in a path, an
//! argument or a line of configuration.
//!
//! A message says what is wrong with a value. It never repeats the value, which may be a secret.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use derive_more::{Deref, Display};
use http::uri::{Authority, Uri};
use serde::Deserialize;

#[cfg(test)]
use crate::plan::schema::pattern;

/// The maximum length of a name, in bytes: that of a path component in Linux, `NAME_MAX`.
pub(crate) const MAX_NAME: usize = 255;
/// The maximum length of another value, in bytes. An argument may have four times as many in Linux.
pub(crate) const MAX_VALUE: usize = 1 << 15;
const LONG_NAME: &str = "must not have more than 255 bytes";
pub(crate) const LONG_VALUE: &str = "must not have more than 32768 bytes";

/// The name of a smolvm machine. It consists of letters, digits, `_` and `-`, and begins with a
/// letter or a digit, as `smolvm machine create` (1.32.2) requires.
#[derive(Clone, Debug, Deref, Deserialize, Display)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = pattern::MACHINE_NAME, "maxLength" = MAX_NAME)))]
#[serde(try_from = "String")]
pub struct MachineName(String);

impl TryFrom<String> for MachineName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name.len() > MAX_NAME {
            return Err(LONG_NAME);
        }
        let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(is_fit) {
            return Ok(Self(name));
        }
        Err(
            "a machine name has letters, digits, `_` and `-` only, and begins with a letter or a \
             digit",
        )
    }
}

/// A skill's name: one path component that does not begin with `.` or `-`.
#[derive(Clone, Debug, Deref, Deserialize, Display, Eq, Hash, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = pattern::SKILL_NAME, "maxLength" = MAX_NAME)))]
#[serde(try_from = "String")]
pub struct SkillName(String);

impl TryFrom<String> for SkillName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "a skill name is one path component, not empty, without a leading `.` \
                             or `-` and without control characters";
        if name.len() > MAX_NAME {
            return Err(LONG_NAME);
        }
        let is_hidden_or_option = name.starts_with(['.', '-']);
        if name.is_empty() || is_hidden_or_option || name.contains('/') || has_control(&name) {
            return Err(WRONG);
        }
        Ok(Self(name))
    }
}

/// A remote's name, which is the name of its repository at the gate.
#[derive(Clone, Debug, Deref, Deserialize, Display, Eq, Hash, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(
    extend("pattern" = pattern::REMOTE_NAME, "maxLength" = MAX_NAME),
    extend("not" = {"enum": [".", ".."]}),
))]
#[serde(try_from = "String")]
pub struct RemoteName(String);

impl TryFrom<String> for RemoteName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name.len() > MAX_NAME {
            return Err(LONG_NAME);
        }
        let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        // `.` and `..` have only valid characters, but in a path they are other directories.
        let is_directory = matches!(&*name, "." | "..");
        if name.is_empty() || is_directory || !name.chars().all(is_fit) {
            return Err("a remote's Name has letters, digits, `.`, `_` and `-` only");
        }
        Ok(Self(name))
    }
}

/// An address of the form `host:port`. An IPv6 address is in brackets.
#[derive(Clone, Debug, Deref, Deserialize, Display)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = pattern::host_port(), "maxLength" = MAX_VALUE)))]
#[serde(try_from = "String")]
pub struct HostPort(String);

impl TryFrom<String> for HostPort {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() > MAX_VALUE {
            return Err(LONG_VALUE);
        }
        match text.parse::<Authority>() {
            Ok(authority) if is_host_and_port(&authority) && authority.port().is_some() => {
                Ok(Self(text))
            }
            _ => Err("not a `host:port`"),
        }
    }
}

impl HostPort {
    /// The host. An IPv6 address is in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.rsplit_once(':').map_or("", |(host, _)| host)
    }
}

/// A host to which TLS connections are made, and its port, which is 443 unless it is given.
#[derive(Clone, Debug, Deref, Display, Eq, Hash, PartialEq)]
pub struct TlsHost(String);

impl TryFrom<String> for TlsHost {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let with_port = if text.ends_with(']') || !text.contains(':') {
            format!("{text}:443")
        } else {
            text
        };
        match HostPort::try_from(with_port) {
            Ok(HostPort(host)) => Ok(Self(host)),
            Err(_) => Err("not a `host` or `host:port`"),
        }
    }
}

/// An `http://` or `https://` URL without credentials, query and fragment. It becomes an argument
/// of a command, which every user of the host may read.
#[derive(Clone, Debug, Deref, Deserialize, Display)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = pattern::http_url(), "maxLength" = MAX_VALUE)))]
#[serde(try_from = "String")]
pub struct HttpUrl(String);

impl TryFrom<String> for HttpUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "not an http(s) URL";
        const HAS_QUERY: &str = "a URL with a query would show it in the process list: leave out \
                                 what begins with `?` or `#`";
        const HAS_CREDENTIALS: &str = "a URL with credentials would show them in the process \
                                       list: leave out `user:password@`";
        if text.len() > MAX_VALUE {
            return Err(LONG_VALUE);
        }
        // RFC 3986, chapter 2.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(WRONG);
        }
        let uri: Uri = text.parse().map_err(|_| WRONG)?;
        let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(WRONG);
        };
        if text.contains(['?', '#']) {
            return Err(HAS_QUERY);
        }
        if authority.as_str().contains('@') {
            return Err(HAS_CREDENTIALS);
        }
        if is_host_and_port(authority) {
            Ok(Self(text))
        } else {
            Err(WRONG)
        }
    }
}

impl HttpUrl {
    /// The host and the port to connect to. The port is 80 or 443 unless the URL names one.
    #[must_use]
    pub fn address(&self) -> (String, u16) {
        let uri: Uri = self.0.parse().unwrap_or_default();
        let default = if self.is_https() { 443 } else { 80 };
        let host = uri.host().unwrap_or_default().to_owned();
        (host, uri.port_u16().unwrap_or(default))
    }

    /// The path, which is `/` if the URL has none.
    #[must_use]
    pub fn path(&self) -> String {
        let uri: Uri = self.0.parse().unwrap_or_default();
        uri.path().to_owned()
    }

    /// Whether the URL asks for TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        let uri: Uri = self.0.parse().unwrap_or_default();
        uri.scheme_str() == Some("https")
    }

    /// The host. An IPv6 address is in brackets.
    #[must_use]
    pub fn host(&self) -> String {
        // This cannot fail: the text was parsed when this value was made.
        let uri: Uri = self.0.parse().unwrap_or_default();
        uri.host().unwrap_or_default().to_owned()
    }
}

/// A name or an email that `git config` and the header of a commit accept.
#[derive(Clone, Debug, Deref, Deserialize, Display)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = pattern::IDENTITY_TEXT, "maxLength" = MAX_VALUE)))]
#[serde(try_from = "String")]
pub struct IdentityText(String);

impl TryFrom<String> for IdentityText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const HAS_CONTROL: &str = "must not hold `<`, `>` or control characters: they end the \
                                   field in a commit";
        if text.len() > MAX_VALUE {
            return Err(LONG_VALUE);
        }
        if text.trim().is_empty() {
            return Err("must not be empty");
        }
        if text.chars().all(is_crud) {
            return Err("must have more than punctuation: git commits as nobody of that name");
        }
        if text.starts_with('-') {
            return Err("must not begin with `-`: git would take it for an option");
        }
        if text.contains(['<', '>']) || has_control(&text) {
            return Err(HAS_CONTROL);
        }
        Ok(Self(text))
    }
}

impl IdentityText {
    /// Whether a commit that has `found` has this text, of which git may strip both ends.
    #[must_use]
    pub fn is_in_commit(&self, found: &str) -> bool {
        self.0.trim_matches(is_crud) == found.trim_matches(is_crud)
    }
}

/// Whether git strips the character from both ends of a name (`strbuf_addstr_without_crud` in
/// ident.c).
fn is_crud(c: char) -> bool {
    c.is_whitespace() || ".,:;<>\"\\'".contains(c)
}

/// An absolute path in the guest. It is not `/` and contains no `..`. A trailing `/` is removed.
#[derive(Clone, Debug, Deref, Display, Eq, PartialEq)]
pub struct GuestPath(String);

impl TryFrom<String> for GuestPath {
    type Error = &'static str;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        let is_component = |part: &str| !matches!(part, "" | "." | "..");
        let fitting = path
            .trim_end_matches('/')
            .strip_prefix('/')
            .filter(|rest| rest.split('/').all(is_component) && !has_control(rest));
        match fitting {
            Some(rest) => Ok(Self(format!("/{rest}"))),
            None => Err("a guest path is absolute, without `.`, `..`, `//` and control characters"),
        }
    }
}

impl GuestPath {
    /// Makes a path that consists only of constants and checked values.
    pub(crate) const fn trusted(path: String) -> Self {
        Self(path)
    }

    /// Lists this directory and its parents, as far as they are below `ancestor`. The longest path
    /// comes first.
    #[must_use]
    pub fn below(&self, ancestor: &str) -> Vec<Self> {
        let mut below = Vec::new();
        for path in Path::new(&self.0).ancestors() {
            if !path.starts_with(ancestor) || path == Path::new(ancestor) {
                break;
            }
            below.push(Self(path.to_string_lossy().into_owned()));
        }
        below
    }

    /// The path of `name` in this directory.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self(format!("{}/{name}", self.0))
    }
}

/// An absolute path on the host, without NUL.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = pattern::HOST_PATH, "maxLength" = MAX_VALUE)))]
#[serde(try_from = "String")]
pub struct HostPath(pub(crate) PathBuf);

impl TryFrom<String> for HostPath {
    type Error = &'static str;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        if path.len() > MAX_VALUE {
            return Err(LONG_VALUE);
        }
        if path.contains('\0') {
            return Err("a path must not hold NUL");
        }
        if path.starts_with('~') {
            return Err("a path must be absolute: `~` means nothing here, write the whole path");
        }
        if !path.starts_with('/') {
            return Err("a path must be absolute: the steps may run in any directory");
        }
        Ok(Self(path.into()))
    }
}

/// The protocol that git in the guest uses to talk to the gate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Display, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum GateScheme {
    /// git's own protocol
    #[default]
    #[display("git")]
    Git,
    /// smart HTTP, with which an interrupted push does not leave the gate's receive-pack hanging
    #[display("http")]
    Http,
}

impl TryFrom<String> for GateScheme {
    type Error = &'static str;

    fn try_from(scheme: String) -> Result<Self, Self::Error> {
        match &*scheme {
            "git" => Ok(Self::Git),
            "http" => Ok(Self::Http),
            _ => Err("neither `git` nor `http`"),
        }
    }
}

/// The agent's home directory. The launcher may name it, but it is always the same.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(with = "String", extend("enum" = ["/home/node", "/home/node/"])))]
#[serde(try_from = "String")]
pub struct GuestHome;

impl TryFrom<String> for GuestHome {
    type Error = &'static str;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        match &*path {
            "/home/node" | "/home/node/" => Ok(Self),
            _ => Err("the agent's home directory is /home/node and no other"),
        }
    }
}

/// A pattern as in `.gitignore`, which git reads as one line (gitignore(5)).
#[derive(Clone, Debug, Deref, Deserialize, Display)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = pattern::IGNORE_PATTERN, "maxLength" = MAX_VALUE)))]
#[serde(try_from = "String")]
pub struct IgnorePattern(String);

impl TryFrom<String> for IgnorePattern {
    type Error = &'static str;

    fn try_from(pattern: String) -> Result<Self, Self::Error> {
        if pattern.len() > MAX_VALUE {
            return Err(LONG_VALUE);
        }
        // git would pass over a line that is blank or a comment.
        let is_blank = pattern.trim_matches(' ').is_empty();
        if is_blank || pattern.starts_with('#') || has_control(&pattern) {
            return Err(
                "a pattern as in .gitignore is one line without control characters, not blank, \
                 and does not begin with `#` (`\\#` is for a name that does)",
            );
        }
        Ok(Self(pattern))
    }
}

/// Whether `host` is a host name, an IPv4 address, or an IPv6 address in brackets.
pub(crate) fn is_host(host: &str) -> bool {
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    host.starts_with(|c: char| c.is_ascii_alphanumeric()) && host.chars().all(is_fit)
}

/// Whether `authority` has no port, or a port from 1 to 65535 in plain digits. (The crate `http`
/// also accepts `host:`, `host:+1` and `host:99999`.)
pub(crate) fn has_fit_port(authority: &Authority) -> bool {
    match authority.port() {
        Some(port) => port.as_u16() > 0 && port.as_str() == port.as_u16().to_string(),
        None => authority.as_str().ends_with(authority.host()),
    }
}

/// Whether `authority` consists only of a host and, optionally, a port.
fn is_host_and_port(authority: &Authority) -> bool {
    !authority.as_str().contains('@') && is_host(authority.host()) && has_fit_port(authority)
}

fn has_control(text: &str) -> bool {
    text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::{
        GateScheme, GuestHome, GuestPath, HostPath, HostPort, HttpUrl, IdentityText, IgnorePattern,
        MachineName, RemoteName, SkillName, TlsHost,
    };
    use crate::plan::remote_url::RemoteUrl;

    /// Asserts which texts `T` accepts unchanged, and which it refuses.
    #[track_caller]
    fn takes<T>(good: &[&str], bad: &[&str])
    where
        T: TryFrom<String> + ToString,
    {
        for text in good {
            let value = T::try_from((*text).to_owned())
                .ok()
                .map(|value| value.to_string());
            assert_eq!(value.as_deref(), Some(*text));
        }
        for text in bad {
            assert!(
                T::try_from((*text).to_owned()).is_err(),
                "{text:?} is taken"
            );
        }
    }

    #[test]
    fn machine_names_are_checked() {
        takes::<MachineName>(
            &["a", "7", "claude-bottle-demo_1", "A-", "0_"],
            &[
                "", "-a", "_a", "a.b", "a:b", "a b", "a/b", "ä", "aä", "a\n", "a\0",
            ],
        );
    }

    #[test]
    fn lengths_are_limited() {
        takes::<MachineName>(&[&"a".repeat(255)], &[&"a".repeat(256)]);
        takes::<SkillName>(&[&"ä".repeat(127), &"a".repeat(255)], &[&"ä".repeat(128)]);
        takes::<RemoteName>(&[&"a".repeat(255)], &[&"a".repeat(256)]);
        takes::<IdentityText>(&[&"a".repeat(32768)], &[&"a".repeat(32769)]);
        let host = |length: usize| format!("{}:1", "a".repeat(length - 2));
        takes::<HostPort>(&[&host(32768)], &[&host(32769)]);
        let url = |length: usize| format!("http://a/{}", "a".repeat(length - 9));
        takes::<HttpUrl>(&[&url(32768)], &[&url(32769)]);
        let path = |length: usize| HostPath::try_from(format!("/{}", "a".repeat(length - 1)));
        assert!(path(32768).is_ok() && path(32769).is_err());
        let upstream = |length: usize| RemoteUrl::try_from(format!("h:{}", "a".repeat(length - 2)));
        assert!(upstream(32768).is_ok() && upstream(32769).is_err());
    }

    #[test]
    fn ignore_patterns_are_checked() {
        takes::<IgnorePattern>(
            &[
                ".env", "/dist/", "!a", "a b", "\\#a", "**/*.pem", "ä", " a", "-x", "a/../b",
            ],
            &[
                "", " ", "#a", "# a", "a\nb", "a\0", "a\tb", "\u{7f}", "\u{85}",
            ],
        );
        takes::<IgnorePattern>(&[&"a".repeat(32768)], &[&"a".repeat(32769)]);
    }

    #[test]
    fn skill_names_are_checked() {
        takes::<SkillName>(
            &["verify", "init-prd", "a b", "日本", "a.b", "_x", "a:b", "~"],
            &[
                "", ".", "..", ".hidden", "-x", "a/b", "/", "a/", "a\nb", "a\0", "a\u{7f}",
                "\u{85}",
            ],
        );
    }

    #[test]
    fn remote_names_are_checked() {
        takes::<RemoteName>(
            &["app", "a.b_c-D", "...", ".git", "-x", "0"],
            &["", ".", "..", "a/b", "a b", "a\n", "ä", "a:b", "a?", "a\0"],
        );
    }

    #[test]
    fn hosts_with_ports_are_checked() {
        takes::<HostPort>(
            &[
                "127.0.0.1:1",
                "gate:65535",
                "[::1]:9418",
                "a-b.c_d:80",
                "7:7",
            ],
            &[
                "",
                "host",
                "host:",
                ":1",
                "host:0",
                "host:65536",
                "host:99999",
                "host:+1",
                "host:01",
                "host: 1",
                "user@host:1",
                "u:p@host:1",
                "@host:1",
                "::1:9418",
                "[::1]",
                "[::g]:1",
                "[::1:1",
                "-h:1",
                ".h:1",
                "_h:1",
                "h\n:1",
                "h/p:1",
                "h:1/",
                "ho st:1",
                "h:1?",
                "h:1#",
                "hä:1",
                "h%41:1",
                "h!:1",
                "h~:1",
            ],
        );
    }

    #[test]
    fn a_host_for_tls_has_a_port() {
        for (text, host) in [
            ("host", Some("host:443")),
            ("10.0.0.1", Some("10.0.0.1:443")),
            ("host:8443", Some("host:8443")),
            ("[::1]", Some("[::1]:443")),
            ("[::1]:1", Some("[::1]:1")),
            ("", None),
            ("*.host", None),
            ("-host", None),
            ("host:0", None),
            ("ho st", None),
            ("::1", None),
            ("https://host", None),
        ] {
            let found = TlsHost::try_from(text.to_owned()).ok();
            assert_eq!(found.as_deref().map(String::as_str), host, "{text}");
        }
    }

    #[test]
    fn http_urls_are_checked() {
        takes::<HttpUrl>(
            &[
                "http://127.0.0.1:55556/",
                "https://host",
                "HTTP://host/path",
                "http://[::1]:1/x",
            ],
            &[
                "",
                "host",
                "//host/",
                "http://host/\u{85}",
                "http://host/\u{202e}",
                "http://host/\u{7f}",
                "http://host/a b",
                "http://host/é",
                "/path",
                "ftp://host/",
                "git://host/",
                "http://",
                "http:///x",
                "http://user@host/",
                "http://user:pass@host/",
                "http://@host/",
                "http://host:/",
                "http://host:0/",
                "http://host:99999/",
                "http://host:+1/",
                "http://ho st/",
                "http://-h/",
                "http://host/a b",
                "http://host/\n",
                "http://::1/",
                "http:host",
                "http://host/a?b=c",
                "http://host/?",
                "http://host#x",
                " http://host/",
            ],
        );
        let error = HttpUrl::try_from("http://ada:s3cret@host/".to_owned()).unwrap_err();
        assert!(error.starts_with("a URL with credentials") && !error.contains("s3cret"));
    }

    #[test]
    fn identities_are_checked() {
        takes::<IdentityText>(
            &[
                "Ada Lovelace",
                "ada@example.com",
                "日本",
                "O'Neil, Jr.",
                "a-b",
                "x",
            ],
            &[
                "", " ", "\t", ".", "...", "'\"", ".,:;", ". .", "\\", "-x", "--unset", "a<b",
                "a>b", "<>", "a\nb", "a\0", "a\u{7f}", "a\u{85}",
            ],
        );
    }

    #[test]
    fn guest_paths_are_checked() {
        takes::<GuestPath>(
            &[
                "/a",
                "/home/node/.claude/skills",
                "/a b",
                "/...",
                "/a/..b",
                "/-x",
                "/ä",
            ],
            &[
                "", "/", "//", "///", "a", "a/b", "./a", "../a", "/.", "/..", "/a/..", "/a/../b",
                "/a/./b", "/./a", "//a", "/a//b", "/a\nb", "/a\0", "/a\u{7f}", "~/a",
            ],
        );
        let path = GuestPath::try_from("/a/b///".to_owned()).unwrap();
        assert_eq!(&*path, "/a/b");
        assert_eq!(&*path.join("c"), "/a/b/c");
        let below = |path: &str, ancestor| {
            let path = GuestPath::try_from(path.to_owned()).unwrap();
            path.below(ancestor)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            below("/home/node/a/b", "/home/node"),
            ["/home/node/a/b", "/home/node/a"]
        );
        assert_eq!(below("/home/node", "/home/node"), [""; 0]);
        assert_eq!(below("/home/nodes/a", "/home/node"), [""; 0]);
        assert_eq!(below("/srv/a", "/home/node"), [""; 0]);
    }

    #[test]
    fn host_paths_are_checked() {
        let path = |text: &str| HostPath::try_from(text.to_owned()).map(|path| path.0);
        assert_eq!(path("/a b/ä:c").unwrap().to_str(), Some("/a b/ä:c"));
        for text in ["", "a", "./a", "../a", "-x", "~/a", "~ada/a", "/a\0b", "\0"] {
            assert!(path(text).is_err(), "{text:?}");
        }
        assert!(path("~/a").unwrap_err().contains("`~`"));
    }

    #[test]
    fn schemes_and_homes_are_checked() {
        takes::<GateScheme>(
            &["git", "http"],
            &["", "https", "Git", "ssh", "git ", "http:"],
        );
        let home = |text: &str| GuestHome::try_from(text.to_owned());
        assert!(home("/home/node").is_ok() && home("/home/node/").is_ok());
        for text in [
            "",
            "/",
            "/root",
            "/home/node2",
            "/home/node/x",
            "/home/nodes",
        ] {
            assert!(home(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_url_gives_its_host() {
        for (url, host) in [
            ("http://127.0.0.1:55556/", "127.0.0.1"),
            ("http://h/x", "h"),
            ("HTTPS://[::1]", "[::1]"),
        ] {
            let url = HttpUrl::try_from(url.to_owned()).unwrap();
            assert_eq!(url.host(), host);
            assert_eq!(url.address().0, host);
        }
        let gate = HostPort::try_from("[::1]:9418".to_owned()).unwrap();
        assert_eq!(gate.host(), "[::1]");
    }

    #[test]
    fn an_error_says_what_is_wrong_with_an_identity() {
        for (text, message) in [
            ("", "must not be empty"),
            (" \t", "must not be empty"),
            (
                ".",
                "must have more than punctuation: git commits as nobody of that name",
            ),
            (
                "-x",
                "must not begin with `-`: git would take it for an option",
            ),
            (
                "a<b",
                "must not hold `<`, `>` or control characters: they end the field in a commit",
            ),
        ] {
            let error = IdentityText::try_from(text.to_owned()).unwrap_err();
            assert_eq!(error, message, "{text:?}");
        }
    }
}
