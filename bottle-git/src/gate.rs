//! The agent's `~/.gitconfig`, which sends every spelling of a remote to the gate.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use bottle_common::call::Call;
use bottle_common::checked::GuestPath;
use bottle_common::plan::Gate;
use bottle_common::{guest, stage};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

/// With a stale lock every later `git config` would fail.
const OWN: &str = "set -eu; chown -h \"$2\" \"$1\"; rm -f \"$1.lock\"";

/// The configuration as a file in the stage directory, removed when dropped.
pub struct StagedConfig {
    file: NamedTempFile,
    sha256: String,
    path: GuestPath,
}

impl StagedConfig {
    /// Writes the configuration for `gate`.
    pub fn write(gate: &Gate, stage_dir: &Path) -> Result<Self> {
        let mut file = stage::file(stage_dir, ".gitconfig")?;
        let config = render(gate);
        let written = file.write_all(config.as_bytes()).and_then(|()| file.flush());
        written.with_context(|| format!("write {}", file.path().display()))?;
        let sha256 = format!("{:x}", Sha256::digest(&config));
        Ok(Self { file, sha256, path: guest::home(".gitconfig") })
    }

    /// The calls that put it in place.
    pub fn calls(&self) -> [Call; 2] {
        [
            Call::copy(self.file.path(), self.path.clone()),
            Call::script(OWN, &[&self.path, guest::OWNER]).to(format!("make node the owner of {}", self.path)),
        ]
    }

    /// What the receipt says of it.
    pub fn receipt(&self, gate: &Gate) -> serde_json::Value {
        let remotes: Vec<_> = gate.remotes.iter().map(|remote| url(gate, &remote.name)).collect();
        json!({"path": *self.path, "sha256": self.sha256, "remotes": remotes})
    }
}

fn url(gate: &Gate, name: &str) -> String {
    format!("git://{}/{name}.git", gate.host)
}

fn render(gate: &Gate) -> String {
    let mut config = String::new();
    for remote in &gate.remotes {
        let _ = writeln!(config, "[url \"{}\"]", url(gate, &remote.name));
        for spelling in remote.upstream.spellings() {
            let _ = writeln!(config, "\tinsteadOf = {}", quoted(&spelling));
        }
    }
    config
}

/// `value` as git-config(1) wants it: bare where that is the same, else in double quotes.
fn quoted(value: &str) -> String {
    if value.contains(['"', '\\', '#', ';']) || value.trim() != value || value.contains("  ") {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn quotes_what_git_would_read_otherwise() {
        assert_eq!(quoted("ssh://git@host/repo.git"), "ssh://git@host/repo.git");
        assert_eq!(quoted("git@host:a b.git"), "git@host:a b.git");
        assert_eq!(quoted(r#"git@host:a;b#c"d\e"#), r#""git@host:a;b#c\"d\\e""#);
        assert_eq!(quoted("git@host:a "), "\"git@host:a \"");
    }
}
