//! The plan's keys as launchers write them, which of them are required, and the types of their
//! values.

#[cfg(test)]
use std::collections::HashMap;
use std::fmt;

use indexmap::IndexMap;
#[cfg(test)]
use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
#[cfg(test)]
use serde_json::Value;
use serde_json::value::RawValue;

use crate::plan::guest_env::GuestEnv;
use crate::plan::keys::{
    Bounded, Opaque, Section, Strict, list_or_default, map_or_default, or_default, unless_empty,
    unless_unset,
};
use crate::plan::remote_url::RemoteUrl;
#[cfg(test)]
use crate::plan::schema::{Empty, Unset, pattern};
#[cfg(test)]
use crate::plan::values::MAX_VALUE;
use crate::plan::values::{
    GateScheme, GuestHome, HostPath, HostPort, HttpUrl, IdentityText, IgnorePattern, MachineName,
    RemoteName, SkillName,
};

/// The only version of the plan's format.
pub(crate) const VERSION: u64 = 1;

/// The launcher's plan, which says what a bottle needs. Every step reads it.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema), schemars(title = "Plan of a bottle"))]
#[allow(
    dead_code,
    reason = "keys that are only passed through are listed so that they are known"
)]
pub(crate) struct Wire {
    /// The JSON Schema of the plan, for editors.
    #[serde(default, rename = "$schema")]
    pub schema: Opaque,
    /// The version of the plan's format.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("enum" = [VERSION, null])))]
    pub version: Opaque,
    pub spec: Strict<Spec>,
    /// The directory on the host in which files for the guest are created. If it is missing, it is
    /// created with mode 0700.
    #[serde(deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "HostPath"))]
    pub stage_dir: Option<HostPath>,
    /// The bottle's short name.
    #[serde(default)]
    pub slug: Opaque,
    /// The network of the sidecars.
    #[serde(default)]
    pub bundle_subnet: Opaque,
    /// The gateway of that network.
    #[serde(default)]
    pub bundle_gateway: Opaque,
    /// The address of the sidecars.
    #[serde(default)]
    pub bundle_ip: Opaque,
    /// The smolvm machine.
    pub machine_name: MachineName,
    /// The image from which the machine was created.
    #[serde(default)]
    pub agent_image_ref: Opaque,
    /// The agent's environment. The steps read it only to warn.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Opaque>>"))]
    pub guest_env: GuestEnv,
    /// The agent's home directory, which is always the same.
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<GuestHome>"))]
    pub guest_home: Option<GuestHome>,
    /// The file that holds the agent's prompt.
    #[serde(deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "HostPath"))]
    pub prompt_file: Option<HostPath>,
    /// Required without egress routes.
    #[serde(default)]
    pub proxy_plan: Option<Section<ProxyPlan>>,
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<Section<GitGatePlan>>"))]
    pub git_gate_plan: Section<GitGatePlan>,
    pub egress_plan: Section<EgressPlan>,
    /// Null if there is no supervisor.
    #[serde(default)]
    pub supervise_plan: Option<Section<SupervisePlan>>,
    /// The `host:port` at which the guest reaches the git gate. Required if the bottle has remotes.
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<HostPort>"))]
    pub agent_git_gate_host: Option<HostPort>,
    /// The protocol that git in the guest uses to talk to the gate [default: git].
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<GateScheme>"))]
    pub agent_git_gate_scheme: Option<GateScheme>,
    /// The URL at which the guest reaches the supervisor's MCP endpoint. Required if there is a
    /// supervisor.
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<HttpUrl>"))]
    pub agent_supervise_url: Option<HttpUrl>,
    /// The receipts of earlier steps.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Opaque>>"))]
    pub receipts: Option<IndexMap<String, Opaque>>,
    /// The results of earlier checks.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Opaque>>"))]
    pub checks: Option<IndexMap<String, Opaque>>,
}

/// What the user asked for.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Spec {
    pub manifest: Section<Manifest>,
    /// The agent that is provisioned: a key of `manifest.agents`.
    pub agent_name: String,
    /// Whether `user_cwd/.git` is copied into the guest.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<bool>"))]
    pub copy_cwd: bool,
    /// Whether the files of the work tree are copied along with `user_cwd/.git`.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<bool>"))]
    pub copy_worktree: bool,
    /// Patterns, as in `.gitignore`, of untracked files that are copied although they are ignored
    /// or have the name of a secret.
    #[serde(default, deserialize_with = "list_or_default")]
    #[cfg_attr(test, schemars(with = "Option<Vec<IgnorePattern>>"))]
    pub worktree_include: Vec<IgnorePattern>,
    /// The project's directory on the host.
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<HostPath>"))]
    pub user_cwd: Option<HostPath>,
}

/// The bottles and agents that the user defined. The steps read only the chosen ones.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Manifest {
    /// The bottles by name.
    #[serde(default, deserialize_with = "map_or_default")]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Section<Bottle>>>"))]
    pub bottles: IndexMap<String, Box<RawValue>>,
    /// The agents by name.
    #[serde(default, deserialize_with = "map_or_default")]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Section<Agent>>>"))]
    pub agents: IndexMap<String, Box<RawValue>>,
}

/// A kind of bottle. Its git section has one of three forms.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(extend("propertyNames" = no_soundalikes())))]
pub(crate) struct Bottle {
    /// Either `{remotes, user}`, or a list of the repositories behind the gate.
    #[serde(default)]
    pub git: Option<Git>,
    /// The git identity in the guest. It belongs to the form in which `git` is a list.
    #[serde(default)]
    pub git_user: Option<Strict<Identity>>,
    /// The repositories behind the gate, and the git identity in the guest.
    #[serde(default, rename = "git-gate")]
    pub git_gate: Option<Strict<GitGate>>,
    #[serde(default)]
    #[allow(dead_code, reason = "the launcher turns it into `supervise_plan`")]
    pub supervise: Opaque,
}

/// The value of a bottle's `git`.
pub(crate) enum Git {
    Object(Strict<GitObject>),
    Entries(Vec<Section<RemoteEntry>>),
}

impl Git {
    /// Whether it has neither a remote nor an identity.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Object(git) => git.remotes.is_empty() && !git.user.is_set(),
            Self::Entries(entries) => entries.is_empty(),
        }
    }
}

impl<'de> Deserialize<'de> for Git {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GitVisitor)
    }
}

struct GitVisitor;

impl<'de> Visitor<'de> for GitVisitor {
    type Value = Git;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Git, A::Error> {
        Strict::deserialize(MapAccessDeserializer::new(map)).map(Git::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Git, A::Error> {
        let entries = Bounded::deserialize(SeqAccessDeserializer::new(list))?;
        Ok(Git::Entries(entries.0))
    }
}

#[cfg(test)]
impl JsonSchema for Git {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Git".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [
            generator.subschema_for::<Strict<GitObject>>(),
            generator.subschema_for::<Vec<Section<RemoteEntry>>>(),
        ]})
    }
}

/// The first form of a git section.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct GitObject {
    /// The repositories behind the gate.
    #[serde(default, deserialize_with = "map_or_default")]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Section<RemoteEntry>>>"))]
    pub remotes: IndexMap<String, Section<RemoteEntry>>,
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<Strict<Identity>>"))]
    pub user: Strict<Identity>,
}

/// A repository behind the gate, in the first and second form of a git section.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "PascalCase")]
#[allow(
    dead_code,
    reason = "keys that only the gate reads are listed so that they are known"
)]
pub(crate) struct RemoteEntry {
    /// The repository's name at the gate.
    pub name: RemoteName,
    /// The repository's real address.
    #[cfg_attr(test, schemars(
        with = "String",
        extend("pattern" = pattern::remote_url(), "maxLength" = MAX_VALUE),
    ))]
    pub upstream: RemoteUrl,
    #[serde(default)]
    pub identity_file: Opaque,
    #[serde(default)]
    pub known_host_key: Opaque,
    #[serde(default)]
    pub extra_hosts: Opaque,
    #[serde(default)]
    pub upstream_user: Opaque,
    #[serde(default)]
    pub upstream_host: Opaque,
    #[serde(default)]
    pub upstream_port: Opaque,
    #[serde(default)]
    pub upstream_path: Opaque,
}

/// The third form of a git section.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct GitGate {
    /// The repositories behind the gate, by their names at the gate.
    #[serde(default, deserialize_with = "map_or_default")]
    #[cfg_attr(test, schemars(with = "Option<HashMap<RemoteName, Section<Repo>>>"))]
    pub repos: IndexMap<RemoteName, Section<Repo>>,
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<Strict<Identity>>"))]
    pub user: Strict<Identity>,
}

/// A repository behind the gate, in the third form of a git section.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[allow(
    dead_code,
    reason = "keys that only the gate reads are listed so that they are known"
)]
pub(crate) struct Repo {
    /// The repository's real address.
    #[cfg_attr(test, schemars(
        with = "String",
        extend("pattern" = pattern::remote_url(), "maxLength" = MAX_VALUE),
    ))]
    pub url: RemoteUrl,
    #[serde(default)]
    pub identity: Opaque,
    #[serde(default)]
    pub key: Opaque,
    #[serde(default)]
    pub host_key: Opaque,
}

/// A coding agent.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(extend("propertyNames" = no_soundalikes())))]
pub(crate) struct Agent {
    /// The bottle that the agent works in: a key of `manifest.bottles`.
    #[cfg_attr(test, schemars(with = "String"))]
    pub bottle: Option<String>,
    /// The names of the agent's skills. Each skill is a directory on the host.
    #[serde(default, deserialize_with = "list_or_default")]
    #[cfg_attr(test, schemars(with = "Option<Vec<SkillName>>"))]
    pub skills: Vec<SkillName>,
    /// The agent's prompt. The steps read it from `prompt_file`; here they only look whether it is
    /// empty.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub prompt: String,
    /// The agent's own git identity, which takes precedence over the bottle's.
    #[serde(default)]
    pub git: Option<Strict<OnlyUser>>,
    /// The same in the second form.
    #[serde(default)]
    pub git_user: Option<Strict<Identity>>,
    /// The same in the third form.
    #[serde(default, rename = "git-gate")]
    pub git_gate: Option<Strict<OnlyUser>>,
}

/// An agent's own git identity.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct OnlyUser {
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<Strict<Identity>>"))]
    pub user: Strict<Identity>,
}

/// Returns a schema that rejects keys that resemble a key of git without being one.
#[cfg(test)]
fn no_soundalikes() -> Value {
    let sounds = "[Gg][Ii][Tt]|[Gg][Aa][Tt][Ee]|[Rr][Ee][Mm][Oo][Tt][Ee]|[Rr][Ee][Pp][Oo]";
    serde_json::json!({"anyOf": [
        {"enum": ["git", "git_user", "git-gate"]},
        {"not": {"pattern": sounds}},
    ]})
}

/// The part of the plan for pipelock.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct ProxyPlan {
    /// The file of the certificate to trust if there are no egress routes.
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<HostPath>"))]
    pub ca_cert_host_path: Option<HostPath>,
}

/// The part of the plan for the egress proxy.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct EgressPlan {
    /// The routes. If there are any, the guest trusts the egress proxy's certificate.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<Vec<Opaque>>"))]
    pub routes: Vec<Box<RawValue>>,
    /// The file that contains only this certificate.
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<HostPath>"))]
    pub mitmproxy_ca_cert_only_host_path: Option<HostPath>,
}

/// The part of the plan for the supervisor. The steps read nothing in it, but if it is there, they
/// register the supervisor.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct SupervisePlan {}

/// The part of the plan for the git gate.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct GitGatePlan {
    /// The repositories behind the gate. If there are any, the bottle must have remotes.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<Vec<Opaque>>"))]
    pub upstreams: Vec<Opaque>,
}

/// A repository behind the gate, whichever form the git section has.
#[derive(Debug)]
pub struct Remote {
    /// The repository's name at the gate.
    pub name: RemoteName,
    /// The repository's real address.
    pub url: RemoteUrl,
}

impl From<RemoteEntry> for Remote {
    fn from(entry: RemoteEntry) -> Self {
        Self {
            name: entry.name,
            url: entry.upstream,
        }
    }
}

/// The git identity in the guest.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Identity {
    /// `user.name`
    #[serde(default, deserialize_with = "unless_empty")]
    #[cfg_attr(test, schemars(with = "Empty<IdentityText>"))]
    pub name: Option<IdentityText>,
    /// `user.email`
    #[serde(default, deserialize_with = "unless_empty")]
    #[cfg_attr(test, schemars(with = "Empty<IdentityText>"))]
    pub email: Option<IdentityText>,
}

impl Identity {
    /// Whether a name or an email is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.name.is_some() || self.email.is_some()
    }
}

/// The schema of the plan.
#[cfg(test)]
pub(crate) fn schema() -> schemars::Schema {
    schemars::schema_for!(Strict<Wire>)
}
