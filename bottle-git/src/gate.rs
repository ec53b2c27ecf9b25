//! The agent's `~/.gitconfig`, which sends every spelling of a remote to the gate.

use bottle_common::guest::paths;
use bottle_common::plan::Gate;
use bottle_common::smolvm::call::{Call, Exec, Source};
use bottle_common::step::receipt;
use sha2::{Digest, Sha256};

use crate::config::{self, Entry};

const OWN: &str = include_str!("own.sh");

/// Where git has to go for one spelling of a remote.
pub struct Route {
    /// The address as somebody may write it.
    pub spelling: String,
    /// The repository's URL at the gate.
    pub url: String,
}

/// Makes the calls that put the configuration in place.
pub fn calls(gate: &Gate) -> [Call; 2] {
    let path = paths::home(".gitconfig");
    let purpose = format!("make node the owner of {path}");
    let own = Exec::script(purpose, OWN, &[&path, paths::OWNER]).into();
    [Call::copy(Source::Text(render(gate)), path), own]
}

/// Makes what the receipt says of it.
pub fn receipt(gate: &Gate) -> receipt::Gate {
    receipt::Gate {
        path: paths::home(".gitconfig").to_string(),
        sha256: format!("{:x}", Sha256::digest(render(gate))),
        remotes: gate
            .remotes
            .iter()
            .map(|remote| url(gate, &remote.name))
            .collect(),
    }
}

/// Lists every spelling of every remote, and where git has to go for it.
pub fn routes(gate: &Gate) -> Vec<Route> {
    let mut routes = Vec::new();
    for remote in &gate.remotes {
        for spelling in remote.url.spellings() {
            routes.push(Route {
                spelling,
                url: url(gate, &remote.name),
            });
        }
    }
    routes
}

fn url(gate: &Gate, name: &str) -> String {
    format!("git://{}/{name}.git", gate.host)
}

fn render(gate: &Gate) -> String {
    let mut entries = Vec::new();
    for Route { spelling, url } in routes(gate) {
        entries.push(Entry {
            key: format!("url.{url}.insteadOf"),
            value: Some(spelling),
        });
    }
    config::render(&entries)
}

#[cfg(test)]
mod tests {
    use bottle_common::plan::Plan;
    use bottle_common::plan::json::Document;
    use serde_json::json;

    use super::{receipt, render};

    #[test]
    fn the_receipt_is_of_the_file_that_is_copied() {
        let plan = json!({
            "spec": {
                "manifest": {
                    "bottles": {"dev": {"git": {"remotes": {
                        "a": {"Name": "one", "Upstream": "ssh://git@host:1/a b"},
                        "b": {"Name": "two", "Upstream": "https://host/b"},
                    }}}},
                    "agents": {"demo": {"bottle": "dev"}},
                },
                "agent_name": "demo",
            },
            "machine_name": "m", "stage_dir": "/s", "prompt_file": "/p",
            "proxy_plan": {}, "egress_plan": {}, "agent_git_gate_host": "gate:1",
        });
        let plan = Plan::parse(&Document::parse(plan.to_string().into()).unwrap()).unwrap();
        let gate = plan.gate.unwrap();
        let start = "[url \"git://gate:1/one.git\"]\n\tinsteadOf = ssh://git@host:1/a b\n";
        let text = render(&gate);
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains("\n[url \"git://gate:1/two.git\"]\n\tinsteadOf = https://host/b\n"));
        let receipt = receipt(&gate);
        assert_eq!(receipt.path, "/home/node/.gitconfig");
        assert_eq!(
            receipt.remotes,
            ["git://gate:1/one.git", "git://gate:1/two.git"]
        );
        // Of the text, by sha256sum(1).
        let sum = "157270c828f40c711d007ec0bb32af5950c3453cbe6cb210c958e900de9f46d6";
        assert_eq!(receipt.sha256, sum);
    }
}
