//! What a step says of its work in the plan that it prints: `receipts.<step>`.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// A step's receipt; `D` is what only this step says.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Receipt<D = Value> {
    /// What came of it.
    pub status: Status,
    /// How long the step took, in milliseconds.
    pub ms: u64,
    /// How many smolvm calls it made, repeated ones counted.
    pub calls: u32,
    /// What was installed; nothing where there was nothing to do.
    #[serde(flatten)]
    pub details: Option<D>,
    /// Why the step failed, which only an optional one may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Status {
    /// The guest is as the plan says.
    #[serde(rename = "done")]
    Done,
    /// The plan has nothing for this step.
    #[serde(rename = "nothing to do")]
    NothingToDo,
    /// It is not, and the bottle works without it (`supervise` alone).
    #[serde(rename = "failed")]
    Failed,
}

/// What `bottle-ca` installed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Ca {
    /// Whose certificate it is: `egress` or `pipelock`.
    pub proxy: &'static str,
    /// Where it is in the guest.
    pub path: String,
    /// SHA-256 of the certificate's DER, as `openssl x509 -fingerprint -sha256` prints it.
    pub fingerprint: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// The environment that a launcher should set for the agent.
    pub env: CaEnvironment,
}

/// The variables by which programs find certificates. All but Node's take the merged bundle: our certificate alone
/// there would drop all public roots.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "each is the variable of that name")]
pub struct CaEnvironment {
    pub node_extra_ca_certs: String,
    pub ssl_cert_file: &'static str,
    pub requests_ca_bundle: &'static str,
    pub curl_ca_bundle: &'static str,
    pub git_ssl_cainfo: &'static str,
    pub pip_cert: &'static str,
    pub aws_ca_bundle: &'static str,
    pub cargo_http_cainfo: &'static str,
    pub deno_cert: &'static str,
    pub codex_ca_certificate: &'static str,
}

/// What `bottle-prompt` installed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Prompt {
    /// Where the prompt is in the guest; null when the agent's prompt is empty.
    pub prompt_path: Option<String>,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
}

/// What `bottle-skills` installed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Skills {
    /// In the plan's order.
    pub skills: Vec<Skill>,
}

/// A skill that was copied.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Skill {
    /// Its name.
    pub name: String,
    /// Where it is in the guest.
    pub path: String,
    /// How many regular files it has.
    pub files: u64,
    /// SHA-256 of the tar that was copied, in hex.
    pub sha256: String,
}

/// What `bottle-git` installed; a part that had nothing to do is not there.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Git {
    /// The project's `.git`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// The way through the gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// Whom commits are by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

/// A repository in the guest.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(untagged)]
pub enum Repository {
    /// It was copied.
    Copied {
        /// Where it is in the guest.
        path: String,
        /// How many regular files it has.
        files: u64,
        /// SHA-256 of the tar that was copied, in hex.
        sha256: String,
    },
    /// There was one already.
    Kept {
        /// Where it is in the guest.
        path: String,
        /// Always true.
        kept: bool,
    },
}

/// A `.gitconfig` that leads to the gate.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Gate {
    /// Where it is in the guest.
    pub path: String,
    /// SHA-256 of the file as it was copied, before the identity was set in it, in hex.
    pub sha256: String,
    /// Each remote's URL at the gate.
    pub remotes: Vec<String>,
}

/// The identity that was set; what the plan leaves unset is null.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[allow(missing_docs, reason = "`user.name` and `user.email`")]
pub struct Identity {
    pub name: Option<String>,
    pub email: Option<String>,
}

/// What `bottle-supervise` registered.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Supervise {
    /// The MCP server's URL as the guest reaches it.
    pub url: String,
}
