//! The environment that the launcher gives the agent. The steps do not change it, but they warn if
//! it makes the agent's programs bypass what they set up, and ask the guest with it what works.

use std::collections::HashMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::plan::keys::{MAX_MEMBERS, too_many};

/// The variables that name a proxy. Programs also read them in upper case.
const PROXIES: [&str; 3] = ["http_proxy", "https_proxy", "all_proxy"];

/// The variables that name a file of CA certificates.
pub const CERTIFICATES: [&str; 10] = [
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
    "CODEX_CA_CERTIFICATE",
];

/// The agent's variables. Their values may be secrets, so no message repeats one.
#[derive(Debug, Default)]
pub struct GuestEnv(HashMap<String, String>);

impl<'de> Deserialize<'de> for GuestEnv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(GuestEnvVisitor)
    }
}

struct GuestEnvVisitor;

impl<'de> Visitor<'de> for GuestEnvVisitor {
    type Value = GuestEnv;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    /// Keeps the variables whose values are strings.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<GuestEnv, A::Error> {
        let mut variables = HashMap::new();
        while let Some(name) = members.next_key::<String>()? {
            if variables.len() == MAX_MEMBERS {
                return Err(too_many());
            }
            if let Text(Some(value)) = members.next_value()? {
                variables.insert(name, value);
            }
        }
        Ok(GuestEnv(variables))
    }
}

/// A string, or `None` for a value of another type.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).ok()))
    }
}

impl GuestEnv {
    /// Lists the variables as `NAME=VALUE`, in the order of their names. Those that no process can
    /// have are left out.
    #[must_use]
    pub fn assignments(&self) -> Vec<String> {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut assignments = Vec::new();
        for (name, value) in &self.0 {
            let is_name =
                name.chars().all(is_fit) && !name.starts_with(|c: char| c.is_ascii_digit());
            if is_name && !name.is_empty() && !value.contains('\0') {
                assignments.push(format!("{name}={value}"));
            }
        }
        assignments.sort();
        assignments
    }

    /// Returns the value of the variable `name`. An empty value counts as unset.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Whether a program that respects these variables may use a proxy for `host`.
    ///
    /// curl (git) and undici (Claude Code) read `no_proxy` differently. An exception counts only in
    /// a form that both of them understand: `HOST`, `.DOMAIN` for all hosts in it, and `*` alone.
    /// An IPv6 address is needed with brackets for undici and without them for curl.
    #[must_use]
    pub fn has_proxy_for(&self, host: &str) -> bool {
        if !PROXIES.iter().any(|name| self.either_case(name).is_some()) {
            return false;
        }
        // The lower-case variable counts first, for undici also if it is empty.
        let exceptions = match self.0.get("no_proxy") {
            Some(exceptions) => exceptions,
            None => self.get("NO_PROXY").unwrap_or_default(),
        };
        let exceptions = exceptions.to_ascii_lowercase();
        let host = host.to_ascii_lowercase();
        let address = host.trim_matches(['[', ']']);
        exceptions != "*" && !(is_excepted(&exceptions, &host) && is_excepted(&exceptions, address))
    }

    fn either_case(&self, name: &str) -> Option<&str> {
        self.get(name).or_else(|| self.get(&name.to_uppercase()))
    }
}

/// Whether one of `exceptions` is `host` or a domain that it is in.
fn is_excepted(exceptions: &str, host: &str) -> bool {
    exceptions.split([',', ' ', '\t']).any(|exception| {
        exception == host || exception.starts_with('.') && host.ends_with(exception)
    })
}

#[cfg(test)]
mod tests {
    use super::GuestEnv;

    fn env(variables: &[(&str, &str)]) -> GuestEnv {
        let pairs = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        GuestEnv(pairs.collect())
    }

    #[test]
    fn only_what_a_process_can_have_is_assigned() {
        let variables = [
            ("B", "2 x"),
            ("A_1", ""),
            ("", "x"),
            ("1A", "x"),
            ("-u", "x"),
            ("C", "\0"),
        ];
        assert_eq!(env(&variables).assignments(), ["A_1=", "B=2 x"]);
    }

    #[test]
    fn nothing_goes_to_a_proxy_without_one() {
        assert!(!env(&[]).has_proxy_for("h"));
        assert!(!env(&[("HTTPS_PROXY", ""), ("NO_PROXY", "x")]).has_proxy_for("h"));
        for name in [
            "http_proxy",
            "HTTP_PROXY",
            "https_proxy",
            "HTTPS_PROXY",
            "all_proxy",
            "ALL_PROXY",
        ] {
            assert!(env(&[(name, "http://p")]).has_proxy_for("h"), "{name}");
        }
        assert!(!env(&[("FTP_PROXY", "http://p")]).has_proxy_for("h"));
    }

    /// What real curl 7.88 and undici 6 were asked.
    #[test]
    fn no_proxy_is_read_as_both_curl_and_undici_read_it() {
        for (exceptions, host, is_excepted) in [
            ("localhost", "127.0.0.1", false),
            ("localhost,127.0.0.1", "127.0.0.1", true),
            ("localhost 127.0.0.1", "127.0.0.1", true),
            (" 127.0.0.1 ,", "127.0.0.1", true),
            ("*", "h", true),
            ("localhost,*", "h", false),
            ("*.example", "a.example", false),
            (".example", "a.example", true),
            (".example", "example", false),
            ("example", "a.example", false),
            ("example", "example", true),
            ("example", "notexample", false),
            ("Example", "eXample", true),
            ("example:8080", "example", false),
            ("[::1]", "[::1]", false),
            ("::1", "[::1]", false),
            ("::1,[::1]", "[::1]", true),
            ("127.0.0.0/8", "127.0.0.1", false),
            ("0.0.1", "127.0.0.1", false),
            ("[127.0.0.1]", "127.0.0.1", false),
            ("", "h", false),
            (".", "h", false),
        ] {
            let env = env(&[("HTTP_PROXY", "http://p"), ("NO_PROXY", exceptions)]);
            assert_eq!(env.has_proxy_for(host), !is_excepted, "{exceptions} {host}");
        }
        for (lower, goes) in [("other", true), ("", true), ("h", false)] {
            let both = [("HTTP_PROXY", "p"), ("NO_PROXY", "h"), ("no_proxy", lower)];
            assert_eq!(env(&both).has_proxy_for("h"), goes, "{lower}");
        }
    }
}
