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

/// The end of the man page of every program.
const END: &str = "\
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
bottle-plan(5), bottle-provision(1), bottle-fetch(1), bottle-ca(1), bottle-prompt(1),
bottle-skills(1), bottle-git(1), bottle-supervise(1)
";

/// What each environment variable means. Programs read them all by the options that name them,
/// except for those of everybody.
const VARIABLES: [(&str, &str); 7] = [
    ("CLAUDE_BOTTLE_SMOLVM", "The smolvm program to run."),
    (
        "CLAUDE_BOTTLE_EXEC_USER",
        "The user that runs guest commands: auto, none or a user name.",
    ),
    (
        "CLAUDE_BOTTLE_TIMEOUT",
        "The time limit for one smolvm call, such as 30s or 5m.",
    ),
    (
        "CLAUDE_BOTTLE_HOST_SKILLS_DIR",
        "Where skills are on the host.",
    ),
    (
        "CLAUDE_BOTTLE_GUEST_SKILLS_DIR",
        "Where skills go in the guest.",
    ),
    ("PATH", "Where smolvm is looked for, and git."),
    (
        "TMPDIR",
        "Where scripts keep the plan while they run. It may hold secrets, and is readable by the user alone.",
    ),
];

/// Asserts that the man page and the completions of `command` are up to date. `description` is in
/// roff. `files` are the files that the program reads or writes, with their meaning.
#[track_caller]
pub fn command_documents(command: &Command, description: &str, files: &[(&str, &str)]) {
    let name = command.get_name().to_owned();
    let man = clap_mangen::Man::new(command.clone())
        .manual("bottle")
        .source(format!("bottle {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    page.extend(synopsis(command).render().bytes());
    page.extend(format!(".SH DESCRIPTION\n{description}\n").bytes());
    man.render_options_section(&mut page).unwrap();
    let help = command.get_after_help().unwrap().to_string();
    let mut sections = roff::Roff::new();
    sections.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in help.lines().skip(1) {
        sections.text([roff::roman(line.trim())]);
    }
    sections.control("fi", []);
    let long = command.get_after_long_help().map(ToString::to_string);
    if let Some((_, notes)) = long.as_deref().unwrap_or_default().split_once("Notes:\n") {
        sections.control("SH", ["NOTES"]);
        for line in notes.lines() {
            sections.text([roff::roman(line.trim())]);
        }
    }
    let is_script = ["bottle-provision", "bottle-fetch"].contains(&&*name);
    let is_read = |(variable, _): &&(&str, &str)| {
        let by_option = command.get_arguments().any(|arg| {
            let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
            arg.get_env().is_some_and(|env| env == *variable) || text.contains(variable)
        });
        by_option || *variable == "PATH" || *variable == "TMPDIR" && is_script
    };
    sections.control("SH", ["ENVIRONMENT"]);
    for (variable, meaning) in VARIABLES.iter().filter(is_read) {
        sections.control("TP", []).text([roff::bold(*variable)]);
        sections.text([roff::roman(*meaning)]);
    }
    sections.control("SH", ["FILES"]);
    for (file, meaning) in files {
        sections.control("TP", []).text([roff::italic(*file)]);
        sections.text([roff::roman(*meaning)]);
    }
    page.extend(sections.render().bytes());
    page.extend(END.bytes());
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

/// Gives the section SYNOPSIS, in which each option has its value.
fn synopsis(command: &Command) -> roff::Roff {
    let mut section = roff::Roff::new();
    section.control("SH", ["SYNOPSIS"]);
    section.control("TP", []);
    section.text([roff::bold(command.get_name())]);
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let mut words = vec![roff::roman("[")];
        if let Some(short) = arg.get_short() {
            words.extend([roff::bold(format!("-{short}")), roff::roman(" | ")]);
        }
        words.push(roff::bold(format!("--{}", arg.get_long().unwrap())));
        if let (true, Some(names)) = (arg.get_action().takes_values(), arg.get_value_names()) {
            words.extend([roff::roman(" "), roff::italic(names[0].to_string())]);
        }
        words.push(roff::roman("]"));
        section.text(words);
    }
    section
}

/// Copies `command` without its hidden options, which completions would offer.
fn without_hidden(command: &Command) -> Command {
    let visible = command.get_arguments().filter(|arg| !arg.is_hide_set());
    Command::new(&*command.get_name().to_owned().leak())
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(command.is_disable_help_flag_set())
        .args(visible.cloned())
}

/// Does the same as [`command_documents`] for a step. `files` are those in the guest.
#[track_caller]
pub fn step_documents(command: &Command, files: &[(&str, &str)]) {
    let key = command.get_name().trim_start_matches("bottle-");
    let about = command.get_about().unwrap();
    let description = format!(
        "{about}. It reads a plan (JSON) on stdin, provisions the machine that the plan names,\n\
         and prints the plan, adding a receipt under \\fBreceipts.{key}\\fR. A step that fails\n\
         prints no plan. Every step is idempotent, even after being killed."
    );
    let staged = (
        "stage_dir of the plan",
        "Where files for the guest are made and removed.",
    );
    command_documents(command, &description, &[files, &[staged]].concat());
}

/// Asserts that the man page `name` of section 5 is up to date, which is the page `docs/SOURCE` in
/// Markdown. `title` is its line for whatis(1).
#[track_caller]
pub fn markdown_as_man_page(source: &str, name: &str, title: &str) {
    let text = fs::read_to_string(repository().join("docs").join(source)).unwrap();
    let mut page = roff::Roff::new();
    let version = concat!("bottle ", env!("CARGO_PKG_VERSION"));
    page.control("TH", [name, "5", "", version, "bottle"]);
    page.control("SH", ["NAME"]);
    page.text([roff::roman(format!("{name} - {title}"))]);
    page.control("SH", ["DESCRIPTION"]);
    Markdown {
        page,
        ..Markdown::default()
    }
    .render(&text, &format!("docs/man/{name}.5"));
}

/// A page in Markdown that is being rendered.
#[derive(Default)]
struct Markdown {
    page: roff::Roff,
    /// The words of the paragraph, the heading or the cell.
    words: Vec<roff::Inline>,
    /// The cells of a table's head, and those of the row.
    head: Vec<Vec<roff::Inline>>,
    row: Vec<Vec<roff::Inline>>,
    is_code: bool,
}

impl Markdown {
    fn render(mut self, text: &str, path: &str) {
        use pulldown_cmark::{Event, Options, Parser};
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(tag) => self.start(&tag),
                Event::End(tag) => self.end(tag),
                Event::Text(text) if self.is_code => {
                    for line in text.lines() {
                        self.page.text([roff::roman(line)]);
                    }
                }
                Event::Text(text) => self.words.push(roff::roman(text.to_string())),
                Event::Code(text) => self.words.push(roff::bold(text.to_string())),
                Event::SoftBreak => self.words.push(roff::roman(" ")),
                other => panic!("{other:?} cannot be in a man page"),
            }
        }
        document(path, &self.page.render());
    }

    fn start(&mut self, tag: &pulldown_cmark::Tag) {
        use pulldown_cmark::Tag;
        match tag {
            Tag::CodeBlock(_) => {
                self.is_code = true;
                self.page.control("PP", []).control("nf", []);
            }
            Tag::Item => _ = self.page.control("IP", ["\\(bu", "2"]),
            _ => {}
        }
    }

    fn end(&mut self, tag: pulldown_cmark::TagEnd) {
        use pulldown_cmark::{HeadingLevel, TagEnd};
        match tag {
            TagEnd::CodeBlock => {
                self.is_code = false;
                self.page.control("fi", []);
            }
            // The title is that of the man page.
            TagEnd::Heading(HeadingLevel::H1) => self.words.clear(),
            TagEnd::Heading(_) => {
                self.page.control("SH", []);
                self.print();
            }
            TagEnd::Paragraph => {
                self.page.control("PP", []);
                self.print();
            }
            TagEnd::Item => self.print(),
            TagEnd::TableCell => self.row.push(std::mem::take(&mut self.words)),
            TagEnd::TableHead => self.head = std::mem::take(&mut self.row),
            TagEnd::TableRow => self.print_row(),
            _ => {}
        }
    }

    fn print(&mut self) {
        if !self.words.is_empty() {
            self.page.text(std::mem::take(&mut self.words));
        }
    }

    /// Prints a row: its first cell, then the others, each but the last with its head.
    fn print_row(&mut self) {
        let mut cells = std::mem::take(&mut self.row).into_iter();
        self.page.control("TP", []);
        self.page.text(cells.next().unwrap_or_default());
        let others: Vec<_> = cells.collect();
        let last = others.len() - 1;
        for (number, cell) in others.into_iter().enumerate() {
            if number < last {
                let mut words = self.head[number + 1].clone();
                words.push(roff::roman(": "));
                words.extend(cell);
                self.page.text(words);
                self.page.control("br", []);
            } else {
                self.page.text(cell);
            }
        }
    }
}
