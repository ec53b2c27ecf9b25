//! That nothing which the plan names goes around the gate, and nothing else into it: git itself is
//! asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use harness::{Sandbox, tool};
use proptest::collection::btree_set;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};
use serde_json::{Value, json};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-git");
/// How many plans are made, with up to 20 remotes each.
const PLANS: u32 = 50;
/// The file with the seeds of failed plans, which are tried first the next time.
const FAILURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/gate.failures");

/// An upstream in the parts that decide on its spellings.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Upstream {
    form: Form,
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// Without `.git`.
    stem: String,
    has_suffix: bool,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Form {
    Ssh,
    Scp,
    Https,
}

/// Few hosts, users and letters, so that remotes of one plan begin alike, end alike and hold each
/// other's names.
fn upstream() -> impl Strategy<Value = Upstream> {
    let form = prop_oneof![Just(Form::Ssh), Just(Form::Scp), Just(Form::Https)];
    let host = prop_oneof![
        Just("host"),
        Just("host.example"),
        Just("hos"),
        Just("git.host"),
        Just("10.0.0.1"),
        Just("[::1]"),
    ];
    let user = proptest::option::of(prop_oneof![Just("git"), Just("deploy"), Just("g")]);
    let port = proptest::option::of(prop_oneof![Just(22_u16), Just(2222), Just(443), Just(8443)]);
    let segment = "[ab~][ab.;#\"\\\\ %é_-]{0,3}[ab]";
    let stem = proptest::collection::vec(segment, 1..4).prop_map(|parts| parts.join("/"));
    (form, user, host, port, stem, any::<bool>()).prop_map(
        |(form, user, host, port, stem, has_suffix)| Upstream {
            form,
            user: user.filter(|_| form != Form::Https).map(str::to_owned),
            host: host.to_owned(),
            port: port.filter(|_| form != Form::Scp),
            // In a web address it would begin something else than a path.
            stem: if form == Form::Https {
                stem.replace('#', "+")
            } else {
                stem
            },
            has_suffix,
        },
    )
}

impl Upstream {
    fn path(&self) -> String {
        format!("{}{}", self.stem, if self.has_suffix { ".git" } else { "" })
    }

    fn written(&self) -> String {
        let (user, host, path) = (self.user(), &self.host, self.path());
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        match self.form {
            Form::Ssh => format!("ssh://{user}{host}{port}/{path}"),
            Form::Scp => format!("{user}{host}:{path}"),
            Form::Https => format!("https://{host}{port}/{path}"),
        }
    }

    fn user(&self) -> String {
        self.user
            .as_ref()
            .map(|user| format!("{user}@"))
            .unwrap_or_default()
    }

    /// The spellings that have to go to the gate, written down once more and otherwise than in the
    /// program: as a list of whole forms, with U, H, O and P for user, host, port and path.
    fn spellings(&self) -> Vec<String> {
        const SSH: &str = "ssh://UH/P ssh://UH:O/P git+ssh://UH/P git+ssh://UH:O/P \
                           ssh+git://UH/P ssh+git://UH:O/P";
        const SCP: &str = "UH:P UH:/P";
        const WEB: &str = "https://H/P https://H:443/P https://git@H/P http://H/P git://H/P";
        const OWN_PORT: &str = "https://H:O/P https://git@H:O/P";
        let is_ssh = self.form == Form::Ssh;
        let port = self.port.filter(|_| is_ssh).unwrap_or(22).to_string();
        let mut forms: Vec<(String, String, String)> = Vec::new();
        let mut add = |list: &str, user: &str, port: &str| {
            for form in list.split(' ') {
                forms.push((form.to_owned(), user.to_owned(), port.to_owned()));
            }
        };
        for user in [self.user(), String::new(), "git@".to_owned()] {
            add(SSH, &user, &port);
            if port == "22" {
                add(SCP, &user, "");
            }
        }
        add(WEB, "", "");
        if let (Form::Https, Some(port)) = (self.form, self.port) {
            add(OWN_PORT, "", &port.to_string());
        }
        let mut spellings = vec![self.written()];
        for (form, user, port) in forms {
            for end in ["", ".git", "/", ".git/"] {
                let prefix = form.strip_suffix('P').unwrap();
                let prefix = prefix.replace('U', &user).replace('H', &self.host);
                spellings.push(format!("{}{}{end}", prefix.replace('O', &port), self.stem));
            }
        }
        spellings
    }

    /// The same on another host, and under a path whose first byte is another.
    fn strangers(&self) -> Vec<String> {
        let elsewhere = Self {
            host: "elsewhere".to_owned(),
            ..self.clone()
        };
        let path = Self {
            stem: format!("z{}", &self.stem[1..]),
            ..self.clone()
        };
        let longer = Self {
            host: format!("x{}", self.host.trim_matches(['[', ']']).replace(':', "x")),
            ..self.clone()
        };
        [elsewhere, path, longer]
            .iter()
            .flat_map(Self::spellings)
            .collect()
    }
}

/// The gate of each address that leads to one of `upstreams`, and the remotes to put into a plan.
///
/// A plan with two remotes that are reached by the same address is refused, so the later one is
/// left out.
fn declare(upstreams: &BTreeSet<Upstream>) -> (BTreeMap<String, String>, Value) {
    let (mut gates, mut remotes) = (BTreeMap::new(), serde_json::Map::new());
    for upstream in upstreams {
        let spellings = upstream.spellings();
        if spellings
            .iter()
            .any(|spelling| gates.contains_key(spelling))
        {
            continue;
        }
        let name = format!("repo-{}", remotes.len());
        let gate = format!("git://127.0.0.1:9418/{name}.git");
        gates.extend(
            spellings
                .into_iter()
                .map(|spelling| (spelling, gate.clone())),
        );
        remotes.insert(
            name.clone(),
            json!({"Name": name, "Upstream": upstream.written()}),
        );
    }
    (gates, Value::Object(remotes))
}

/// What git prints of a command with the global configuration `global`, in `directory`.
fn git(global: &Path, directory: &Path, args: &[&str]) -> String {
    let mut git = tool("git");
    git.args(args).current_dir(directory);
    git.env("GIT_CONFIG_GLOBAL", global);
    let output = git.output().unwrap();
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Where git fetches from and pushes to for each of `urls`.
///
/// `git ls-remote --get-url` says it of one address; of a repository that has each of them for a
/// remote, `git remote -v` says it of all at once.
fn destinations(sandbox: &Sandbox, global: &Path, urls: &[&str]) -> Vec<[String; 2]> {
    let mut config = String::from("[core]\n\trepositoryformatversion = 0\n");
    for (number, url) in urls.iter().enumerate() {
        let quoted = url.replace('\\', "\\\\").replace('"', "\\\"");
        writeln!(config, "[remote \"{number:05}\"]\n\turl = \"{quoted}\"").unwrap();
    }
    sandbox.write("remotes/HEAD", "ref: refs/heads/main\n");
    sandbox.write("remotes/config", config);
    for directory in ["objects", "refs"] {
        fs::create_dir_all(sandbox.path("remotes").join(directory)).unwrap();
    }
    let printed = git(global, &sandbox.path("remotes"), &["remote", "-v"]);
    let lines: Vec<_> = printed.lines().collect();
    let url = |line: &str, number: usize, kind: &str| {
        let line = line.strip_prefix(&format!("{number:05}\t")).unwrap();
        line.strip_suffix(kind).unwrap().to_owned()
    };
    let pairs = lines.chunks(2).enumerate();
    pairs
        .map(|(at, line)| [url(line[0], at, " (fetch)"), url(line[1], at, " (push)")])
        .collect()
}

proptest! {
    #![proptest_config(Config {
        cases: PLANS,
        // The time limit for shrinking a failure, in milliseconds.
        max_shrink_time: 60_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(FAILURES))),
        ..Config::default()
    })]

    #[test]
    fn every_spelling_goes_to_its_own_gate_and_nothing_else_does(
        upstreams in btree_set(upstream(), 1..12),
    ) {
        let sandbox = Sandbox::new();
        let (gates, remotes) = declare(&upstreams);
        let mut plan = sandbox.plan();
        plan["agent_git_gate_host"] = json!("127.0.0.1:9418");
        plan["spec"]["manifest"]["bottles"]["dev"]["git"] = json!({"remotes": remotes});
        let outcome = sandbox.run(STEP).args(["-q"]).plan(&plan).end();
        prop_assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));

        let strangers: BTreeSet<_> = upstreams.iter().flat_map(Upstream::strangers).collect();
        let strangers = strangers.iter().filter(|&url| !gates.contains_key(url));
        let expected: Vec<_> = gates.iter().chain(strangers.map(|url| (url, url))).collect();
        let urls: Vec<_> = expected.iter().map(|(url, _)| url.as_str()).collect();
        let config = sandbox.path("log.copy");
        let found = destinations(&sandbox, &config, &urls);
        prop_assert_eq!(found.len(), expected.len());
        for ((url, expected), found) in expected.iter().zip(&found) {
            prop_assert_eq!(found, &[(*expected).clone(), (*expected).clone()], "{}", url);
        }
        let fetched = git(&config, Path::new("/"), &["ls-remote", "--get-url", "--", urls[0]]);
        prop_assert_eq!(fetched.trim_end_matches('\n'), found[0][0].as_str());
    }
}
