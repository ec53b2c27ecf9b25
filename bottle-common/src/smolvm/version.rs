//! smolvm's version, and the user that runs guest commands.

use std::str::FromStr;

use semver::Version;

/// The oldest smolvm that is supported. `docs/smolvm.md` says why.
pub const OLDEST: Version = Version::new(0, 5, 16);
/// The first smolvm in which `machine exec --user` chooses who runs a command on image machines.
const USER_SINCE: Version = Version::new(1, 14, 0);

/// The first smolvm in which `machine cp` has `--mode`, `--uid` and `--gid`.
const COPIES_FOR_SINCE: Version = Version::new(1, 9, 0);

/// The value of `--exec-user`: the user that runs guest commands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExecUser {
    /// `auto`: root or node, whichever a command needs, by `--user` if smolvm and the machine
    /// accept that
    Auto,
    /// `none`: the machine's default user
    None,
    /// this user
    User(String),
}

impl FromStr for ExecUser {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty()
            || text.starts_with('-')
            || text.contains(|c: char| c.is_control() || c.is_whitespace())
        {
            return Err("not `auto`, `none` or a user name");
        }
        Ok(match text {
            "auto" => Self::Auto,
            "none" => Self::None,
            user => Self::User(user.to_owned()),
        })
    }
}

/// Finds the version in the output of `smolvm --version`: the first word that is a version. (The
/// commit and the date of a build may follow it.)
#[must_use]
pub fn parse(printed: &str) -> Option<Version> {
    printed
        .split_whitespace()
        .find_map(|word| Version::parse(word).ok())
}

/// Whether `machine exec --user` chooses who runs a command. If the version is unknown, it is
/// assumed not to.
#[must_use]
pub fn has_user(version: Option<&Version>) -> bool {
    version.is_some_and(|version| *version >= USER_SINCE)
}

/// Whether `machine cp` sets the owner and the mode of the copy. If the version is unknown, it is
/// assumed not to.
#[must_use]
pub fn copies_for(version: Option<&Version>) -> bool {
    version.is_some_and(|version| *version >= COPIES_FOR_SINCE)
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::{ExecUser, copies_for, has_user, parse};

    #[test]
    fn exec_users_are_parsed() {
        for (text, user) in [
            ("auto", Ok(ExecUser::Auto)),
            ("none", Ok(ExecUser::None)),
            ("root", Ok(ExecUser::User("root".to_owned()))),
            ("1000:1000", Ok(ExecUser::User("1000:1000".to_owned()))),
            ("Auto", Ok(ExecUser::User("Auto".to_owned()))),
            ("", Err(())),
            ("-x", Err(())),
            ("--user", Err(())),
            ("a\nb", Err(())),
            ("a\0", Err(())),
        ] {
            assert_eq!(text.parse::<ExecUser>().map_err(|_| ()), user, "{text:?}");
        }
    }

    #[test]
    fn versions_are_parsed_and_compared() {
        for (printed, version, has, copies) in [
            ("smolvm 1.32.2\n", Some((1, 32, 2)), true, true),
            (
                "smolvm 1.40.0 (a1b2c3d 2026-12-01)\n",
                Some((1, 40, 0)),
                true,
                true,
            ),
            ("smolvm 1.14.0", Some((1, 14, 0)), true, true),
            ("smolvm 1.13.9", Some((1, 13, 9)), false, true),
            ("smolvm 1.9.0", Some((1, 9, 0)), false, true),
            ("smolvm 1.8.9", Some((1, 8, 9)), false, false),
            ("0.5.16", Some((0, 5, 16)), false, false),
            ("2.0.0 1.0.0", Some((2, 0, 0)), true, true),
            ("smolvm", None, false, false),
            ("smolvm 1.14", None, false, false),
            ("", None, false, false),
        ] {
            let found = parse(printed);
            let expected = version.map(|(major, minor, patch)| Version::new(major, minor, patch));
            assert_eq!(found, expected, "{printed}");
            assert_eq!(has_user(found.as_ref()), has, "{printed}");
            assert_eq!(copies_for(found.as_ref()), copies, "{printed}");
        }
    }
}
