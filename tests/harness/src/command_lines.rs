//! Command lines of smolvm, and what comes of them. The stand-in and the adapters are held to them.

use std::os::unix::fs::symlink;

use crate::Sandbox;

/// Command lines after `smolvm machine`, in order; `M` is the machine, `D` a directory of the
/// guest's, `LONG` a name that is too long.
pub const SAME: &[&[&str]] = &[
    // exec: statuses, streams, programs that are not there
    &["exec", "--name", "M", "--", "true"],
    &[
        "exec",
        "--name",
        "M",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 42",
    ],
    &["exec", "--name", "M", "--", "sh", "-c", "exit 255"],
    &["exec", "--name", "M", "--", "sh", "-c", "kill -9 $$"],
    &["exec", "--name", "M", "--", "sh", "-c", "kill -TERM $$"],
    &["exec", "--name", "M", "--", "no-such-command"],
    &["exec", "--name", "M", "--", "/etc/passwd"],
    &["exec", "--name", "M", "--", "/etc"],
    &["exec", "--name", "M", "--", ""],
    &["exec", "--name", "M", "-w", "/nonexistent", "--", "pwd"],
    &["exec", "--name", "M", "-w", "/usr", "--", "pwd"],
    &[
        "exec",
        "--name",
        "M",
        "--",
        "sh",
        "-c",
        "pwd; umask; tty; cat",
    ],
    &[
        "exec",
        "--name",
        "M",
        "--",
        "sh",
        "-c",
        "id -un; echo \"$HOME $TERM\"",
    ],
    &[
        "exec", "--name", "M", "--", "runuser", "-u", "node", "--", "id", "-un",
    ],
    // argv
    &[
        "exec",
        "--name",
        "M",
        "--",
        "printf",
        "<%s>",
        "a b",
        "c\nd",
        "\"q\" 'r'",
        "$HOME * \\",
        "ünï",
        "",
        "--name",
        "-e",
        "--",
    ],
    &["exec", "--name", "M", "--", "printf", "<%s>", "-n", "--"],
    &[
        "exec", "--name", "M", "printf", "<%s>", "no", "--", "dashes", "--user", "x",
    ],
    &[
        "exec",
        "--name",
        "M",
        "-e",
        "A=b c",
        "-e",
        "B=x=y\n\"z\"",
        "-e",
        "C=",
        "-e",
        "NOEQ",
        "--",
        "sh",
        "-c",
        "echo \"$A|$B|$C|$NOEQ\"",
    ],
    &["exec", "--name=M", "--env=A=1", "--", "sh", "-c", "echo $A"],
    &[
        "exec",
        "--name",
        "M",
        "-e",
        "HOME=/x",
        "--",
        "sh",
        "-c",
        "echo $HOME",
    ],
    // the user
    &["exec", "--name", "M", "--user", "root", "--", "id", "-u"],
    &[
        "exec",
        "--name",
        "M",
        "-u",
        "node",
        "--",
        "sh",
        "-c",
        "id; echo $HOME; pwd",
    ],
    &["exec", "--name", "M", "--user", "1000:1000", "--", "id"],
    &[
        "exec",
        "--name",
        "M",
        "--user",
        "4242:4343",
        "--",
        "sh",
        "-c",
        "id; echo $HOME",
    ],
    &["exec", "--name", "M", "--user", "no-such-user", "--", "id"],
    // command lines that are wrong
    &["exec", "--name", "M", "-i", "--", "sh", "-c", "cat; exit 3"],
    &["exec", "--name", "M", "-i", "--interactive", "--", "true"],
    &["exec", "--name", "M"],
    &["exec", "--name", "M", "--"],
    &["exec", "--name", "M", "--foo", "--", "true"],
    &["exec", "--name", "M", "-x", "--", "true"],
    &["exec", "--name"],
    &["exec", "--name", "M", "--name", "M", "--", "true"],
    &["exec", "--name", "M", "--user", "--", "true"],
    &["exec", "--name", "no-such-machine", "--", "true"],
    &["exec", "--name", "a:b", "--", "true"],
    &["exec", "--name", "-a", "--", "true"],
    &["exec", "--name", "_a", "--", "true"],
    &["exec", "--name", "", "--", "true"],
    &["exec", "--name", "ü", "--", "true"],
    &["exec", "--name", "LONG", "--", "true"],
    &["create", "--name", "LONG"],
    &["exec", "--", "true"],
    &["frobnicate"],
    &["cp"],
    &["cp", "file"],
    &["cp", "file", "M:D/x", "M:D/y"],
    &["cp", "--foo", "file", "M:D/x"],
    &["cp", "--uid", "node", "file", "M:D/x"],
    &["cp", "--mode", "888", "file", "M:D/x"],
    // cp
    &["cp", "file", "M:D/new/deep/er/file"],
    &[
        "exec",
        "--name",
        "M",
        "--user",
        "root",
        "--",
        "stat",
        "-c",
        "%a %s",
        "D/new/deep/er/file",
    ],
    &[
        "cp",
        "--mode",
        "600",
        "--uid",
        "1000",
        "--gid",
        "1000",
        "file",
        "M:D/owned",
    ],
    &[
        "exec", "--name", "M", "--", "stat", "-c", "%a %u:%g", "D/owned",
    ],
    &["cp", "empty", "M:D/empty"],
    &["cp", "link", "M:D/link"],
    &["cp", "na me\nü", "M:D/na me\nü"],
    &["exec", "--name", "M", "--", "sh", "-c", "ls D | od -c"],
    &["cp", "file", "M:D/a:b"],
    &["cp", "file", "M:D/new"],
    &["cp", "file", "M:D/new/"],
    &["cp", "dir", "M:D/dir"],
    &["cp", "dir/", "M:D/dir"],
    &["cp", "missing", "M:D/x"],
    &["cp", "dangling", "M:D/x"],
    &["cp", "-", "M:D/x"],
    &["cp", "a:b", "M:D/x"],
    &["cp", "./a:b", "M:D/x"],
    &["cp", "file", "file"],
    &["cp", "file", "no-such-machine:D/x"],
    &["cp", "file", "M:D/../bottle-table/x"],
    &["cp", "M:D/owned", "back"],
    &["cp", "M:D/missing", "back"],
    &["cp", "M:D/new", "back"],
    // machines
    &["status", "--name", "no-such-machine"],
    &["start", "--name", "no-such-machine"],
    &["stop", "--name", "no-such-machine"],
    &["create", "--name", "a.b"],
    &["create", "--name", "M"],
    &["delete", "--name", "no-such-machine"],
];

/// The directory of the guest in which the command lines work.
pub const DIRECTORY: &str = "/opt/bottle-table";

/// Gives the outcome of a command line of `program`, as one text.
pub fn outcome(sandbox: &Sandbox, program: &str, args: &[&str]) -> String {
    let machine = sandbox.machine();
    let put = |arg: &str| match arg {
        "M" => machine.to_owned(),
        "LONG" => "a".repeat(129),
        "--name=M" => format!("--name={machine}"),
        _ => arg
            .replace("M:", &format!("{machine}:"))
            .replace("D/", &format!("{DIRECTORY}/")),
    };
    let args = args.iter().map(|arg| {
        if arg.ends_with("D | od -c") {
            arg.replace("D ", &format!("{DIRECTORY} "))
        } else {
            put(arg)
        }
    });
    let outcome = sandbox
        .run(program)
        .args(["machine".to_owned()])
        .args(args)
        .end();
    let stderr = match outcome.status {
        // The lines below list all options, of which the stand-in has only a few.
        2 => outcome.stderr.lines().next().unwrap_or_default().to_owned(),
        _ => without_progress(&outcome.stderr),
    };
    format!(
        "status {}\nstdout {:?}\nstderr {stderr:?}",
        outcome.status, outcome.stdout
    )
    .replace(machine, "M")
}

/// Removes the progress of a copy, which has different sizes and rates each time.
fn without_progress(stderr: &str) -> String {
    let mut result = String::new();
    for part in stderr.split('\r') {
        let is_progress = part.starts_with("Uploading ") || part.starts_with("Downloading ");
        let (what, rest) = match part.rsplit_once("s)").filter(|_| is_progress) {
            Some((sizes, rest)) => (
                sizes.rsplit_once(": ").map_or(sizes, |(what, _)| what),
                rest,
            ),
            None => (part, ""),
        };
        if !result.ends_with(what) {
            result.push_str(what);
        }
        result.push_str(rest);
    }
    result
}

/// Makes the files of the host and the directory of the guest with which the command lines work.
pub fn prepare(sandbox: &Sandbox) {
    for (name, content) in [
        ("file", "content\n"),
        ("empty", ""),
        ("a:b", "x"),
        ("na me\nü", "x"),
        ("dir/file", "x"),
    ] {
        sandbox.write(name, content);
    }
    symlink("file", sandbox.path("link")).unwrap();
    symlink("nowhere", sandbox.path("dangling")).unwrap();
    sandbox.guest(&format!("rm -rf {DIRECTORY} && mkdir -m 777 {DIRECTORY}"));
}
