//! Where things live in the guest.

use crate::plan::values::GuestPath;

/// The owner of everything the agent works with, as `chown` takes it.
pub const OWNER: &str = "node:node";

/// The home directory of `node`.
pub const HOME: &str = "/home/node";

/// All certificates that the guest trusts, in one file.
pub const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// `path` below the agent's home directory.
#[must_use]
pub fn home(path: &str) -> GuestPath {
    GuestPath::trusted(format!("{HOME}/{path}"))
}

/// The proxy's certificate, where update-ca-certificates(8) looks for local ones.
#[must_use]
pub fn ca_certificate() -> GuestPath {
    GuestPath::trusted("/usr/local/share/ca-certificates/claude-bottle-mitm.crt".to_owned())
}
