//! Plans as launchers write them: three ways to write git, Python's own way to write unset values,
//! and what only looks like a plan that we understand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;

use harness::{STEPS, Sandbox, keys, need, repository};
use serde_json::{Value, json};

const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");
const GIT: &str = "/spec/manifest/bottles/dev";
const AGENT: &str = "/spec/manifest/agents/demo";

/// Makes a host with all files that a launcher's plan names.
fn host() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    sandbox.write_skill("init-prd");
    for (from, to) in [
        ("prompt.txt", "state/demo-abc12/agent/prompt.txt"),
        ("ca.pem", "egress-ca.pem"),
    ] {
        sandbox.write(to, fs::read(sandbox.path(from)).unwrap());
    }
    sandbox.write("pipelock-ca.pem", fs::read(sandbox.path("ca.pem")).unwrap());
    sandbox
}

/// A plan of `tests/plans`, with the paths of this host.
fn plan(sandbox: &Sandbox, name: &str) -> Value {
    let text = fs::read_to_string(repository().join(format!("tests/plans/{name}.json"))).unwrap();
    let directory = sandbox.path("").display().to_string();
    let text = text
        .replace("/tmp/", &directory)
        .replace("/home/ada/", &directory);
    serde_json::from_str(&text).unwrap()
}

#[track_caller]
fn refused(sandbox: &Sandbox, plan: &Value, why: &str) {
    for step in STEPS {
        let outcome = sandbox.run(format!("bottle-{step}")).plan(plan).end();
        outcome.fails(65, &format!("bottle-{step}: {why}\n"));
    }
    assert!(!sandbox.path("log").exists(), "smolvm was called");
}

/// The receipt of bottle-git, and the configuration that it sends.
fn git(sandbox: &Sandbox, plan: &Value) -> (Value, String) {
    let run = sandbox.run("bottle-git").args(["-q", "-o", "receipt"]);
    let outcome = run.plan(plan).end();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{plan}");
    let receipt = serde_json::from_str(&outcome.stdout).unwrap();
    (
        receipt,
        fs::read_to_string(sandbox.path("log.copy")).unwrap(),
    )
}

#[test]
fn all_ways_to_write_git_give_the_same_result() {
    let sandbox = host();
    for name in ["seed", "dataclasses", "git-gate"] {
        let mut plan = plan(&sandbox, name);
        plan["spec"]["copy_cwd"] = json!(false);
        let scheme = if name == "git-gate" { "http" } else { "git" };
        // The supervisor's and the gate's host are not excepted from the proxy.
        plan["guest_env"]["NO_PROXY"] = json!("localhost,127.0.0.1");
        let (receipt, config) = git(&sandbox, &plan);
        let url = format!("{scheme}://127.0.0.1:55555/app.git");
        assert_eq!(receipt["gate"]["remotes"], json!([url]), "{name}");
        let start =
            format!("[url \"{url}\"]\n\tinsteadOf = ssh://git@forge.example:2222/team/app.git\n");
        assert!(config.starts_with(&start), "{name}: {config}");
        let email = if name == "seed" {
            "ada@example.com"
        } else {
            "agent@example.com"
        };
        let identity = json!({"name": "Ada Lovelace", "email": email});
        assert_eq!(receipt["identity"], identity, "{name}");
        sandbox.write("plan.json", plan.to_string());
        let outcome = sandbox.sh("provision -q < plan.json");
        let receipts = outcome.is(0, &plan, "");
        assert_eq!(keys(&receipts), STEPS);
        assert!(harness::schema("plan").is_valid(&plan), "{name}");
    }
}

#[test]
fn a_key_that_only_sounds_like_git_is_refused() {
    let sandbox = host();
    let base = plan(&sandbox, "git-gate");
    let gate = base.pointer(GIT).unwrap()["git-gate"].clone();
    for (object, at) in [
        (GIT, "spec.manifest.bottles.dev"),
        (AGENT, "spec.manifest.agents.demo"),
    ] {
        for key in [
            "git_gate",
            "gitgate",
            "gitGate",
            "Git-Gate",
            "GIT_GATE",
            "git-gates",
            "git gate",
            "gate",
            "gates",
            "repos",
            "repositories",
            "git_repos",
            "remotes",
            "git_remotes",
            "Remotes",
            "gitUser",
            "git-user",
            "git_users",
            "gituser",
            "Git",
            "GIT",
            "gti",
            "gitt",
            "remots",
            "remtoes",
        ] {
            let mut plan = base.clone();
            let section = plan.pointer_mut(object).unwrap().as_object_mut().unwrap();
            section.remove("git-gate");
            section.insert(key.to_owned(), gate.clone());
            plan["git_gate_plan"]["upstreams"] = json!([]);
            for step in ["ca", "git"] {
                let outcome = sandbox.run(format!("bottle-{step}")).plan(&plan).end();
                assert_eq!(
                    (outcome.status, outcome.stdout.as_str()),
                    (65, ""),
                    "{at} {key}"
                );
                let start = format!("bottle-{step}: {at}.{key}: unknown key `{key}`: ");
                assert!(outcome.stderr.starts_with(&start), "{}", outcome.stderr);
            }
        }
    }
    assert!(!sandbox.path("log").exists(), "smolvm was called");
}

#[test]
fn a_gate_without_remotes_is_refused() {
    let sandbox = host();
    let why = "git_gate_plan.upstreams: the gate stands in front of repositories, but \
               spec.manifest.bottles.dev has no git remotes: git would go around the gate";
    for git in [
        json!({"user": {"name": "Ada"}}),
        json!([]),
        json!({"remotes": {}}),
        Value::Null,
    ] {
        let mut plan = plan(&sandbox, "seed");
        plan.pointer_mut(GIT).unwrap()["git"] = git;
        plan["git_gate_plan"] = json!({"upstreams": [{"name": "app"}]});
        refused(&sandbox, &plan, why);
    }
}

#[test]
fn two_ways_to_write_git_at_once_are_refused() {
    let sandbox = host();
    let base = plan(&sandbox, "seed");
    let object = json!({"user": {"name": "Ada"}});
    let user = json!({"name": "Ada"});
    for (sections, one, other) in [
        (json!({"git": object, "git_user": user}), "git", "git_user"),
        (
            json!({"git": object, "git-gate": object}),
            "git",
            "git-gate",
        ),
        (
            json!({"git": [{"Name": "a", "Upstream": "ssh://h/a"}], "git-gate": object}),
            "git",
            "git-gate",
        ),
        (
            json!({"git_user": user, "git-gate": object}),
            "git_user",
            "git-gate",
        ),
    ] {
        let mut plan = base.clone();
        let bottle = plan.pointer_mut(GIT).unwrap();
        for (key, value) in sections.as_object().unwrap() {
            bottle[key] = value.clone();
        }
        if sections.get("git").is_none() {
            bottle.as_object_mut().unwrap().remove("git");
        }
        plan["git_gate_plan"]["upstreams"] = json!([]);
        let why = format!(
            "spec.manifest.bottles.dev: git is written in two ways, `{one}` and `{other}`: leave \
             one of them out"
        );
        refused(&sandbox, &plan, &why);
    }
    let mut plan = base;
    plan.pointer_mut(AGENT).unwrap()["git"] = object.clone();
    plan.pointer_mut(AGENT).unwrap()["git-gate"] = object;
    let why = "spec.manifest.agents.demo: git is written in two ways, `git` and `git-gate`: leave \
               one of them out";
    refused(&sandbox, &plan, why);
}

/// One class of a launcher may have the fields of all ways.
#[test]
fn a_way_that_is_empty_counts_as_unset() {
    let sandbox = host();
    let nobody = json!({"name": "", "email": null});
    let ada = json!({"name": "Ada"});
    let fields = [
        (
            "git",
            json!({"remotes": {}, "user": nobody}),
            json!({"user": ada}),
        ),
        ("git_user", nobody.clone(), ada.clone()),
        (
            "git-gate",
            json!({"repos": {}, "user": nobody}),
            json!({"user": ada}),
        ),
    ];
    for (written, _, _) in &fields {
        let mut plan = plan(&sandbox, "seed");
        plan["git_gate_plan"]["upstreams"] = json!([]);
        for (key, empty, full) in &fields {
            let value = if key == written { full } else { empty };
            plan.pointer_mut(GIT).unwrap()[key] = value.clone();
        }
        let run = sandbox.run("bottle-git").args(["-n"]).plan(&plan);
        let outcome = run.end();
        assert_eq!(
            (outcome.status, outcome.stderr.as_str()),
            (0, ""),
            "{written}"
        );
        assert!(outcome.stdout.contains("user.name Ada"), "{written}");
    }
}

#[test]
fn every_key_of_a_way_to_write_git_is_checked() {
    let sandbox = host();
    let at = "spec.manifest.bottles.dev";
    let entry = |key: &str| json!({"Name": "a", key: "ssh://h/p"});
    for (key, value, why) in [
        (
            "git",
            json!({"repos": {}}),
            "git.repos: unknown key `repos`",
        ),
        (
            "git",
            json!({"upstreams": []}),
            "git.upstreams: unknown key `upstreams`",
        ),
        (
            "git",
            json!({"remote": {}}),
            "git.remote: unknown key `remote`: did you mean `remotes`?",
        ),
        (
            "git",
            json!({"user": {"login": "x"}}),
            "git.user.login: unknown key `login`",
        ),
        (
            "git",
            json!("x"),
            "git: expected an object or a list, not a string",
        ),
        (
            "git",
            json!([7]),
            "git[0]: expected an object, not a number",
        ),
        (
            "git",
            json!([{"Name": "a"}]),
            "git[0].Upstream: required, but not there",
        ),
        (
            "git",
            json!([entry("upstream")]),
            "git[0].upstream: unknown key `upstream`: did you mean `Upstream`?",
        ),
        (
            "git_user",
            json!({"nmae": "Ada"}),
            "git_user.nmae: unknown key `nmae`: did you mean `name`?",
        ),
        (
            "git-gate",
            json!({"remotes": {}}),
            "git-gate.remotes: unknown key `remotes`",
        ),
        (
            "git-gate",
            json!({"repo": {}}),
            "git-gate.repo: unknown key `repo`: did you mean `repos`?",
        ),
        (
            "git-gate",
            json!({"repos": {"a": {}}}),
            "git-gate.repos.a.url: required, but not there",
        ),
        (
            "git-gate",
            json!({"repos": {"a/b": {"url": "ssh://h/p"}}}),
            "git-gate.repos.a/b: a remote's Name has letters, digits, `.`, `_` and `-` only",
        ),
        (
            "git-gate",
            json!({"repos": [{"url": "ssh://h/p"}]}),
            "git-gate.repos: expected an object, not a list",
        ),
    ] {
        let mut plan = plan(&sandbox, "seed");
        let bottle = plan.pointer_mut(GIT).unwrap().as_object_mut().unwrap();
        bottle.remove("git");
        bottle.insert(key.to_owned(), value);
        plan["git_gate_plan"]["upstreams"] = json!([]);
        refused(&sandbox, &plan, &format!("{at}.{why}"));
    }
}

#[test]
fn the_agents_identity_overrides_the_bottles() {
    let sandbox = host();
    let of_agent = |user: Value| {
        [
            json!({"git": {"user": user}}),
            json!({"git_user": user}),
            json!({"git-gate": {"user": user}}),
        ]
    };
    for (user, name, email) in [
        (json!({"name": "Eve"}), "Eve", "ada@example.com"),
        (
            json!({"email": "eve@example.com"}),
            "Ada Lovelace",
            "eve@example.com",
        ),
        (
            json!({"name": "Eve", "email": "eve@example.com"}),
            "Eve",
            "eve@example.com",
        ),
        (
            json!({"name": "", "email": null}),
            "Ada Lovelace",
            "ada@example.com",
        ),
        (json!({}), "Ada Lovelace", "ada@example.com"),
        (Value::Null, "Ada Lovelace", "ada@example.com"),
    ] {
        for section in of_agent(user.clone()) {
            let mut plan = plan(&sandbox, "seed");
            plan["spec"]["copy_cwd"] = json!(false);
            plan["guest_env"] = json!({});
            let agent = plan.pointer_mut(AGENT).unwrap().as_object_mut().unwrap();
            agent.extend(section.as_object().unwrap().clone());
            let (receipt, _) = git(&sandbox, &plan);
            assert_eq!(
                receipt["identity"],
                json!({"name": name, "email": email}),
                "{section}"
            );
        }
    }
}

#[test]
fn a_variable_that_bypasses_the_bottle_is_warned_about() {
    let sandbox = host();
    let plan = plan(&sandbox, "git-gate");
    let warning = |step: &str| {
        let outcome = sandbox
            .run(format!("bottle-{step}"))
            .args(["-q"])
            .plan(&plan)
            .end();
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        outcome.stderr
    };
    assert_eq!(
        warning("supervise"),
        "bottle-supervise: warning: guest_env sets a proxy, and its NO_PROXY leaves out the \
         supervisor's host 127.0.0.1: the agent's MCP calls would go to the proxy and fail\n"
    );
    assert_eq!(
        warning("git"),
        "bottle-git: warning: guest_env sets a proxy, and its NO_PROXY leaves out the gate's host \
         127.0.0.1: git in the guest would ask the proxy for the gate\n"
    );
    assert_eq!(warning("ca"), "");
    let mut plan = plan.clone();
    plan["guest_env"] = json!({
        "SSL_CERT_FILE": "/s3cret/other.pem",
        "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
        "NODE_EXTRA_CA_CERTS": "",
        "DENO_CERT": 7,
    });
    let outcome = sandbox.run("bottle-ca").args(["-q"]).plan(&plan).end();
    let said = "bottle-ca: warning: guest_env sets SSL_CERT_FILE to another file than \
                /etc/ssl/certs/ca-certificates.crt\n";
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, said));
}

#[test]
fn scheme_home_and_proxy_are_read() {
    let sandbox = host();
    for (key, value, why) in [
        (
            "agent_git_gate_scheme",
            json!("https"),
            "neither `git` nor `http`",
        ),
        (
            "agent_git_gate_scheme",
            json!(7),
            "expected a string, not a number",
        ),
        (
            "guest_home",
            json!("/root"),
            "the agent's home directory is /home/node and no other",
        ),
        (
            "guest_env",
            json!(["A=b"]),
            "expected an object, not a list",
        ),
        (
            "git_gate_plan",
            json!("x"),
            "expected an object, not a string",
        ),
        (
            "stage_dir",
            json!("~/stage"),
            "a path must be absolute: `~` means nothing here, write the whole path",
        ),
        (
            "stage_dir",
            json!("stage"),
            "a path must be absolute: the steps may run in any directory",
        ),
    ] {
        let mut plan = plan(&sandbox, "git-gate");
        plan[key] = value;
        refused(&sandbox, &plan, &format!("{key}: {why}"));
    }
    for (key, value) in [
        ("agent_git_gate_scheme", json!("")),
        ("agent_git_gate_scheme", Value::Null),
        ("guest_home", json!(".")),
        ("guest_home", Value::Null),
        ("guest_env", Value::Null),
        ("proxy_plan", Value::Null),
        ("$schema", json!("plan.schema.json")),
    ] {
        let mut plan = plan(&sandbox, "git-gate");
        plan["spec"]["copy_cwd"] = json!(false);
        plan[key] = value;
        let outcome = sandbox
            .run("bottle-git")
            .args(["--only", "gate", "-q"])
            .plan(&plan)
            .end();
        assert_eq!(outcome.status, 0, "{key}: {}", outcome.stderr);
    }
}

/// The part of an earlier launcher that makes the plan: dataclasses, passed on unchanged.
const LAUNCHER: &str = r#"
import dataclasses, json, pathlib, sys

@dataclasses.dataclass(frozen=True)
class GitEntry:
    Name: str
    Upstream: str
    IdentityFile: str = ""
    UpstreamUser: str = ""
    UpstreamHost: str = ""

@dataclasses.dataclass(frozen=True)
class GitUser:
    name: str = ""
    email: str = ""

@dataclasses.dataclass(frozen=True)
class Bottle:
    git: tuple = ()
    git_user: GitUser = GitUser()
    supervise: bool = False

@dataclasses.dataclass(frozen=True)
class Agent:
    bottle: str
    skills: tuple = ()
    prompt: str = ""
    git_user: GitUser = GitUser()

@dataclasses.dataclass(frozen=True)
class Manifest:
    bottles: dict
    agents: dict

@dataclasses.dataclass(frozen=True)
class Spec:
    manifest: Manifest
    agent_name: str
    copy_cwd: bool
    user_cwd: pathlib.Path

@dataclasses.dataclass(frozen=True)
class ProxyPlan:
    ca_cert_host_path: pathlib.Path = pathlib.Path()

@dataclasses.dataclass(frozen=True)
class EgressPlan:
    routes: tuple = ()
    mitmproxy_ca_cert_only_host_path: pathlib.Path = pathlib.Path()

@dataclasses.dataclass(frozen=True)
class Plan:
    spec: Spec
    stage_dir: pathlib.Path
    machine_name: str
    prompt_file: pathlib.Path
    proxy_plan: ProxyPlan
    egress_plan: EgressPlan
    supervise_plan: None = None
    agent_git_gate_host: str = ""
    agent_supervise_url: str = ""

root = pathlib.Path(sys.argv[1])
entry = GitEntry("app", "ssh://git@forge.example/team/app.git", UpstreamHost="forge.example")
bottle = Bottle((entry,), GitUser("Ada Lovelace", "ada@example.com"))
agent = Agent("dev", ("verify",), "Help.", GitUser(email="agent@example.com"))
plan = Plan(
    Spec(Manifest({"dev": bottle}, {"demo": agent}), "demo", False, root / "project"),
    root / "stage", "claude-bottle-demo-abc12", root / "prompt.txt",
    ProxyPlan(root / "ca.pem"), EgressPlan(), agent_git_gate_host="127.0.0.1:9418",
)
print(json.dumps(dataclasses.asdict(plan), default=str))
"#;

#[test]
fn the_dataclasses_of_python_pass_a_pipeline_unchanged() {
    need("python3", "python3-minimal");
    let sandbox = host();
    sandbox.write("launcher.py", LAUNCHER);
    let outcome = sandbox.sh("python3 launcher.py \"$PWD\" | provision -q");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let receipts = &printed["receipts"];
    assert_eq!(keys(receipts), STEPS);
    assert_eq!(
        receipts["git"]["gate"]["remotes"],
        json!(["git://127.0.0.1:9418/app.git"])
    );
    let identity = json!({"name": "Ada Lovelace", "email": "agent@example.com"});
    assert_eq!(receipts["git"]["identity"], identity);
    assert_eq!(receipts["skills"]["skills"][0]["name"], "verify");
}
