//! Paths in the guest.

use crate::plan::values::GuestPath;

/// The owner and group of everything that the agent works with, as chown(1) takes them.
pub const OWNER: &str = "node:node";

/// The home directory of the agent's user, `node`.
pub const HOME: &str = "/home/node";

/// The agent's project.
pub const WORKSPACE: &str = "/home/node/workspace";

/// The bundle of all certificates that the guest trusts, which update-ca-certificates(8) writes.
pub const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Gives [`HOME`] as a path.
#[must_use]
pub fn home_directory() -> GuestPath {
    GuestPath::trusted(HOME.to_owned())
}

/// Gives the path of `path`, which is relative to the agent's home directory.
#[must_use]
pub fn home(path: &str) -> GuestPath {
    GuestPath::trusted(format!("{HOME}/{path}"))
}

/// The path of the proxy's certificate, in the directory where update-ca-certificates(8) looks for
/// local certificates.
#[must_use]
pub fn ca_certificate() -> GuestPath {
    GuestPath::trusted("/usr/local/share/ca-certificates/claude-bottle-mitm.crt".to_owned())
}
