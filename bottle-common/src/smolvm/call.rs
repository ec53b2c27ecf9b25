//! A step's smolvm calls as data.

use std::path::PathBuf;

use anyhow::Result;

use crate::guest::paths;
use crate::host::tree::Tree;
use crate::plan::values::GuestPath;

/// One call of smolvm. `S` is what a copy is made of: at first a [`Source`], and the path of a file
/// once everything that has to be staged is staged.
#[derive(Clone, Debug)]
pub enum Call<S = Source> {
    /// `smolvm machine cp`
    Copy(Copy<S>),
    /// `smolvm machine exec`
    Exec(Exec),
}

/// Copies a file into the guest, as root's and with mode 0644.
#[derive(Clone, Debug)]
pub struct Copy<S = Source> {
    /// What this does to which thing: the first words of the message when it fails.
    pub purpose: String,
    /// What is copied.
    pub from: S,
    /// Where it goes in the guest.
    pub to: GuestPath,
}

/// What goes into the guest.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file of the host, as it is.
    File(PathBuf),
    /// A file that is made for the guest, with this content.
    Text(String),
    /// The first part of a directory's tar.
    Archive(Box<Archive>),
    /// The next part of the tar before.
    NextPart,
}

/// A directory as a tar that may be too long for one copy.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The directory.
    pub tree: Tree,
    /// How long the tar is at most, in bytes.
    pub size: u64,
    /// How long a part of it may be, in bytes.
    pub max_part: u64,
}

impl Archive {
    /// How many parts there are.
    #[must_use]
    pub fn parts(&self) -> u64 {
        self.size.div_ceil(self.max_part).max(1)
    }
}

/// Runs a command in the guest.
#[derive(Clone, Debug)]
pub struct Exec {
    /// What this does to which thing: the first words of the message when it fails.
    pub purpose: String,
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// Variables that are set for it.
    pub env: Vec<(&'static str, &'static str)>,
    /// The way out of a failure that is expected.
    pub recovery: Option<Box<Recovery>>,
    /// Whether what it prints on stdout is data, perhaps with secrets in it, and not for people.
    pub is_private: bool,
}

/// A failure that is expected, and the way out of it: `calls` are made, then the failed call once
/// more.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// Words in what the failed call prints.
    pub words: &'static str,
    /// A question that is asked first. When its answer shows that all is well, nothing more is
    /// done. In any case the answer stands for what the failed call prints.
    pub guard: Option<Guard>,
    /// What is done about the failure.
    pub calls: Vec<Exec>,
}

/// A question to the guest, and the answer that shows that all is well.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The call that asks. If it fails, all is not well.
    pub call: Exec,
    /// What the JSON that it prints has to have at each of these pointers (RFC 6901). Only the
    /// first of several JSON texts counts.
    pub holds: Vec<(&'static str, String)>,
}

/// Calls that are made in order.
#[derive(Clone, Debug)]
pub struct Group<S = Source> {
    /// The calls.
    pub calls: Vec<Call<S>>,
    /// What takes back in the guest what the calls began, when one of them fails.
    pub undo: Option<Exec>,
}

/// All calls of a step.
#[derive(Clone, Debug)]
pub struct Calls<S = Source> {
    /// The calls that are made first.
    pub first: Group<S>,
    /// Groups that do not depend on each other: they may be made side by side.
    pub side_by_side: Vec<Group<S>>,
}

impl<S> Call<S> {
    /// What this does to which thing.
    #[must_use]
    pub fn purpose(&self) -> &str {
        match self {
            Self::Copy(copy) => &copy.purpose,
            Self::Exec(exec) => &exec.purpose,
        }
    }
}

impl Call {
    /// Copies `from` to `to`.
    #[must_use]
    pub fn copy(from: Source, to: GuestPath) -> Self {
        Self::Copy(Copy {
            purpose: format!("write {to}"),
            from,
            to,
        })
    }

    /// Puts the path of a file in place of what is copied; `stage` makes that file.
    fn resolve(self, stage: &mut impl FnMut(Source) -> Result<PathBuf>) -> Result<Call<PathBuf>> {
        match self {
            Self::Copy(Copy { purpose, from, to }) => Ok(Call::Copy(Copy {
                purpose,
                from: stage(from)?,
                to,
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
    /// Runs `argv`, as root where smolvm can be told so.
    #[must_use]
    pub fn new(argv: &[&str]) -> Self {
        Self {
            purpose: argv.join(" "),
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            env: Vec::new(),
            recovery: None,
            is_private: false,
        }
    }

    /// Runs a shell script. What varies is in its positional parameters.
    #[must_use]
    pub fn script(purpose: impl Into<String>, script: &str, parameters: &[&str]) -> Self {
        let argv = [&["sh", "-c", script, "sh"], parameters].concat();
        Self {
            purpose: purpose.into(),
            ..Self::new(&argv)
        }
    }

    /// Runs `argv` as the agent. `smolvm -e` sets the variables that runuser(1) leaves alone.
    #[must_use]
    pub fn as_node(purpose: impl Into<String>, argv: &[&str]) -> Self {
        let argv = [&["runuser", "-u", "node", "--"], argv].concat();
        let env = vec![("HOME", paths::HOME), ("USER", "node")];
        Self {
            purpose: purpose.into(),
            env,
            ..Self::new(&argv)
        }
    }

    /// Keeps what it prints on stdout out of logs and errors.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.is_private = true;
        self
    }

    /// Names the way out of a failure that is expected.
    #[must_use]
    pub fn recover_with(mut self, recovery: Recovery) -> Self {
        self.recovery = Some(Box::new(recovery));
        self
    }
}

impl Group {
    /// Puts the paths of files in place of what is copied.
    fn resolve(self, stage: &mut impl FnMut(Source) -> Result<PathBuf>) -> Result<Group<PathBuf>> {
        let calls = self
            .calls
            .into_iter()
            .map(|call| call.resolve(stage))
            .collect::<Result<_>>()?;
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
    /// No calls.
    #[must_use]
    pub fn none() -> Self {
        Self::from(Vec::new())
    }

    /// Puts the paths of files in place of what is copied; `stage` makes each file.
    ///
    /// # Errors
    ///
    /// Those of `stage`.
    pub fn resolve(
        self,
        mut stage: impl FnMut(Source) -> Result<PathBuf>,
    ) -> Result<Calls<PathBuf>> {
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
    /// All calls, in order.
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
