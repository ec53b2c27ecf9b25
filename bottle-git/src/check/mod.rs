//! Compares the repository, the gate and the identity in the guest with the plan. The guest's git,
//! which runs as node, says what it reads and where it goes.

mod answer;
mod expected;
#[cfg(test)]
mod fixtures;
mod gate;
mod identity;
mod repository;

use anyhow::Result;
use bottle_common::guest::paths;
use bottle_common::step::Check;

use self::answer::GuestAnswer;
use self::expected::Expected;
use crate::gate::routes;
use crate::parts::Parts;
use crate::repository::{path, workspace};

const LOOK: &str = include_str!("look.sh");
const LOOK_AS_NODE: &str = include_str!("look_as_node.sh");
/// The maximum length of a parameter, in bytes. Linux allows 128 KiB.
const MAX_PARAMETER: usize = 1 << 16;

/// Decides how to compare `parts` with the guest.
///
/// # Errors
///
/// If the hooks on the host cannot be read, or if a signal comes.
pub fn check(parts: &Parts) -> Result<Check> {
    let (config, workspace) = (paths::home(".gitconfig"), workspace());
    let routes = parts.gate.map(routes);
    let expected = parts.repository.as_ref().map(Expected::of).transpose()?;
    let commits = expected.as_ref().map(|expected| expected.commits.join(" "));
    let commits = commits.unwrap_or_default();
    let paths = expected.as_ref().map(Expected::paths).unwrap_or_default();
    let paths = in_parameters(paths);
    let declared = in_parameters(gate::declared(routes.as_deref().unwrap_or_default()));
    let whole = match &expected {
        Some(expected) if expected.work_tree.is_some() => workspace.clone(),
        _ => path(),
    };
    let mut parameters: Vec<&str> = vec![LOOK_AS_NODE, &config, &workspace, &whole];
    parameters.extend(paths.iter().map(String::as_str));
    parameters.extend(["--", &commits]);
    parameters.extend(declared.iter().map(String::as_str));
    let exec = Check::exec(LOOK, &parameters);

    let mut lines = parts.lines();
    if parts.repository.is_some() {
        lines.insert(0, whole.to_string());
    } else {
        lines.extend(parts.warnings.iter().cloned());
    }
    let identity = parts.identity.cloned();
    Ok(Check::new(exec, lines.join("; "), move |text| {
        let answer = GuestAnswer::parse(text)?;
        let mut differences = Vec::new();
        if let Some(expected) = &expected {
            differences.extend(answer.repository(expected));
        }
        if let Some(routes) = &routes {
            differences.extend(answer.gate(routes));
        }
        if expected.is_some() || routes.is_some() {
            differences.extend(answer.rules(routes.as_deref(), expected.as_ref()));
        }
        if let Some(identity) = &identity {
            differences.extend(answer.identity(identity));
        }
        Ok(differences)
    }))
}

/// Joins `lines`, each of which ends with a newline, to as few parameters as possible. A line that
/// is too long is a parameter of its own.
fn in_parameters(lines: Vec<String>) -> Vec<String> {
    let mut parameters: Vec<String> = Vec::new();
    for line in lines {
        match parameters.last_mut() {
            Some(last) if last.len() + line.len() < MAX_PARAMETER => last.push_str(&line),
            _ => parameters.push(line),
        }
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::{MAX_PARAMETER, gate, in_parameters};
    use crate::check::fixtures::route;

    #[test]
    fn no_parameter_grows_too_long() {
        let routes: Vec<_> = (0..3000)
            .map(|number| route(&format!("git@host:{number}")))
            .collect();
        let parameters = in_parameters(gate::declared(&routes));
        for parameter in &parameters {
            assert!(parameter.len() < MAX_PARAMETER, "{}", parameter.len());
        }
        let lines = parameters.concat();
        assert_eq!(parameters.len(), lines.len().div_ceil(MAX_PARAMETER));
        assert_eq!(
            lines.matches("[remote \"bottle-check-").count(),
            routes.len()
        );
        assert!(lines.contains("[remote \"bottle-check-2999\"]\n\turl = git@host:2999\n"));
        assert_eq!(in_parameters(Vec::new()), [""; 0]);
    }
}
