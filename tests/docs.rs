//! What the pages in `docs/` tell launchers, held to what the programs do. Every block in
//! `docs/launchers.md` runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::os::unix::fs::symlink;

use harness::{MACHINE, Outcome, Run, STEPS, Sandbox, cp_for_root, need, repository};
use serde_json::{Map, Value, json};

const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");
/// Where the files of the page's plans are, and where they are on a test's host.
const STATE: &str = ".local/state/bottle/demo-abc12";

/// A fenced block of the page.
struct Block {
    /// The heading above it.
    heading: String,
    language: String,
    text: String,
}

fn page(name: &str) -> String {
    fs::read_to_string(repository().join("docs").join(name)).unwrap()
}

/// The blocks of docs/launchers.md.
fn blocks(language: &str) -> Vec<Block> {
    blocks_of("launchers.md", language)
}

fn blocks_of(name: &str, language: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut heading = String::new();
    let mut is_inside = false;
    for line in page(name).lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            is_inside = !is_inside;
            if is_inside {
                blocks.push(Block {
                    heading: heading.clone(),
                    language: language.to_owned(),
                    text: String::new(),
                });
            }
        } else if is_inside {
            let block = blocks.last_mut().unwrap();
            block.text.push_str(line);
            block.text.push('\n');
        } else if line.starts_with('#') {
            line.trim_start_matches(['#', ' ']).clone_into(&mut heading);
        }
    }
    let known = ["json", "python", "text"];
    for Block { language, .. } in &blocks {
        assert!(known.contains(&&**language), "no test runs {language}");
    }
    blocks.retain(|block| block.language == language);
    assert!(!blocks.is_empty());
    blocks
}

/// Makes a host with all files that the page's plans name.
fn host() -> Sandbox {
    let sandbox = Sandbox::new();
    prepare(&sandbox);
    sandbox
}

fn prepare(sandbox: &Sandbox) {
    sandbox.set_up(BUILT);
    symlink(
        repository().join("scripts/provision"),
        sandbox.path("bin/bottle-provision"),
    )
    .unwrap();
    for (from, to) in [
        ("prompt.txt", "prompt.txt"),
        ("ca.pem", "egress-ca.pem"),
        ("ca.pem", "pipelock-ca.pem"),
    ] {
        let content = fs::read(sandbox.path(from)).unwrap();
        sandbox.write(format!("{STATE}/{to}"), content);
    }
}

/// A block as a plan, with the paths of this host.
fn parse(sandbox: &Sandbox, text: &str) -> Value {
    let directory = sandbox.path("").display().to_string();
    serde_json::from_str(&text.replace("/home/ada/", &directory)).unwrap()
}

fn smallest_plan(sandbox: &Sandbox) -> Value {
    parse(sandbox, &blocks("json")[0].text)
}

/// Merges `block` into `plan`, objects member by member.
fn merge(plan: &mut Value, block: &Value) {
    let Value::Object(members) = block else {
        *plan = block.clone();
        return;
    };
    if !plan.is_object() {
        *plan = Value::Object(Map::new());
    }
    for (key, value) in members {
        merge(&mut plan[key], value);
    }
}

#[test]
fn the_plan_of_the_first_bottle_is_one() {
    let sandbox = host();
    for (from, to) in [("prompt.txt", "prompt.txt"), ("ca.pem", "ca.pem")] {
        let content = fs::read(sandbox.path(from)).unwrap();
        sandbox.write(format!("first-bottle/{to}"), content);
    }
    let page = page("first-bottle.md");
    let text = page.split("```json\n").nth(1).unwrap();
    let text = text.split_once("```").unwrap().0;
    assert_eq!(text.trim_end().lines().count(), 10);
    let plan = parse(&sandbox, text);
    let receipts = provision(&sandbox, &plan, "");
    assert_eq!(receipts["ca"]["status"], "done");
}

#[test]
fn the_example_plan_works() {
    let sandbox = Sandbox::with_guest();
    prepare(&sandbox);
    sandbox.add_claude();
    let example = repository().join("examples/first-bottle");
    let script = format!(
        "{} first {MACHINE} && CLAUDE_BOTTLE_HOST_SKILLS_DIR=$PWD/first/skills bottle-provision -q \
         < first/plan.json >/dev/null",
        example.display()
    );
    let outcome = sandbox.sh(&script);
    assert_eq!(
        (outcome.status, outcome.stderr.as_str()),
        (0, ""),
        "{outcome:?}"
    );
    assert_eq!(sandbox.guest("ls /home/node/workspace"), "README\n");
    sandbox.sh(&script).fails(1, "first-bottle: first exists\n");
    let other = format!("{} 'a\"b'", example.display());
    assert_eq!(sandbox.sh(&other).status, 1);
    let usage = sandbox.sh(&format!("{} x 'a/b'", example.display()));
    usage.fails(2, "first-bottle: a/b: not a name of a machine\n");
}

/// The receipts of a run that succeeds, without their times.
#[track_caller]
fn provision(sandbox: &Sandbox, plan: &Value, warnings: &str) -> Value {
    assert!(harness::schema("plan").is_valid(plan), "{plan}");
    let run = sandbox.run("bottle-provision").args(["-q"]).plan(plan);
    let mut receipts = run.end().is(0, plan, warnings);
    for receipt in receipts.as_object_mut().unwrap().values_mut() {
        receipt.as_object_mut().unwrap().remove("ms");
    }
    receipts
}

/// Removes the member at each path of objects in `value`, one at a time.
fn each_without_one(value: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let Value::Object(members) = value else {
        return all;
    };
    for (key, member) in members {
        let mut less = value.clone();
        less.as_object_mut().unwrap().remove(key);
        all.push((key.clone(), less));
        for (path, less_member) in each_without_one(member) {
            let mut less = value.clone();
            less[key] = less_member;
            all.push((format!("{key}.{path}"), less));
        }
    }
    all
}

#[test]
fn the_smallest_plan_needs_every_key() {
    let sandbox = host();
    let plan = smallest_plan(&sandbox);
    let receipts = provision(&sandbox, &plan, "");
    for (step, status) in [
        ("ca", "done"),
        ("prompt", "done"),
        ("skills", "nothing to do"),
        ("git", "nothing to do"),
        ("supervise", "nothing to do"),
    ] {
        assert_eq!(receipts[step]["status"], status, "{step}");
    }
    assert_eq!(receipts["ca"]["proxy"], "pipelock");
    assert_eq!(receipts["prompt"]["prompt_path"], Value::Null);
    sandbox.calls();
    let all = each_without_one(&plan);
    assert_eq!(all.len(), 14);
    for (path, less) in all {
        let outcome = sandbox.run("bottle-provision").plan(&less).end();
        // Only the step that reads the certificate asks for it.
        let is_certificate = path == "proxy_plan.ca_cert_host_path";
        let status = if is_certificate { 1 } else { 65 };
        let found = (outcome.status, outcome.stdout.as_str());
        assert_eq!(found, (status, ""), "{path}: {}", outcome.stderr);
    }
    assert!(sandbox.calls().is_empty());
}

/// What the page says about the block under each heading: the step that it changes, and a value in
/// the step's receipt.
fn claims(heading: &str) -> (&'static str, &'static str, Value) {
    let gate = |scheme: &str| json!([format!("{scheme}://127.0.0.1:9418/app.git")]);
    match heading {
        "Egress routes" => ("ca", "/proxy", json!("egress")),
        "A prompt" => {
            let path = "/home/node/.claude-bottle-prompt.txt";
            ("prompt", "/prompt_path", json!(path))
        }
        "Skills" => ("skills", "/skills/0/name", json!("verify")),
        "Git remotes" => ("git", "/gate/remotes", gate("git")),
        "The gate's protocol" => ("git", "/gate/remotes", gate("http")),
        "The identity of commits" => {
            let identity = json!({"name": "Ada Lovelace", "email": "ada@example.com"});
            ("git", "/identity", identity)
        }
        "An identity for one agent" => {
            let identity = json!({"name": "Ada Lovelace", "email": "demo@example.com"});
            ("git", "/identity", identity)
        }
        "The repository" => {
            let path = "/home/node/workspace/.git";
            ("git", "/repository/path", json!(path))
        }
        "A supervisor" => ("supervise", "/url", json!("http://127.0.0.1:9200/")),
        _ => panic!("the test knows nothing of a block under {heading}"),
    }
}

#[test]
fn each_block_changes_what_one_step_does() {
    let sandbox = host();
    let mut plan = smallest_plan(&sandbox);
    let mut receipts = provision(&sandbox, &plan, "");
    let mut warnings = blocks("text");
    for block in blocks("json").iter().skip(1) {
        merge(&mut plan, &parse(&sandbox, &block.text));
        if block.heading == "Set the guest's environment" {
            // The first of two blocks is warned about.
            let said = warnings.pop().map(|block| block.text).unwrap_or_default();
            assert_eq!(provision(&sandbox, &plan, &said), receipts);
            continue;
        }
        let (step, pointer, value) = claims(&block.heading);
        let before = receipts[step].clone();
        assert_ne!(before.pointer(pointer), Some(&value), "{}", block.heading);
        let now = provision(&sandbox, &plan, "");
        assert_eq!(now[step].pointer(pointer), Some(&value), "{now}");
        receipts[step] = now[step].clone();
        assert_eq!(now, receipts, "{}", block.heading);
        if block.heading == "Egress routes" {
            let mut less = plan.clone();
            less.as_object_mut().unwrap().remove("proxy_plan");
            assert_eq!(provision(&sandbox, &less, ""), receipts);
        }
    }
    assert!(warnings.is_empty());
}

/// A launcher whose plan is the smallest one, in front of the page's own lines.
const LAUNCHER: &str = r#"
import dataclasses, json, pathlib, sys
given = json.load(open("given.json"))
fields = {"guest_env": {"EDITOR": "vi"}, "supervise_plan": None, "agent_supervise_url": ""}
for name, value in {**given, **fields}.items():
    fields[name] = pathlib.Path(value) if name in ("stage_dir", "prompt_file") else value
plan = dataclasses.make_dataclass("Plan", fields)(**fields)
"#;

/// Runs the page's Python, the blocks `which`, and `more`.
fn python(sandbox: &Sandbox, which: &[usize], more: &str) -> Outcome {
    need("python3", "python3-minimal");
    let mut program = LAUNCHER.to_owned();
    let blocks = blocks("python");
    for &number in which {
        program.push_str(&blocks[number].text);
    }
    program.push_str(more);
    sandbox.write("launcher.py", program);
    sandbox.run("python3").args(["launcher.py"]).end()
}

#[test]
fn the_python_code_provisions_and_sets_the_environment() {
    let sandbox = host();
    let plan = smallest_plan(&sandbox);
    sandbox.write("given.json", plan.to_string());
    assert_eq!(blocks("python").len(), 3);
    for which in [&[0, 1][..], &[0, 2, 1]] {
        let outcome = python(&sandbox, which, "print(json.dumps(receipts))");
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
        let printed = outcome.stdout.lines().last().unwrap();
        let receipts: Value = serde_json::from_str(printed).unwrap();
        let calls = sandbox.calls();
        let certificate = format!("{STATE}/pipelock-ca.pem");
        let target = receipts["ca"]["path"].as_str().unwrap();
        assert!(calls.contains(&cp_for_root(&sandbox.path(certificate), target)));
        let mut agent = vec!["machine", "exec", "--name", harness::MACHINE];
        let env = receipts["ca"]["env"].as_object().unwrap();
        let mut options = vec!["--env=EDITOR=vi".to_owned()];
        for (name, value) in env {
            options.push(format!("--env={name}={}", value.as_str().unwrap()));
        }
        assert_eq!(options.len(), 11);
        options.push("--env=HOME=/home/node".to_owned());
        agent.extend(options.iter().map(String::as_str));
        agent.extend(["--user", "node", "--workdir", "/home/node/workspace"]);
        agent.extend(["--", "claude"]);
        assert_eq!(calls.last().unwrap(), &agent);
    }
}

#[test]
fn the_python_code_reads_errors() {
    let sandbox = host();
    let mut plan = smallest_plan(&sandbox);
    plan["agent_name"] = json!("demo");
    sandbox.write("given.json", plan.to_string());
    let outcome = python(&sandbox, &[0, 2], "provision(plan)");
    let said = "RuntimeError: bottle-ca: agent_name: unknown key `agent_name` (exit status 65, \
                PLAN_INVALID)\n";
    assert!(outcome.stderr.ends_with(said), "{}", outcome.stderr);
    // Output that is not a step's is not JSON.
    let run = sandbox.run("python3").args(["launcher.py"]);
    let outcome = run.env("TMPDIR", "/nowhere").end();
    let last = outcome.stderr.lines().last().unwrap();
    let said = "RuntimeError: bottle-provision: write to /nowhere: it is full or not writable \
                (exit status 1, None)";
    assert_eq!(last, said);
}

/// The rows of the page's table of exit statuses, each with its statuses and its code.
fn statuses() -> Vec<(Vec<i32>, String)> {
    let mut rows = Vec::new();
    for line in page("launchers.md").lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, statuses, code, ..] = cells[..] else {
            continue;
        };
        let numbers: Result<Vec<i32>, _> = statuses.split(", ").map(str::parse).collect();
        if let Ok(numbers) = numbers {
            rows.push((numbers, code.trim_matches('`').to_owned()));
        }
    }
    rows
}

/// The exit status, and the code of the error.
#[track_caller]
fn ending(outcome: &Outcome) -> (i32, String) {
    assert_eq!(outcome.stdout, "", "{}", outcome.stderr);
    let last = outcome.stderr.lines().last().unwrap();
    let error: Value = serde_json::from_str(last).unwrap();
    let error = error["error"].as_object().unwrap();
    assert!(error["message"].is_string() && error.contains_key("hint"));
    (outcome.status, error["code"].as_str().unwrap().to_owned())
}

#[test]
fn the_table_of_exit_statuses_is_complete_and_correct() {
    let sandbox = host();
    let plan = smallest_plan(&sandbox);
    let run = || {
        let run = sandbox.run_interruptible("bottle-provision");
        run.args(["-q", "--error-format", "json"])
    };
    let set = |pointer: &str, value: Value| {
        let mut plan = plan.clone();
        *plan.pointer_mut(pointer).unwrap() = value;
        plan
    };
    let no_file = set("/prompt_file", json!("/nowhere/prompt.txt"));
    let invalid = set("/spec/agent_name", json!("other"));
    let failing = |fault: &str| run().env("STAND_IN_FAIL", fault);
    let hanging = run().env("STAND_IN_HANG", "1");
    // Other tests show 0 and 3.
    let mut found = vec![(0, String::new()), (3, String::new())];
    let runs: [(Run, &Value); 7] = [
        (run(), &no_file),
        (failing("2 7 chown: no"), &plan),
        (failing("1 1 Error: agent operation failed: no"), &plan),
        (hanging.args(["--timeout", "300ms"]), &plan),
        (run().args(["--nonsense"]), &plan),
        (run(), &invalid),
        (run().args(["--smolvm", "/nowhere/smolvm"]), &plan),
    ];
    for (run, plan) in runs {
        found.push(ending(&run.plan(plan).end()));
        let _ = fs::remove_file(sandbox.path("log.count"));
    }
    for signal in ["HUP", "INT", "TERM"] {
        sandbox.write("given.json", plan.to_string());
        let run = run().args(["-f", "given.json"]);
        found.push(ending(&sandbox.interrupt_at_call(run, 1, signal)));
        let _ = fs::remove_file(sandbox.path("log.count"));
    }

    let mut told = Vec::new();
    for (statuses, code) in statuses() {
        told.extend(statuses.into_iter().map(|status| (status, code.clone())));
    }
    told.sort();
    found.sort();
    assert_eq!(told, found);
}

#[test]
fn a_check_that_finds_differences_prints_them() {
    let sandbox = Sandbox::with_guest();
    prepare(&sandbox);
    let plan = smallest_plan(&sandbox);
    let run = |args: &[&str]| {
        let run = sandbox.run("bottle-provision").args(args);
        run.plan(&plan).end()
    };
    let outcome = run(&["-q", "--check"]);
    assert_eq!(outcome.status, 3, "{}", outcome.stderr);
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    for step in STEPS {
        assert!(printed["checks"][step].is_array(), "{step}");
    }
    run(&["-q"]).is(0, &plan, "");
    assert_eq!(run(&["-q", "--check"]).status, 0);
}

/// The configuration that bottle-git sends for a plan with this bottle, and its receipt.
fn git(sandbox: &Sandbox, bottle: &Value) -> (String, Value) {
    let mut plan = smallest_plan(sandbox);
    plan["spec"]["manifest"]["bottles"]["dev"] = bottle.clone();
    plan["agent_git_gate_host"] = json!("127.0.0.1:9418");
    let mut receipt = provision(sandbox, &plan, "")["git"].clone();
    receipt.as_object_mut().unwrap().remove("calls");
    // What cp was given last.
    let config = fs::read_to_string(sandbox.path("log.copy")).unwrap();
    (config, receipt)
}

#[test]
fn the_three_ways_to_write_git_are_equal() {
    let sandbox = host();
    let mut found = Vec::new();
    for block in blocks_of("plan.md", "json") {
        if block.heading == "Git" {
            found.push(git(&sandbox, &serde_json::from_str(&block.text).unwrap()));
        }
    }
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|one| *one == found[0]), "{found:#?}");
    let (_, receipt) = &found[0];
    let remotes = json!(["git://127.0.0.1:9418/app.git"]);
    assert_eq!(receipt["gate"]["remotes"], remotes);
    assert_eq!(receipt["identity"]["name"], "Ada Lovelace");
}

#[test]
fn the_addresses_that_the_gate_gets_are_listed() {
    let sandbox = host();
    let bottle = json!({"git": [
        {"Name": "app", "Upstream": "ssh://git@forge.example/team/app.git"},
    ]});
    let (config, _) = git(&sandbox, &bottle);
    sandbox.write("config", &config);
    let asked = |address: &str| {
        let run = sandbox.run("git").args(["ls-remote", "--get-url", address]);
        let run = run.env("GIT_CONFIG_GLOBAL", sandbox.path("config"));
        run.env("GIT_CONFIG_NOSYSTEM", "1").end().stdout
    };
    let rules = config.lines().filter_map(|line| line.split_once(" = "));
    let written: Vec<_> = rules
        .map(|(_, address)| address)
        .filter(|address| address.ends_with("app"))
        .collect();
    let listed = &blocks_of("guest.md", "text")[0].text;
    assert_eq!(listed.lines().collect::<Vec<_>>(), written);
    for address in listed.lines() {
        for end in ["", ".git", "/", ".git/"] {
            let found = asked(&format!("{address}{end}"));
            assert_eq!(found, "git://127.0.0.1:9418/app.git\n", "{address}{end}");
        }
    }
    let mut missed = 0;
    for line in page("guest.md").lines() {
        let Some(address) = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split('`').next())
        else {
            continue;
        };
        assert_eq!(asked(address), format!("{address}\n"));
        missed += 1;
    }
    assert_eq!(missed, 13);
    let longer = asked("ssh://git@forge.example/team/app.git-other");
    assert_eq!(longer, "git://127.0.0.1:9418/app.git-other\n");
}

#[test]
fn the_benchmark_draws_a_saved_run() {
    need("python3", "python3-minimal");
    let sandbox = Sandbox::new();
    let bench = repository().join("scripts/bench");
    let saved = repository().join("tests/bench/run.json");
    let outcome = sandbox.run(&bench).args(["--help"]).end();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    for option in ["--machine", "--full", "--json", "--draw", "--into"] {
        assert!(outcome.stdout.contains(option), "{option}");
    }
    let draw = ["--draw", saved.to_str().unwrap()];
    let outcome = sandbox.run(&bench).args(draw).end();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    harness::document("tests/bench/run.svg", &outcome.stdout);
}
