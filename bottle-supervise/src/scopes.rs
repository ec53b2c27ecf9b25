//! Servers with our name in Claude Code's other scopes, which take precedence over ours.

use std::collections::BTreeMap;
use std::path::Path;

use bottle_common::host::files;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Deserializer;

/// The largest `.mcp.json` that is read, in bytes.
const MAX_SHARED: u64 = 1 << 20;

/// What is looked at in Claude Code's `.claude.json`, and, without projects, in `.mcp.json`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Settings {
    mcp_servers: Option<Servers>,
    projects: Option<BTreeMap<String, Project>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Project {
    mcp_servers: Option<Servers>,
}

#[derive(Deserialize)]
struct Servers {
    supervise: Option<IgnoredAny>,
}

/// Makes a warning for each entry `supervise` of another scope in `answer`, which is the guest's
/// `.claude.json`, followed by the project's `.mcp.json` if there is one. Another answer gives no
/// warning.
pub fn others(answer: &str) -> Vec<String> {
    // In most cases it is the output of `claude mcp add`, which is not JSON.
    if !answer.trim_start().starts_with('{') {
        return Vec::new();
    }
    let mut files = Deserializer::from_str(answer)
        .into_iter::<Settings>()
        .map_while(Result::ok);
    let own = files.next().unwrap_or_default();
    let shared = files.next().unwrap_or_default();
    let mut warnings = Vec::new();
    for (path, project) in own.projects.unwrap_or_default() {
        if has_supervise(project.mcp_servers) {
            warnings.push(format!(
                "in {path} an MCP server `supervise` of local scope takes the place of ours: \
                 `claude mcp remove --scope local supervise` there removes it"
            ));
        }
    }
    if has_supervise(shared.mcp_servers) {
        warnings.push(of_project("/home/node/workspace/.mcp.json"));
    }
    warnings
}

/// Makes a warning if the project on the host has an entry `supervise` of project scope, or a
/// `.mcp.json` that is not read.
pub fn brought_by(user_cwd: &Path) -> Option<String> {
    let file = user_cwd.join(".mcp.json");
    // A link may lead to any file of the host.
    if !file.symlink_metadata().is_ok_and(|found| found.is_file()) {
        return None;
    }
    match files::read(&file, MAX_SHARED) {
        Ok(text) => {
            let shared: Settings = serde_json::from_slice(&text).ok()?;
            has_supervise(shared.mcp_servers).then(|| of_project(&file.display().to_string()))
        }
        Err(error) => Some(format!(
            "an MCP server `supervise` of project scope was not looked for: {error:#}"
        )),
    }
}

fn has_supervise(servers: Option<Servers>) -> bool {
    servers.is_some_and(|servers| servers.supervise.is_some())
}

fn of_project(file: &str) -> String {
    format!(
        "the MCP server `supervise` of project scope in {file} takes the place of ours once it is \
         approved in the guest"
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use harness::Sandbox;

    use super::{brought_by, others};

    #[test]
    fn entries_of_our_name_in_other_scopes_are_found() {
        let user = r#"{
            "mcpServers": {"supervise": {}},
            "projects": {"/a": {"mcpServers": {"other": {}}}, "/b": {}}
        }"#;
        assert_eq!(others(user), [""; 0]);
        assert_eq!(others("Added HTTP MCP server supervise"), [""; 0]);
        assert_eq!(others(r#"[{"projects": 1}] {"mcpServers": []}"#), [""; 0]);
        let entry = r#"{"mcpServers": {"supervise": {}}}"#;
        assert_eq!(others(&format!("\"said\" {entry}")), [""; 0]);
        let warnings = others(&format!(r#"{{"projects": {{"/a": {entry}}}}} {entry}"#));
        assert_eq!(warnings.len(), 2);
        let local = "in /a an MCP server `supervise` of local scope ";
        assert!(warnings[0].starts_with(local), "{}", warnings[0]);
        let shared = " of project scope in /home/node/workspace/.mcp.json ";
        assert!(warnings[1].contains(shared), "{}", warnings[1]);
    }

    #[test]
    fn a_fifo_is_not_waited_for() {
        let sandbox = Sandbox::new();
        let mut mkfifo = Command::new("mkfifo");
        let mkfifo = mkfifo.arg(sandbox.path(".mcp.json"));
        assert!(mkfifo.status().unwrap().success());
        assert_eq!(brought_by(&sandbox.path("")), None);
    }

    #[test]
    fn the_projects_file_is_read_up_to_a_limit_and_no_link_is_followed() {
        let sandbox = Sandbox::new();
        let found = || brought_by(&sandbox.path(""));
        let entry = r#"{"mcpServers": {"supervise": null, "x": [1]}, "projects": null}"#;
        for (entry, is_found) in [(entry, false), (&entry.replace("null", "{}"), true)] {
            let file = sandbox.write(".mcp.json", entry);
            let warning = is_found.then(|| super::of_project(&file.display().to_string()));
            assert_eq!(found(), warning);
        }
        let padding = " ".repeat(1 << 20);
        let file = sandbox.write(".mcp.json", entry.to_owned() + &padding);
        let why = format!(
            "an MCP server `supervise` of project scope was not looked for: read {}: it is longer \
             than 1.0 MiB",
            file.display()
        );
        assert_eq!(found(), Some(why));
        std::fs::rename(&file, sandbox.path("else")).unwrap();
        std::os::unix::fs::symlink("else", &file).unwrap();
        assert_eq!(found(), None);
    }
}
