//! The supervisor's entry in Claude Code's settings.

use bottle_common::guest::listing::Difference;
use bottle_common::plan::values::HttpUrl;
use serde_json::{Deserializer, Value};

/// The JSON pointer (RFC 6901) of the server's URL in `.claude.json`.
pub const URL: &str = "/mcpServers/supervise/url";
/// The JSON pointer of the server's transport.
pub const TYPE: &str = "/mcpServers/supervise/type";

/// The entry in the settings. Both parts are `None` if there is none.
pub struct Registration {
    url: Option<String>,
    kind: Option<String>,
}

impl Registration {
    /// Parses `.claude.json`, which other JSON may follow. A text that is not JSON has no entry.
    pub fn parse(settings: &str) -> Self {
        let first = Deserializer::from_str(settings).into_iter::<Value>().next();
        let settings = first.and_then(Result::ok).unwrap_or_default();
        let text = |pointer| {
            settings
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        Self {
            url: text(URL),
            kind: text(TYPE),
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
