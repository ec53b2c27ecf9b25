//! The plan: what this bottle needs. [`Plan::parse`] is the only door; every value behind it has
//! been checked.

mod git_forms;
pub mod guest_env;
pub mod json;
pub mod keys;
pub mod remote_url;
#[cfg(test)]
pub(crate) mod schema;
pub mod values;
pub mod wire;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use indexmap::{IndexMap, IndexSet};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::plan::git_forms::BottleGit;
use crate::plan::guest_env::GuestEnv;
use crate::plan::json::{Document, read_part};
use crate::plan::keys::{Bounded, Opaque, Section, Strict};
use crate::plan::values::{GateScheme, HostPort, HttpUrl, MachineName, SkillName};
use crate::plan::wire::{Agent, Bottle, EgressPlan, Identity, ProxyPlan, Remote, VERSION, Wire};
use crate::text::shorten;

/// How much of a name is shown, in characters.
const MAX_SHOWN: usize = 100;
/// The most remotes that a bottle may have. Each has some hundred spellings.
const MAX_REMOTES: usize = 1000;
/// How many names are shown.
const MAX_NAMES: usize = 20;

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
    /// Whom commits made in the guest are by.
    pub identity: Identity,
    /// The supervisor's MCP endpoint as the agent reaches it, when there is a supervisor.
    pub supervise_url: Option<HttpUrl>,
    /// The agent's environment, to be looked at only.
    pub guest_env: GuestEnv,
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
    /// How git speaks to it.
    pub scheme: GateScheme,
    /// Where it listens.
    pub host: HostPort,
    /// What it stands in front of, in the plan's order; never empty.
    pub remotes: Vec<Remote>,
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
        check_version(document)?;
        let wire = document.read::<Strict<Wire>>()?.into_inner();
        let spec = wire.spec.into_inner();
        let manifest = spec.manifest.into_inner();
        let agents = "spec.manifest.agents";
        let agent = named(
            &manifest.agents,
            agents,
            &spec.agent_name,
            "spec.agent_name",
        )?;
        let at_agent = format!("{agents}.{}", spec.agent_name);
        let agent: Agent = read_named(agent, &at_agent)?;
        let at = format!("{at_agent}.bottle");
        let name = agent
            .bottle
            .as_ref()
            .with_context(|| format!("{at}: required, but not there"))?;
        let bottles = "spec.manifest.bottles";
        let bottle = named(&manifest.bottles, bottles, name, &at)?;
        let at_bottle = format!("{bottles}.{name}");
        let bottle: Bottle = read_named(bottle, &at_bottle)?;

        let BottleGit { remotes, identity } = git_forms::of_bottle(bottle, &at_bottle)?;
        let identity = git_forms::identity(&agent, &at_agent, identity)?;
        if remotes.is_empty() && !wire.git_gate_plan.upstreams.is_empty() {
            bail!(
                "git_gate_plan.upstreams: the gate stands in front of repositories, but \
                 {at_bottle} has no git remotes: git would go around the gate"
            );
        }
        let supervise_url = match (wire.supervise_plan, wire.agent_supervise_url) {
            (None, _) => None,
            (Some(_), Some(url)) => Some(url),
            (Some(_), None) => {
                bail!("agent_supervise_url: required when there is a supervise_plan")
            }
        };
        Ok(Self {
            machine_name: wire.machine_name,
            stage_dir: wire.stage_dir.context("stage_dir: required, but unset")?.0,
            prompt_file: wire
                .prompt_file
                .context("prompt_file: required, but unset")?
                .0,
            has_prompt: !agent.prompt.is_empty(),
            skills: agent.skills.into_iter().collect(),
            ca: ca(wire.egress_plan.into_inner(), wire.proxy_plan)?,
            copy_cwd: spec.copy_cwd,
            user_cwd: spec.user_cwd.map(|path| path.0),
            gate: gate(
                remotes,
                wire.agent_git_gate_host,
                wire.agent_git_gate_scheme,
            )?,
            identity,
            supervise_url,
            guest_env: wire.guest_env,
        })
    }
}

/// Refuses another version than ours before anything else is read: in a later one every other key
/// may mean something else.
fn check_version(document: &Document) -> Result<()> {
    match serde_json::from_str::<Versioned>(document.text())?.version {
        None => Ok(()),
        Some(version) if version == VERSION => Ok(()),
        Some(Value::Number(number)) if number.as_str().len() <= 20 => {
            bail!("version: {number} is not supported, only {VERSION} is")
        }
        Some(_) => bail!("version: only {VERSION} is supported"),
    }
}

/// Finds the one of `things` (at the path `at`) that the value at the path `by` calls `name`.
fn named<'a>(
    things: &'a IndexMap<String, Box<RawValue>>,
    at: &str,
    name: &str,
    by: &str,
) -> Result<&'a RawValue> {
    if let Some(thing) = things.get(name) {
        return Ok(thing);
    }
    let name = shorten(name, MAX_SHOWN);
    let mut names = Vec::new();
    for known in things.keys().take(MAX_NAMES) {
        names.push(format!("`{}`", shorten(known, MAX_SHOWN)));
    }
    if names.is_empty() {
        bail!("{by}: no `{name}` in {at}, which is empty");
    }
    let more = things.len() - names.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    bail!("{by}: no `{name}` in {at}, only {}{more}", names.join(", "));
}

/// Reads the bottle or the agent at the path `at`.
fn read_named<T: DeserializeOwned>(thing: &RawValue, at: &str) -> Result<T> {
    // Where this is no such object, what follows says so.
    if let Ok(Bounded(members)) =
        serde_json::from_str::<Bounded<IndexMap<String, Opaque>>>(thing.get())
    {
        git_forms::refuse_soundalikes(members.keys(), at)?;
    }
    Ok(read_part::<Section<T>>(thing, at)?.into_inner())
}

/// The egress proxy's certificate where there are egress routes, else pipelock's.
fn ca(egress: EgressPlan, pipelock: Option<Section<ProxyPlan>>) -> Result<Ca> {
    if egress.routes.is_empty() {
        let pipelock = pipelock.context("proxy_plan: required without egress routes")?;
        let path = pipelock.into_inner().ca_cert_host_path.map(|path| path.0);
        return Ok(Ca {
            proxy: "pipelock",
            key: "proxy_plan.ca_cert_host_path",
            path,
        });
    }
    let path = egress.mitmproxy_ca_cert_only_host_path.map(|path| path.0);
    Ok(Ca {
        proxy: "egress",
        key: "egress_plan.mitmproxy_ca_cert_only_host_path",
        path,
    })
}

fn gate(
    remotes: Vec<Remote>,
    host: Option<HostPort>,
    scheme: Option<GateScheme>,
) -> Result<Option<Gate>> {
    if remotes.is_empty() {
        return Ok(None);
    }
    if remotes.len() > MAX_REMOTES {
        bail!("spec.manifest.bottles: more than {MAX_REMOTES} git remotes");
    }
    refuse_ambiguity(&remotes).context("spec.manifest.bottles")?;
    let host = host.context("agent_git_gate_host: required when the bottle has git remotes")?;
    Ok(Some(Gate {
        scheme: scheme.unwrap_or_default(),
        host,
        remotes,
    }))
}

/// Refuses remotes that git or the gate could not tell from each other.
fn refuse_ambiguity(remotes: &[Remote]) -> Result<()> {
    let mut names = HashSet::new();
    let mut owners = HashMap::new();
    for Remote { name, url, .. } in remotes {
        if !names.insert(name) {
            bail!("two git remotes have the Name `{name}`");
        }
        for spelling in url.spellings() {
            if let Some(other) = owners.insert(spelling.clone(), name) {
                bail!(
                    "the git remotes `{other}` and `{name}` cannot be told apart: both are reached \
                     as {spelling}"
                );
            }
        }
    }
    Ok(())
}
