//! What every step does with a plan that is not right, tried on `bottle-prompt`: status 65, one
//! line, no call.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;

use harness::{Sandbox, repository};
use serde_json::{Value, json};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-prompt");

/// Sets the value at a JSON pointer, and adds missing keys on the way.
fn set(plan: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    plan.pointer_mut(parent).unwrap()[key] = value;
}

#[track_caller]
fn refused(sandbox: &Sandbox, plan: &Value, why: &str) {
    sandbox
        .run(STEP)
        .plan(plan)
        .end()
        .fails(65, &format!("bottle-prompt: {why}\n"));
    assert!(!sandbox.path("log").exists(), "smolvm was called");
}

const HINT: &str = "hint: docs/plan.md describes the plan, and so does `man bottle-plan`";

#[test]
fn text_that_is_not_a_plan_is_refused() {
    let sandbox = Sandbox::new();
    let half = sandbox.plan().to_string();
    let half = &half[..half.len() / 2];
    let json = "the plan is not valid JSON";
    for (text, why) in [
        ("", "no plan on stdin: did the step before fail?".to_owned()),
        (
            " \n",
            "no plan on stdin: did the step before fail?".to_owned(),
        ),
        ("[]", format!("the plan is not a JSON object\n{HINT}")),
        ("\"plan\"", format!("the plan is not a JSON object\n{HINT}")),
        (
            "plan",
            format!(
                "{json}: line 1 column 1: a value is expected: an object, a list, a string in \
                 double quotes, a number, true, false or null\n{HINT}"
            ),
        ),
        (
            "{\"version\": 1} {}",
            format!("{json}: line 1 column 16: something follows the end of the plan\n{HINT}"),
        ),
        (
            "{\"spec\": {\"a\": 1, \"a\": 2}}",
            format!("{json}: spec: key `a` is there twice\n{HINT}"),
        ),
        (
            "{\"x\": [{\"a\": {}, \"a\": {}}]}",
            format!("{json}: x[0]: key `a` is there twice\n{HINT}"),
        ),
    ] {
        sandbox
            .run(STEP)
            .stdin(text)
            .end()
            .fails(65, &format!("bottle-prompt: {why}\n"));
    }
    let outcome = sandbox.run(STEP).stdin(half).end();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (65, ""));
    assert!(
        outcome.stderr.contains(": it is cut short\n"),
        "{}",
        outcome.stderr
    );
    let outcome = sandbox.run(STEP).stdin(b"{\"a\": \"\xff\"}".to_vec()).end();
    assert!(
        outcome
            .stderr
            .starts_with("bottle-prompt: the plan is not UTF-8: "),
        "{}",
        outcome.stderr
    );
    let large = format!("{{\"x\": \"{}\"}}", "x".repeat(17 << 20));
    sandbox.run(STEP).stdin(large).end().fails(
        65,
        "bottle-prompt: the plan on stdin is larger than 16 MiB\n",
    );
    assert!(!sandbox.path("log").exists());
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn wrong_values_are_refused() {
    let sandbox = Sandbox::new();
    let agent = "/spec/manifest/agents/demo";
    let bottle = "/spec/manifest/bottles/dev";
    let skill = "a skill name is one path component, not empty, without a leading `.` or `-` and without control characters";
    let machine =
        "a machine name has letters, digits, `_` and `-` only, and begins with a letter or a digit";
    let remote_name = "a remote's Name has letters, digits, `.`, `_` and `-` only";
    let upstream = "an Upstream is ssh://[USER@]HOST[:PORT]/PATH, [USER@]HOST:PATH or https://HOST[:PORT]/PATH";
    let url_credentials =
        "a URL with credentials would show them in the process list: leave out `user:password@`";
    let email = "must not hold `<`, `>` or control characters: they end the field in a commit";
    let option = "must not begin with `-`: git would take it for an option";
    let git = |remote: Value| json!({"remotes": {"h": remote}});
    let upstream_of = |upstream: &str| git(json!({"Name": "n", "Upstream": upstream}));
    let at_upstream = "spec.manifest.bottles.dev.git.remotes.h.Upstream";
    let at_name = "spec.manifest.bottles.dev.git.remotes.h.Name";
    let at_skill = "spec.manifest.agents.demo.skills[0]";
    let at_user = "spec.manifest.bottles.dev.git.user";
    let (schema, mut beyond_the_schema) = (harness::schema("plan"), Vec::new());
    for (pointer, value, why) in [
        (
            "/version",
            json!(2),
            "version: 2 is not supported, only 1 is".to_owned(),
        ),
        (
            "/version",
            json!("1"),
            "version: only 1 is supported".to_owned(),
        ),
        (
            "/spec",
            json!([]),
            "spec: expected an object, not a list".to_owned(),
        ),
        (
            "/proxy_plan",
            json!([]),
            "proxy_plan: expected an object, not a list".to_owned(),
        ),
        (
            "/proxy_plan",
            Value::Null,
            "proxy_plan: required without egress routes".to_owned(),
        ),
        (
            agent,
            json!(["dev"]),
            "spec.manifest.agents.demo: expected an object, not a list".to_owned(),
        ),
        (
            "/slugg",
            json!(""),
            "slugg: unknown key `slugg`: did you mean `slug`?".to_owned(),
        ),
        ("/other", json!(""), "other: unknown key `other`".to_owned()),
        (
            "/spec/other",
            json!(""),
            "spec.other: unknown key `other`".to_owned(),
        ),
        (
            "/spec/copy_cdw",
            json!(true),
            "spec.copy_cdw: unknown key `copy_cdw`: did you mean `copy_cwd`?".to_owned(),
        ),
        (
            "/spec/manifest/agents/demo/skils",
            json!([]),
            "spec.manifest.agents.demo.skils: unknown key `skils`: did you mean `skills`?"
                .to_owned(),
        ),
        (
            "/spec/manifest/agents/demo/SKILLS",
            json!([]),
            "spec.manifest.agents.demo.SKILLS: unknown key `SKILLS`: did you mean `skills`?"
                .to_owned(),
        ),
        (
            "/egress_plan/route",
            json!([]),
            "egress_plan.route: unknown key `route`: did you mean `routes`?".to_owned(),
        ),
        (
            "/spec/agent_name",
            json!("x"),
            "spec.agent_name: no `x` in spec.manifest.agents, only `demo`".to_owned(),
        ),
        (
            "/spec/manifest/agents/demo/bottle",
            json!("x"),
            "spec.manifest.agents.demo.bottle: no `x` in spec.manifest.bottles, only `dev`"
                .to_owned(),
        ),
        (
            "/spec/manifest/bottles",
            json!({}),
            "spec.manifest.agents.demo.bottle: no `dev` in spec.manifest.bottles, which is empty"
                .to_owned(),
        ),
        (
            "/stage_dir",
            json!(""),
            "stage_dir: required, but unset".to_owned(),
        ),
        (
            "/stage_dir",
            json!("/a\0b"),
            "stage_dir: a path must not hold NUL".to_owned(),
        ),
        (
            "/prompt_file",
            json!("."),
            "prompt_file: required, but unset".to_owned(),
        ),
        (
            "/prompt_file",
            json!(7),
            "prompt_file: expected a string, not a number".to_owned(),
        ),
        (
            "/machine_name",
            json!("-v"),
            format!("machine_name: {machine}"),
        ),
        (
            "/machine_name",
            json!("a:b"),
            format!("machine_name: {machine}"),
        ),
        (
            "/machine_name",
            json!(""),
            format!("machine_name: {machine}"),
        ),
        (
            "/spec/manifest/agents/demo/skills",
            json!(["../x"]),
            format!("{at_skill}: {skill}"),
        ),
        (
            "/spec/manifest/agents/demo/skills",
            json!([".."]),
            format!("{at_skill}: {skill}"),
        ),
        (
            "/spec/manifest/agents/demo/skills",
            json!(["-rf"]),
            format!("{at_skill}: {skill}"),
        ),
        (
            "/spec/manifest/agents/demo/skills",
            json!([""]),
            format!("{at_skill}: {skill}"),
        ),
        (
            "/agent_git_gate_host",
            json!("127.0.0.1"),
            "agent_git_gate_host: not a `host:port`".to_owned(),
        ),
        (
            "/agent_git_gate_host",
            json!("a\"]:1"),
            "agent_git_gate_host: not a `host:port`".to_owned(),
        ),
        (
            "/agent_git_gate_host",
            json!("h:99999"),
            "agent_git_gate_host: not a `host:port`".to_owned(),
        ),
        (
            "/agent_git_gate_host",
            json!("h:+80"),
            "agent_git_gate_host: not a `host:port`".to_owned(),
        ),
        (
            "/agent_git_gate_host",
            json!("h:"),
            "agent_git_gate_host: not a `host:port`".to_owned(),
        ),
        (
            "/agent_supervise_url",
            json!("ftp://h/"),
            "agent_supervise_url: not an http(s) URL".to_owned(),
        ),
        (
            "/agent_supervise_url",
            json!("--help"),
            "agent_supervise_url: not an http(s) URL".to_owned(),
        ),
        (
            "/agent_supervise_url",
            json!("http://u:SECRET@h/"),
            format!("agent_supervise_url: {url_credentials}"),
        ),
        (
            &format!("{bottle}/git"),
            git(json!({"Name": "a/b", "Upstream": "ssh://h/p"})),
            format!("{at_name}: {remote_name}"),
        ),
        (
            &format!("{bottle}/git"),
            git(json!({"Name": "..", "Upstream": "ssh://h/p"})),
            format!("{at_name}: {remote_name}"),
        ),
        (
            &format!("{bottle}/git"),
            upstream_of("/srv/repo"),
            format!("{at_upstream}: {upstream}"),
        ),
        (
            &format!("{bottle}/git"),
            upstream_of("git://h/p"),
            format!("{at_upstream}: {upstream}"),
        ),
        (
            &format!("{bottle}/git"),
            upstream_of("ssh://-oProxyCommand=x/p"),
            format!("{at_upstream}: {upstream}"),
        ),
        (
            &format!("{bottle}/git"),
            upstream_of("ssh://h/"),
            format!("{at_upstream}: {upstream}"),
        ),
        (
            &format!("{bottle}/git"),
            upstream_of("https://u:SECRET@h/p"),
            format!(
                "{at_upstream}: an Upstream with credentials would carry them into the guest: leave them out"
            ),
        ),
        (
            &format!("{bottle}/git"),
            upstream_of("https://h/p?access_token=SECRET"),
            format!("{at_upstream}: {upstream}"),
        ),
        (
            &format!("{bottle}/git"),
            upstream_of("u:SECRET@h:p"),
            format!("{at_upstream}: {upstream}"),
        ),
        (
            &format!("{bottle}/git"),
            upstream_of("h:p\n[core]"),
            format!("{at_upstream}: an Upstream must not hold control characters"),
        ),
        (
            &format!("{bottle}/git"),
            json!({"user": {"name": "--unset"}}),
            format!("{at_user}.name: {option}"),
        ),
        (
            &format!("{bottle}/git"),
            json!({"user": {"name": " "}}),
            format!("{at_user}.name: must not be empty"),
        ),
        (
            &format!("{bottle}/git"),
            json!({"user": {"email": "a@b>\n"}}),
            format!("{at_user}.email: {email}"),
        ),
        (
            &format!("{bottle}/git"),
            json!({"user": ["Ada"]}),
            format!("{at_user}: expected an object, not a list"),
        ),
    ] {
        let mut plan = sandbox.plan();
        set(&mut plan, pointer, value);
        refused(&sandbox, &plan, &why);
        if schema.is_valid(&plan) {
            beyond_the_schema.push(why);
        }
    }
    let cannot_be_said = [
        "required without egress routes",
        "did you mean",
        "did you mean",
        "did you mean",
        "no `x` in",
        "no `x` in",
        "no `dev` in",
    ];
    assert_eq!(
        beyond_the_schema.len(),
        cannot_be_said.len(),
        "{beyond_the_schema:#?}"
    );
    for (why, words) in beyond_the_schema.iter().zip(cannot_be_said) {
        assert!(
            why.contains(words),
            "the schema takes what is refused: {why}"
        );
    }
}

#[test]
fn missing_keys_are_refused() {
    let sandbox = Sandbox::new();
    for key in [
        "spec",
        "machine_name",
        "stage_dir",
        "prompt_file",
        "egress_plan",
    ] {
        let mut plan = sandbox.plan();
        plan.as_object_mut().unwrap().remove(key);
        refused(&sandbox, &plan, &format!("{key}: required, but not there"));
    }
    let mut plan = sandbox.plan();
    plan.as_object_mut().unwrap().remove("proxy_plan");
    refused(
        &sandbox,
        &plan,
        "proxy_plan: required without egress routes",
    );
    let mut plan = sandbox.plan();
    plan["agent_supervise_url"] = json!("");
    plan["supervise_plan"] = json!({});
    refused(
        &sandbox,
        &plan,
        "agent_supervise_url: required when there is a supervise_plan",
    );
    let mut plan = sandbox.plan();
    plan["agent_git_gate_host"] = Value::Null;
    plan["spec"]["manifest"]["bottles"]["dev"]["git"] =
        json!({"remotes": {"h": {"Name": "n", "Upstream": "ssh://h/p"}}});
    refused(
        &sandbox,
        &plan,
        "agent_git_gate_host: required when the bottle has git remotes",
    );
}

#[test]
fn remotes_that_cannot_be_told_apart_are_refused() {
    let sandbox = Sandbox::new();
    let mut plan = sandbox.plan();
    let mut remotes = |one: Value, two: Value| {
        plan["spec"]["manifest"]["bottles"]["dev"]["git"] =
            json!({"remotes": {"one": one, "two": two}});
        plan.clone()
    };
    let same_name = remotes(
        json!({"Name": "n", "Upstream": "ssh://h/p"}),
        json!({"Name": "n", "Upstream": "ssh://h/q"}),
    );
    refused(
        &sandbox,
        &same_name,
        "spec.manifest.bottles: two git remotes have the Name `n`",
    );
    let same_place = remotes(
        json!({"Name": "a", "Upstream": "ssh://git@h/p"}),
        json!({"Name": "b", "Upstream": "https://h/p.git"}),
    );
    let why = "spec.manifest.bottles: the git remotes `a` and `b` cannot be told apart: both are reached as https://h/p.git";
    refused(&sandbox, &same_place, why);
}

#[test]
fn values_that_are_not_read_pass_unchanged() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan().to_string();
    let odd = r#""guest_env": {"Z": 1.50e400, "A": 10000000000000000000000.0, "ü\u0000": [null, {"\"": -0}]}, "bundle_ip": 7,"#;
    let text = plan.replacen('{', &format!("{{{odd}"), 1).replace(
        "\"routes\":[]",
        "\"routes\":[], \"routes_path\": 1.10, \"ca_key\": {}",
    );
    let outcome = sandbox.run(STEP).args(["-q"]).stdin(text.clone()).end();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    let (before, receipts) = outcome.stdout.rsplit_once(",\"receipts\":").unwrap();
    assert_eq!(
        before.replace(' ', ""),
        text.trim_end_matches('}').replace(' ', "")
    );
    assert!(
        receipts.starts_with("{\"prompt\":{\"status\":\"done\","),
        "{receipts}"
    );
}

#[test]
fn other_agents_and_bottles_are_not_checked() {
    let sandbox = Sandbox::new();
    let mut plan = sandbox.plan();
    plan["spec"]["manifest"]["agents"]["other"] = json!({"bottle": "none", "skils": [".hidden"]});
    plan["spec"]["manifest"]["bottles"]["other"] =
        json!({"git": {"remotes": {"h": {"Upstream": "http://h/r"}}}});
    sandbox
        .run(STEP)
        .args(["-q"])
        .plan(&plan)
        .end()
        .is(0, &plan, "");
}

#[test]
fn receipts_of_other_steps_stay() {
    let sandbox = Sandbox::new();
    let mut plan = sandbox.plan();
    plan["receipts"] = json!({"ca": {"ms": 1}, "prompt": {"old": true}});
    let outcome = sandbox.run(STEP).args(["-q"]).plan(&plan).end();
    let receipts = outcome.is(0, &plan, "");
    assert_eq!(receipts["ca"], json!({"ms": 1}));
    assert_eq!(
        (&receipts["prompt"]["status"], &receipts["prompt"]["old"]),
        (&json!("done"), &Value::Null)
    );
}

#[test]
fn the_documented_plan_is_accepted() {
    let text = fs::read_to_string(repository().join("docs/plan.md")).unwrap();
    let example = text
        .split_once("```json\n")
        .unwrap()
        .1
        .split_once("```")
        .unwrap()
        .0;
    let sandbox = Sandbox::new();
    let mut plan: Value = serde_json::from_str(example).unwrap();
    plan["prompt_file"] = json!(sandbox.path("prompt.txt"));
    let outcome = sandbox.run(STEP).args(["-q"]).plan(&plan).end();
    outcome.is(0, &plan, "");
    assert!(harness::schema("plan").is_valid(&plan));

    // Every key of the example has its row.
    for key in plan.as_object().unwrap().keys() {
        assert!(
            text.contains(&format!("| `{key}`")),
            "docs/plan.md does not describe {key}"
        );
    }
}
