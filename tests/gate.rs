//! That nothing which the plan names goes around the gate, and nothing else into it: git itself is
//! asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use harness::Sandbox;
use proptest::collection::btree_set;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

const STEP: &str = env!("CARGO_BIN_EXE_bottle-git");
/// How many plans are made, with up to 40 remotes each.
const PLANS: u32 = 60;

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
            stem: if form == Form::Https { stem.replace('#', "+") } else { stem },
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
        self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default()
    }

    /// What the contract lists, written down once more and otherwise than in the program.
    fn spellings(&self) -> Vec<String> {
        let mut spellings = vec![self.written()];
        let (host, port) =
            (&self.host, if self.form == Form::Ssh { self.port.unwrap_or(22) } else { 22 });
        let users = match (self.form, &self.user) {
            (Form::Https, _) => vec!["git@"],
            (_, None) => vec!["", "git@"],
            (_, Some(_)) => vec![],
        };
        for user in users
            .into_iter()
            .map(str::to_owned)
            .chain(self.user.as_ref().map(|user| format!("{user}@")))
        {
            for path in [self.stem.clone(), format!("{}.git", self.stem)] {
                spellings.push(format!("ssh://{user}{host}/{path}"));
                spellings.push(format!("ssh://{user}{host}:{port}/{path}"));
                if port == 22 {
                    spellings.push(format!("{user}{host}:{path}"));
                    spellings.push(format!("{user}{host}:/{path}"));
                }
            }
        }
        let origins = [
            Some(String::new()),
            self.port.filter(|_| self.form == Form::Https).map(|port| format!(":{port}")),
        ];
        for origin in origins.into_iter().flatten() {
            spellings.push(format!("https://{host}{origin}/{}", self.stem));
            spellings.push(format!("https://{host}{origin}/{}.git", self.stem));
        }
        spellings
    }

    /// The same on another host, and under a path whose first byte is another.
    fn strangers(&self) -> Vec<String> {
        let elsewhere = Self { host: "elsewhere".to_owned(), ..self.clone() };
        let path = Self { stem: format!("z{}", &self.stem[1..]), ..self.clone() };
        let longer = Self {
            host: format!("x{}", self.host.trim_matches(['[', ']']).replace(':', "x")),
            ..self.clone()
        };
        [elsewhere, path, longer].iter().flat_map(Self::spellings).collect()
    }
}

/// Where git goes for each of `urls` with the configuration `config`.
fn destinations(config: &Path, urls: &[String]) -> Vec<String> {
    let ask = |url: &String| {
        let mut git = Command::new("git");
        git.args(["ls-remote", "--get-url", "--", url])
            .env("GIT_CONFIG_GLOBAL", config)
            .env("GIT_CONFIG_NOSYSTEM", "1");
        let output = git.current_dir("/").output().unwrap();
        assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned()
    };
    let chunk = urls.len().div_ceil(4).max(1);
    thread::scope(|scope| {
        let threads: Vec<_> = urls
            .chunks(chunk)
            .map(|urls| scope.spawn(move || urls.iter().map(ask).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn every_spelling_goes_to_its_own_gate_and_nothing_else_does() {
    let sandbox = Sandbox::new();
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::deterministic_rng(RngAlgorithm::default()),
    );
    let (mut upstreams, mut asked) = (0, 0);
    for round in 0..PLANS {
        let tree = btree_set(upstream(), 1..40).new_tree(&mut runner).unwrap();
        // Two that are reached by the same address are refused, so the later one is left out.
        let mut gates = BTreeMap::new();
        let mut remotes = serde_json::Map::new();
        for upstream in tree.current() {
            let spellings = upstream.spellings();
            if spellings.iter().any(|spelling| gates.contains_key(spelling)) {
                continue;
            }
            let name = format!("repo-{}", remotes.len());
            let gate = format!("git://127.0.0.1:9418/{name}.git");
            gates.extend(
                spellings.into_iter().map(|spelling| (spelling, (gate.clone(), upstream.clone()))),
            );
            remotes.insert(name.clone(), json!({"Name": name, "Upstream": upstream.written()}));
        }
        upstreams += remotes.len();
        let mut plan = sandbox.plan();
        plan["agent_git_gate_host"] = json!("127.0.0.1:9418");
        plan["spec"]["manifest"]["bottles"]["dev"]["git"] = json!({"remotes": remotes});
        let outcome = sandbox.run(STEP).args(["-q"]).plan(&plan).end();
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{plan}");
        let config =
            sandbox.write(format!("config-{round}"), fs::read(sandbox.path("log.copy")).unwrap());

        let own: Vec<_> =
            gates.iter().map(|(spelling, (gate, _))| (spelling.clone(), gate.clone())).collect();
        // All of the strangers would take a minute; they are as many as there are spellings, from
        // all over.
        let others =
            gates.values().flat_map(|(_, upstream)| upstream.strangers()).step_by(17).take(60);
        let others = others.filter(|url| !gates.contains_key(url)).map(|url| (url.clone(), url));
        let (urls, expected): (Vec<_>, Vec<_>) = own.into_iter().step_by(4).chain(others).unzip();
        asked += urls.len();
        for ((url, expected), found) in urls.iter().zip(&expected).zip(destinations(&config, &urls))
        {
            assert_eq!(&found, expected, "{url} in {}", fs::read_to_string(&config).unwrap());
        }
    }
    assert!(upstreams > 500 && asked > 4000, "{upstreams} upstreams, {asked} addresses");
}
