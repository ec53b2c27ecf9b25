//! The plan: what this bottle needs. [`Plan::parse`] is the only door; behind it every value has been checked.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use indexmap::{IndexMap, IndexSet};
#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::checked::{HostPort, HttpUrl, IdentityText, MachineName, RemoteName, SkillName};
use crate::document::{Document, read_part};
use crate::section::{Carried, Section, Strict};
use crate::upstream::Upstream;
use crate::written::{Agent, Bottle, Written};

/// The only version of the plan there is.
pub(crate) const VERSION: u64 = 1;

/// What the steps do, taken from the launcher's JSON.
#[derive(Debug)]
pub struct Plan {
    /// The machine that is provisioned.
    pub machine_name: MachineName,
    /// Where files for the guest are made on the host.
    pub stage_dir: PathBuf,
    /// The file that holds the agent's prompt.
    pub prompt_file: PathBuf,
    /// Whether the agent has a prompt at all.
    pub has_prompt: bool,
    /// The agent's skills, each once.
    pub skills: IndexSet<SkillName>,
    /// The certificate that the guest has to trust.
    pub ca: Ca,
    /// Whether the project's repository goes into the guest.
    pub copy_cwd: bool,
    /// The project's directory on the host.
    pub user_cwd: Option<PathBuf>,
    /// The gate in front of the bottle's remotes, when it has any.
    pub gate: Option<Gate>,
    /// What commits made in the guest are signed with.
    pub identity: Identity,
    /// The supervisor's MCP endpoint as the agent reaches it, when there is a supervisor.
    pub supervise_url: Option<HttpUrl>,
}

/// The proxy's certificate on the host.
#[derive(Debug)]
pub struct Ca {
    /// Whose it is: `egress` when the bottle has routes, else `pipelock`.
    pub proxy: &'static str,
    /// The key of the plan that names the file.
    pub key: &'static str,
    /// The file; the launcher may have left it unset.
    pub path: Option<PathBuf>,
}

/// The git gate as the guest reaches it.
#[derive(Debug)]
pub struct Gate {
    /// Where it listens.
    pub host: HostPort,
    /// What it stands in front of, in the plan's order; never empty.
    pub remotes: Vec<Remote>,
}

/// A repository behind the gate.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Remote {
    /// The repository's name at the gate.
    #[serde(rename = "Name")]
    pub name: RemoteName,
    /// Where it really is.
    #[serde(rename = "Upstream")]
    #[cfg_attr(test, schemars(with = "String", extend("pattern" = "^(ssh://([A-Za-z0-9._+~][A-Za-z0-9._+~-]*@)?(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9][A-Za-z0-9._-]*)(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?/[^\\u0000-\\u001f\\u007f-\\u009f]+|https://(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9][A-Za-z0-9._-]*)(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?/[^?#\\u0000-\\u001f\\u007f-\\u009f]+|([A-Za-z0-9._+~][A-Za-z0-9._+~-]*@)?(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9][A-Za-z0-9._-]*):/?[^/@\\u0000-\\u001f\\u007f-\\u009f]+(/[^\\u0000-\\u001f\\u007f-\\u009f]*)?)$")))]
    pub upstream: Upstream,
    /// The gate's business; here so that the key is known.
    #[serde(default, rename = "IdentityFile")]
    _identity_file: Carried,
}

/// The identity that git gets in the guest.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Identity {
    /// `user.name`
    pub name: Option<IdentityText>,
    /// `user.email`
    pub email: Option<IdentityText>,
}

impl Identity {
    /// Whether there is anything to set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.name.is_some() || self.email.is_some()
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: Option<Value>,
}

impl Plan {
    /// Reads `document`, checking every value.
    ///
    /// # Errors
    ///
    /// One message that begins with the JSON path of what is wrong.
    pub fn parse(document: &Document) -> Result<Self> {
        // Before anything else: a later version may mean something else by every other key.
        match serde_json::from_str::<Versioned>(document.text())?.version {
            None => {}
            Some(version) if version == VERSION => {}
            Some(version) => bail!("version: {version} is not supported, only {VERSION} is"),
        }
        let written = document.read::<Strict<Written>>()?.into_inner();
        let spec = written.spec.into_inner();
        let manifest = spec.manifest.into_inner();
        let agent: Agent = named(manifest.agents, "spec.manifest.agents", &spec.agent_name, "spec.agent_name")?;
        let at = format!("spec.manifest.agents.{}.bottle", spec.agent_name);
        let bottle = agent.bottle.with_context(|| format!("{at}: required, but not there"))?;
        let bottle: Bottle = named(manifest.bottles, "spec.manifest.bottles", &bottle, &at)?;

        let git = bottle.git.into_inner();
        let remotes: Vec<Remote> = git.remotes.into_values().map(Section::into_inner).collect();
        refuse_ambiguity(&remotes).context("spec.manifest.bottles")?;
        let gate = match written.agent_git_gate_host {
            _ if remotes.is_empty() => None,
            Some(host) => Some(Gate { host, remotes }),
            None => bail!("agent_git_gate_host: required when the bottle has git remotes"),
        };
        let supervise_url = match (written.supervise_plan, written.agent_supervise_url) {
            (None, _) => None,
            (Some(_), Some(url)) => Some(url),
            (Some(_), None) => bail!("agent_supervise_url: required when there is a supervise_plan"),
        };
        let ca = if written.egress_plan.routes.is_empty() {
            let path = written.proxy_plan.into_inner().ca_cert_host_path;
            Ca { proxy: "pipelock", key: "proxy_plan.ca_cert_host_path", path: path.map(|path| path.0) }
        } else {
            let path = written.egress_plan.into_inner().mitmproxy_ca_cert_only_host_path;
            let key = "egress_plan.mitmproxy_ca_cert_only_host_path";
            Ca { proxy: "egress", key, path: path.map(|path| path.0) }
        };
        Ok(Self {
            machine_name: written.machine_name,
            stage_dir: written.stage_dir.context("stage_dir: required, but unset")?.0,
            prompt_file: written.prompt_file.context("prompt_file: required, but unset")?.0,
            has_prompt: !agent.prompt.is_empty(),
            skills: agent.skills,
            ca,
            copy_cwd: spec.copy_cwd,
            user_cwd: spec.user_cwd.map(|path| path.0),
            gate,
            identity: git.user.into_inner(),
            supervise_url,
        })
    }
}

/// The one of `things` (at the path `at`) that is called `name` by the value at the path `by`.
fn named<T: DeserializeOwned>(mut things: IndexMap<String, Value>, at: &str, name: &str, by: &str) -> Result<T> {
    let Some(thing) = things.swap_remove(name) else {
        let names: Vec<_> = things.keys().map(|name| format!("`{name}`")).collect();
        let names = if names.is_empty() { "which is empty".to_owned() } else { format!("only {}", names.join(", ")) };
        bail!("{by}: no `{name}` in {at}, {names}");
    };
    Ok(read_part::<Section<T>>(thing, &format!("{at}.{name}"))?.into_inner())
}

/// Refuses remotes that git or the gate could not tell from each other.
fn refuse_ambiguity(remotes: &[Remote]) -> Result<()> {
    let (mut names, mut spellings) = (HashSet::new(), HashMap::new());
    for remote in remotes {
        if !names.insert(&remote.name) {
            bail!("two git remotes have the Name `{}`", remote.name);
        }
        for spelling in remote.upstream.spellings() {
            if let Some(other) = spellings.insert(spelling.clone(), &remote.name) {
                bail!(
                    "the git remotes `{other}` and `{}` cannot be told apart: both are reached as {spelling}",
                    remote.name
                );
            }
        }
    }
    Ok(())
}
