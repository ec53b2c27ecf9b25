//! Runs a step's calls: as whom, how often, for how long, and what a failure says.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::call::{Action, Call, Question, Remedy};
use crate::call_error::{self, CallError, Reason};
use crate::check;
use crate::checked::MachineName;
use crate::command;
use crate::exec_user::ExecUser;
use crate::failure::Code;
use crate::interrupt;
use crate::progress::Progress;

/// The oldest smolvm that is supported, see docs/smolvm.md.
pub(crate) const OLDEST: semver::Version = semver::Version::new(0, 5, 16);
/// The first smolvm in which `machine exec --user root` gives root on image machines.
const USER_SINCE: semver::Version = semver::Version::new(1, 14, 0);
/// What a bare machine says to any `--user` (smolvm 1.32.2).
const USER_REFUSED: &str = "needs an image machine; a bare VM runs every command as root";
/// SIGKILL, which early execs get from some versions although nothing is wrong.
const KILLED: i32 = 137;
/// Failures of smolvm's own that are gone when it is asked again: two calls at once, and (on a bare machine) a file of the
/// name that it takes for a copy's beginning, left by an agent that ended in the middle of one; the next name is free.
const PASSING: [&str; 2] = ["database is locked", "failed to open staging file: File exists"];
/// How often a call is repeated that failed for no fault of its own.
const REPEATS: u32 = 3;
/// How long it may take to take something back: somebody may be waiting for the end.
const UNDO_TIMEOUT: Duration = Duration::from_secs(5);
/// How many lanes of calls go on at a time. The agent serves 32 calls at once (smolvm 1.32.2); more than a few gain
/// nothing.
const AT_ONCE: usize = 4;
const PAUSE: Duration = Duration::from_millis(200);

/// smolvm, set up for one machine.
#[derive(Clone)]
pub struct Smolvm {
    program: OsString,
    machine: MachineName,
    user: ExecUser,
    timeout: Duration,
    trace: Option<fn(&[String])>,
    progress: Progress,
    calls: u32,
}

impl Smolvm {
    /// `timeout` is for one call; `progress` shows how far a copy is; `trace` gets each call as a line for a shell with what came of it, and what it printed.
    pub(crate) fn new(
        program: OsString,
        machine: MachineName,
        user: ExecUser,
        timeout: Duration,
        trace: Option<fn(&[String])>,
        progress: Progress,
    ) -> Self {
        Self { program, machine, user, timeout, trace, progress, calls: 0 }
    }

    /// How many calls for the machine were made so far.
    pub(crate) fn calls(&self) -> u32 {
        self.calls
    }

    /// Makes `calls`, lane by lane, up to the first that fails; gives what each printed on stdout.
    pub(crate) fn run(&mut self, calls: &[Call<PathBuf>]) -> Result<Vec<String>, CallError> {
        let lanes: Vec<_> = calls.chunk_by(|one, next| one.lane == next.lane).collect();
        match lanes.split_first() {
            // A few are done before it would pay.
            Some((first, lanes)) if lanes.len() > AT_ONCE => {
                let mut answers = self.run_in_order(first)?;
                answers.extend(self.run_beside(lanes)?);
                Ok(answers)
            }
            _ => self.run_in_order(calls),
        }
    }

    /// Some of `lanes` at a time. No further one is begun when one has failed.
    fn run_beside(&mut self, lanes: &[&[Call<PathBuf>]]) -> Result<Vec<String>, CallError> {
        let (next, has_failed, calls) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicU32::new(0));
        let answers: Vec<_> = lanes.iter().map(|_| OnceLock::new()).collect();
        let work = || {
            let mut smolvm = Self { calls: 0, progress: Progress { show: None }, ..self.clone() };
            while let Some((lane, answer)) = {
                let number = next.fetch_add(1, Ordering::Relaxed);
                lanes.get(number).zip(answers.get(number)).filter(|_| !has_failed.load(Ordering::Relaxed))
            } {
                let answer = answer.get_or_init(|| smolvm.run_in_order(lane));
                has_failed.fetch_or(answer.is_err(), Ordering::Relaxed);
            }
            calls.fetch_add(smolvm.calls, Ordering::Relaxed);
        };
        thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
        self.calls += calls.into_inner();
        let answers = answers.into_iter().filter_map(OnceLock::into_inner).collect::<Result<Vec<_>, _>>()?;
        Ok(answers.concat())
    }

    /// When one of `calls` fails, what it and those before it left half done is taken back, as far as the guest still
    /// answers.
    fn run_in_order(&mut self, calls: &[Call<PathBuf>]) -> Result<Vec<String>, CallError> {
        let mut answers = Vec::new();
        for (number, call) in calls.iter().enumerate() {
            match self.run_one(call) {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    let undos = calls[..=number].iter().rev().filter_map(|call| call.undo.as_deref());
                    self.timeout = self.timeout.min(UNDO_TIMEOUT);
                    // The failure that is told of is the first.
                    interrupt::uninterrupted(|| undos.for_each(|undo| drop(self.attempt(undo))));
                    return Err(error);
                }
            }
        }
        Ok(answers)
    }

    fn run_one(&mut self, call: &Call<PathBuf>) -> Result<String, CallError> {
        let result = match (self.attempt(call), &call.remedy) {
            (Err(error), Some(remedy)) if error.says(remedy.words) => self.remedy(call, remedy),
            (result, _) => result,
        };
        match (result, &call.diagnosis) {
            (Err(error), Some(diagnosis)) if diagnosis.words.iter().any(|words| error.says(words)) => {
                let is_so = self.attempt(&diagnosis.call).is_ok();
                Err(if is_so { error.hinting(diagnosis.hint) } else { error })
            }
            (result, _) => result,
        }
    }

    fn remedy(&mut self, call: &Call<PathBuf>, remedy: &Remedy) -> Result<String, CallError> {
        let answer = self.ask(remedy)?;
        if let (Some(question), Some(answer)) = (&remedy.unless, &answer)
            && is_yes(question, answer)
        {
            return Ok(answer.clone());
        }
        for way_out in &remedy.calls {
            // Whether it helped, the repeated call shows.
            self.attempt(way_out).map(drop).or_else(CallError::unless_failed)?;
        }
        self.attempt(call).map(|printed| answer.unwrap_or(printed))
    }

    /// What the question of `remedy` is answered, if it has one.
    fn ask(&mut self, remedy: &Remedy) -> Result<Option<String>, CallError> {
        let Some(question) = &remedy.unless else { return Ok(None) };
        self.attempt(&question.call).or_else(|error| error.unless_failed().map(|()| String::new())).map(Some)
    }

    /// Makes `call`, again where the failure is not its own.
    fn attempt(&mut self, call: &Call<PathBuf>) -> Result<String, CallError> {
        let mut repeats = 0;
        loop {
            let output = self.invoke(call)?;
            let stderr = String::from_utf8_lossy(&output.stderr);
            let is_exec = matches!(call.action, Action::Exec { .. });
            let is_smolvms_own = call_error::is_smolvms_own(&output);
            if is_smolvms_own && matches!(self.user, ExecUser::RootIfTaken) && stderr.contains(USER_REFUSED) {
                self.user = ExecUser::None;
                continue;
            }
            let passing = is_smolvms_own && PASSING.iter().any(|words| stderr.contains(words));
            let killed = is_exec && output.status.code() == Some(KILLED);
            if (passing || killed) && repeats < REPEATS {
                repeats += 1;
                sleep(PAUSE);
                continue;
            }
            return self.judge(call, &output);
        }
    }

    fn judge(&self, call: &Call<PathBuf>, output: &Output) -> Result<String, CallError> {
        let stdout = check::text(&output.stdout);
        let shown = shown(call, output);
        let reason = if !output.status.success() {
            match &call.action {
                Action::Exec { argv, .. } => Reason::Failed(&shown, argv.first().map(String::as_str)),
                Action::Copy { .. } => Reason::Failed(&shown, None),
            }
        } else if let Some(answer) = call.answer.filter(|answer| !(answer.is_in)(&stdout)) {
            Reason::Answered(&shown, answer.pattern)
        } else {
            return Ok(stdout);
        };
        Err(self.error(call, reason))
    }

    fn invoke(&mut self, call: &Call<PathBuf>) -> Result<Output, CallError> {
        self.calls += 1;
        let link;
        let machine = self.machine.to_string();
        let mut args = vec!["machine".to_owned()];
        match &call.action {
            Action::Copy { from, to } => {
                let source = match from.to_str() {
                    Some(path) if !path.contains(':') => path,
                    // smolvm would take what is before the colon for a machine; it follows links.
                    _ => {
                        link = Link::to(from).map_err(|error| self.error(call, Reason::NoLink(&error)))?;
                        &link.path
                    }
                };
                args.extend(["cp".to_owned(), source.to_owned(), format!("{machine}:{to}")]);
                self.start(call, &args)
            }
            Action::Exec { argv, env } => {
                args.extend(["exec".to_owned(), "--name".to_owned(), machine]);
                if let Some(user) = self.user(call)? {
                    args.extend(["--user".to_owned(), user]);
                }
                for (name, value) in env {
                    args.extend(["-e".to_owned(), format!("{name}={value}")]);
                }
                args.push("--".to_owned());
                args.extend_from_slice(argv);
                self.start(call, &args)
            }
        }
    }

    fn start(&self, call: &Call<PathBuf>, args: &[String]) -> Result<Output, CallError> {
        let started = Instant::now();
        let words = args.iter().map(String::as_str);
        let result = if self.progress.show.is_some() && matches!(call.action, Action::Copy { .. }) {
            let mut meter = self.progress.of(&call.purpose, 0);
            command::run_watched(&self.program, words, self.timeout, move |words| meter.heard(words))
        } else {
            command::run(&self.program, words, self.timeout)
        };
        if let Some(trace) = self.trace {
            let program = self.program.to_string_lossy();
            let words = [program.as_ref()].into_iter().chain(args.iter().map(String::as_str));
            let line = shlex::try_join(words).unwrap_or_default();
            let end = match &result {
                Ok(output) => call_error::status(output.status),
                Err(unfinished) => unfinished.to_string(),
            };
            let mut lines = vec![format!("{line}  # {end}, {} ms", started.elapsed().as_millis())];
            if let Ok(output) = &result {
                lines.extend(call_error::printed(&shown(call, output)).iter().map(|line| format!("    {line}")));
            }
            trace(&lines);
        }
        result.map_err(|unfinished| self.error(call, Reason::Unfinished(&unfinished)))
    }

    /// The user to ask for; where that depends on smolvm's version, it is read once.
    fn user(&mut self, call: &Call<PathBuf>) -> Result<Option<String>, CallError> {
        if matches!(self.user, ExecUser::Auto) {
            let version = match self.start(call, &["--version".to_owned()]) {
                Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
                // It cannot be read; the calls themselves may work.
                Err(error) if error.code == Code::Timeout => String::new(),
                Err(error) => return Err(error),
            };
            let version = version.split_whitespace().last().and_then(|word| semver::Version::parse(word).ok());
            if let Some(version) = version.as_ref().filter(|&version| *version < OLDEST) {
                return Err(self.error(call, Reason::TooOld(version)));
            }
            let is_new = version.is_some_and(|version| version >= USER_SINCE);
            self.user = if is_new { ExecUser::RootIfTaken } else { ExecUser::None };
        }
        Ok(match &self.user {
            ExecUser::Auto | ExecUser::None => None,
            ExecUser::RootIfTaken => Some("root".to_owned()),
            ExecUser::User(user) => Some(user.clone()),
        })
    }

    fn error(&self, call: &Call<PathBuf>, reason: Reason) -> CallError {
        let command = match call.action {
            Action::Copy { .. } => "cp",
            Action::Exec { .. } => "exec",
        };
        let doing = format!("{}: smolvm machine {command}", call.purpose);
        CallError::new(&doing, reason, &self.machine, self.timeout)
    }
}

/// What people may see of `output`.
fn shown<'a>(call: &Call<PathBuf>, output: &'a Output) -> Cow<'a, Output> {
    if call.is_private { Cow::Owned(Output { stdout: Vec::new(), ..output.clone() }) } else { Cow::Borrowed(output) }
}

/// The first of the JSON values that `answer` holds is the one that counts.
fn is_yes(question: &Question, answer: &str) -> bool {
    let json = serde_json::Deserializer::from_str(answer).into_iter::<serde_json::Value>().next();
    let json = json.and_then(Result::ok).unwrap_or_default();
    question.holds.iter().all(|(pointer, value)| json.pointer(pointer).is_some_and(|found| *found == **value))
}

/// A link to a host file whose own path smolvm does not take; gone when dropped.
struct Link {
    path: String,
    _directory: TempDir,
}

impl Link {
    fn to(file: &Path) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("bottle-").tempdir()?;
        let path = directory.path().join("file");
        symlink(std::path::absolute(file)?, &path)?;
        match path.to_str() {
            Some(path) if !path.contains(':') => Ok(Self { path: path.to_owned(), _directory: directory }),
            _ => Err(io::Error::other("TMPDIR must be a path without a colon")),
        }
    }
}
