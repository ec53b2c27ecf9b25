//! The three forms in which a launcher writes the git section of a bottle or an agent:
//!
//! - `"git": {"remotes": {KEY: {"Name", "Upstream", …}}, "user": {"name", "email"}}`
//! - `"git": [{"Name", "Upstream", …}, …]`, next to `"git_user": {"name", "email"}`
//! - `"git-gate": {"repos": {NAME: {"url", …}}, "user": {"name", "email"}}`
//!
//! All three are read into [`BottleGit`]. If a misspelled key were ignored, the bottle would seem
//! to be provisioned, but git would not use the gate. Therefore a key that resembles one of these
//! keys is refused.

use anyhow::{Result, bail};
use strsim::damerau_levenshtein;

use crate::plan::keys::{Section, near_miss};
use crate::plan::wire::{Agent, Bottle, Git, Identity, Remote};
use crate::text::shorten;

/// The keys of the three forms.
const KEYS: [&str; 3] = ["git", "git_user", "git-gate"];
/// A key that contains one of these words resembles a key of git.
const SOUNDS: [&str; 4] = ["git", "gate", "remote", "repo"];

/// A key that is one typo away from one of these words resembles a key of git, too.
const SLIPS: [&str; 5] = ["remote", "remotes", "repo", "repos", "gitgate"];

/// The git section of a bottle, whichever form it has.
#[derive(Debug)]
pub(crate) struct BottleGit {
    pub remotes: Vec<Remote>,
    pub identity: Identity,
}

/// Fails if one of `keys` resembles a key of git without being one. Case and punctuation do not
/// matter. `at` is the JSON path of the object that has the keys.
pub(crate) fn refuse_soundalikes<'a>(
    keys: impl IntoIterator<Item = &'a String>,
    at: &str,
) -> Result<()> {
    for key in keys {
        if KEYS.contains(&&**key) || !sounds_like_git(key) {
            continue;
        }
        let shown = shorten(key, 100);
        if let Some(meant) = near_miss(key, &KEYS) {
            bail!("{at}.{shown}: unknown key `{shown}`: did you mean `{meant}`?");
        }
        bail!(
            "{at}.{shown}: unknown key `{shown}`: it sounds like git, which is written as `git`, \
             `git` and `git_user`, or `git-gate`"
        );
    }
    Ok(())
}

fn sounds_like_git(key: &str) -> bool {
    let is_letter = |c: &char| c.is_alphanumeric();
    let plain: String = key
        .chars()
        .filter(is_letter)
        .flat_map(char::to_lowercase)
        .collect();
    if SOUNDS.iter().any(|sound| plain.contains(sound)) {
        return true;
    }
    let length = plain.chars().count();
    SLIPS
        .iter()
        .filter(|word| word.len().abs_diff(length) <= 1)
        .any(|word| damerau_levenshtein(word, &plain) <= 1)
}

/// Reads the git section of `bottle`, which is at the JSON path `at`.
pub(crate) fn of_bottle(bottle: Bottle, at: &str) -> Result<BottleGit> {
    // A launcher that prints all of its fields also prints the empty ones of the other forms.
    let git = bottle.git.filter(|git| !git.is_empty());
    let git_user = bottle.git_user.filter(|user| user.is_set());
    let git_gate = bottle
        .git_gate
        .filter(|gate| !gate.repos.is_empty() || gate.user.is_set());
    let git = match git {
        Some(Git::Object(git)) => {
            refuse_two(at, &[("git", true), ("git_user", git_user.is_some())])?;
            refuse_two(at, &[("git", true), ("git-gate", git_gate.is_some())])?;
            let git = git.into_inner();
            let mut remotes = Vec::new();
            for remote in git.remotes.into_values() {
                remotes.push(remote.into_inner().into());
            }
            return Ok(BottleGit {
                remotes,
                identity: git.user.into_inner(),
            });
        }
        Some(Git::Entries(entries)) => Some(entries),
        None => None,
    };
    let has_gate = git_gate.is_some();
    refuse_two(at, &[("git", git.is_some()), ("git-gate", has_gate)])?;
    refuse_two(
        at,
        &[("git_user", git_user.is_some()), ("git-gate", has_gate)],
    )?;
    let mut remotes = Vec::new();
    if let Some(gate) = git_gate {
        let gate = gate.into_inner();
        for (name, repo) in gate.repos {
            remotes.push(Remote {
                name,
                url: repo.into_inner().url,
            });
        }
        return Ok(BottleGit {
            remotes,
            identity: gate.user.into_inner(),
        });
    }
    for entry in git.into_iter().flatten() {
        remotes.push(entry.into_inner().into());
    }
    let identity = git_user.map(Section::into_inner).unwrap_or_default();
    Ok(BottleGit { remotes, identity })
}

/// Returns the identity of `agent`, which is at the JSON path `at`. A name or an email that the
/// agent does not set comes from `bottles`, the bottle's identity.
pub(crate) fn identity(agent: &Agent, at: &str, bottles: Identity) -> Result<Identity> {
    let ways = [
        ("git", agent.git.as_ref().map(|git| &git.user)),
        ("git_user", agent.git_user.as_ref()),
        ("git-gate", agent.git_gate.as_ref().map(|gate| &gate.user)),
    ]
    .map(|(key, user)| (key, user.filter(|user| user.is_set())));
    refuse_two(at, &ways.map(|(key, user)| (key, user.is_some())))?;
    let Some(user) = ways.into_iter().find_map(|(_, user)| user) else {
        return Ok(bottles);
    };
    Ok(Identity {
        name: user.name.clone().or(bottles.name),
        email: user.email.clone().or(bottles.email),
    })
}

/// Fails if git is written in two forms, because it is unclear which of them is meant. Each of
/// `ways` is the key of a form, and whether the plan has it.
fn refuse_two(at: &str, ways: &[(&str, bool)]) -> Result<()> {
    let there: Vec<_> = ways.iter().filter(|(_, is_there)| *is_there).collect();
    match there[..] {
        [] | [_] => Ok(()),
        [(one, _), (other, _), ..] => {
            bail!("{at}: git is written in two ways, `{one}` and `{other}`: leave one of them out")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{refuse_soundalikes, sounds_like_git};

    #[test]
    fn keys_that_sound_like_git_are_found() {
        for key in [
            "git_gate",
            "gitgate",
            "GitGate",
            "GIT",
            "g-i-t",
            "git-gates",
            "gates",
            "the_gate",
            "remotes",
            "Remote",
            "repos",
            "git_repos",
            "repositories",
            "gitUser",
            "git.user",
            "upstream_remote",
            "remots",
            "rmeotes",
            "reops",
            "rpeos",
            "rpo",
            "gitate",
            "digital",
            " git",
            "Git-Gate",
        ] {
            assert!(sounds_like_git(key), "{key}");
            assert!(
                refuse_soundalikes([&key.to_owned()], "at").is_err(),
                "{key}"
            );
        }
        for key in [
            "env",
            "egress",
            "supervise",
            "skills",
            "prompt",
            "g",
            "gi",
            "rope",
            "",
        ] {
            assert!(refuse_soundalikes([&key.to_owned()], "at").is_ok(), "{key}");
        }
        for key in super::KEYS {
            assert!(refuse_soundalikes([&key.to_owned()], "at").is_ok(), "{key}");
        }
    }

    #[test]
    fn a_near_miss_is_named() {
        let message = |key: &str| {
            refuse_soundalikes([&key.to_owned()], "at")
                .unwrap_err()
                .to_string()
        };
        let meant = "at.git_gate: unknown key `git_gate`: did you mean `git-gate`?";
        assert_eq!(message("git_gate"), meant);
        let sounds = "at.repositories: unknown key `repositories`: it sounds like git, which is \
                      written as `git`, `git` and `git_user`, or `git-gate`";
        assert_eq!(message("repositories"), sounds);
        assert!(message(&"git".repeat(10_000)).len() < 500);
    }
}
