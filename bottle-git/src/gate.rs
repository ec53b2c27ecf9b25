//! The agent's `~/.gitconfig`, which makes git send the known spellings of a remote's address to
//! the gate.

use bottle_common::guest::paths;
use bottle_common::plan::Gate;
use bottle_common::plan::guest_env::GuestEnv;
use bottle_common::plan::values::GateScheme;
use bottle_common::smolvm::call::{Call, Exec, Hands, Source};
use bottle_common::step::receipt;
use sha2::{Digest, Sha256};

use crate::config::{self, Entry};

const OWN: &str = include_str!("own.sh");

/// A spelling of a remote's address, and the URL that git has to use instead.
pub struct Route {
    /// A spelling of the address.
    pub spelling: String,
    /// The repository's URL at the gate.
    pub url: String,
}

/// Makes the calls that install the configuration.
pub fn calls(gate: &Gate) -> [Call; 2] {
    let path = paths::home(".gitconfig");
    let purpose = format!("make node the owner of {path}");
    let own = Exec::script(purpose, OWN, &[&path, paths::OWNER]).by(Hands::Node);
    let text = Source::Text(render(gate));
    [Call::copy(text, path), own.into()]
}

/// Makes a warning if the agent's environment makes git use a proxy for the gate.
pub fn proxy_warning(gate: &Gate, env: &GuestEnv) -> Option<String> {
    let goes_to_proxy = env.has_proxy_for(gate.host.host());
    if gate.scheme != GateScheme::Http || !goes_to_proxy {
        return None;
    }
    let host = gate.host.host();
    Some(format!(
        "guest_env sets a proxy, and its NO_PROXY leaves out the gate's host {host}: git in the \
         guest would ask the proxy for the gate"
    ))
}

/// Makes the gate's part of the receipt.
pub fn receipt(gate: &Gate) -> receipt::Gate {
    let mut remotes = Vec::new();
    for remote in &gate.remotes {
        remotes.push(url(gate, &remote.name));
    }
    receipt::Gate {
        path: paths::home(".gitconfig").to_string(),
        sha256: format!("{:x}", Sha256::digest(render(gate))),
        remotes,
    }
}

/// Lists the spellings of all remotes' addresses, with the URLs that git has to use instead.
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

/// Returns the URL of the remote `name` at the gate.
pub fn url(gate: &Gate, name: &str) -> String {
    format!("{}://{}/{name}.git", gate.scheme, gate.host)
}

/// Formats the `.gitconfig`.
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
    use bottle_common::plan::json::Document;
    use bottle_common::plan::{Gate, Plan};
    use serde_json::json;

    use super::{proxy_warning, receipt, render};

    fn gate(scheme: &str) -> Gate {
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
            "proxy_plan": {}, "egress_plan": {},
            "agent_git_gate_host": "gate:1", "agent_git_gate_scheme": scheme,
        });
        let plan = Plan::parse(&Document::parse(plan.to_string().into()).unwrap()).unwrap();
        plan.gate.unwrap()
    }

    #[test]
    fn the_receipt_describes_the_file_that_is_copied() {
        for (scheme, sum) in [
            (
                "git",
                "c7ffb5682d124f6f2de4a159b735cf1fec4200d04b52ac0145cfc6173de5752b",
            ),
            (
                "http",
                "a54949950784d3a78aba9f6e5846286cd999b1804534069847dc1c22388c9bef",
            ),
        ] {
            let gate = gate(scheme);
            let start = format!(
                "[url \"{scheme}://gate:1/one.git\"]\n\tinsteadOf = ssh://git@host:1/a b\n"
            );
            let text = render(&gate);
            assert!(text.starts_with(&start), "{text}");
            let second =
                format!("\n[url \"{scheme}://gate:1/two.git\"]\n\tinsteadOf = https://host/b\n");
            assert!(text.contains(&second));
            let receipt = receipt(&gate);
            assert_eq!(receipt.path, "/home/node/.gitconfig");
            let remotes = ["one", "two"].map(|name| format!("{scheme}://gate:1/{name}.git"));
            assert_eq!(receipt.remotes, remotes);
            // Of the text, by sha256sum(1).
            assert_eq!(receipt.sha256, sum);
        }
    }

    #[test]
    fn a_gate_over_http_must_not_be_behind_the_proxy() {
        let env = |json: serde_json::Value| {
            let plan = json!({
                "spec": {
                    "manifest": {"bottles": {"dev": {}}, "agents": {"demo": {"bottle": "dev"}}},
                    "agent_name": "demo",
                },
                "machine_name": "m", "stage_dir": "/s", "prompt_file": "/p",
                "proxy_plan": {}, "egress_plan": {}, "guest_env": json,
            });
            Plan::parse(&Document::parse(plan.to_string().into()).unwrap())
                .unwrap()
                .guest_env
        };
        let proxied = env(json!({"HTTP_PROXY": "http://u:s3cret@p", "NO_PROXY": "localhost"}));
        let warning = proxy_warning(&gate("http"), &proxied).unwrap();
        assert!(
            warning.contains("gate's host gate:") && !warning.contains("s3cret"),
            "{warning}"
        );
        assert_eq!(proxy_warning(&gate("git"), &proxied), None);
        let excepted = env(json!({"HTTP_PROXY": "http://p", "NO_PROXY": "gate"}));
        assert_eq!(proxy_warning(&gate("http"), &excepted), None);
        assert_eq!(proxy_warning(&gate("http"), &env(json!({}))), None);
    }
}
