//! A step's smolvm calls as data.

use std::path::PathBuf;

use anyhow::Result;

use crate::guest::paths;
use crate::host::tree::PinnedTree;
use crate::plan::values::GuestPath;

/// One call of smolvm. `S` is what a copy copies: a [`Source`] or, once that has been staged, the
/// path of a file on the host that smolvm accepts.
#[derive(Clone, Debug)]
pub enum Call<S = Source> {
    /// `smolvm machine cp`
    Copy(Copy<S>),
    /// `smolvm machine exec`
    Exec(Exec),
}

/// Copies a file into the guest.
#[derive(Clone, Debug)]
pub struct Copy<S = Source> {
    /// What the call does to which thing. The error message begins with it.
    pub purpose: String,
    /// What is copied.
    pub from: S,
    /// The path in the guest.
    pub to: GuestPath,
    /// The mode of the copy, which belongs to root, if this smolvm can set both. It is `None` in a
    /// directory of the agent's. There smolvm (1.32.2) would set owner and mode, as root, through a
    /// link that the agent puts in the place of the file while it is copied.
    pub mode: Option<&'static str>,
}

/// A user of the guest, who runs a command or owns a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hands {
    /// root, for everything that only root can do.
    Root,
    /// node, for everything in node's home. A running agent can plant links there, but a command
    /// that runs as node can do nothing with them that the agent could not do itself.
    Node,
}

/// What a copy copies.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file on the host, as it is.
    File(PathBuf),
    /// A file with this content, which has to be staged.
    Text(String),
    /// The first part of the tar of a directory.
    Archive(Box<Archive>),
    /// The next part of the tar of the last [`Source::Archive`].
    NextPart,
}

/// A directory that is copied as a tar, in several parts if it is too long for one copy.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The directory.
    pub tree: PinnedTree,
    /// The maximum length of the tar, in bytes.
    pub size: u64,
    /// The maximum length of a part, in bytes.
    pub max_part: u64,
}

impl Archive {
    /// The number of parts, at least 1.
    #[must_use]
    pub fn parts(&self) -> u64 {
        self.size.div_ceil(self.max_part).max(1)
    }
}

/// Runs a command in the guest.
#[derive(Clone, Debug)]
pub struct Exec {
    /// What the call does to which thing. The error message begins with it.
    pub purpose: String,
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// The user that runs the command, if this smolvm and the machine can choose one.
    pub by: Hands,
    /// Environment variables that are set for the command.
    pub env: Vec<(&'static str, &'static str)>,
    /// What to do about a failure that is expected.
    pub recovery: Option<Box<Recovery>>,
    /// Whether stdout is data that may contain secrets. It is kept out of logs and errors.
    pub is_private: bool,
    /// What the command reads on stdin, if anything. Unlike arguments, no other user of the host
    /// can read it. `machine exec -i` hands it on since smolvm 1.8.1.
    pub input: Option<String>,
}

/// A failure that is expected, and what to do about it: make `calls`, then repeat the failed call.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// Words that the failed call prints.
    pub words: &'static str,
    /// A question that is asked first. If its answer shows that all is well, nothing more is done.
    /// In any case the answer takes the place of the output of the call.
    pub guard: Option<Guard>,
    /// The calls that remove the cause of the failure.
    pub calls: Vec<Exec>,
}

/// A question to the guest, and the answer that shows that the failed call is not needed.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The call that asks. If it fails, the failed call is needed.
    pub call: Exec,
    /// JSON pointers (RFC 6901), and the string that the printed JSON has to have at each of them.
    /// If the call prints several JSON texts, the first one counts.
    pub holds: Vec<(&'static str, String)>,
}

/// Calls that are made in order.
#[derive(Clone, Debug)]
pub struct Group<S = Source> {
    /// The calls.
    pub calls: Vec<Call<S>>,
    /// The call that undoes in the guest what the others began, if one of them fails.
    pub undo: Option<Exec>,
}

/// All smolvm calls of a step.
#[derive(Clone, Debug)]
pub struct Calls<S = Source> {
    /// The calls that are made first.
    pub first: Group<S>,
    /// Groups that do not depend on each other, so they may be made at the same time.
    pub side_by_side: Vec<Group<S>>,
}

impl<S> Call<S> {
    /// What the call does to which thing.
    #[must_use]
    pub fn purpose(&self) -> &str {
        match self {
            Self::Copy(copy) => &copy.purpose,
            Self::Exec(exec) => &exec.purpose,
        }
    }
}

impl Hands {
    /// The user that makes changes at `path`: node in node's home, and root anywhere else.
    #[must_use]
    pub fn at(path: &GuestPath) -> Self {
        let is_below = path
            .strip_prefix(paths::HOME)
            .is_some_and(|rest| rest.starts_with('/'));
        if is_below { Self::Node } else { Self::Root }
    }

    /// The user's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Node => "node",
        }
    }
}

impl Call {
    /// Copies `from` to `to`, which may be in a directory of the agent's.
    #[must_use]
    pub fn copy(from: Source, to: GuestPath) -> Self {
        Self::copy_with(None, from, to)
    }

    /// Copies `from` to `to`, in a directory of root's. The copy belongs to root and has the mode
    /// `mode`.
    #[must_use]
    pub fn copy_for_root(mode: &'static str, from: Source, to: GuestPath) -> Self {
        Self::copy_with(Some(mode), from, to)
    }

    fn copy_with(mode: Option<&'static str>, from: Source, to: GuestPath) -> Self {
        Self::Copy(Copy {
            purpose: format!("write {to}"),
            from,
            to,
            mode,
        })
    }

    /// Replaces the source of a copy by the path that `stage` gives for it.
    fn resolve(self, stage: &mut impl FnMut(Source) -> Result<String>) -> Result<Call<String>> {
        match self {
            Self::Copy(Copy {
                purpose,
                from,
                to,
                mode,
            }) => Ok(Call::Copy(Copy {
                purpose,
                from: stage(from)?,
                to,
                mode,
            })),
            Self::Exec(exec) => Ok(Call::Exec(exec)),
        }
    }
}

impl<S> From<Exec> for Call<S> {
    fn from(exec: Exec) -> Self {
        Self::Exec(exec)
    }
}

impl Exec {
    /// Runs `argv`, as root unless [`by`](Self::by) names another user.
    #[must_use]
    pub fn new(argv: &[&str]) -> Self {
        Self {
            purpose: argv.join(" "),
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            by: Hands::Root,
            env: Vec::new(),
            recovery: None,
            is_private: false,
            input: None,
        }
    }

    /// Runs a shell script with `parameters` as `$1`, `$2` and so on.
    #[must_use]
    pub fn script(purpose: impl Into<String>, script: &str, parameters: &[&str]) -> Self {
        let argv = [&["sh", "-c", script, "sh"], parameters].concat();
        Self {
            purpose: purpose.into(),
            ..Self::new(&argv)
        }
    }

    /// Runs `argv` as node with runuser(1), which root starts. Unlike [`by`](Self::by), this works
    /// with every smolvm and on every machine. runuser(1) does not set HOME and USER, so smolvm
    /// does.
    #[must_use]
    pub fn as_node(purpose: impl Into<String>, argv: &[&str]) -> Self {
        let argv = [&["runuser", "-u", "node", "--"], argv].concat();
        Self {
            purpose: purpose.into(),
            env: vec![("HOME", paths::HOME), ("USER", "node")],
            ..Self::new(&argv)
        }
    }

    /// Makes `hands` the user that runs the command.
    #[must_use]
    pub fn by(mut self, hands: Hands) -> Self {
        self.by = hands;
        self
    }

    /// Keeps the command's stdout out of logs and errors.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.is_private = true;
        self
    }

    /// Sets what the command reads on stdin.
    #[must_use]
    pub fn read(mut self, input: String) -> Self {
        self.input = Some(input);
        self
    }

    /// Sets what to do about a failure that is expected.
    #[must_use]
    pub fn recover_with(mut self, recovery: Recovery) -> Self {
        self.recovery = Some(Box::new(recovery));
        self
    }
}

impl Group {
    /// Replaces the source of each copy by the path that `stage` gives for it.
    fn resolve(self, stage: &mut impl FnMut(Source) -> Result<String>) -> Result<Group<String>> {
        let mut calls = Vec::new();
        for call in self.calls {
            calls.push(call.resolve(stage)?);
        }
        Ok(Group {
            calls,
            undo: self.undo,
        })
    }
}

impl<S> From<Vec<Call<S>>> for Group<S> {
    fn from(calls: Vec<Call<S>>) -> Self {
        Self { calls, undo: None }
    }
}

impl Calls {
    /// Makes an empty list of calls.
    #[must_use]
    pub fn none() -> Self {
        Self::from(Vec::new())
    }

    /// Replaces the source of each copy by the path that `stage` gives for it.
    ///
    /// # Errors
    ///
    /// The errors of `stage`.
    pub fn resolve(self, mut stage: impl FnMut(Source) -> Result<String>) -> Result<Calls<String>> {
        let first = self.first.resolve(&mut stage)?;
        let mut side_by_side = Vec::new();
        for group in self.side_by_side {
            side_by_side.push(group.resolve(&mut stage)?);
        }
        Ok(Calls {
            first,
            side_by_side,
        })
    }
}

impl<S> Calls<S> {
    /// Iterates over all calls, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Call<S>> {
        let beside = self.side_by_side.iter().flat_map(|group| &group.calls);
        self.first.calls.iter().chain(beside)
    }
}

impl<S> From<Vec<Call<S>>> for Calls<S> {
    fn from(calls: Vec<Call<S>>) -> Self {
        Self {
            first: calls.into(),
            side_by_side: Vec::new(),
        }
    }
}
