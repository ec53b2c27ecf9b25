//! Files in `docs/` that are generated from the code.

use std::fs;

use clap::Command;
use clap_complete::{Shell, generate};
use jsonschema::Validator;

use crate::repository;

/// Asserts that the file at `path` in the repository has this content. If the variable
/// `UPDATE_DOCS` is set, writes it first.
#[track_caller]
pub fn document(path: &str, content: &str) {
    let file = repository().join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == content,
        "{path} is out of date: UPDATE_DOCS=1 cargo test --workspace"
    );
}

/// Loads the schema `name` from `docs/`.
pub fn schema(name: &str) -> Validator {
    let text = fs::read_to_string(repository().join(format!("docs/{name}.schema.json"))).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

/// The end of every man page.
const EXIT_STATUS: &str = "\
.SH EXIT STATUS
.TP
0
Done, or nothing to do; with \\fB--check\\fR, everything is in place.
.TP
1
A host file cannot be used, smolvm or a guest command failed, a call timed out, or stdout was
closed; with \\fB--check\\fR, it cannot tell.
.TP
2
Wrong usage.
.TP
3
\\fB--check\\fR found a difference.
.TP
65
The plan is invalid, empty or truncated; nothing was changed.
.TP
69
smolvm was not found, or is too old.
.TP
129, 130, 143
Interrupted by SIGHUP, SIGINT or SIGTERM; the running smolvm call was ended and staged files were
removed.
.SH SEE ALSO
bottle-provision(1), bottle-ca(1), bottle-prompt(1), bottle-skills(1), bottle-git(1),
bottle-supervise(1)
";

/// Asserts that the man page and the completions of `command` are up to date. `description` is in
/// roff.
#[track_caller]
pub fn command_documents(command: &Command, description: &str) {
    let name = command.get_name().to_owned();
    let man = clap_mangen::Man::new(command.clone())
        .manual("bottle")
        .source(format!("bottle {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    page.extend(format!(".SH DESCRIPTION\n{description}\n").bytes());
    man.render_options_section(&mut page).unwrap();
    let help = command.get_after_help().unwrap().to_string();
    let mut examples = roff::Roff::new();
    examples.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in help.lines().skip(1) {
        examples.text([roff::roman(line.trim())]);
    }
    examples.control("fi", []);
    page.extend(examples.render().bytes());
    let long = command.get_after_long_help().map(ToString::to_string);
    if let Some((_, notes)) = long.as_deref().unwrap_or_default().split_once("Notes:\n") {
        let mut section = roff::Roff::new();
        section.control("SH", ["NOTES"]);
        for line in notes.lines() {
            section.text([roff::roman(line.trim())]);
        }
        page.extend(section.render().bytes());
    }
    page.extend(EXIT_STATUS.bytes());
    document(
        &format!("docs/man/{name}.1"),
        &String::from_utf8(page).unwrap(),
    );

    let visible = without_hidden(command);
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut script = Vec::new();
        generate(shell, &mut visible.clone(), &name, &mut script);
        let file = clap_complete::Generator::file_name(&shell, &name);
        document(
            &format!("docs/completions/{file}"),
            &String::from_utf8(script).unwrap(),
        );
    }
}

/// Copies `command` without its hidden options, which completions would offer.
fn without_hidden(command: &Command) -> Command {
    let visible = command.get_arguments().filter(|arg| !arg.is_hide_set());
    Command::new(&*command.get_name().to_owned().leak())
        .version(env!("CARGO_PKG_VERSION"))
        .args(visible.cloned())
}

/// Does the same as [`command_documents`] for a step.
#[track_caller]
pub fn step_documents(command: &Command) {
    let key = command.get_name().trim_start_matches("bottle-");
    let about = command.get_about().unwrap();
    let description = format!(
        "{about}. It reads a plan (JSON) on stdin, provisions the machine that the plan names,\n\
         and prints the plan, adding a receipt under \\fBreceipts.{key}\\fR. A step that fails\n\
         prints no plan. Every step is idempotent, even after being killed."
    );
    command_documents(command, &description);
}
