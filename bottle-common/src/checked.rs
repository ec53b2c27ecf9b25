//! Strings that were checked once: what one of these types holds is fit for a path, an argument or a configuration line.
//!
//! Messages say what is wrong with a value and never repeat it where it may hold a secret.

use std::path::{Path, PathBuf};

use derive_more::{Deref, Display};
use http::uri::{Authority, Uri};
use serde::Deserialize;

/// A smolvm machine's name: letters, digits, `_`, `-`, the first a letter or a digit (smolvm's own rule).
#[derive(Clone, Debug, Deref, Deserialize, Display)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = "^[A-Za-z0-9][A-Za-z0-9_-]*$")))]
#[serde(try_from = "String")]
pub struct MachineName(String);

impl TryFrom<String> for MachineName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let fits = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        if fits {
            Ok(Self(name))
        } else {
            Err("a machine name has letters, digits, `_` and `-` only, and begins with a letter or a digit")
        }
    }
}

/// A skill's name: one path component that is neither hidden nor an option.
#[derive(Clone, Debug, Deref, Deserialize, Display, Eq, Hash, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = "^[^./\\u0000-\\u001f\\u007f-\\u009f-][^/\\u0000-\\u001f\\u007f-\\u009f]*$")))]
#[serde(try_from = "String")]
pub struct SkillName(String);

impl TryFrom<String> for SkillName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name.is_empty() || name.starts_with(['.', '-']) || name.contains('/') || name.contains(char::is_control) {
            return Err(
                "a skill name is one path component, not empty, without a leading `.` or `-` and without control characters",
            );
        }
        Ok(Self(name))
    }
}

/// A remote's name, which is its repository's name at the gate.
#[derive(Clone, Debug, Deref, Deserialize, Display, Eq, Hash, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = "^[A-Za-z0-9._-]+$"), extend("not" = {"enum": [".", ".."]})))]
#[serde(try_from = "String")]
pub struct RemoteName(String);

impl TryFrom<String> for RemoteName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        // `.` and `..` are letters of the alphabet, but as a path they name another repository than their own.
        if fits && !matches!(name.as_str(), "." | "..") {
            Ok(Self(name))
        } else {
            Err("a remote's Name has letters, digits, `.`, `_` and `-` only")
        }
    }
}

/// `host:port`.
#[derive(Clone, Debug, Deref, Deserialize, Display)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = "^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9][A-Za-z0-9._-]*)(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))$")))]
#[serde(try_from = "String")]
pub struct HostPort(String);

impl TryFrom<String> for HostPort {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.parse::<Authority>() {
            Ok(authority) if is_host(authority.host()) && is_bare(&authority) && authority.port().is_some() => {
                Ok(Self(text))
            }
            _ => Err("not a `host:port`"),
        }
    }
}

/// An `http://` or `https://` URL without credentials: it becomes an argument, and arguments are public.
#[derive(Clone, Debug, Deref, Deserialize, Display)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = "^[Hh][Tt][Tt][Pp][Ss]?://(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9][A-Za-z0-9._-]*)(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?([/?#].*)?$")))]
#[serde(try_from = "String")]
pub struct HttpUrl(String);

impl TryFrom<String> for HttpUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let uri: Uri = text.parse().map_err(|_| "not an http(s) URL")?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
                Err("a URL with credentials would show them in the process list: leave out `user:password@`")
            }
            (Some("http" | "https"), Some(authority)) if is_host(authority.host()) && is_bare(authority) => {
                Ok(Self(text))
            }
            _ => Err("not an http(s) URL"),
        }
    }
}

/// Whether `host` can be nothing but a host: a name, an IPv4 address, or an IPv6 address in brackets.
pub(crate) fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
}

/// Whether `authority` is its host and at most a port.
fn is_bare(authority: &Authority) -> bool {
    !authority.as_str().contains('@') && has_fit_port(authority)
}

/// Whether the port, if there is one, is a port as one writes it: `http` lets `host:`, `host:+1` and `host:99999` pass.
pub(crate) fn has_fit_port(authority: &Authority) -> bool {
    match authority.port() {
        Some(port) => port.as_u16() > 0 && port.as_str() == port.as_u16().to_string(),
        None => authority.as_str().ends_with(authority.host()),
    }
}

/// A name or an email as `git config` and a commit header bear it.
#[derive(Clone, Debug, Deref, Deserialize, Display)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = "^[^<>\\u0000-\\u001f\\u007f-\\u009f-][^<>\\u0000-\\u001f\\u007f-\\u009f]*$")))]
#[serde(try_from = "String")]
pub struct IdentityText(String);

impl TryFrom<String> for IdentityText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // What git strips from both ends of a name.
        let is_crud = |c: char| c.is_whitespace() || ".,:;<>\"\\'".contains(c);
        if text.trim().is_empty() {
            Err("must not be empty")
        } else if text.chars().all(is_crud) {
            Err("must have more than punctuation: git commits as nobody of that name")
        } else if text.starts_with('-') {
            Err("must not begin with `-`: git would take it for an option")
        } else if text.contains(['<', '>']) || text.contains(char::is_control) {
            Err("must not hold `<`, `>` or control characters: they end the field in a commit")
        } else {
            Ok(Self(text))
        }
    }
}

/// An absolute path in the guest, without `..`; a trailing `/` is dropped.
#[derive(Clone, Debug, Deref, Display)]
pub struct GuestPath(String);

impl TryFrom<String> for GuestPath {
    type Error = &'static str;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        let path = path.trim_end_matches('/').to_owned();
        let fits = path.len() > 1
            && path.starts_with('/')
            && path[1..].split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !path.contains(char::is_control);
        if fits {
            Ok(Self(path))
        } else {
            Err("a guest path is absolute, without `.`, `..`, `//` and control characters")
        }
    }
}

impl GuestPath {
    /// A path of this program's own making.
    pub(crate) const fn trusted(path: String) -> Self {
        Self(path)
    }

    /// This directory and the parents of it that are below `ancestor`.
    #[must_use]
    pub fn below(&self, ancestor: &str) -> Vec<Self> {
        let paths = Path::new(&self.0).ancestors();
        let below = paths.take_while(|path| path.starts_with(ancestor) && *path != Path::new(ancestor));
        below.map(|path| Self(path.to_string_lossy().into_owned())).collect()
    }

    /// The path of `name` in this directory.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self(format!("{}/{name}", self.0))
    }
}

/// A path on the host as the plan writes it: no NUL, not empty.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = "^[^\\u0000]+$"), extend("not" = {"const": "."})))]
#[serde(try_from = "String")]
pub struct HostPath(pub(crate) PathBuf);

impl TryFrom<String> for HostPath {
    type Error = &'static str;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        if path.contains('\0') {
            return Err("a path must not hold NUL");
        }
        // A relative path that begins with `-` would be an option of smolvm's.
        Ok(Self(if path.starts_with('-') { PathBuf::from("./").join(path) } else { path.into() }))
    }
}
