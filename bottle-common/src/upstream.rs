//! Where a remote really is, as the plan writes it.

use http::uri::Authority;
use indexmap::IndexSet;
use serde::Deserialize;

use crate::checked::{has_fit_port, is_host};

/// How a remote is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// `ssh://` or scp-like
    Ssh,
    /// `https://`
    Https,
}

/// A remote repository's address, taken apart: `ssh://`, scp-like or `https://`, never with credentials.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Upstream {
    /// The address as the plan has it.
    pub written: String,
    /// How it is reached.
    pub protocol: Protocol,
    /// The user, where one is named.
    pub user: Option<String>,
    /// The host; an IPv6 address is in brackets.
    pub host: String,
    /// The port, where one is named.
    pub port: Option<u16>,
    /// The path without the slashes at its ends; never empty.
    pub path: String,
}

impl TryFrom<String> for Upstream {
    type Error = &'static str;

    fn try_from(written: String) -> Result<Self, Self::Error> {
        const FORMS: &str =
            "an Upstream is ssh://[USER@]HOST[:PORT]/PATH, [USER@]HOST:PATH or https://HOST[:PORT]/PATH";
        if written.contains(char::is_control) {
            return Err("an Upstream must not hold control characters");
        }
        let (protocol, authority, path) = if let Some(rest) = written.strip_prefix("ssh://") {
            let (authority, path) = rest.split_once('/').ok_or(FORMS)?;
            (Protocol::Ssh, authority, path)
        } else if let Some(rest) = written.strip_prefix("https://") {
            let (authority, path) = rest.split_once('/').ok_or(FORMS)?;
            (Protocol::Https, authority, path)
        } else if written.contains("://") {
            return Err(FORMS);
        } else {
            let end = written.find(']').unwrap_or(0);
            let colon = written[end..].find(':').ok_or(FORMS)? + end;
            let (authority, path) = (&written[..colon], &written[colon + 1..]);
            // git takes `./a:b` for a local path; `user:password@host:path` is no form at all.
            if authority.contains('/') || path.split('/').next().is_some_and(|start| start.contains('@')) {
                return Err(FORMS);
            }
            (Protocol::Ssh, authority, path)
        };
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        // With https a user alone may be an access token, and a query hold one.
        if protocol == Protocol::Https && path.contains(['?', '#']) {
            return Err(FORMS);
        }
        if user.is_some_and(|user| protocol == Protocol::Https || user.contains(':')) {
            return Err("an Upstream with credentials would carry them into the guest: leave them out");
        }
        let authority: Authority = authority.parse().map_err(|_| FORMS)?;
        let (host, path) = (authority.host(), path.trim_matches('/'));
        let user_fits = user.is_none_or(|user| {
            !user.is_empty()
                && !user.starts_with('-')
                && user.chars().all(|c| c.is_ascii_alphanumeric() || "._+~-".contains(c))
        });
        if !is_host(host) || !has_fit_port(&authority) || !user_fits || path.is_empty() {
            return Err(FORMS);
        }
        let (user, host, port, path) =
            (user.map(str::to_owned), host.to_owned(), authority.port_u16(), path.to_owned());
        Ok(Self { written, protocol, user, host, port, path })
    }
}

impl Upstream {
    /// Every way to write this repository's address that forges take for the same repository, the plan's own first.
    ///
    /// One that is missed goes around the gate. No spelling is a prefix of another path's than this repository's own,
    /// so none of them can capture a whole host or directory.
    #[must_use]
    pub fn spellings(&self) -> IndexSet<String> {
        let mut spellings = IndexSet::from([self.written.clone()]);
        let stem = self.path.strip_suffix(".git").unwrap_or(&self.path);
        // Of a path that ends in `/.git` nothing is left that would name a repository.
        let stem = if stem.is_empty() || stem.ends_with('/') { &self.path } else { stem };
        let paths = [format!("{stem}.git"), stem.to_owned()];
        // A forge's ssh user is always `git`.
        let users = match (self.protocol, &self.user) {
            (Protocol::Ssh, Some(user)) => vec![format!("{user}@")],
            (Protocol::Ssh, None) => vec![String::new(), "git@".to_owned()],
            (Protocol::Https, _) => vec!["git@".to_owned()],
        };
        let port = match (self.protocol, self.port) {
            (Protocol::Ssh, Some(port)) => port,
            _ => 22,
        };
        let host = &self.host;
        for user in users {
            for path in &paths {
                spellings.insert(format!("ssh://{user}{host}/{path}"));
                spellings.insert(format!("ssh://{user}{host}:{port}/{path}"));
                if port == 22 {
                    spellings.insert(format!("{user}{host}:{path}"));
                    spellings.insert(format!("{user}{host}:/{path}"));
                }
            }
        }
        // Its own origin, with the port, where it is reached by https; the plain one always.
        let origin = self.written.strip_prefix("https://").and_then(|rest| rest.split('/').next());
        for origin in origin.into_iter().chain([host.as_str()]) {
            spellings.extend(paths.iter().map(|path| format!("https://{origin}/{path}")));
        }
        spellings
    }
}
