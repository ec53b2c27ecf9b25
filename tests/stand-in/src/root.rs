//! The root of a new guest.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use crate::variable;

/// Where the host's public CAs are.
const PUBLIC: &str = "/usr/share/ca-certificates/";
const DIRECTORIES: &[&str] = &[
    "share/ca-certificates",
    "root/dev/shm",
    "root/etc/alternatives",
    "root/etc/ca-certificates/update.d",
    "root/etc/pam.d",
    "root/etc/security",
    "root/etc/ssl/certs",
    "root/home/node",
    "root/opt/bin",
    "root/proc",
    "root/root",
    "root/run/lock",
    "root/sys",
    "root/tmp",
    "root/usr",
    "root/var/cache",
    "root/var/lib",
    "root/var/log",
    "root/var/tmp",
];
const MODES: &[(&str, u32)] = &[
    ("root/root", 0o700),
    ("root/dev/shm", 0o1777),
    ("root/run/lock", 0o1777),
    ("root/tmp", 0o1777),
    ("root/var/tmp", 0o1777),
];
const LINKS: &[(&str, &str)] = &[
    ("/run", "root/var/run"),
    ("/run/lock", "root/var/lock"),
    ("/proc/self/fd", "root/dev/fd"),
    ("/proc/self/fd/0", "root/dev/stdin"),
    ("/proc/self/fd/1", "root/dev/stdout"),
    ("/proc/self/fd/2", "root/dev/stderr"),
];
/// The devices of a guest, which are the host's.
pub const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
/// The host's files that a guest has copies of, if the host has them.
const COPIES: &[&str] = &[
    "ca-certificates.conf",
    "debian_version",
    "hosts",
    "ld.so.cache",
    "login.defs",
    "nsswitch.conf",
    "ssl/openssl.cnf",
];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
    node:x:1000:1000::/home/node:/bin/bash\n\
    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nshadow:x:42:\nnode:x:1000:\nnogroup:x:65534:\n";
const SHADOW: &str = "root:*:20000:0:99999:7:::\nnobody:*:20000:0:99999:7:::\n\
    node:*:20000:0:99999:7:::\n";

/// Makes the directory of a machine: a copy of `STAND_IN_TEMPLATE`, or a new one.
pub fn make(machine: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(machine.parent().unwrap_or(machine))?;
    DirBuilder::new().mode(0o700).create(machine)?;
    let Some(template) = variable("STAND_IN_TEMPLATE") else {
        return build(machine);
    };
    let mut copy = Command::new("cp");
    copy.args(["-a", "--"])
        .arg(Path::new(&template).join("."))
        .arg(machine);
    if copy.status()?.success() {
        return Ok(());
    }
    Err(io::Error::other("cp failed"))
}

fn build(machine: &Path) -> io::Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    for directory in DIRECTORIES {
        fs::create_dir_all(machine.join(directory))?;
    }
    for (directory, mode) in MODES {
        fs::set_permissions(machine.join(directory), PermissionsExt::from_mode(*mode))?;
    }
    chown(machine.join("root/home/node"), Some(1000), Some(1000))?;
    for (target, link) in LINKS {
        symlink(target, machine.join(link))?;
    }
    let root = machine.join("root");
    for link in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        if let Ok(target) = fs::read_link(Path::new("/").join(link)) {
            symlink(target, root.join(link))?;
        }
    }
    for device in DEVICES {
        fs::write(root.join("dev").join(device), "")?;
    }
    let etc = root.join("etc");
    for file in COPIES {
        let host = Path::new("/etc").join(file);
        if host.exists() {
            fs::copy(host, etc.join(file))?;
        }
    }
    fs::write(etc.join("passwd"), PASSWD)?;
    fs::write(etc.join("group"), GROUP)?;
    fs::write(etc.join("shadow"), SHADOW)?;
    fs::set_permissions(etc.join("shadow"), PermissionsExt::from_mode(0o600))?;
    link_cas(&etc)
}

/// Makes links to the host's public CAs, their hash links, and the bundle. `STAND_IN_CAS` leaves
/// some out, because update-ca-certificates(8) starts five processes for each. CAs that were added
/// on the host stay out.
fn link_cas(etc: &Path) -> io::Result<()> {
    let limit = env::var("STAND_IN_CAS")
        .ok()
        .and_then(|limit| limit.parse().ok());
    let mut links: Vec<(PathBuf, String)> = Vec::new();
    for entry in fs::read_dir("/etc/ssl/certs")? {
        let entry = entry?;
        if let Ok(target) = fs::read_link(entry.path()) {
            links.push((target, entry.file_name().to_string_lossy().into_owned()));
        }
    }
    links.sort();
    let is_public = |target: &Path| target.starts_with(PUBLIC) && target.exists();
    let public = links.iter().filter(|(target, _)| is_public(target));
    let public: Vec<_> = public.take(limit.unwrap_or(usize::MAX)).collect();
    let certs = etc.join("ssl/certs");
    let (mut bundle, mut list) = (Vec::new(), String::new());
    for (target, name) in &public {
        symlink(target, certs.join(name))?;
        bundle.extend(fs::read(target)?);
        if let Some(name) = target
            .to_str()
            .and_then(|target| target.strip_prefix(PUBLIC))
        {
            list = list + name + "\n";
        }
    }
    for (target, name) in &links {
        if public.iter().any(|(_, name)| Path::new(name) == target) {
            symlink(target, certs.join(name))?;
        }
    }
    fs::write(certs.join("ca-certificates.crt"), bundle)?;
    if limit.is_some() {
        fs::write(etc.join("ca-certificates.conf"), list)?;
    }
    Ok(())
}
