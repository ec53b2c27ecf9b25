//! What is in `docs/` and what the programs say of themselves, held to what they do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::collections::BTreeSet;

use bottle_common::step::options::{CommandLine, NoOptions};
use clap::{Arg, ArgAction, Command, CommandFactory};
use harness::{STEPS, Sandbox, command_documents, markdown_as_man_page, need, repository, schema};
use jsonschema::Validator;
use serde_json::{Value, json};

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");

#[track_caller]
fn fits(schema: &Validator, value: &Value) {
    let errors: Vec<_> = schema
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// The command line of scripts/provision, for its man page and completions: its own options, and
/// those of the steps that it hands on.
fn provision(help: &str) -> Command {
    let steps: &'static Command = Box::leak(Box::new(CommandLine::<NoOptions>::command()));
    let handed_on = steps.get_arguments().filter(|arg| {
        !["output", "archive", "receipt", "known", "print_where"].contains(&arg.get_id().as_str())
    });
    // These are new options, because the originals conflict with options that are not in this list.
    let handed_on = handed_on.map(|arg| {
        let new = Arg::new(arg.get_id().clone())
            .long(arg.get_long().unwrap())
            .help(arg.get_help().unwrap().clone());
        let new = new
            .action(arg.get_action().clone())
            .help_heading("Common options");
        let new = new
            .default_values(arg.get_default_values().to_vec())
            .value_hint(arg.get_value_hint());
        let new = if let Some(short) = arg.get_short() {
            new.short(short)
        } else {
            new
        };
        let new = if let Some(env) = arg.get_env() {
            new.env(env)
        } else {
            new
        };
        match arg.get_value_names() {
            Some(names) if arg.get_action().takes_values() => new
                .value_names(names.to_vec())
                .value_parser(arg.get_value_parser().clone()),
            _ => new,
        }
    });
    let own = [
        Arg::new("only")
            .long("only")
            .value_name("STEP,...")
            .help("Run only these steps")
            .value_delimiter(',')
            .value_parser(STEPS),
        Arg::new("from")
            .long("from")
            .value_name("STEP")
            .help("Run this step and the later ones")
            .value_parser(STEPS),
        Arg::new("jobs")
            .short('j')
            .long("jobs")
            .action(ArgAction::SetTrue)
            .help("Run all steps at once"),
        Arg::new("keep-plan")
            .long("keep-plan")
            .value_name("FILE")
            .help("Keep the plan, with the receipts so far, in FILE (mode 0600)")
            .value_hint(clap::ValueHint::FilePath),
    ];
    let examples = &help[help.find("Examples:").unwrap()..];
    Command::new("bottle-provision")
        .about("Provisions a bottle: runs the steps on one plan, in order")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(examples.trim_end().to_owned())
        .args(own)
        .args(handed_on)
}

#[test]
fn the_documents_of_provision_match_its_command_line() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    std::os::unix::fs::symlink(
        repository().join("scripts/provision"),
        sandbox.path("bin/bottle-provision"),
    )
    .unwrap();
    let help = sandbox.sh("bottle-provision --help").stdout;
    let mut command = provision(&help);
    command_documents(
        &command,
        "Runs bottle-ca, bottle-prompt, bottle-skills, bottle-git and bottle-supervise in this order.\n\
         It reads a plan (JSON) on stdin, and prints the plan with a receipt of each step on stdout.\n\
         .PP\nNothing is changed in the guest before all steps have accepted their options, the plan\n\
         and the host's files. If a step fails, the later steps are not run, and the exit status is\n\
         the step's. On a terminal, the receipts are printed instead of the plan.",
        &[(
            "stage_dir of the plan",
            "Where the steps make and remove files for the guest.",
        )],
    );
    // The script's own help has the same number of options, and the script accepts each.
    command.build();
    let long = |word: &str| {
        word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .to_owned()
    };
    let said: BTreeSet<_> = help
        .split([' ', '\n', '/', '[', '='])
        .map(long)
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .collect();
    let known = command
        .get_arguments()
        .map(|arg| format!("--{}", arg.get_long().unwrap()))
        .collect();
    assert_eq!(said, known);
    for arg in command
        .get_arguments()
        .filter(|arg| matches!(arg.get_action(), ArgAction::SetTrue))
    {
        let outcome = sandbox.sh(&format!(
            "bottle-provision --{} --from x < plan.json",
            arg.get_long().unwrap()
        ));
        assert_eq!(
            outcome.stderr,
            "bottle-provision: no step `x`\nhint: the steps are ca prompt skills git supervise\n"
        );
    }
}

/// The command line of scripts/fetch, whose options are in its help, one a line.
fn fetch(help: String) -> Command {
    let help: &'static str = help.leak();
    let (options, examples) = help.split_once("Examples:").unwrap();
    let options = options.lines().filter(|line| line.contains("--"));
    let args = options.filter_map(|line| {
        let (names, words) = line.trim().split_once("  ")?;
        let (short, long) = match names.split_once(", ") {
            Some((short, long)) => (short.chars().nth(1), long),
            None => (None, names),
        };
        let (long, value) = match long.split_once(' ') {
            Some((long, value)) => (long, Some(value)),
            None => (long, None),
        };
        let long = long.trim_start_matches('-');
        let arg = Arg::new(long).long(long).help(words.trim());
        let arg = match value {
            Some(value) => arg.value_name(value),
            None => arg.action(ArgAction::SetTrue),
        };
        Some(match short {
            Some(short) => arg.short(short),
            None => arg,
        })
    });
    let args: Vec<_> = args
        .filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
        .collect();
    assert_eq!(args.len(), 6);
    Command::new("bottle-fetch")
        .about("Brings the agent's commits into the host's repository")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(format!("Examples:{}", examples.trim_end()))
        .args(args)
}

#[test]
fn the_documents_of_fetch_match_its_command_line() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    std::os::unix::fs::symlink(
        repository().join("scripts/fetch"),
        sandbox.path("bin/bottle-fetch"),
    )
    .unwrap();
    let help = sandbox.sh("bottle-fetch --help").stdout;
    command_documents(
        &fetch(help),
        "Fetches from the git repository in the guest through smolvm machine exec \\-i. It reads a\n\
         plan (JSON) on stdin, and prints nothing on stdout. Each branch of the guest becomes\n\
         refs/bottle/MACHINE/BRANCH in the repository of the plan's user_cwd, and its HEAD becomes\n\
         refs/bottle/MACHINE/HEAD. The host's branches, its work tree and its configuration are not\n\
         touched.\n\
         .PP\nThe guest is not trusted: git checks every object in a repository that is thrown away\n\
         (transfer.fsckObjects), before anything gets into the host's repository, all refs or none.\n\
         No tags, no hooks, no more than 1,000 branches. Branches are left out, with a warning, if\n\
         git would not accept their names, or if they are called HEAD. A branch that the agent\n\
         deleted stays.",
        &[(
            "refs/bottle/MACHINE",
            "In the host's repository: the agent's branches.",
        )],
    );
}

#[test]
fn the_examples_in_the_help_work() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    for program in [
        "provision",
        "bottle-ca",
        "bottle-prompt",
        "bottle-skills",
        "bottle-git",
        "bottle-supervise",
    ] {
        let help = sandbox.sh(&format!("{program} --help")).stdout;
        let examples: Vec<_> = help
            .lines()
            .skip_while(|line| *line != "Examples:")
            .skip(1)
            .take_while(|line| !line.is_empty())
            .collect();
        assert!(examples.len() > 2, "{help}");
        for example in examples {
            sandbox.sh("cp plan.json provisioned.json");
            let outcome = sandbox.sh(example);
            // There is no guest to look at.
            let expected = i32::from(example.contains("--check"));
            assert_eq!(outcome.status, expected, "{example}: {outcome:?}");
        }
    }
}

#[test]
fn the_schemas_accept_what_the_steps_read_and_print() {
    let (plan, receipts, checks) = (schema("plan"), schema("receipts"), schema("checks"));
    let sandbox = Sandbox::with_guest();
    fits(&plan, &sandbox.plan());
    fits(&plan, &sandbox.set_up(BUILT));
    for run in [
        "< plan.json",
        "--check < plan.json",
        "< empty.json",
        "--check < empty.json",
    ] {
        sandbox.write("empty.json", sandbox.plan().to_string());
        let outcome = sandbox.sh(&format!("provision {run}"));
        let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
        fits(&plan, &printed);
        if run.contains("check") {
            fits(&checks, &printed["checks"]);
        } else {
            fits(&receipts, &printed["receipts"]);
        }
        // Without a claude, the supervisor's receipt says that it failed.
        sandbox.guest("rm -f /home/node/.claude-bottle-prompt.txt");
    }
    for receipt in [
        json!({"ca": {"status": "well"}}),
        json!({"ca": {"status": "done", "ms": -1, "calls": 1}}),
    ] {
        assert!(!receipts.is_valid(&receipt));
    }
    assert!(!checks.is_valid(&json!({"ca": [{"what": "mode"}]})));
}

#[test]
fn the_man_page_of_the_plan_is_its_page() {
    markdown_as_man_page("plan.md", "bottle-plan", "what a bottle needs, as JSON");
}

/// A terminal has 80 columns.
#[test]
fn help_fits_a_terminal() {
    need("python3", "python3-minimal");
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let scripts = [
        "provision",
        "fetch",
        "demo",
        "install",
        "check",
        "bench",
        "needs",
        "test",
    ];
    let scripts = scripts.map(|name| repository().join("scripts").join(name));
    let example = repository().join("examples/first-bottle");
    let steps = STEPS.map(|step| sandbox.path(format!("bin/bottle-{step}")));
    for program in scripts.iter().chain(&steps).chain([&example]) {
        for option in ["-h", "--help"] {
            let outcome = sandbox.run(program).args([option]).end();
            assert_eq!(
                (outcome.status, outcome.stderr.as_str()),
                (0, ""),
                "{program:?}"
            );
            let long: Vec<_> = outcome
                .stdout
                .lines()
                .filter(|line| line.len() > 80)
                .collect();
            assert!(
                long.is_empty() && !outcome.stdout.is_empty(),
                "{program:?}: {long:#?}"
            );
        }
    }
}
