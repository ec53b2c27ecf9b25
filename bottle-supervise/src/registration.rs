//! Our server as Claude Code has it written down.

use bottle_common::guest::listing::Difference;
use bottle_common::plan::values::HttpUrl;
use serde_json::{Deserializer, Value};

/// Where its URL is in `.claude.json`, as a JSON pointer (RFC 6901).
pub const URL: &str = "/mcpServers/supervise/url";
/// Where its transport is.
pub const TYPE: &str = "/mcpServers/supervise/type";

/// What is registered.
pub struct Registration {
    url: Option<String>,
    kind: Option<String>,
}

impl Registration {
    /// Reads `.claude.json`, perhaps with other JSON behind it. What is not JSON registers nothing.
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

    /// How it differs, in the file at `path`, from a registration of `url`.
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

/// A URL that somebody else wrote is shown only if it holds no credentials.
fn presentable(url: &str) -> &str {
    let is_harmless = !url.contains(['?', '#']) && HttpUrl::try_from(url.to_owned()).is_ok();
    if is_harmless { url } else { "another" }
}
