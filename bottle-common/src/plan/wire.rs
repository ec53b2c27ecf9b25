//! The plan as launchers write it: its keys, which of them are required, and the types of their
//! values.

#[cfg(test)]
use std::collections::HashMap;

use indexmap::{IndexMap, IndexSet};
#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::plan::keys::{Opaque, Section, Strict, or_default, unless_unset};
use crate::plan::remote_url::RemoteUrl;
#[cfg(test)]
use crate::plan::schema::{Unset, pattern};
use crate::plan::values::{
    HostPath, HostPort, HttpUrl, IdentityText, MachineName, RemoteName, SkillName,
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
    /// The guest's environment.
    #[serde(default)]
    pub guest_env: Opaque,
    /// The file with the agent's prompt.
    #[serde(deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "HostPath"))]
    pub prompt_file: Option<HostPath>,
    pub proxy_plan: Section<ProxyPlan>,
    /// The git gate's part.
    #[serde(default)]
    pub git_gate_plan: Opaque,
    pub egress_plan: Section<EgressPlan>,
    /// Null: no supervisor.
    #[serde(default)]
    pub supervise_plan: Option<Section<SupervisePlan>>,
    /// The git gate as the guest reaches it, `host:port`; required with remotes.
    #[serde(default, deserialize_with = "unless_unset")]
    #[cfg_attr(test, schemars(with = "Unset<HostPort>"))]
    pub agent_git_gate_host: Option<HostPort>,
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
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Section<Bottle>>>"))]
    pub bottles: IndexMap<String, Value>,
    /// By name.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Section<Agent>>>"))]
    pub agents: IndexMap<String, Value>,
}

/// A kind of bottle.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Bottle {
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<Section<Git>>"))]
    pub git: Section<Git>,
    #[serde(default)]
    #[allow(dead_code, reason = "the launcher turns it into `supervise_plan`")]
    pub supervise: Opaque,
}

/// What git gets in the guest.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Git {
    /// The repositories behind the gate.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<HashMap<String, Section<Remote>>>"))]
    pub remotes: IndexMap<String, Section<Remote>>,
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<Section<Identity>>"))]
    pub user: Section<Identity>,
}

/// A coding agent.
#[derive(Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Agent {
    /// The one of `manifest.bottles` that it works in.
    #[cfg_attr(test, schemars(with = "String"))]
    pub bottle: Option<String>,
    /// Directories on the host, by name.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<Vec<SkillName>>"))]
    pub skills: IndexSet<SkillName>,
    /// The system prompt, which is in `prompt_file`; here it counts only whether there is one.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub prompt: String,
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

/// A repository behind the gate.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Remote {
    /// The repository's name at the gate.
    #[serde(rename = "Name")]
    pub name: RemoteName,
    /// Where it really is.
    #[serde(rename = "Upstream")]
    #[cfg_attr(test, schemars(with = "String", extend("pattern" = pattern::remote_url())))]
    pub url: RemoteUrl,
    /// The gate's business; listed so that the key is known.
    #[serde(default, rename = "IdentityFile")]
    _identity_file: Opaque,
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

/// The schema of the plan.
#[cfg(test)]
pub(crate) fn schema() -> schemars::Schema {
    schemars::schema_for!(Strict<Wire>)
}
