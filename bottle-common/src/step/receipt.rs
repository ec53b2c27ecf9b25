//! The receipts: what each step reports in the plan that it prints, as `receipts.<step>`.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// A step's receipt. `D` holds the keys that only this step has.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Receipt<D = Value> {
    /// What came of the step.
    pub status: Status,
    /// How long the step took, in milliseconds.
    pub ms: u64,
    /// How many smolvm calls the step made. A repeated call counts again.
    pub calls: u32,
    /// What was installed; `None` if there was nothing to do.
    #[serde(flatten)]
    pub details: Option<D>,
    /// Why the step failed. Only an optional step prints a receipt when it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Status {
    /// The guest is as the plan asks.
    #[serde(rename = "done")]
    Done,
    /// The plan has nothing for this step.
    #[serde(rename = "nothing to do")]
    NothingToDo,
    /// A call failed, but the bottle works without this step (`supervise` only).
    #[serde(rename = "failed")]
    Failed,
}

/// What `bottle-ca` installed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Ca {
    /// The proxy whose certificate it is: `egress` or `pipelock`.
    pub proxy: &'static str,
    /// Path of the certificate in the guest.
    pub path: String,
    /// SHA-256 of the certificate's DER, as `openssl x509 -fingerprint -sha256` prints it.
    pub fingerprint: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// How the guest came to trust it.
    pub way: Way,
    /// The environment variables that a launcher should set for the agent.
    pub env: CaEnvironment,
}

/// How `bottle-ca` made the guest trust the certificate. What is in the guest afterwards is the
/// same.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// All other certificates were in place, so `update-ca-certificates` was called for this one.
    Quick,
    /// `update-ca-certificates` was called for all certificates.
    Plain,
}

/// The environment variables by which programs find CA certificates. `NODE_EXTRA_CA_CERTS` adds to
/// the public roots. The others replace them, so they name the merged bundle.
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
    /// Path of the prompt in the guest; null if the agent's prompt is empty.
    pub prompt_path: Option<String>,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
}

/// What `bottle-skills` installed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Skills {
    /// The skills, in the plan's order.
    pub skills: Vec<Skill>,
}

/// A skill that was copied.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Skill {
    /// The skill's name.
    pub name: String,
    /// Path of the skill in the guest.
    pub path: String,
    /// Number of regular files in it.
    pub files: u64,
    /// SHA-256 of the tar that was copied, in hex.
    pub sha256: String,
}

/// What `bottle-git` installed. A part that had nothing to do is missing.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Git {
    /// The copy of the project's `.git`, or of the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// The configuration that routes git through the gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// The author and committer of new commits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

/// A repository in the guest.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(untagged)]
pub enum Repository {
    /// The repository was copied.
    Copied {
        /// Path of the repository in the guest, or of the workspace if its files were copied, too.
        path: String,
        /// Number of regular files in it.
        files: u64,
        /// SHA-256 of the tar that was copied, in hex.
        sha256: String,
        /// The files of the work tree; missing if they were not copied.
        #[serde(skip_serializing_if = "Option::is_none")]
        worktree: Option<Worktree>,
    },
    /// The guest already had a repository, which was kept.
    Kept {
        /// Path of the repository in the guest, or of the workspace.
        path: String,
        /// Always true.
        kept: bool,
    },
}

/// The files of a work tree that were copied.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Worktree {
    /// Number of regular files, without those in `.git`.
    pub files: u64,
    /// Their length together, in bytes.
    pub bytes: u64,
}

/// The agent's `.gitconfig`, which routes git through the gate.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Gate {
    /// Path of the file in the guest.
    pub path: String,
    /// SHA-256 of the file before the identity was added to it, in hex.
    pub sha256: String,
    /// The URL of each remote at the gate.
    pub remotes: Vec<String>,
}

/// The git identity that was set. A part that the plan leaves unset is null.
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
