//! The supervisor's entry in Claude Code's settings.

use bottle_common::guest::listing::Difference;
use bottle_common::plan::values::HttpUrl;
use serde::Deserialize;
use serde_json::Deserializer;

/// The JSON pointer (RFC 6901) of the server's URL in `.claude.json`.
pub const URL: &str = "/mcpServers/supervise/url";
/// The JSON pointer of the server's transport.
pub const TYPE: &str = "/mcpServers/supervise/type";

/// The entry in the settings. Both parts are `None` if there is none.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Registration {
    url: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// What is read of `.claude.json`.
#[derive(Deserialize)]
struct Settings {
    #[serde(rename = "mcpServers")]
    servers: Servers,
}

#[derive(Deserialize)]
struct Servers {
    supervise: Registration,
}

impl Registration {
    /// Parses `.claude.json`, which other JSON may follow. A text that is not JSON, or has another
    /// type where a part of the entry should be, has no entry.
    pub fn parse(settings: &str) -> Self {
        let mut values = Deserializer::from_str(settings).into_iter::<Settings>();
        match values.next() {
            Some(Ok(settings)) => settings.servers.supervise,
            _ => Self::default(),
        }
    }

    /// Lists how the entry in the file at `path` differs from a registration of `url`.
    pub fn differences(&self, url: &HttpUrl, path: &str) -> Vec<Difference> {
        let mut differences = Vec::new();
        if self.url.is_some() && self.kind.as_deref() != Some("http") {
            let kind = self.kind.as_deref();
            differences.push(Difference::new("type of supervise", path, "http", kind));
        }
        if self.url.as_deref() != Some(url) {
            let found = self.url.as_deref().map(presentable);
            differences.push(Difference::new("url of supervise", path, &**url, found));
        }
        differences
    }
}

/// Gives `url`, which somebody else wrote, if it cannot contain credentials.
fn presentable(url: &str) -> &str {
    let is_harmless = !url.contains(['?', '#']) && HttpUrl::try_from(url.to_owned()).is_ok();
    if is_harmless { url } else { "another" }
}

#[cfg(test)]
mod tests {
    use bottle_common::plan::values::HttpUrl;

    use super::Registration;

    #[test]
    fn only_an_http_server_at_our_url_is_ours_and_no_secret_is_shown() {
        let url = HttpUrl::try_from("http://host:1/".to_owned()).unwrap();
        let differs =
            |found: &str| format!("f: url of supervise: `http://host:1/` in the plan, {found}");
        let kind = |found: &str| format!("f: type of supervise: `http` in the plan, {found}");
        let another = differs("`another` in the guest");
        for (entry, differences) in [
            (r#"{"type": "http", "url": "http://host:1/"}"#, vec![]),
            (
                r#"{"type": "sse", "url": "http://host:1/"}"#,
                vec![kind("`sse` in the guest")],
            ),
            (
                r#"{"url": "http://host:1/"}"#,
                vec![kind("nothing in the guest")],
            ),
            (
                r#"{"type": "http", "url": "http://host:2/"}"#,
                vec![differs("`http://host:2/` in the guest")],
            ),
            (
                r#"{"type": "http", "url": "http://u:p@host:1/"}"#,
                vec![another.clone()],
            ),
            (
                r#"{"type": "http", "url": "http://host:1/?token=x"}"#,
                vec![another.clone()],
            ),
            (
                r#"{"type": "http", "url": "http://host:1/#x"}"#,
                vec![another.clone()],
            ),
            (r#"{"type": "http", "url": "rubbish"}"#, vec![another]),
            // The transport of a missing server is not reported.
            (
                r#"{"type": "stdio"}"#,
                vec![differs("nothing in the guest")],
            ),
            (r#"{"url": 1}"#, vec![differs("nothing in the guest")]),
            ("{}", vec![differs("nothing in the guest")]),
        ] {
            // The text that follows belongs to another file.
            let settings =
                format!(r#"{{"mcpServers": {{"supervise": {entry}}}}} {{"mcpServers": {{}}}}"#);
            let found = Registration::parse(&settings).differences(&url, "f");
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, differences, "{entry}");
        }
        for settings in ["", "rubbish", "[]"] {
            let found = Registration::parse(settings).differences(&url, "f");
            assert_eq!(found.len(), 1, "{settings}");
        }
    }
}
