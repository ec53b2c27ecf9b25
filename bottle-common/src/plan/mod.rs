//! The plan says what a bottle needs. [`Plan::parse`] is the only way to get one, so every value in
//! it has been checked.

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

use anyhow::{Context, Result, bail, ensure};
use indexmap::{IndexMap, IndexSet};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::plan::git_forms::BottleGit;
use crate::plan::guest_env::GuestEnv;
use crate::plan::json::{Document, read_part};
use crate::plan::keys::{Bounded, Opaque, Section, Strict};
use crate::plan::values::{
    GateScheme, HostPort, HttpUrl, IgnorePattern, LONG_VALUE, MAX_VALUE, MachineName, SkillName,
    TlsHost,
};
use crate::plan::wire::{Agent, Bottle, EgressPlan, Identity, ProxyPlan, Remote, VERSION, Wire};
use crate::text::shorten;

/// The maximum number of characters of a name in a message.
const MAX_SHOWN: usize = 100;
/// The maximum number of remotes of a bottle. Each has about a hundred spellings.
const MAX_REMOTES: usize = 1000;
/// The maximum length of all addresses of a bottle's remotes together, in bytes.
const MAX_ADDRESSES: usize = 1 << 17;
/// The maximum number of names in a message.
const MAX_NAMES: usize = 20;

/// What the steps have to do, as read from the launcher's JSON.
#[derive(Debug)]
pub struct Plan {
    /// The machine that is provisioned.
    pub machine_name: MachineName,
    /// The directory on the host in which files for the guest are created.
    pub stage_dir: PathBuf,
    /// The file that holds the agent's prompt.
    pub prompt_file: PathBuf,
    /// Whether the agent has a prompt at all.
    pub has_prompt: bool,
    /// The agent's skills, without duplicates.
    pub skills: IndexSet<SkillName>,
    /// The certificate that the guest has to trust.
    pub ca: Ca,
    /// The hosts of the egress routes, in the plan's order, without duplicates.
    pub egress_hosts: IndexSet<TlsHost>,
    /// Whether the project's repository is copied into the guest.
    pub copy_cwd: bool,
    /// Whether the files of its work tree are copied, too.
    pub copy_worktree: bool,
    /// Patterns of untracked files that are copied although they are ignored or have the name of a
    /// secret.
    pub worktree_include: Vec<IgnorePattern>,
    /// The project's directory on the host.
    pub user_cwd: Option<PathBuf>,
    /// The gate in front of the bottle's remotes; `None` if the bottle has no remotes.
    pub gate: Option<Gate>,
    /// Author and committer of commits made in the guest.
    pub identity: Identity,
    /// The URL at which the agent reaches the supervisor's MCP endpoint; `None` if there is no
    /// supervisor.
    pub supervise_url: Option<HttpUrl>,
    /// The agent's environment. The steps read it only to warn.
    pub guest_env: GuestEnv,
}

/// The proxy's certificate on the host.
#[derive(Debug)]
pub struct Ca {
    /// The proxy: `egress` if the bottle has egress routes, otherwise `pipelock`.
    pub proxy: &'static str,
    /// The key of the plan that names the certificate's file.
    pub key: &'static str,
    /// The certificate's file; `None` if the launcher left it unset.
    pub path: Option<PathBuf>,
}

/// The git gate as the guest reaches it.
#[derive(Debug)]
pub struct Gate {
    /// The protocol that git uses to talk to the gate.
    pub scheme: GateScheme,
    /// The address at which the gate listens.
    pub host: HostPort,
    /// The remotes behind the gate, in the plan's order; never empty.
    pub remotes: Vec<Remote>,
}

#[derive(Deserialize)]
struct Versioned {
    version: Option<Value>,
}

/// What is read of a route of the egress proxy.
#[derive(Deserialize)]
struct Route {
    host: String,
}

impl Plan {
    /// Reads `document` and checks every value that the steps use.
    ///
    /// # Errors
    ///
    /// If a value is missing or invalid. The message begins with its JSON path.
    pub fn parse(document: &Document) -> Result<Self> {
        check_version(document)?;
        let wire = document.read::<Strict<Wire>>()?.into_inner();
        let spec = wire.spec.into_inner();
        let manifest = spec.manifest.into_inner();
        ensure!(
            spec.agent_name.len() <= MAX_VALUE,
            "spec.agent_name: {LONG_VALUE}"
        );
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
        let egress = wire.egress_plan.into_inner();
        Ok(Self {
            machine_name: wire.machine_name,
            stage_dir: wire.stage_dir.context("stage_dir: required, but unset")?.0,
            prompt_file: wire
                .prompt_file
                .context("prompt_file: required, but unset")?
                .0,
            has_prompt: !agent.prompt.is_empty(),
            skills: agent.skills.into_iter().collect(),
            egress_hosts: hosts(&egress.routes),
            ca: ca(egress, wire.proxy_plan)?,
            copy_cwd: spec.copy_cwd,
            copy_worktree: spec.copy_worktree,
            worktree_include: spec.worktree_include,
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

/// Lists the hosts that `routes` name. A route belongs to the proxy, so one in another form is
/// passed over, and so is a pattern of hosts.
fn hosts(routes: &[Box<RawValue>]) -> IndexSet<TlsHost> {
    let mut hosts = IndexSet::new();
    for route in routes {
        if let Ok(Route { host }) = serde_json::from_str(route.get()) {
            hosts.extend(TlsHost::try_from(host));
        }
    }
    hosts
}

/// Fails if the plan has another version than ours. This is checked before anything else is read,
/// because in a later version any other key may have another meaning.
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

/// Finds `name` in the object `things`, which is at the JSON path `at`. The value at the path `by`
/// refers to it by this name.
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

/// Reads the bottle or the agent at the JSON path `at`.
fn read_named<T: DeserializeOwned>(thing: &RawValue, at: &str) -> Result<T> {
    // If this is not an object, `read_part` says so.
    if let Ok(Bounded(members)) =
        serde_json::from_str::<Bounded<IndexMap<String, Opaque>>>(thing.get())
    {
        git_forms::refuse_soundalikes(members.keys(), at)?;
    }
    Ok(read_part::<Section<T>>(thing, at)?.into_inner())
}

/// Returns the egress proxy's certificate if there are egress routes, otherwise pipelock's.
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

/// Returns the gate, or `None` if there are no remotes.
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
    let length: usize = remotes.iter().map(|remote| remote.url.written.len()).sum();
    if length > MAX_ADDRESSES {
        bail!(
            "spec.manifest.bottles: the addresses of the git remotes have more than {MAX_ADDRESSES} bytes"
        );
    }
    refuse_ambiguity(&remotes).context("spec.manifest.bottles")?;
    let host = host.context("agent_git_gate_host: required when the bottle has git remotes")?;
    Ok(Some(Gate {
        scheme: scheme.unwrap_or_default(),
        host,
        remotes,
    }))
}

/// Fails if git or the gate cannot distinguish two of the remotes.
fn refuse_ambiguity(remotes: &[Remote]) -> Result<()> {
    let mut names = HashSet::new();
    let mut owners = HashMap::new();
    for Remote { name, url, .. } in remotes {
        if !names.insert(name.as_str()) {
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
    // An address that continues behind `…/app.git` continues at the gate, too.
    for Remote { name, .. } in remotes {
        for (end, _) in name.match_indices(".git") {
            let other = &name[..end];
            if names.contains(other) {
                bail!(
                    "the git remotes `{other}` and `{name}` cannot be told apart: at the gate \
                     {name}.git begins with {other}.git"
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Plan;
    use crate::plan::json::Document;

    /// A plan that has everything.
    fn full() -> Value {
        json!({
            "version": 1,
            "spec": {
                "manifest": {
                    "bottles": {
                        "dev": {
                            "git": {
                                "remotes": {
                                    "a": {"Name": "one", "Upstream": "ssh://git@host/one"},
                                    "b": {"Name": "two", "Upstream": "https://host/two.git"},
                                },
                                "user": {"name": "Ada"},
                            },
                        },
                        "other": {},
                    },
                    "agents": {"demo": {"bottle": "dev", "skills": ["a", "b", "a"], "prompt": "x"}},
                },
                "agent_name": "demo",
                "copy_cwd": true,
                "user_cwd": "/project",
            },
            "machine_name": "m", "stage_dir": "/s", "prompt_file": "/p",
            "proxy_plan": {"ca_cert_host_path": "/pipelock.pem"},
            "egress_plan": {"routes": [], "mitmproxy_ca_cert_only_host_path": "/egress.pem"},
            "supervise_plan": {}, "agent_git_gate_host": "gate:1",
            "agent_supervise_url": "http://supervisor/",
        })
    }

    /// Parses the full plan with `value` at `pointer`.
    fn parse_with(pointer: &str, value: Value) -> Result<Plan, String> {
        let mut plan = full();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        plan.pointer_mut(parent).unwrap()[key] = value;
        parse(&plan)
    }

    fn parse(plan: &Value) -> Result<Plan, String> {
        let document = Document::parse(plan.to_string().into()).unwrap();
        Plan::parse(&document).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_plan_is_read_whole() {
        let plan = parse(&full()).unwrap();
        assert_eq!(plan.machine_name.to_string(), "m");
        assert_eq!(plan.stage_dir.to_str(), Some("/s"));
        assert_eq!(plan.prompt_file.to_str(), Some("/p"));
        let skills: Vec<_> = plan.skills.iter().map(ToString::to_string).collect();
        assert_eq!(skills, ["a", "b"]);
        let user_cwd = plan.user_cwd.as_deref();
        assert_eq!(user_cwd.and_then(|path| path.to_str()), Some("/project"));
        assert!(plan.has_prompt && plan.copy_cwd);
        assert_eq!(plan.identity.name.unwrap().to_string(), "Ada");
        assert!(plan.identity.email.is_none());
        assert_eq!(
            plan.supervise_url.unwrap().to_string(),
            "http://supervisor/"
        );
        let gate = plan.gate.unwrap();
        assert_eq!(gate.host.to_string(), "gate:1");
        let names: Vec<_> = gate
            .remotes
            .iter()
            .map(|remote| remote.name.to_string())
            .collect();
        assert_eq!(names, ["one", "two"]);
    }

    #[test]
    fn only_our_version_is_read() {
        for version in [json!(1), json!(null)] {
            assert!(parse_with("/version", version).is_ok());
        }
        let mut plan = full();
        plan.as_object_mut().unwrap().remove("version");
        assert!(parse(&plan).is_ok());
        for (version, shown) in [(json!(0), "0"), (json!(2), "2"), (json!(1.5), "1.5")] {
            let message = format!("version: {shown} is not supported, only 1 is");
            assert_eq!(parse_with("/version", version).unwrap_err(), message);
        }
        for version in [json!("1"), json!([1]), json!(true), json!({"s3cret": 1})] {
            let message = "version: only 1 is supported";
            assert_eq!(parse_with("/version", version).unwrap_err(), message);
        }
        // The version is checked before anything else.
        assert_eq!(
            parse(&json!({"version": 2, "rubbish": 1})).unwrap_err(),
            "version: 2 is not supported, only 1 is"
        );
    }

    #[test]
    fn an_error_says_where_it_is_and_what_belongs_there() {
        for (pointer, value, message) in [
            (
                "/guest_env",
                json!([1]),
                "guest_env: expected an object, not a list",
            ),
            (
                "/spec/manifest/bottles",
                json!([1]),
                "spec.manifest.bottles: expected an object, not a list",
            ),
            (
                "/spec/manifest/agents/demo/skills",
                json!({"a": 1}),
                "spec.manifest.agents.demo.skills: expected a list, not an object",
            ),
            (
                "/spec/manifest/bottles/dev/git",
                json!([{"Upstream": "git@host:a"}]),
                "spec.manifest.bottles.dev.git[0].Name: required, but not there",
            ),
            (
                "/version",
                json!(12_345_678_901_234_567_890_u64),
                "version: 12345678901234567890 is not supported, only 1 is",
            ),
        ] {
            assert_eq!(parse_with(pointer, value).unwrap_err(), message);
        }
        let document = Document::parse(b"{\"version\": 123456789012345678901}".to_vec()).unwrap();
        let error = Plan::parse(&document).unwrap_err().to_string();
        assert_eq!(error, "version: only 1 is supported");
        let user = "/spec/manifest/bottles/dev/git/user/name";
        assert!(parse_with(user, json!("")).unwrap().identity.name.is_none());
        let plan = parse_with("/guest_env", json!({"A": "x", "B": null, "C": {"D": 1}}));
        assert_eq!(plan.unwrap().guest_env.assignments(), ["A=x"]);
    }

    #[test]
    fn git_is_written_in_one_way_only() {
        let dev = |git: Value| parse_with("/spec/manifest/bottles/dev", git);
        let object = json!({"remotes": {"a": {"Name": "a", "Upstream": "git@host:a"}}});
        let list = json!([{"Name": "a", "Upstream": "git@host:a"}]);
        let (repos, user) = (
            json!({"repos": {"a": {"url": "git@host:a"}}}),
            json!({"user": {"name": "Ada"}}),
        );
        let person = json!({"name": "Ada"});
        for (git, one, other) in [
            (json!({"git": object, "git-gate": repos}), "git", "git-gate"),
            (json!({"git": object, "git-gate": user}), "git", "git-gate"),
            (
                json!({"git": object, "git_user": person}),
                "git",
                "git_user",
            ),
            (json!({"git": list, "git-gate": repos}), "git", "git-gate"),
            (
                json!({"git_user": person, "git-gate": user}),
                "git_user",
                "git-gate",
            ),
        ] {
            let message = format!(
                "spec.manifest.bottles.dev: git is written in two ways, `{one}` and `{other}`: leave \
                 one of them out"
            );
            assert_eq!(dev(git).unwrap_err(), message);
        }
        for git in [
            json!({"git": object, "git-gate": {}, "git_user": {}}),
            json!({"git": list, "git_user": person}),
            json!({"git": [], "git-gate": repos}),
        ] {
            assert_eq!(dev(git).unwrap().gate.unwrap().remotes.len(), 1);
        }
    }

    #[test]
    fn what_all_remotes_say_is_limited() {
        let list = |number: usize, length: usize| {
            let path = "p".repeat(length);
            let remotes = (0..number)
                .map(|n| json!({"Name": format!("r{n}"), "Upstream": format!("h{n}:{path}")}));
            parse_with("/spec/manifest/bottles/dev/git", remotes.collect())
        };
        assert!(list(4, 32_700).is_ok());
        assert_eq!(
            list(5, 32_700).unwrap_err(),
            "spec.manifest.bottles: the addresses of the git remotes have more than 131072 bytes"
        );
        let long = parse_with("/spec/agent_name", json!("a".repeat(32_769)));
        assert_eq!(
            long.unwrap_err(),
            "spec.agent_name: must not have more than 32768 bytes"
        );
        let variables = |number: usize| {
            let variables = (0..number).map(|n| (format!("A{n}"), json!("x")));
            parse_with("/guest_env", Value::Object(variables.collect()))
        };
        assert!(variables(10_000).is_ok());
        assert_eq!(
            variables(10_001).unwrap_err(),
            "guest_env: more than 10000 members"
        );
    }

    #[test]
    fn the_hosts_of_routes_are_read_where_they_are_hosts() {
        let routes = json!([
            {"host": "b"}, {"host": "a:8443", "x": 1}, {"host": "b"}, {"host": "*.c"}, {"host": 1}, {}, 1, "d",
        ]);
        let plan = parse_with("/egress_plan/routes", routes).unwrap();
        let hosts: Vec<_> = plan.egress_hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["b:443", "a:8443"]);
    }

    #[test]
    fn the_routes_decide_whose_certificate_is_used() {
        for (routes, proxy, key, path) in [
            (
                json!([]),
                "pipelock",
                "proxy_plan.ca_cert_host_path",
                "/pipelock.pem",
            ),
            (
                json!(null),
                "pipelock",
                "proxy_plan.ca_cert_host_path",
                "/pipelock.pem",
            ),
            (
                json!([{}]),
                "egress",
                "egress_plan.mitmproxy_ca_cert_only_host_path",
                "/egress.pem",
            ),
        ] {
            let ca = parse_with("/egress_plan/routes", routes).unwrap().ca;
            let found = ca.path.unwrap();
            assert_eq!((ca.proxy, ca.key, found.to_str()), (proxy, key, Some(path)));
        }
    }

    #[test]
    fn unset_and_empty_values_have_their_meaning() {
        for (prompt, has_prompt) in [(json!(""), false), (json!(null), false), (json!(" "), true)] {
            let plan = parse_with("/spec/manifest/agents/demo/prompt", prompt).unwrap();
            assert_eq!(plan.has_prompt, has_prompt);
        }
        // Without a supervisor, its address is not used.
        let plan = parse_with("/supervise_plan", json!(null)).unwrap();
        assert!(plan.supervise_url.is_none());
        // Without remotes there is no gate, even if its address is set.
        let plan = parse_with("/spec/manifest/bottles/dev/git/remotes", json!({})).unwrap();
        assert!(plan.gate.is_none());
        for unset in [json!(null), json!(""), json!(".")] {
            for (key, message) in [
                ("stage_dir", "stage_dir: required, but unset"),
                ("prompt_file", "prompt_file: required, but unset"),
                (
                    "agent_supervise_url",
                    "agent_supervise_url: required when there is a supervise_plan",
                ),
                (
                    "agent_git_gate_host",
                    "agent_git_gate_host: required when the bottle has git remotes",
                ),
            ] {
                let result = parse_with(&format!("/{key}"), unset.clone());
                assert_eq!(result.unwrap_err(), message);
            }
        }
    }

    #[test]
    fn a_name_that_refers_to_nothing_is_refused() {
        let bottles = "spec.manifest.bottles";
        let by = "spec.manifest.agents.demo.bottle";
        for (pointer, value, message) in [
            (
                "/spec/agent_name",
                json!("x"),
                "spec.agent_name: no `x` in spec.manifest.agents, only `demo`".to_owned(),
            ),
            (
                "/spec/manifest/agents",
                json!({}),
                "spec.agent_name: no `demo` in spec.manifest.agents, which is empty".to_owned(),
            ),
            (
                "/spec/manifest/agents/demo/bottle",
                json!("x"),
                format!("{by}: no `x` in {bottles}, only `dev`, `other`"),
            ),
            (
                "/spec/manifest/agents/demo/bottle",
                json!(null),
                format!("{by}: required, but not there"),
            ),
            (
                "/spec/manifest/bottles",
                json!(null),
                format!("{by}: no `dev` in {bottles}, which is empty"),
            ),
        ] {
            assert_eq!(parse_with(pointer, value).unwrap_err(), message);
        }
    }

    #[test]
    fn the_number_and_the_length_of_names_in_an_error_are_limited() {
        let by = "spec.agent_name: no ";
        let names = |number: usize| {
            let names = (0..number).map(|number| format!("a{number}"));
            names.collect::<Vec<_>>()
        };
        let parse = |agents: &[String]| {
            let agents = agents.iter().map(|name| (name.clone(), json!({})));
            let agents = Value::Object(agents.collect());
            parse_with("/spec/manifest/agents", agents).unwrap_err()
        };
        let shown: Vec<_> = names(20).iter().map(|name| format!("`{name}`")).collect();
        let shown = shown.join(", ");
        for (number, more) in [(20, ""), (21, " and 1 more"), (22, " and 2 more")] {
            let message = format!("{by}`demo` in spec.manifest.agents, only {shown}{more}");
            assert_eq!(parse(&names(number)), message);
        }
        for (length, shown) in [(100, "é".repeat(100)), (101, "é".repeat(100) + "…")] {
            let long = "é".repeat(length);
            let message = format!("{by}`demo` in spec.manifest.agents, only `{shown}`");
            assert_eq!(parse(std::slice::from_ref(&long)), message);
            let message = format!("{by}`{shown}` in spec.manifest.agents, only `demo`");
            let result = parse_with("/spec/agent_name", json!(long));
            assert_eq!(result.unwrap_err(), message);
        }
    }

    #[test]
    fn a_bottle_has_at_most_a_thousand_remotes() {
        for (number, message) in [
            // These remotes have the same Name, which is checked after their number.
            (999, "two git remotes have the Name `one`"),
            (1000, "two git remotes have the Name `one`"),
            (1001, "more than 1000 git remotes"),
            (1002, "more than 1000 git remotes"),
        ] {
            let remote = json!({"Name": "one", "Upstream": "ssh://git@host/one"});
            let remotes = (0..number).map(|key| (key.to_string(), remote.clone()));
            let remotes = Value::Object(remotes.collect());
            let result = parse_with("/spec/manifest/bottles/dev/git/remotes", remotes);
            assert_eq!(
                result.unwrap_err(),
                format!("spec.manifest.bottles: {message}")
            );
        }
    }

    #[test]
    fn remotes_that_cannot_be_told_apart_are_refused() {
        let one = "ssh://git@host/one";
        let other = |name: &str, url: &str| {
            let remotes = json!({
                "a": {"Name": "one", "Upstream": one},
                "b": {"Name": name, "Upstream": url},
            });
            parse_with("/spec/manifest/bottles/dev/git/remotes", remotes).map(drop)
        };
        let at = "spec.manifest.bottles: ";
        let both = format!(
            "{at}the git remotes `one` and `two` cannot be told apart: both are reached as "
        );
        for (name, url, result) in [
            ("two", "ssh://git@host/two", Ok(())),
            ("two", "ssh://git@other/one", Ok(())),
            ("two", "ssh://git@host/team/one", Ok(())),
            // Names and paths are case-sensitive.
            ("One", "git@host:One", Ok(())),
            ("one.gi", "git@host:two", Ok(())),
            ("two.git", "git@host:two", Ok(())),
            (
                "one.github.io",
                "git@host:two",
                Err(format!(
                    "{at}the git remotes `one` and `one.github.io` cannot be told apart: at the \
                     gate one.github.io.git begins with one.git"
                )),
            ),
            (
                "one",
                "ssh://git@host/two",
                Err(format!("{at}two git remotes have the Name `one`")),
            ),
            ("two", one, Err(format!("{both}{one}"))),
            (
                "two",
                "git@host:one.git",
                Err(format!("{both}git@host:one.git")),
            ),
            (
                "two",
                "https://host/one",
                Err(format!("{both}https://host/one")),
            ),
            (
                "two",
                "ssh://ada@host/one",
                Err(format!("{both}ssh://host/one.git")),
            ),
            (
                "two",
                "ssh://git@host:2222/one",
                Err(format!("{both}ssh://git@host/one.git")),
            ),
        ] {
            assert_eq!(other(name, url), result, "{name} {url}");
        }
    }
}
