//! The agent's `~/.gitconfig`, which sends every spelling of a remote to the gate.

use bottle_common::call::{Call, Source};
use bottle_common::plan::{Gate, Remote};
use bottle_common::{guest, receipt};
use sha2::{Digest, Sha256};

use crate::config::{self, Entry};

/// With a stale lock every later `git config` would fail.
const OWN: &str = "set -eu; chown -h \"$2\" \"$1\"; rm -f \"$1.lock\"";

/// The calls that put the configuration in place.
pub fn calls(gate: &Gate) -> [Call; 2] {
    let path = guest::home(".gitconfig");
    [
        Call::copy(Source::Text(render(gate)), path.clone()),
        Call::script(OWN, &[&path, guest::OWNER]).to(format!("make node the owner of {path}")),
    ]
}

/// What the receipt says of it.
pub fn receipt(gate: &Gate) -> receipt::Gate {
    let sha256 = format!("{:x}", Sha256::digest(render(gate)));
    let remotes = gate.remotes.iter().map(|remote| url(gate, &remote.name)).collect();
    receipt::Gate { path: guest::home(".gitconfig").to_string(), sha256, remotes }
}

/// Every spelling of every remote, and where git has to go for it.
pub fn routes(gate: &Gate) -> Vec<(String, String)> {
    let spellings = |remote: &Remote| remote.upstream.spellings();
    gate.remotes
        .iter()
        .flat_map(|remote| spellings(remote).into_iter().map(|spelling| (spelling, url(gate, &remote.name))))
        .collect()
}

fn url(gate: &Gate, name: &str) -> String {
    format!("git://{}/{name}.git", gate.host)
}

fn render(gate: &Gate) -> String {
    let entry = |(spelling, url)| Entry { key: format!("url.{url}.insteadOf"), value: Some(spelling) };
    config::render(&routes(gate).into_iter().map(entry).collect::<Vec<_>>())
}
