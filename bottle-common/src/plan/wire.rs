//! The plan as launchers write it: its keys, which of them are required, and the types of their
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
use crate::plan::values::{
    GateScheme, GuestHome, HostPath, HostPort, HttpUrl, IdentityText, MachineName, RemoteName,
    SkillName,
};

/// The only version of the plan that there is.
pub(crate) const VERSION: u64 = 1;

/// What a bottle needs: the launcher's plan, read by every step.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema), schemars(title = "Plan of a bottle"))]
#[allow(
    dead_code,
    reason = "keys that are carried are listed so that they are known"
)]
pub(crate) struct Wire {
    /// For editors.
    #[serde(default, rename = "$schema")]
    pub schema: Opaque,
    /// The version of the plan's form.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("enum" = [VERSION, null])))]
    pub version: Opaque,
    pub spec: Strict<Spec>,
    /// Where files for the guest are made on the host; made (0700) when missing.
    #[serde(deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "HostPath"))]
    pub stage_dir: Option<HostPath>,
    /// The bottle's short name.
    #[serde(default)]
    pub slug: Opaque,
    /// The sidecars' network.
    #[serde(default)]
    pub bundle_subnet: Opaque,
    /// Its gateway.
    #[serde(default)]
    pub bundle_gateway: Opaque,
    /// The sidecars' address.
    #[serde(default)]
    pub bundle_ip: Opaque,
    /// The smolvm machine.
    pub machine_name: MachineName,
    /// The image that the machine was made of.
    #[serde(default)]
    pub agent_image_ref: Opaque,
    /// The agent's environment. It is looked at, to warn, and never written.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Opaque>>"))]
    pub guest_env: GuestEnv,
    /// The agent's home directory, which is always the same.
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<GuestHome>"))]
    pub guest_home: Option<GuestHome>,
    /// The file with the agent's prompt.
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
    /// Null: no supervisor.
    #[serde(default)]
    pub supervise_plan: Option<Section<SupervisePlan>>,
    /// The git gate as the guest reaches it, `host:port`; required with remotes.
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<HostPort>"))]
    pub agent_git_gate_host: Option<HostPort>,
    /// How the guest speaks to the gate [default: git].
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<GateScheme>"))]
    pub agent_git_gate_scheme: Option<GateScheme>,
    /// The supervisor's MCP endpoint as the guest reaches it; required with a supervisor.
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<HttpUrl>"))]
    pub agent_supervise_url: Option<HttpUrl>,
    /// What earlier steps wrote; ours goes beside it.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Opaque>>"))]
    pub receipts: Option<IndexMap<String, Opaque>>,
    /// What earlier checks wrote.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Opaque>>"))]
    pub checks: Option<IndexMap<String, Opaque>>,
}

/// What the user asked for.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Spec {
    pub manifest: Section<Manifest>,
    /// The agent of `manifest.agents` that is provisioned.
    pub agent_name: String,
    /// Whether `user_cwd/.git` goes into the guest.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<bool>"))]
    pub copy_cwd: bool,
    /// The project's directory on the host.
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<HostPath>"))]
    pub user_cwd: Option<HostPath>,
}

/// Of the bottles and agents only the chosen ones are read: the others are other plans' business.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Manifest {
    /// By name.
    #[serde(default, deserialize_with = "map_or_default")]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Section<Bottle>>>"))]
    pub bottles: IndexMap<String, Box<RawValue>>,
    /// By name.
    #[serde(default, deserialize_with = "map_or_default")]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Section<Agent>>>"))]
    pub agents: IndexMap<String, Box<RawValue>>,
}

/// A kind of bottle. Git is written in one of three ways.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(extend("propertyNames" = no_soundalikes())))]
pub(crate) struct Bottle {
    /// `{remotes, user}`, or a list of the repositories behind the gate with `git_user` beside it.
    #[serde(default)]
    pub git: Option<Git>,
    /// The identity that git gets in the guest, where `git` is a list.
    #[serde(default)]
    pub git_user: Option<Strict<Identity>>,
    #[serde(default, rename = "git-gate")]
    pub git_gate: Option<Strict<GitGate>>,
    #[serde(default)]
    #[allow(dead_code, reason = "the launcher turns it into `supervise_plan`")]
    pub supervise: Opaque,
}

/// What git gets in the guest.
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

/// Git in the first way.
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

/// A repository behind the gate.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "PascalCase")]
#[allow(
    dead_code,
    reason = "what only the gate reads is listed so that it is known"
)]
pub(crate) struct RemoteEntry {
    /// The repository's name at the gate.
    pub name: RemoteName,
    /// Where it really is.
    #[cfg_attr(test, schemars(with = "String", extend("pattern" = pattern::remote_url())))]
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

/// Git in the third way.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct GitGate {
    /// The repositories behind the gate, by their name there.
    #[serde(default, deserialize_with = "map_or_default")]
    #[cfg_attr(test, schemars(with = "Option<HashMap<RemoteName, Section<Repo>>>"))]
    pub repos: IndexMap<RemoteName, Section<Repo>>,
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<Strict<Identity>>"))]
    pub user: Strict<Identity>,
}

/// A repository behind the gate.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[allow(
    dead_code,
    reason = "what only the gate reads is listed so that it is known"
)]
pub(crate) struct Repo {
    /// Where it really is.
    #[cfg_attr(test, schemars(with = "String", extend("pattern" = pattern::remote_url())))]
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
    /// The one of `manifest.bottles` that it works in.
    #[cfg_attr(test, schemars(with = "String"))]
    pub bottle: Option<String>,
    /// Directories on the host, by name.
    #[serde(default, deserialize_with = "list_or_default")]
    #[cfg_attr(test, schemars(with = "Option<Vec<SkillName>>"))]
    pub skills: Vec<SkillName>,
    /// The system prompt, which is in `prompt_file`; here it counts only whether there is one.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub prompt: String,
    /// The agent's own identity lies over the bottle's.
    #[serde(default)]
    pub git: Option<Strict<OnlyUser>>,
    /// The same in the second way.
    #[serde(default)]
    pub git_user: Option<Strict<Identity>>,
    /// The same in the third way.
    #[serde(default, rename = "git-gate")]
    pub git_gate: Option<Strict<OnlyUser>>,
}

/// An agent's own identity.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct OnlyUser {
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<Strict<Identity>>"))]
    pub user: Strict<Identity>,
}

/// Keys that sound like git and are no way to write it are refused.
#[cfg(test)]
fn no_soundalikes() -> Value {
    let sounds = "[Gg][Ii][Tt]|[Gg][Aa][Tt][Ee]|[Rr][Ee][Mm][Oo][Tt][Ee]|[Rr][Ee][Pp][Oo]";
    serde_json::json!({"anyOf": [
        {"enum": ["git", "git_user", "git-gate"]},
        {"not": {"pattern": sounds}},
    ]})
}

/// Pipelock's part.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct ProxyPlan {
    /// The certificate to trust when there are no egress routes.
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<HostPath>"))]
    pub ca_cert_host_path: Option<HostPath>,
}

/// The egress proxy's part.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct EgressPlan {
    /// Not empty: the egress proxy's certificate is the one to trust.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<Vec<Opaque>>"))]
    pub routes: Vec<Opaque>,
    /// That certificate, alone in its file.
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<HostPath>"))]
    pub mitmproxy_ca_cert_only_host_path: Option<HostPath>,
}

/// Nothing in it is for us; that it is there turns the step on.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct SupervisePlan {}

/// The gate's part.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct GitGatePlan {
    /// What the gate stands in front of. When there is something, the bottle has to have remotes.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<Vec<Opaque>>"))]
    pub upstreams: Vec<Opaque>,
}

/// A repository behind the gate, in whichever way it was written.
#[derive(Debug)]
pub struct Remote {
    /// The repository's name at the gate.
    pub name: RemoteName,
    /// Where it really is.
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

/// The identity that git gets in the guest.
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
    /// Whether there is anything to set.
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
