//! Whom guest commands run as.

use std::str::FromStr;

/// The guest user that commands run as.
#[derive(Clone, Debug)]
pub enum ExecUser {
    /// root, asked for where smolvm has to be and can be asked
    Auto,
    /// what becomes of `Auto` when smolvm is new enough: root, unless the machine refuses to be asked
    RootIfTaken,
    /// whom smolvm takes by itself
    None,
    /// this one
    User(String),
}

impl FromStr for ExecUser {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            _ if text.is_empty() || text.starts_with('-') || text.contains(char::is_control) => {
                Err("neither `auto`, `none` nor a user")
            }
            user => Ok(Self::User(user.to_owned())),
        }
    }
}
