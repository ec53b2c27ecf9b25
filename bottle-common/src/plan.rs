//! The plan: what this bottle needs. [`Plan::parse`] is the only door; behind it every value has been checked.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use indexmap::{IndexMap, IndexSet};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::checked::{HostPath, HostPort, HttpUrl, IdentityText, MachineName, RemoteName, SkillName};
use crate::document::{Document, read_part};
use crate::section::{Carried, Section, Strict, or_default, unless_unset};
use crate::upstream::Upstream;

/// The only version of the plan there is.
const VERSION: u64 = 1;

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
pub struct Remote {
    /// The repository's name at the gate.
    #[serde(rename = "Name")]
    pub name: RemoteName,
    /// Where it really is.
    #[serde(rename = "Upstream")]
    pub upstream: Upstream,
    /// The gate's business; here so that the key is known.
    #[serde(default, rename = "IdentityFile")]
    _identity_file: Carried,
}

/// The identity that git gets in the guest.
#[derive(Clone, Debug, Default, Deserialize)]
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

/// The plan's top level as it is written.
#[derive(Deserialize)]
#[allow(dead_code, reason = "keys that are carried are listed so that they are known")]
struct Written {
    #[serde(default)]
    version: Carried,
    spec: Strict<Spec>,
    #[serde(deserialize_with = "unless_unset")]
    stage_dir: Option<HostPath>,
    #[serde(default)]
    slug: Carried,
    #[serde(default)]
    bundle_subnet: Carried,
    #[serde(default)]
    bundle_gateway: Carried,
    #[serde(default)]
    bundle_ip: Carried,
    machine_name: MachineName,
    #[serde(default)]
    agent_image_ref: Carried,
    #[serde(default)]
    guest_env: Carried,
    #[serde(deserialize_with = "unless_unset")]
    prompt_file: Option<HostPath>,
    proxy_plan: Section<ProxyPlan>,
    #[serde(default)]
    git_gate_plan: Carried,
    egress_plan: Section<EgressPlan>,
    #[serde(default)]
    supervise_plan: Option<Section<SupervisePlan>>,
    #[serde(default, deserialize_with = "unless_unset")]
    agent_git_gate_host: Option<HostPort>,
    #[serde(default, deserialize_with = "unless_unset")]
    agent_supervise_url: Option<HttpUrl>,
    /// What earlier steps and checks wrote: objects, since ours go beside them.
    #[serde(default)]
    receipts: Option<IndexMap<String, Carried>>,
    #[serde(default)]
    checks: Option<IndexMap<String, Carried>>,
}

#[derive(Deserialize)]
struct Spec {
    manifest: Section<Manifest>,
    agent_name: String,
    #[serde(default, deserialize_with = "or_default")]
    copy_cwd: bool,
    #[serde(default, deserialize_with = "unless_unset")]
    user_cwd: Option<HostPath>,
}

/// Of the bottles and agents only the chosen ones are read: the others are other plans' business.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default, deserialize_with = "or_default")]
    bottles: IndexMap<String, Value>,
    #[serde(default, deserialize_with = "or_default")]
    agents: IndexMap<String, Value>,
}

#[derive(Deserialize)]
struct Bottle {
    #[serde(default, deserialize_with = "or_default")]
    git: Section<Git>,
    #[serde(default)]
    #[allow(dead_code, reason = "the launcher turns it into `supervise_plan`")]
    supervise: Carried,
}

#[derive(Default, Deserialize)]
struct Git {
    #[serde(default, deserialize_with = "or_default")]
    remotes: IndexMap<String, Section<Remote>>,
    #[serde(default, deserialize_with = "or_default")]
    user: Section<Identity>,
}

#[derive(Deserialize)]
struct Agent {
    bottle: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    skills: IndexSet<SkillName>,
    #[serde(default, deserialize_with = "or_default")]
    prompt: String,
}

#[derive(Deserialize)]
struct ProxyPlan {
    #[serde(default, deserialize_with = "unless_unset")]
    ca_cert_host_path: Option<HostPath>,
}

#[derive(Deserialize)]
struct EgressPlan {
    #[serde(default, deserialize_with = "or_default")]
    routes: Vec<Carried>,
    #[serde(default, deserialize_with = "unless_unset")]
    mitmproxy_ca_cert_only_host_path: Option<HostPath>,
}

/// Nothing in it is for us; that it is there turns the step on.
#[derive(Deserialize)]
struct SupervisePlan {}

impl Plan {
    /// Reads `document`, checking every value.
    ///
    /// # Errors
    ///
    /// One message that begins with the JSON path of what is wrong.
    pub fn parse(document: &Document) -> Result<Self> {
        // Before anything else: a later version may mean something else by every other key.
        match document.read::<Versioned>()?.version {
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
