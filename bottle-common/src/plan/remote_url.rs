//! The address of a remote repository, and the other spellings of this address.

use http::uri::Authority;
use indexmap::IndexSet;
use serde::Deserialize;

use crate::plan::values::{LONG_VALUE, MAX_VALUE, has_fit_port, is_host};

/// The error about an address in an unknown form.
const FORMS: &str = "an Upstream is ssh://[USER@]HOST[:PORT]/PATH, [USER@]HOST:PATH or \
                     https://HOST[:PORT]/PATH";
/// The error about an address with a password or a token.
const HAS_CREDENTIALS: &str = "an Upstream with credentials would carry them into the guest: \
                               leave them out";

/// The protocol of an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// `ssh://`, or the scp-like form `HOST:PATH`
    Ssh,
    /// `https://`
    Https,
}

/// The address of a remote repository, split into its parts. It is an `ssh://` or `https://` URL or
/// has the scp-like form, and it never contains credentials.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct RemoteUrl {
    /// The address as the plan spells it.
    pub written: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The user, if the address names one.
    pub user: Option<String>,
    /// The host. An IPv6 address is in brackets.
    pub host: String,
    /// The port, if the address names one.
    pub port: Option<u16>,
    /// The path, without slashes at either end; never empty.
    pub path: String,
}

impl TryFrom<String> for RemoteUrl {
    type Error = &'static str;

    fn try_from(written: String) -> Result<Self, Self::Error> {
        if written.len() > MAX_VALUE {
            return Err(LONG_VALUE);
        }
        if written.contains(char::is_control) {
            return Err("an Upstream must not hold control characters");
        }
        let (protocol, authority, path) = split(&written)?;
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        if protocol == Protocol::Https && path.contains(['?', '#']) {
            // A query may hold a token.
            return Err(FORMS);
        }
        // With https, even a user without a password may be an access token.
        if user.is_some_and(|user| protocol == Protocol::Https || user.contains(':')) {
            return Err(HAS_CREDENTIALS);
        }
        let user = user.map(str::to_owned);
        let authority: Authority = authority.parse().map_err(|_| FORMS)?;
        let host = authority.host().to_owned();
        let port = authority.port_u16();
        let path = path.trim_matches('/').to_owned();
        let has_fit_user = user.as_deref().is_none_or(is_user);
        if !is_host(&host) || !has_fit_port(&authority) || !has_fit_user || path.is_empty() {
            return Err(FORMS);
        }
        Ok(Self {
            written,
            protocol,
            user,
            host,
            port,
            path,
        })
    }
}

/// Splits an address into its protocol, its authority and its path.
fn split(address: &str) -> Result<(Protocol, &str, &str), &'static str> {
    if let Some(rest) = address.strip_prefix("ssh://") {
        let (authority, path) = rest.split_once('/').ok_or(FORMS)?;
        return Ok((Protocol::Ssh, authority, path));
    }
    if let Some(rest) = address.strip_prefix("https://") {
        let (authority, path) = rest.split_once('/').ok_or(FORMS)?;
        return Ok((Protocol::Https, authority, path));
    }
    if address.contains("://") {
        return Err(FORMS);
    }
    // The scp-like form. The colons of an IPv6 address are in brackets.
    let end_of_host = address.find(']').unwrap_or(0);
    let colon = end_of_host + address[end_of_host..].find(':').ok_or(FORMS)?;
    let (authority, path) = (&address[..colon], &address[colon + 1..]);
    // For git, `./a:b` is a local path and `ext::command` starts a helper program. An address such
    // as `user:password@host:path` has no valid form.
    let has_late_at = path
        .split('/')
        .next()
        .is_some_and(|start| start.contains('@'));
    if authority.contains('/') || path.starts_with(':') || has_late_at {
        return Err(FORMS);
    }
    Ok((Protocol::Ssh, authority, path))
}

fn is_user(user: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    !user.is_empty() && !user.starts_with('-') && user.chars().all(is_fit)
}

impl RemoteUrl {
    /// Lists the spellings of this address that people and tools use, and that forges accept for
    /// the same repository. The plan's own spelling comes first. git must send all of them to the
    /// gate.
    ///
    /// git's `insteadOf` compares prefixes. So a spelling may be a prefix of another repository's
    /// address only if that repository's path begins with the whole path of this one.
    /// docs/guest.md lists the spellings that a prefix cannot match: a host in another case,
    /// percent-encoding, an alias in `ssh_config(5)`.
    #[must_use]
    pub fn spellings(&self) -> IndexSet<String> {
        let mut spellings = IndexSet::from([self.written.clone()]);
        for prefix in self.prefixes() {
            for path in self.paths() {
                spellings.insert(format!("{prefix}{path}"));
            }
        }
        spellings
    }

    /// Lists the path with and without `.git`, and both with and without a trailing slash.
    fn paths(&self) -> [String; 4] {
        let stem = self.path.strip_suffix(".git").unwrap_or(&self.path);
        // Without its suffix, a path such as `.git` or `team/.git` would be a prefix of all paths
        // of the host or in the directory.
        let stem = if stem.is_empty() || stem.ends_with('/') {
            &self.path
        } else {
            stem
        };
        [
            format!("{stem}.git"),
            stem.to_owned(),
            format!("{stem}.git/"),
            format!("{stem}/"),
        ]
    }

    /// Lists the spellings of the part before the path.
    fn prefixes(&self) -> Vec<String> {
        let host = &self.host;
        let port = match (self.protocol, self.port) {
            (Protocol::Ssh, Some(port)) => port,
            _ => 22,
        };
        let mut prefixes = Vec::new();
        for user in self.ssh_users() {
            for scheme in ["ssh", "git+ssh", "ssh+git"] {
                prefixes.push(format!("{scheme}://{user}{host}/"));
                prefixes.push(format!("{scheme}://{user}{host}:{port}/"));
            }
            // The scp-like form cannot name a port.
            if port == 22 {
                prefixes.push(format!("{user}{host}:"));
                prefixes.push(format!("{user}{host}:/"));
            }
        }
        if let (Protocol::Https, Some(port)) = (self.protocol, self.port) {
            prefixes.push(format!("https://{host}:{port}/"));
            prefixes.push(format!("https://git@{host}:{port}/"));
        }
        prefixes.push(format!("https://{host}/"));
        prefixes.push(format!("https://{host}:443/"));
        prefixes.push(format!("https://git@{host}/"));
        prefixes.push(format!("http://{host}/"));
        prefixes.push(format!("git://{host}/"));
        prefixes
    }

    /// Lists the users that reach the repository over ssh, each with its `@`: the user in the
    /// address, no user, which `ssh_config(5)` may fill in, and `git`, the user of forges.
    fn ssh_users(&self) -> IndexSet<String> {
        let mut users = IndexSet::new();
        users.extend(self.user.as_ref().map(|user| format!("{user}@")));
        users.insert(String::new());
        users.insert("git@".to_owned());
        users
    }
}

#[cfg(test)]
mod tests {
    use super::{Protocol, RemoteUrl};

    fn parse(address: &str) -> Result<RemoteUrl, &'static str> {
        RemoteUrl::try_from(address.to_owned())
    }

    #[test]
    fn an_address_is_split_into_its_parts() {
        use Protocol::{Https, Ssh};
        for (address, protocol, user, host, port, path) in [
            (
                "ssh://git@host/repo.git",
                Ssh,
                Some("git"),
                "host",
                None,
                "repo.git",
            ),
            ("ssh://host:2222/a/b/", Ssh, None, "host", Some(2222), "a/b"),
            ("ssh://host//a", Ssh, None, "host", None, "a"),
            (
                "git@host:team/repo",
                Ssh,
                Some("git"),
                "host",
                None,
                "team/repo",
            ),
            ("host:/repo", Ssh, None, "host", None, "repo"),
            (
                "a.b-c_d+e~f@host:r",
                Ssh,
                Some("a.b-c_d+e~f"),
                "host",
                None,
                "r",
            ),
            ("git@[::1]:a:b", Ssh, Some("git"), "[::1]", None, "a:b"),
            ("ssh://[::1]:22/a", Ssh, None, "[::1]", Some(22), "a"),
            ("https://host/a.git", Https, None, "host", None, "a.git"),
            ("https://host:8443/a", Https, None, "host", Some(8443), "a"),
            ("ssh://host/a@b", Ssh, None, "host", None, "a@b"),
            ("host:a/b@c", Ssh, None, "host", None, "a/b@c"),
        ] {
            let url = parse(address).unwrap();
            assert_eq!(url.written, address);
            assert_eq!(
                (url.protocol, url.user.as_deref()),
                (protocol, user),
                "{address}"
            );
            assert_eq!(
                (&*url.host, url.port, &*url.path),
                (host, port, path),
                "{address}"
            );
        }
    }

    #[test]
    fn text_that_is_not_an_address_is_refused() {
        for address in [
            "",
            "host",
            "/path",
            "./a:b",
            "a/b:c",
            "host:",
            "host:/",
            ":path",
            "ssh://host",
            "ssh://host/",
            "ssh:///path",
            "ssh://ho st/a",
            "ssh://host:0/a",
            "ssh://host:/a",
            "ssh://host:99999/a",
            "ssh://host:+1/a",
            "ssh://-h/a",
            "ssh://@host/a",
            "ssh://-u@host/a",
            "ssh://u u@host/a",
            "-u@host:a",
            "@host:a",
            "ssh://a@b@host/p",
            "git://host/a",
            "http://host/a",
            "ext::sh -c id",
            "file:///a",
            "host:a\nb",
            "host:a\0",
            "https://host/a?token=x",
            "https://host/a#x",
            "https://host",
            "https:///a",
            "user:password@host:path",
            "host:user@x/y",
            "SSH://host/a",
        ] {
            assert!(parse(address).is_err(), "{address:?} is taken");
        }
        for address in [
            "ssh://u:s3cret@host/a",
            "https://t0ken@host/a",
            "https://u:p@host/a",
        ] {
            let error = parse(address).unwrap_err();
            assert!(
                error.starts_with("an Upstream with credentials"),
                "{address}: {error}"
            );
        }
    }

    /// Gives the spellings of `address` that end with the path as it is.
    fn spelled(address: &str) -> Vec<String> {
        let spellings = parse(address).unwrap().spellings();
        spellings
            .into_iter()
            .filter(|spelling| spelling.ends_with("repo"))
            .collect()
    }

    #[test]
    fn every_path_has_four_ends() {
        let spellings = parse("ssh://git@host/repo.git").unwrap().spellings();
        let https: Vec<_> = spellings
            .iter()
            .filter(|spelling| spelling.starts_with("https://host/"))
            .collect();
        let ends = ["repo.git", "repo", "repo.git/", "repo/"];
        assert_eq!(
            https,
            ends.map(|end| format!("https://host/{end}")).each_ref()
        );
        assert_eq!(spellings[0], "ssh://git@host/repo.git");
        assert_eq!(spellings.len(), 4 * (2 * 8 + 5));
    }

    #[test]
    fn an_ssh_address_is_spelled_with_and_without_user_and_port() {
        assert_eq!(
            spelled("ssh://ada@host/team/repo"),
            [
                "ssh://ada@host/team/repo",
                "ssh://ada@host:22/team/repo",
                "git+ssh://ada@host/team/repo",
                "git+ssh://ada@host:22/team/repo",
                "ssh+git://ada@host/team/repo",
                "ssh+git://ada@host:22/team/repo",
                "ada@host:team/repo",
                "ada@host:/team/repo",
                "ssh://host/team/repo",
                "ssh://host:22/team/repo",
                "git+ssh://host/team/repo",
                "git+ssh://host:22/team/repo",
                "ssh+git://host/team/repo",
                "ssh+git://host:22/team/repo",
                "host:team/repo",
                "host:/team/repo",
                "ssh://git@host/team/repo",
                "ssh://git@host:22/team/repo",
                "git+ssh://git@host/team/repo",
                "git+ssh://git@host:22/team/repo",
                "ssh+git://git@host/team/repo",
                "ssh+git://git@host:22/team/repo",
                "git@host:team/repo",
                "git@host:/team/repo",
                "https://host/team/repo",
                "https://host:443/team/repo",
                "https://git@host/team/repo",
                "http://host/team/repo",
                "git://host/team/repo",
            ]
        );
    }

    #[test]
    fn another_port_than_22_has_no_scp_form() {
        let spellings = spelled("ssh://git@host:2222/repo");
        assert_eq!(spellings.len(), 2 * 6 + 5);
        for spelling in &spellings {
            assert!(spelling.contains("://"), "{spelling}");
            assert!(!spelling.contains(":22/"), "{spelling}");
        }
        assert!(spellings.contains(&"git+ssh://host:2222/repo".to_owned()));
        assert!(spellings.contains(&"ssh://git@host/repo".to_owned()));
    }

    #[test]
    fn an_https_address_with_a_port_has_both_origins() {
        let spellings = spelled("https://host:8443/repo");
        for spelling in [
            "https://host:8443/repo",
            "https://git@host:8443/repo",
            "https://host/repo",
            "https://host:443/repo",
            "git@host:repo",
            "ssh://git@host:22/repo",
        ] {
            assert!(spellings.contains(&spelling.to_owned()), "{spelling}");
        }
        let is_mixed =
            |spelling: &String| spelling.contains(":8443") && !spelling.starts_with("https:");
        assert!(!spellings.iter().any(is_mixed));
    }

    #[test]
    fn a_path_that_is_a_suffix_alone_captures_nothing_else() {
        for (address, stem) in [
            ("git@host:.git", ".git"),
            ("ssh://git@host/team/.git", "team/.git"),
        ] {
            for spelling in parse(address).unwrap().spellings() {
                let spelling = spelling.trim_end_matches('/');
                let is_own = spelling.ends_with(stem) || spelling.ends_with(&format!("{stem}.git"));
                assert!(is_own, "{spelling}");
            }
        }
    }
}
