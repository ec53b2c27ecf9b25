//! A guest: new namespaces, in which the machine's root has the host's programs mounted.
//!
//! smolvm makes the namespaces and the mounts, and starts this program again as their PID 1, which
//! does one [`Task`] there. PID 1 dies with smolvm, and all processes of the guest die with PID 1.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::{env, fs, process};

use nix::sched::CloneFlags;
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount,
};
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::CapabilitySet;

use crate::machine::Machine;
use crate::root::DEVICES;
use crate::{Refusal, copy, exec, unable, variable};

/// The name under which this program is PID 1.
const INIT: &str = "smolvm-init";
/// What a guest has of the host's /etc.
const SHARED: &[&str] = &["/etc/alternatives", "/etc/pam.d", "/etc/security"];

/// What PID 1 does, as the first of its arguments. The others belong to the task.
pub enum Task {
    Run,
    Receive,
    Send,
}

impl Task {
    fn name(&self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Receive => "receive",
            Self::Send => "send",
        }
    }
}

/// The programs of `STAND_IN_BIN`, if there are any.
pub fn programs() -> Option<OsString> {
    let directory = variable("STAND_IN_BIN")?;
    fs::read_dir(&directory).ok()?.next().map(|_| directory)
}

/// Does `task` with `arguments` in the guest of `machine`, and gives its exit status.
pub fn run(
    machine: &Machine,
    task: &Task,
    arguments: &[OsString],
    stdin: Stdio,
    stdout: Stdio,
) -> crate::Result {
    let unshare = |namespaces| nix::sched::unshare(namespaces).map_err(unable("make namespaces"));
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)?;
    mount_all(machine).map_err(unable("mount the host's programs"))?;
    // The next process is PID 1.
    unshare(CloneFlags::CLONE_NEWPID)?;
    // This is the same program even if another one has got its name.
    let status = Command::new("/proc/self/exe")
        .arg0(INIT)
        .arg(process::id().to_string())
        .arg(machine.root())
        .arg(task.name())
        .args(arguments)
        .stdin(stdin)
        .stdout(stdout)
        .status();
    status.map(exit_status).map_err(unable("start PID 1"))
}

fn mount_all(machine: &Machine) -> io::Result<()> {
    let root = machine.root();
    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )?;
    bind_read_only(Path::new("/usr"), &inside("/usr"))?;
    for shared in SHARED {
        if Path::new(shared).is_dir() {
            bind_read_only(Path::new(shared), &inside(shared))?;
        }
    }
    mount_bind(machine.directory.join("share"), inside("/usr/local/share"))?;
    for device in DEVICES {
        let device = format!("/dev/{device}");
        mount_bind(&device, inside(&device))?;
    }
    if let Some(programs) = programs() {
        bind_read_only(Path::new(&programs), &inside("/opt/bin"))?;
    }
    let fstab = machine.directory.join("fstab");
    if fstab.exists() {
        let mut mount = Command::new("mount");
        mount.args(["--all", "--fstab"]).arg(fstab);
        if !mount.current_dir(&machine.directory).status()?.success() {
            return Err(io::Error::other("mount(8) failed"));
        }
    }
    Ok(())
}

/// Keeps the mount's other flags: in a user namespace they cannot be cleared.
fn bind_read_only(source: &Path, target: &Path) -> io::Result<()> {
    mount_bind(source, target)?;
    let has = rustix::fs::statvfs(target)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (flag, same) in [
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
    ] {
        flags.set(same, has.contains(flag));
    }
    Ok(mount_remount(target, flags, "")?)
}

/// Does a task, if this process is PID 1 of a guest.
pub fn run_as_init() -> Option<ExitCode> {
    let mut arguments = env::args_os();
    if arguments.next()? != INIT {
        return None;
    }
    let [parent, root, task] = [arguments.next()?, arguments.next()?, arguments.next()?];
    let arguments: Vec<_> = arguments.collect();
    let status = enter(&parent, Path::new(&root)).map(|()| match task.as_bytes() {
        b"receive" => copy::receive(&arguments),
        b"send" => copy::send(&arguments),
        _ => exec::run(&arguments),
    });
    let status = status.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "smolvm (stand-in): enter the guest: {error}");
        69
    });
    Some(ExitCode::from(status))
}

fn enter(parent: &OsStr, root: &Path) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before. A process that is dead and not yet waited for has no program.
    fs::read_link(Path::new("/proc").join(parent).join("exe"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", root.join("proc"), "proc", flags, None)?;
    // Without this capability, root cannot mount the host's /usr read-write again.
    rustix::thread::remove_capability_from_bounding_set(CapabilitySet::SYS_ADMIN)?;
    rustix::process::chroot(root)?;
    env::set_current_dir("/")
}

/// Waits for the processes of the guest until `command` ends, and gives its exit status. Those whose
/// parents have ended are PID 1's to wait for.
pub fn reap(command: u32) -> u8 {
    let command = i32::try_from(command).ok().and_then(Pid::from_raw);
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((process, status))) if Some(process) == command => {
                return exit_status(ExitStatus::from_raw(status.as_raw()));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return 1,
        }
    }
}

/// The exit status, or 128 plus the number of the signal that ended the program.
pub fn exit_status(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(1)
}

/// A user of the guest.
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub home: OsString,
}

impl User {
    /// Finds `NAME|UID[:GROUP|:GID]` in the guest's files.
    pub fn find(machine: &Machine, written: &str) -> Result<Self, Refusal> {
        let (name, group) = match written.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (written, None),
        };
        let unknown = |kind: &str, name: &str| {
            Refusal::agent(&format!(
                "run command: {kind} '{name}' not found in container rootfs"
            ))
        };
        let entry = entry(machine, "passwd", name).ok_or_else(|| unknown("user", name))?;
        let field = |at: usize| entry.get(at).map(String::as_str).unwrap_or_default();
        let number = |field: &str| field.parse().unwrap_or_default();
        let mut user = Self {
            uid: number(field(2)),
            gid: number(field(3)),
            home: OsStr::new(field(5)).to_owned(),
        };
        if let Some(group) = group {
            let entry =
                self::entry(machine, "group", group).ok_or_else(|| unknown("group", group))?;
            user.gid = entry[2].parse().unwrap_or_default();
        }
        Ok(user)
    }
}

/// The fields of the line of `file` whose name or number is `key`. A number needs no line.
fn entry(machine: &Machine, file: &str, key: &str) -> Option<Vec<String>> {
    let text = fs::read_to_string(machine.root().join("etc").join(file)).unwrap_or_default();
    for line in text.lines() {
        let fields: Vec<_> = line.split(':').map(str::to_owned).collect();
        if fields.len() > 2 && (fields[0] == key || fields[2] == key) {
            return Some(fields);
        }
    }
    if !key.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    key.parse::<u32>().ok()?;
    Some(["", "", key, "0", "", "/"].map(str::to_owned).to_vec())
}
