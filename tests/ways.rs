//! `bottle-ca` has two ways to make the guest trust a certificate. The quick one is taken in an
//! ordinary guest and the plain one in an odd guest, and both make the same of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use harness::{Certificate, Outcome, Sandbox, certificate, tool};
use serde_json::Value;

const STEP: &str = env!("CARGO_BIN_EXE_bottle-ca");
const UPDATE: &str = "/usr/sbin/update-ca-certificates";
/// The environment variable that names the `update-ca-certificates` of the guests, such as one of
/// another release. It is the host's if the variable is unset.
const VARIABLE: &str = "CLAUDE_BOTTLE_TEST_UPDATE_CA";

/// What every preparation begins with: names, and that a failure shows what was said.
const NAMES: &str = "set -eu; exec 3>&1 2>/tmp/said; trap 'cat /tmp/said >&3' EXIT; etc=/etc/ssl/certs public=/usr/share/ca-certificates \
    local=/usr/local/share/ca-certificates conf=/etc/ca-certificates.conf given=/root/given; \
    ours=$local/claude-bottle-mitm.crt hooks=/etc/ca-certificates/update.d; \
    mkdir -p $local; cd $etc; set -- *.pem; first=$1; ";

/// A guest, and which way the first run takes and the second: `quick`, `plain`, or `failing`, which
/// is the plain way where it fails in some releases.
type Case = (&'static str, [&'static str; 2]);

/// Guests in which nothing but the certificate is missing.
const ORDINARY: &[Case] = &[
    ("", ["quick", "quick"]),
    // The guest trusts it already.
    (
        "cp $given/ca.pem $ours; update-ca-certificates",
        ["quick", "quick"],
    ),
    // Other local certificates, before it and behind it.
    (
        "cp $given/b.pem $local/aa.crt; cp $given/c.pem $local/zz.crt; update-ca-certificates",
        ["quick", "quick"],
    ),
    (
        "mkdir $local/a $local/z; cp $given/b.pem \"$local/a/My CA (root), 2.crt\"; \
         cp $given/c.pem $local/z/x.crt; update-ca-certificates",
        ["quick", "quick"],
    ),
    // Two of the same subject with other keys.
    (
        "cp $given/same.pem $local/aa.crt; cp $given/same2.pem $local/zz.crt; \
         update-ca-certificates",
        ["quick", "quick"],
    ),
    (
        "cp $given/same.pem $local/aa.crt; update-ca-certificates; cp $given/ca.pem $ours; \
         update-ca-certificates; cp $given/same2.pem $local/zz.crt; update-ca-certificates",
        ["quick", "quick"],
    ),
    // Without a newline at the end, and with the line ends of DOS.
    (
        "printf %s \"$(cat $given/b.pem)\" >$local/aa.crt; sed 's/$/\\r/' $given/c.pem >$local/zz.crt; \
         update-ca-certificates",
        ["quick", "quick"],
    ),
    // A certificate that is not wanted and not linked.
    (
        "sed -i '1s/^/!/' $conf; update-ca-certificates",
        ["quick", "quick"],
    ),
    // One that is listed and not there.
    (
        "{ echo '# more'; echo; echo mozilla/None.crt; } >>$conf; update-ca-certificates",
        ["quick", "quick"],
    ),
    // What run-parts(8) does not run is no hook.
    (
        "touch $hooks/README $hooks/old.dpkg-dist; chmod +x $hooks/old.dpkg-dist",
        ["quick", "quick"],
    ),
    ("rmdir $hooks", ["quick", "quick"]),
    (
        "chmod 600 ca-certificates.crt; chown 1000 ca-certificates.crt",
        ["quick", "quick"],
    ),
    // What killed runs left: while it built, and between its renames.
    (
        "mkdir -p .claude-bottle-ca/certs; touch .claude-bottle-ca/list",
        ["quick", "quick"],
    ),
    ("ln -s $ours claude-bottle-mitm.pem", ["quick", "quick"]),
    (
        "ln -s $ours claude-bottle-mitm.pem; ln -s claude-bottle-mitm.pem $given_hash.0",
        ["quick", "quick"],
    ),
];

/// Guests in which something is pending or unexpected.
const ODD: &[Case] = &[
    // Another certificate was there before: of the same subject, and of another one.
    (
        "cp $given/same.pem $ours; update-ca-certificates",
        ["plain", "quick"],
    ),
    (
        "cp $given/b.pem $ours; update-ca-certificates",
        ["plain", "quick"],
    ),
    // Hooks.
    (
        "printf '#!/bin/sh\\ncat >>/root/hooked\\n' >$hooks/jks-keystore; chmod +x $hooks/jks-keystore",
        ["plain", "plain"],
    ),
    // Pending: a certificate to be removed, public ones and local ones to be added.
    ("sed -i '1s/^/!/' $conf", ["plain", "quick"]),
    ("rm \"$first\"", ["plain", "quick"]),
    ("cp $given/b.pem $local/aa.crt", ["plain", "quick"]),
    ("ln -sf $given/b.pem \"$first\"", ["plain", "quick"]),
    // A local one that was renewed, which leaves a hash link that leads to the new one.
    (
        "cp $given/b.pem $local/aa.crt; update-ca-certificates; cp $given/c.pem $local/aa.crt; \
         update-ca-certificates",
        ["plain", "quick"],
    ),
    // Links that lead nowhere.
    ("ln -s /nowhere gone.pem", ["plain", "quick"]),
    ("ln -s gone.pem 01234567.0", ["plain", "quick"]),
    (
        "ln -s claude-bottle-mitm.pem $given_hash.0",
        ["plain", "quick"],
    ),
    ("rm $(find . -name '*.0' | head -n 1)", ["plain", "quick"]),
    // The bundle.
    ("echo more >>ca-certificates.crt", ["plain", "quick"]),
    ("truncate -s -1 ca-certificates.crt", ["plain", "quick"]),
    ("rm ca-certificates.crt", ["plain", "quick"]),
    ("touch ca-certificates.crt.new", ["plain", "quick"]),
    (
        "mv ca-certificates.crt /root; ln -s /root/ca-certificates.crt .",
        ["plain", "quick"],
    ),
    // Its own link.
    (
        "cp $given/ca.pem claude-bottle-mitm.pem",
        ["plain", "quick"],
    ),
    (
        "ln -s $given/ca.pem claude-bottle-mitm.pem",
        ["plain", "quick"],
    ),
    // What is not update-ca-certificates' own.
    ("cp $given/b.pem foreign.pem", ["plain", "plain"]),
    (
        "ln -s $given/b.pem foreign.pem; openssl rehash . 2>/dev/null",
        ["plain", "plain"],
    ),
    ("mkdir java", ["plain", "plain"]),
    // The list.
    (
        "sed -i '$d' $conf; update-ca-certificates",
        ["plain", "plain"],
    ),
    ("truncate -s -1 $conf", ["plain", "plain"]),
    ("sed -i d $conf", ["plain", "failing"]),
    (
        "sed -i 2,999d $conf; update-ca-certificates --fresh",
        ["plain", "plain"],
    ),
    // Two certificates that are equal, or have the name of one link.
    (
        "cp -L \"$first\" $local/zz.crt; update-ca-certificates 2>/dev/null",
        ["plain", "plain"],
    ),
    (
        "mkdir $local/a; cp $given/b.pem $local/a/claude-bottle-mitm.crt; update-ca-certificates",
        ["plain", "plain"],
    ),
    (
        "cp $given/ca.pem $local/aa.crt; update-ca-certificates",
        ["failing", "failing"],
    ),
    (
        "cp $given/b.pem \"$local/a\\\\b.crt\"",
        ["failing", "failing"],
    ),
    ("rm /etc/ca-certificates.conf", ["plain", "failing"]),
];

/// The certificates of a test, which are the same in all of its guests.
struct Given(Vec<(&'static str, String)>);

impl Given {
    fn new() -> Self {
        // All of the harness have the same subject.
        let same = || certificate(&Certificate::Ca).pem;
        Self(vec![
            ("ca", same()),
            ("same", same()),
            ("same2", same()),
            ("b", named("b")),
            ("c", named("c")),
        ])
    }

    /// Makes a guest with the certificates in it, prepared by a script.
    fn guest(&self, script: &str) -> Sandbox {
        let sandbox = Sandbox::with_guest();
        let mut whole = "mkdir /root/given\n".to_owned();
        for (name, pem) in &self.0 {
            writeln!(whole, "echo '{}' >/root/given/{name}.pem", pem.trim_end()).unwrap();
            sandbox.write(format!("{name}.pem"), pem);
        }
        whole += NAMES;
        if script.contains("$given_hash") {
            whole += "given_hash=$(openssl x509 -noout -hash -in $given/ca.pem); ";
        }
        sandbox.guest(&format!(
            "{whole} {{ :\n{script}\n}} >/dev/null; : >/tmp/said; rm /tmp/said; trap - EXIT"
        ));
        sandbox
    }
}

/// Makes a CA certificate with this subject.
fn named(name: &str) -> String {
    let subject = format!("/CN={name}");
    let output = tool("openssl")
        .args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"])
        .args([
            "ec_paramgen_curve:P-256",
            "-keyout",
            "/dev/null",
            "-subj",
            &subject,
        ])
        .output()
        .expect("openssl");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Puts the `update-ca-certificates` that is to be tested into the guest; with `disguise` behind a
/// script that does not show its options, so that it is not known and has to go the plain way.
fn install(sandbox: &Sandbox, program: Option<&str>, disguise: bool) {
    let path = |name: &str| sandbox.path(format!("guest-bin/{name}"));
    let mut real = UPDATE;
    if let Some(program) = program {
        real = "/opt/bin/update-ca-certificates";
        let name = if disguise {
            "real"
        } else {
            "update-ca-certificates"
        };
        write_program(&path(name), program);
        if disguise {
            real = "/opt/bin/real";
        }
    }
    if disguise {
        let script = format!("#!/bin/sh\nexec {real} \"$@\"\n");
        write_program(&path("update-ca-certificates"), &script);
    }
}

fn write_program(path: &Path, script: &str) {
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the step. Returns which way it took, and the outcome without the plan.
fn run(sandbox: &Sandbox, plan: &Value) -> (String, Outcome) {
    let mut outcome = sandbox.run(STEP).plan(plan).end();
    if outcome.status != 0 {
        return ("error".to_owned(), outcome);
    }
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    outcome.stdout.clear();
    let way = &printed["receipts"]["ca"]["way"];
    (way.as_str().unwrap().to_owned(), outcome)
}

/// Keeps what `bottle-ca` changes in a guest, and puts it back.
const KEEP: &str = "mkdir /var/tmp/kept && \
    cp -a /etc/ssl/certs /usr/local/share/ca-certificates /root /var/tmp/kept";
const PUT_BACK: &str = "rm -rf /etc/ssl/certs /usr/local/share/ca-certificates /root \
    /run/claude-bottle* /var/lib/bottle && cd /var/tmp/kept && cp -a certs /etc/ssl && \
    cp -a ca-certificates /usr/local/share && cp -a root /";

/// Prepares a guest by the script of each case, and has it trust the certificate twice, in the
/// expected ways. Asserts that the quick way changes nothing in the second run, and that the plain
/// way makes the same of the guest if the first run went the quick way.
#[track_caller]
fn both_ways(cases: &[Case], program: Option<&str>) {
    let of_variable = std::env::var_os(VARIABLE).map(|file| fs::read_to_string(file).unwrap());
    let program = program.or(of_variable.as_deref());
    let given = Given::new();
    for (script, expected) in cases {
        let sandbox = given.guest(script);
        if expected[0] == "quick" {
            sandbox.guest(KEEP);
        }
        install(&sandbox, program, false);
        let run = || {
            let (way, outcome) = run(&sandbox, &sandbox.plan());
            let is_compared = expected.contains(&"quick");
            let tree = is_compared.then(|| sandbox.tree());
            (way, format!("{script}: {outcome:?}"), tree)
        };
        let runs = expected.map(|expected| {
            let (way, said, tree) = run();
            if expected == "failing" {
                assert_ne!(way, "quick", "{said}");
            } else {
                assert_eq!(way, expected, "{said}");
            }
            (said, tree)
        });
        let [(first_said, first), (second_said, second)] = runs;
        if expected[1] == "quick" {
            assert_eq!(first_said, second_said);
            assert_eq!(first, second, "{first_said}");
        }
        if expected[0] == "quick" {
            sandbox.guest(PUT_BACK);
            install(&sandbox, program, true);
            let (way, said, tree) = run();
            assert_ne!(way, "quick", "{said}");
            assert_eq!(said, first_said);
            assert_eq!(tree, first, "{said}");
        }
    }
}

#[test]
fn the_quick_way_in_an_ordinary_guest() {
    both_ways(ORDINARY, None);
}

#[test]
fn the_plain_way_in_an_odd_guest() {
    let (one, other) = ODD.split_at(ODD.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| both_ways(one, None));
        both_ways(other, None);
    });
}

/// Up to Debian 11 the program built the bundle elsewhere, and removed the old one before.
#[test]
fn both_ways_of_an_older_update_ca_certificates() {
    let mut program = fs::read_to_string(UPDATE).unwrap();
    for (new, old) in [
        (
            "TEMPBUNDLE=\"${ETCCERTSDIR}/${CERTBUNDLE}.new\"",
            "TEMPBUNDLE=$(mktemp)",
        ),
        ("ADDED_CNT=", "rm -f \"$CERTBUNDLE\"\nADDED_CNT="),
    ] {
        assert!(program.contains(new), "{UPDATE} has no {new}");
        program = program.replacen(new, old, 1);
    }
    both_ways(&ORDINARY[1..3], Some(&program));
    both_ways(&ODD[..1], Some(&program));
}

#[test]
fn a_certificate_without_a_newline_at_its_end() {
    let given = Given::new();
    let [free, plain] = [false, true].map(|disguise| {
        let sandbox = given.guest("cp $given/c.pem $local/zz.crt; update-ca-certificates");
        sandbox.write("ca.pem", given.0[0].1.trim_end());
        install(&sandbox, None, disguise);
        sandbox
    });
    for _ in 0..2 {
        assert_eq!(run(&free, &free.plan()).0, "quick");
        assert_eq!(run(&plain, &plain.plan()).0, "plain");
        assert_eq!(free.tree(), plain.tree());
    }
}

/// Programs of the name that do not do in a directory of their own what they should.
#[test]
fn an_update_ca_certificates_that_cannot_be_quick_goes_the_plain_way() {
    let known = fs::read_to_string(UPDATE).unwrap();
    let elsewhere = "[ \"$ETCCERTSDIR\" = /etc/ssl/certs ]";
    let exit = format!("{elsewhere} || exit 3\nADDED_CNT=");
    let count = format!("ADDED_CNT=$({elsewhere} || exec echo 0; ");
    let link = format!("  ! {elsewhere} || ln -sf");
    let hash_link = format!("    ! {elsewhere} || openssl rehash . ");
    let heedless = format!("exec {UPDATE}\nverbose=0");
    for (old, new) in [
        ("--hooksdir)", "--hooks)"),
        ("verbose=0", &heedless),
        ("ADDED_CNT=", &exit),
        ("ADDED_CNT=$(", &count),
        ("  ln -sf", &link),
        ("    openssl rehash . ", &hash_link),
    ] {
        assert!(known.contains(old), "{UPDATE} has no {old}");
        let sandbox = Sandbox::with_guest();
        install(&sandbox, Some(&known.replacen(old, new, 1)), false);
        let (way, outcome) = run(&sandbox, &sandbox.plan());
        assert_eq!(way, "plain", "{new}: {outcome:?}");
    }
}

/// The commands that the script and update-ca-certificates run, other than `flock`, which waits.
const COMMANDS: &[&str] = &[
    "awk",
    "basename",
    "cat",
    "chmod",
    "chown",
    "cmp",
    "find",
    "grep",
    "ln",
    "mkdir",
    "mktemp",
    "mv",
    "openssl",
    "readlink",
    "rm",
    "run-parts",
    "sed",
    "sha256sum",
    "sort",
    "test",
    "wc",
    "xargs",
];
/// Stands before each of them. When as many have begun as the file says, all in the guest is
/// killed.
const KILLER: &str = "#!/bin/sh
printf . >>/root/begun
read -r begun </root/begun
read -r last </root/last
if [ \"${#begun}\" -ge \"$last\" ]; then
    kill -KILL -1
    kill -KILL $$
fi
exec \"/usr/bin/${0##*/}\" \"$@\"
";

#[test]
fn killed_before_any_of_its_commands_it_leaves_a_whole_bundle_and_the_next_run_does_the_rest() {
    let given = Given::new();
    let script = "cp $given/same.pem $local/aa.crt; cp $given/c.pem $local/zz.crt; \
        update-ca-certificates; cp -a $etc /root/before";
    let plain = given.guest(script);
    install(&plain, None, true);
    assert_eq!(run(&plain, &plain.plan()).0, "plain");
    let expected = plain.tree();
    let after = bundle(&expected);

    let sandbox = given.guest(script);
    let before = bundle(&sandbox.tree());
    let killer = sandbox.write("killing/killer", KILLER);
    fs::set_permissions(killer, fs::Permissions::from_mode(0o755)).unwrap();
    for command in COMMANDS {
        symlink("killer", sandbox.path(format!("killing/{command}"))).unwrap();
    }
    sandbox.write("plan.json", sandbox.plan().to_string());
    // The script that a dry run prints repeats no call that was killed.
    let dry = sandbox.run(STEP).args(["-n", "-f", "plan.json"]).end();
    sandbox.write("script", dry.stdout);
    let mut seen = Vec::new();
    let mut repaired = BTreeSet::new();
    let mut last = 0;
    loop {
        last += 1;
        sandbox.guest(&format!(
            "rm -rf /etc/ssl/certs /root/begun && cp -a /root/before /etc/ssl/certs && \
             rm -f /usr/local/share/ca-certificates/claude-bottle-mitm.crt && echo {last} >/root/last"
        ));
        let dead = sandbox
            .run("sh")
            .args(["script"])
            .env("STAND_IN_BIN", sandbox.path("killing"))
            .env("TMPDIR", sandbox.path("stage"))
            .end();
        let left = sandbox.tree();
        let is_after = bundle(&left) == after;
        assert!(
            is_after || bundle(&left) == before,
            "half a bundle before command {last}"
        );
        seen.push(is_after);
        if dead.status == 0 {
            break;
        }
        assert_eq!(dead.status, 137, "{dead:?}");
        // Most commands change nothing but what is being built, and the next run begins that anew.
        let passing = [".claude-bottle-ca", "root/begun", "root/last"];
        let left = left
            .lines()
            .filter(|line| !passing.iter().any(|name| line.contains(name)));
        if !repaired.insert(left.collect::<Vec<_>>().join("\n")) {
            continue;
        }
        sandbox.guest("rm /root/begun /root/last");
        let (way, outcome) = run(&sandbox, &sandbox.plan());
        assert_eq!(way, "quick", "before command {last}: {outcome:?}");
        assert_eq!(sandbox.tree(), expected, "before command {last}");
    }
    // It was killed before its renames and after them.
    assert!(last > 40 && !seen[0] && seen[last - 2], "{seen:?}");
    sandbox.guest("rm /root/begun /root/last");
    assert_eq!(sandbox.tree(), expected);
}

/// Returns what a tree says of the content of the bundle.
fn bundle(tree: &str) -> String {
    let path = "  etc/ssl/certs/ca-certificates.crt";
    let mut lines = tree.lines().filter(|line| line.ends_with(path));
    lines.next().unwrap().to_owned()
}
