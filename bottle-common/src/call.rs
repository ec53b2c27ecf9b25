//! A step's smolvm calls as data.

use std::path::PathBuf;

use anyhow::Result;

use crate::archive::Directory;
use crate::checked::GuestPath;
use crate::guest;

/// One call of smolvm, and what it must answer. What it copies is at first the step's word for it, and the path of a
/// file once everything that has to be made is made.
#[derive(Clone, Debug)]
pub struct Call<S = Source> {
    /// What this does to which thing: the first words of the message when it fails.
    pub(crate) purpose: String,
    pub(crate) action: Action<S>,
    /// What it must print, beside an exit status of 0.
    pub(crate) answer: Option<Answer>,
    pub(crate) remedy: Option<Box<Remedy>>,
    pub(crate) diagnosis: Option<Box<Diagnosis>>,
    /// What is done in the guest when this call or a later one fails.
    pub(crate) undo: Option<Box<Call<PathBuf>>>,
    /// What it prints on stdout is data, perhaps with secrets in it, and not for people.
    pub(crate) is_private: bool,
    /// Calls of one lane are made in order; those of lanes other than 0, beside each other, after those of lane 0.
    pub(crate) lane: usize,
}

/// What a call must print.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// A regular expression for it, as `grep -E` takes it.
    pub pattern: &'static str,
    /// Whether that is in a text. (A function: one pattern is not worth a regex engine in every program.)
    pub is_in: fn(&str) -> bool,
}

/// What smolvm is asked to do.
#[derive(Clone, Debug)]
pub(crate) enum Action<S> {
    Copy { from: S, to: GuestPath },
    Exec { argv: Vec<String>, env: Vec<(&'static str, &'static str)> },
}

/// What goes into the guest.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file of the host, as it is.
    File(PathBuf),
    /// A file that is made for the guest, with this content.
    Text(String),
    /// A directory, as a tar, or as much of it as smolvm copies at once.
    Directory(Directory),
    /// The next part of the directory before.
    Part,
}

/// A failure that is expected, and the way out of it: `calls` are made, then the failed call once more.
#[derive(Clone, Debug)]
pub struct Remedy {
    /// The failed call's stderr or stdout holds these words.
    pub words: &'static str,
    /// A question whose answer may show that all is well as it is; then nothing more is done. Either way the answer stands
    /// for what the call prints.
    pub unless: Option<Question>,
    /// What is done about it.
    pub calls: Vec<Call<PathBuf>>,
}

/// A call, and whether what it prints is a yes.
#[derive(Clone, Debug)]
pub struct Question {
    /// The call that asks; where it fails the answer is no.
    pub call: Call<PathBuf>,
    /// What the guest's file, in JSON (what follows that is not looked at), has to have at each pointer (RFC 6901).
    pub holds: Vec<(&'static str, String)>,
}

/// A failure whose hint depends on what is in the guest, which is asked only then.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// The failed call's stderr or stdout holds one of these words.
    pub words: &'static [&'static str],
    /// The call that asks: it succeeds where `hint` is the way out.
    pub call: Call<PathBuf>,
    /// The way out, instead of the one that the words alone have.
    pub hint: &'static str,
}

impl Call {
    /// Copies `from` to `to`, as root with mode 0644.
    #[must_use]
    pub fn copy(from: Source, to: GuestPath) -> Self {
        Self::new(format!("write {to}"), Action::Copy { from, to })
    }

    /// The same call with the path of a file in place of what it copies; `make` makes that file.
    pub(crate) fn made(self, make: impl FnOnce(Source) -> Result<PathBuf>) -> Result<Call<PathBuf>> {
        let Self { purpose, action, answer, remedy, diagnosis, undo, is_private, lane } = self;
        let action = match action {
            Action::Copy { from, to } => Action::Copy { from: make(from)?, to },
            Action::Exec { argv, env } => Action::Exec { argv, env },
        };
        Ok(Call { purpose, action, answer, remedy, diagnosis, undo, is_private, lane })
    }
}

impl<S> Call<S> {
    fn new(purpose: String, action: Action<S>) -> Self {
        Self { purpose, action, answer: None, remedy: None, diagnosis: None, undo: None, is_private: false, lane: 0 }
    }

    /// Runs `argv` in the guest, as root where smolvm can be told so.
    #[must_use]
    pub fn exec(argv: &[&str]) -> Self {
        let words = argv.iter().map(|&arg| arg.to_owned()).collect();
        Self::new(argv.join(" "), Action::Exec { argv: words, env: Vec::new() })
    }

    /// Runs a shell script in the guest; what varies is in its positional parameters.
    #[must_use]
    pub fn script(script: &str, parameters: &[&str]) -> Self {
        Self::exec(&[&["sh", "-c", script, "sh"], parameters].concat())
    }

    /// Runs `argv` in the guest as the agent: `smolvm -e` sets what `runuser` leaves alone.
    #[must_use]
    pub fn exec_as_node(argv: &[&str]) -> Self {
        let mut call = Self::exec(&[&["runuser", "-u", "node", "--"], argv].concat());
        if let Action::Exec { env, .. } = &mut call.action {
            env.extend([("HOME", guest::HOME), ("USER", "node")]);
        }
        call
    }

    /// Says what the call is for, where its words do not.
    #[must_use]
    pub fn to(mut self, purpose: impl Into<String>) -> Self {
        self.purpose = purpose.into();
        self
    }

    /// Fails unless `answer` is in stdout.
    #[must_use]
    pub fn answering(mut self, answer: Answer) -> Self {
        self.answer = Some(answer);
        self
    }

    /// Keeps what it prints on stdout out of logs and errors.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.is_private = true;
        self
    }

    /// Puts it into a lane, so that the runner may make it beside the calls of others.
    #[must_use]
    pub fn in_lane(mut self, lane: usize) -> Self {
        self.lane = lane;
        self
    }

    /// Names the way out of a failure that is expected.
    #[must_use]
    pub fn or(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(Box::new(remedy));
        self
    }

    /// Names a question to be asked about a failure.
    #[must_use]
    pub fn diagnosed_by(mut self, diagnosis: Diagnosis) -> Self {
        self.diagnosis = Some(Box::new(diagnosis));
        self
    }

    /// Names what takes this call back when it or a later one fails.
    #[must_use]
    pub(crate) fn undone_by(mut self, undo: Call<PathBuf>) -> Self {
        self.undo = Some(Box::new(undo));
        self
    }
}
