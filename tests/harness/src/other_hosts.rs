//! Other hosts, to which ssh leads. They are this host: for each connection there is an sshd of its
//! own, and smolvm there is the stand-in, with machines of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::{Sandbox, repository, running, send, stand_in};

const SSHD: &str = "/usr/sbin/sshd";

/// Hosts behind the sandbox's `ssh`. Its program `over-ssh` is the ssh adapter.
pub struct OtherHosts<'a> {
    sandbox: &'a Sandbox,
    names: Vec<String>,
}

impl<'a> OtherHosts<'a> {
    /// Makes `hosts`: the name of each, and the directory of the sandbox in which its machines are.
    #[track_caller]
    pub fn new(sandbox: &'a Sandbox, hosts: &[(&str, &str)]) -> Self {
        let path = |name: &str| sandbox.path(name).display().to_string();
        let needs = "this test needs sshd: apt-get install openssh-server";
        assert!(fs::exists(SSHD).unwrap(), "{needs}");
        let keys = "mkdir -m 700 ssh run && ssh-keygen -q -t ed25519 -N '' -f ssh/host && \
                    ssh-keygen -q -t ed25519 -N '' -f ssh/key && cp ssh/key.pub ssh/authorized && \
                    { [ \"$(id -u)\" != 0 ] || mkdir -p /run/sshd; }";
        let outcome = sandbox.sh(keys);
        assert_eq!(outcome.status, 0, "{outcome:?}");
        let mut config = format!(
            "IdentityFile {}\nUserKnownHostsFile {}\nStrictHostKeyChecking accept-new\n",
            path("ssh/key"),
            path("ssh/known")
        );
        for (name, machines) in hosts {
            let server = path(&format!("ssh/{name}.conf"));
            sandbox.write(
                format!("ssh/{name}.conf"),
                format!(
                    "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
                     PermitRootLogin yes\nSetEnv PATH={}:/usr/bin:/bin:/usr/sbin:/sbin STAND_IN_DIR={} STAND_IN_CAS=5 STAND_IN_BIN={}\n",
                    path("ssh/host"),
                    path("ssh/authorized"),
                    path("bin"),
                    path(machines),
                    path("guest-bin"),
                ),
            );
            let down = path(&format!("ssh/{name}.down"));
            let server = format!("sh -c '[ ! -e {down} ] && exec {SSHD} -i -f {server}'");
            config.extend(["Host ", *name, "\n  ProxyCommand ", &server, "\n"]);
        }
        sandbox.write("ssh/config", config);
        let ssh = format!("exec /usr/bin/ssh -F {} \"$@\"", path("ssh/config"));
        program(sandbox, "bin/ssh", &ssh);
        let smolvm = stand_in();
        let export = format!(
            "export BOTTLE_SSH_HOST=${{BOTTLE_SSH_HOST:-{}}} BOTTLE_SSH_SMOLVM={} XDG_RUNTIME_DIR={}",
            hosts[0].0,
            smolvm.display(),
            path("run")
        );
        let run = format!("{export}\nexec {} \"$@\"", adapter("ssh").display());
        program(sandbox, "bin/over-ssh", &run);
        Self {
            sandbox,
            names: hosts.iter().map(|(name, _)| (*name).to_owned()).collect(),
        }
    }

    /// Ends all connections to the host `name`, and takes it away until [`OtherHosts::bring_back`].
    pub fn take_away(&self, name: &str) {
        self.sandbox.write(format!("ssh/{name}.down"), "");
        let conf = self.sandbox.path(format!("ssh/{name}.conf"));
        for process in running(&format!("sshd -i -f {}", conf.display())) {
            send("KILL", &process);
        }
    }

    /// Makes the host `name` reachable again.
    pub fn bring_back(&self, name: &str) {
        self.sandbox.sh(&format!("rm ssh/{name}.down"));
    }
}

impl Drop for OtherHosts<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            self.sandbox
                .sh(&format!("ssh -O exit -o ControlPath=run/bottle-%C {name}"));
        }
    }
}

/// Gives the path of the adapter `name`.
pub fn adapter(name: &str) -> PathBuf {
    repository().join("scripts/adapters").join(name)
}

fn program(sandbox: &Sandbox, name: &str, script: &str) {
    let path = sandbox.write(name, format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
