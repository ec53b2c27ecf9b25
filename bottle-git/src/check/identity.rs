//! Compares git's identity with the plan's.

use bottle_common::guest::listing::Difference;
use bottle_common::guest::paths;
use bottle_common::plan::wire::Identity;

use super::answer::{GuestAnswer, Setting};

impl GuestAnswer<'_> {
    /// Compares git's identity with `identity`.
    pub fn identity(&self, identity: &Identity) -> Vec<Difference> {
        let mut differences = Vec::new();
        let config = paths::home(".gitconfig").to_string();
        for (key, plan) in [
            ("user.name", &identity.name),
            ("user.email", &identity.email),
        ] {
            let Some(plan) = plan else { continue };
            let found = self.settings.iter().rfind(|setting| setting.key() == key);
            if found.is_none_or(|found| found.value() != **plan) {
                let file = found.map_or(&config, |found| &found.file);
                let value = found.map(Setting::value);
                differences.push(Difference::new(key, file, &**plan, value));
            }
        }
        for setting in &self.settings {
            if setting.is_identity() && !setting.key().starts_with("user.") {
                differences.push(setting.extra("identity"));
            }
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use bottle_common::plan::wire::Identity;

    use crate::check::answer::GuestAnswer;
    use crate::check::fixtures::{GLOBAL, Guest, OWN, REPOSITORY, WELL, shown};

    #[test]
    fn the_last_identity_counts_and_none_overrides_it() {
        let name = "Ada".to_owned().try_into().ok();
        let identity = Identity { name, email: None };
        let ada = [GLOBAL, "user.name\nAda"];
        let global = "/home/node/.gitconfig: user.name: `Ada` in the plan";
        let own = format!("{REPOSITORY}/config");
        for (settings, expected) in [
            (vec![ada], vec![]),
            (
                vec![[GLOBAL, "user.name\nEve"], [OWN, "user.name\nAda"]],
                vec![],
            ),
            (vec![ada, [OWN, "user.email\nx"]], vec![]),
            (vec![ada, [OWN, "core.editor\nx"]], vec![]),
            (
                vec![ada, [OWN, "user.name\nEve"]],
                vec![format!(
                    "{own}: user.name: `Ada` in the plan, `Eve` in the guest"
                )],
            ),
            (vec![], vec![format!("{global}, nothing in the guest")]),
            (
                vec![[GLOBAL, "user.email\na@a"]],
                vec![format!("{global}, nothing in the guest")],
            ),
        ] {
            let text = Guest {
                settings: &settings,
                ..WELL
            }
            .text();
            let found = GuestAnswer::parse(&text).unwrap().identity(&identity);
            assert_eq!(shown(&found), expected, "{settings:?}");
        }
        for key in [
            "author.name",
            "author.email",
            "committer.name",
            "committer.email",
        ] {
            let line = format!("{key}\nx");
            let settings = [ada, [OWN, &line]];
            let text = Guest {
                settings: &settings,
                ..WELL
            }
            .text();
            let found = GuestAnswer::parse(&text).unwrap().identity(&identity);
            let extra = format!("{own}: identity: nothing in the plan, `{key} = x` in the guest");
            assert_eq!(shown(&found), [extra]);
        }
    }
}
