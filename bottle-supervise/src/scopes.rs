//! Servers with our name in Claude Code's other scopes, which take precedence over ours.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::{Deserializer, Value};

/// Makes a warning for each entry `supervise` of another scope in `answer`, which is the guest's
/// `.claude.json`, followed by the project's `.mcp.json` if there is one. Another answer gives no
/// warning.
pub fn others(answer: &str) -> Vec<String> {
    // In most cases it is the output of `claude mcp add`, which is not JSON.
    if !answer.trim_start().starts_with('{') {
        return Vec::new();
    }
    let mut files = Deserializer::from_str(answer)
        .into_iter::<Value>()
        .map_while(Result::ok);
    let own = files.next().unwrap_or_default();
    let shared = files.next().unwrap_or_default();
    let mut warnings = Vec::new();
    for (path, project) in own["projects"].as_object().into_iter().flatten() {
        if has_supervise(project) {
            warnings.push(format!(
                "in {path} an MCP server `supervise` of local scope takes the place of ours: \
                 `claude mcp remove --scope local supervise` there removes it"
            ));
        }
    }
    if has_supervise(&shared) {
        warnings.push(of_project("/home/node/workspace/.mcp.json"));
    }
    warnings
}

/// Makes a warning if the project on the host has an entry `supervise` of project scope.
pub fn brought_by(user_cwd: &Path) -> Option<String> {
    let file = user_cwd.join(".mcp.json");
    // Opening a FIFO would wait for its writer.
    if !file.is_file() {
        return None;
    }
    let shared: Value = serde_json::from_reader(BufReader::new(File::open(&file).ok()?)).ok()?;
    has_supervise(&shared).then(|| of_project(&file.display().to_string()))
}

fn has_supervise(section: &Value) -> bool {
    section["mcpServers"].get("supervise").is_some()
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
    fn finds_entries_of_our_name_in_other_scopes() {
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
    fn nobody_waits_for_the_writer_of_a_fifo() {
        let sandbox = Sandbox::new();
        let mut mkfifo = Command::new("mkfifo");
        let mkfifo = mkfifo.arg(sandbox.path(".mcp.json"));
        assert!(mkfifo.status().unwrap().success());
        assert_eq!(brought_by(&sandbox.path("")), None);
    }
}
