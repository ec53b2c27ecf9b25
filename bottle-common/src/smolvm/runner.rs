//! Makes a step's calls: as which user, how often, for how long.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::{Deserializer, Value};

use crate::error::Code;
use crate::host::{process, signals};
use crate::plan::values::MachineName;
use crate::smolvm::call::{Call, Calls, Copy, Exec, Group, Guard, Hands, Recovery};
use crate::smolvm::failure::{self, CallFailure, Reason};
use crate::smolvm::known::{Known, KnownSmolvm, KnownUser};
use crate::smolvm::progress::Progress;
use crate::smolvm::version::{self, ExecUser, OLDEST};
use crate::text;

/// What a bare machine says to any `--user` (smolvm 1.32.2).
const USER_REFUSED: &str = "needs an image machine; a bare VM runs every command as root";
/// SIGKILL, which early execs get from some versions although nothing is wrong.
const KILLED: i32 = 137;
/// Failures of smolvm's own that are gone when it is asked again: two calls at once, and (on a bare
/// machine) a file by the name that it gives to a copy's beginning, left by an agent that ended in
/// the middle of a copy. The next name is free.
const TRANSIENT: [&str; 2] = [
    "database is locked",
    "failed to open staging file: File exists",
];
/// How often a call is repeated that failed for no fault of its own.
const MAX_REPEATS: u32 = 3;
/// How long to wait before that.
const PAUSE: Duration = Duration::from_millis(200);
/// How long it may take to undo something: somebody may be waiting for the end.
const UNDO_TIMEOUT: Duration = Duration::from_secs(5);
/// How many groups go on side by side. More than a few gain nothing.
const SIDE_BY_SIDE: usize = 4;

/// How calls are made, from the command line.
#[derive(Clone)]
pub struct Settings {
    /// The smolvm to run.
    pub program: OsString,
    /// The machine that the calls are for.
    pub machine: MachineName,
    /// The user that guest commands run as.
    pub user: ExecUser,
    /// How long one call may take.
    pub timeout: Duration,
    /// Gets each call as lines for a shell, with what came of it and what it printed.
    pub trace: Option<fn(&[String])>,
    /// Where progress is shown.
    pub progress: Progress,
    /// The file in which a chain of steps keeps what it knows of smolvm.
    pub known: Option<PathBuf>,
}

/// smolvm, set up for one machine.
#[derive(Clone)]
pub struct Runner {
    settings: Settings,
    smolvm: Option<KnownSmolvm>,
    known: Option<Arc<Known>>,
    calls: u32,
}

impl Runner {
    /// Sets smolvm up. Nothing is run yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        // Without the file this step finds out by itself.
        let known = settings
            .known
            .as_deref()
            .and_then(|file| Known::open(file).ok());
        Self {
            settings,
            smolvm: None,
            known: known.map(Arc::new),
            calls: 0,
        }
    }

    /// How many calls for the machine were made so far, repeated ones counted.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Makes `calls` up to the first that fails, and gives what each printed on stdout.
    ///
    /// # Errors
    ///
    /// The failure of the call that did not do what it was for.
    pub fn run(&mut self, calls: &Calls<String>) -> Result<Vec<String>, CallFailure> {
        let mut answers = self.run_group(&calls.first)?;
        let groups = &calls.side_by_side;
        // A few groups are done before it would pay to make them side by side.
        if groups.len() > SIDE_BY_SIDE {
            answers.extend(self.run_side_by_side(groups)?);
        } else {
            for group in groups {
                answers.extend(self.run_group(group)?);
            }
        }
        Ok(answers)
    }

    /// Makes one call, which has no recovery.
    ///
    /// # Errors
    ///
    /// The failure of the call.
    pub fn ask(&mut self, exec: &Exec) -> Result<String, CallFailure> {
        self.attempt(&Call::Exec(exec.clone()))
    }

    /// Makes the calls of a few groups at a time. When one has failed, no further group is begun.
    fn run_side_by_side(&mut self, groups: &[Group<String>]) -> Result<Vec<String>, CallFailure> {
        let next = AtomicUsize::new(0);
        let has_failed = AtomicBool::new(false);
        let calls = AtomicU32::new(0);
        let answers: Vec<_> = groups.iter().map(|_| OnceLock::new()).collect();
        let work = || {
            let mut runner = Self {
                calls: 0,
                ..self.clone()
            };
            runner.settings.progress = Progress { show: None };
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(group) = groups.get(number) else {
                    break;
                };
                if has_failed.load(Ordering::Relaxed) {
                    break;
                }
                let answer = answers[number].get_or_init(|| runner.run_group(group));
                has_failed.fetch_or(answer.is_err(), Ordering::Relaxed);
            }
            calls.fetch_add(runner.calls, Ordering::Relaxed);
        };
        thread::scope(|scope| {
            for _ in 0..SIDE_BY_SIDE {
                scope.spawn(work);
            }
        });
        self.calls += calls.into_inner();
        let mut all = Vec::new();
        // A group that was not begun has no answer; one that failed before it ends the loop.
        for answer in answers.into_iter().filter_map(OnceLock::into_inner) {
            all.extend(answer?);
        }
        Ok(all)
    }

    /// When a call of `group` fails, what the group left half done is taken back, as far as the
    /// guest still answers.
    fn run_group(&mut self, group: &Group<String>) -> Result<Vec<String>, CallFailure> {
        let mut answers = Vec::new();
        for call in &group.calls {
            match self.run_call(call) {
                Ok(answer) => answers.push(answer),
                Err(failure) => {
                    if let Some(undo) = &group.undo {
                        self.settings.timeout = self.settings.timeout.min(UNDO_TIMEOUT);
                        // The failure that is told of is the first.
                        let _ = signals::deferred(|| self.ask(undo));
                    }
                    return Err(failure);
                }
            }
        }
        Ok(answers)
    }

    fn run_call(&mut self, call: &Call<String>) -> Result<String, CallFailure> {
        let result = self.attempt(call);
        let Call::Exec(Exec {
            recovery: Some(recovery),
            ..
        }) = call
        else {
            return result;
        };
        match result {
            Err(failure) if failure.says(recovery.words) => self.recover(call, recovery),
            result => result,
        }
    }

    fn recover(&mut self, call: &Call<String>, recovery: &Recovery) -> Result<String, CallFailure> {
        let mut answer = None;
        if let Some(guard) = &recovery.guard {
            let text = match self.ask(&guard.call) {
                Ok(text) => text,
                Err(failure) => failure.unless_failed().map(|()| String::new())?,
            };
            if is_satisfied(guard, &text) {
                return Ok(text);
            }
            answer = Some(text);
        }
        for exec in &recovery.calls {
            // Whether it helped, the repeated call shows.
            if let Err(failure) = self.ask(exec) {
                failure.unless_failed()?;
            }
        }
        let printed = self.attempt(call)?;
        Ok(answer.unwrap_or(printed))
    }

    /// Makes `call`, again where the failure is not its own.
    fn attempt(&mut self, call: &Call<String>) -> Result<String, CallFailure> {
        let mut repeats = 0;
        loop {
            let output = self.invoke(call)?;
            let is_exec = matches!(call, Call::Exec(_));
            if is_exec && self.is_refused(&output) {
                continue;
            }
            let is_killed = is_exec && output.status.code() == Some(KILLED);
            if (is_killed || self.is_transient(&output)) && repeats < MAX_REPEATS {
                repeats += 1;
                sleep(PAUSE);
                continue;
            }
            return self.judge(call, &output);
        }
    }

    /// Learns from the first exec with `--user` whether the machine takes it; gives whether it was
    /// refused, so that the call has to be made again.
    fn is_refused(&mut self, output: &Output) -> bool {
        let Some(smolvm) = &mut self.smolvm else {
            return false;
        };
        let is_open = smolvm.user == KnownUser::UnlessRefused;
        if !is_open || !matches!(self.settings.user, ExecUser::Auto) {
            return false;
        }
        smolvm.user = if !failure::is_smolvms_own(output) {
            KnownUser::Taken
        } else if String::from_utf8_lossy(failure::end(&output.stderr)).contains(USER_REFUSED) {
            KnownUser::None
        } else {
            return false;
        };
        if let Some(known) = &self.known {
            known.set(smolvm.user);
        }
        smolvm.user == KnownUser::None
    }

    /// Whether smolvm failed in a way that is gone when it is asked again. A machine that has too
    /// many calls at once is said not to run.
    fn is_transient(&self, output: &Output) -> bool {
        let stderr = String::from_utf8_lossy(failure::end(&output.stderr));
        let busy = format!(
            "connect: machine '{}' is not running",
            self.settings.machine
        );
        let words = TRANSIENT.iter().copied().chain([busy.as_str()]);
        failure::is_smolvms_own(output) && words.into_iter().any(|words| stderr.contains(words))
    }

    fn judge(&self, call: &Call<String>, output: &Output) -> Result<String, CallFailure> {
        if output.status.success() {
            return Ok(text::lossless(&output.stdout));
        }
        let program = match call {
            Call::Exec(exec) => exec.argv.first().map(String::as_str),
            Call::Copy(_) => None,
        };
        let output = presentable(call, output);
        Err(self.failure(
            call,
            Reason::Failed {
                output: &output,
                program,
            },
        ))
    }

    fn invoke(&mut self, call: &Call<String>) -> Result<Output, CallFailure> {
        self.calls += 1;
        match call {
            Call::Copy(copy) => self.invoke_copy(call, copy),
            Call::Exec(exec) => self.invoke_exec(call, exec),
        }
    }

    fn invoke_copy(
        &mut self,
        call: &Call<String>,
        copy: &Copy<String>,
    ) -> Result<Output, CallFailure> {
        let target = format!("{}:{}", self.settings.machine, copy.to);
        let mut args = vec!["machine", "cp"];
        let (smolvm, id) = (self.smolvm(call)?, copy.owner.id());
        if version::copies_for(smolvm.version.as_ref()) {
            args.extend(["--mode", copy.mode, "--uid", id, "--gid", id]);
        }
        args.extend([copy.from.as_str(), &target]);
        self.start(
            call,
            &args.into_iter().map(str::to_owned).collect::<Vec<_>>(),
        )
    }

    fn invoke_exec(&mut self, call: &Call<String>, exec: &Exec) -> Result<Output, CallFailure> {
        let user = self.user(call, exec.by)?;
        let machine = &self.settings.machine;
        let mut args = ["machine", "exec", "--name", machine]
            .map(str::to_owned)
            .to_vec();
        if let Some(user) = user {
            args.extend(["--user".to_owned(), user]);
        }
        for (name, value) in &exec.env {
            args.extend(["-e".to_owned(), format!("{name}={value}")]);
        }
        args.push("--".to_owned());
        args.extend_from_slice(&exec.argv);
        self.start(call, &args)
    }

    fn start(&self, call: &Call<String>, args: &[String]) -> Result<Output, CallFailure> {
        let Settings {
            program,
            timeout,
            progress,
            ..
        } = &self.settings;
        let started = Instant::now();
        let words = args.iter().map(String::as_str);
        let result = if progress.show.is_some() && matches!(call, Call::Copy(_)) {
            let mut meter = progress.start(call.purpose(), 0);
            process::run_watched(program, words, *timeout, move |words| meter.relay(words))
        } else {
            process::run(program, words, *timeout)
        };
        if let Some(trace) = self.settings.trace {
            let end = match &result {
                Ok(output) => failure::status(output.status),
                Err(unfinished) => unfinished.to_string(),
            };
            let millis = started.elapsed().as_millis();
            let mut lines = vec![format!("{}  # {end}, {millis} ms", self.shell_line(args))];
            if let Ok(output) = &result {
                for line in failure::printed(&presentable(call, output)) {
                    lines.push(format!("    {line}"));
                }
            }
            trace(&lines);
        }
        result.map_err(|unfinished| self.failure(call, Reason::Unfinished(&unfinished)))
    }

    /// A call of smolvm as a line for a shell.
    fn shell_line(&self, args: &[String]) -> String {
        let program = self.settings.program.to_string_lossy();
        let words = [program.as_ref()]
            .into_iter()
            .chain(args.iter().map(String::as_str));
        // Only a NUL has no place in a shell's line, and there is none in an argument.
        shlex::try_join(words).unwrap_or_default()
    }

    /// Gives the value of `--user` for a command that is to be run by `hands`.
    fn user(&mut self, call: &Call<String>, hands: Hands) -> Result<Option<String>, CallFailure> {
        match &self.settings.user {
            ExecUser::None => return Ok(None),
            ExecUser::User(user) => return Ok(Some(user.clone())),
            ExecUser::Auto => {}
        }
        let is_taken = self.smolvm(call)?.user != KnownUser::None;
        Ok(is_taken.then(|| hands.name().to_owned()))
    }

    /// Gives what is known of smolvm. At first its version is asked.
    fn smolvm(&mut self, call: &Call<String>) -> Result<&KnownSmolvm, CallFailure> {
        let smolvm = match (self.smolvm.take(), &self.known) {
            (Some(smolvm), _) => smolvm,
            (None, Some(known)) => known.get_or_ask(|| self.ask_version(call))?,
            (None, None) => self.ask_version(call)?,
        };
        if let (ExecUser::Auto, Some(version)) = (&self.settings.user, &smolvm.version)
            && *version < OLDEST
        {
            return Err(self.failure(call, Reason::TooOld(version)));
        }
        Ok(self.smolvm.insert(smolvm))
    }

    /// Asks smolvm for its version. When it does not answer, the calls themselves may yet work.
    fn ask_version(&self, call: &Call<String>) -> Result<KnownSmolvm, CallFailure> {
        let version = match self.start(call, &["--version".to_owned()]) {
            Ok(output) => version::parse(&String::from_utf8_lossy(&output.stdout)),
            Err(failure) if failure.error.code == Some(Code::Timeout) => None,
            Err(failure) => return Err(failure),
        };
        let user = if version::has_user(version.as_ref()) {
            KnownUser::UnlessRefused
        } else {
            KnownUser::None
        };
        Ok(KnownSmolvm { version, user })
    }

    fn failure(&self, call: &Call<String>, reason: Reason) -> CallFailure {
        let command = match call {
            Call::Copy(_) => "cp",
            Call::Exec(_) => "exec",
        };
        let doing = format!("{}: smolvm machine {command}", call.purpose());
        CallFailure::new(
            &doing,
            reason,
            &self.settings.machine,
            self.settings.timeout,
        )
    }
}

/// What people may see of `output`.
fn presentable<'a>(call: &Call<String>, output: &'a Output) -> Cow<'a, Output> {
    match call {
        Call::Exec(exec) if exec.is_private => Cow::Owned(Output {
            stdout: Vec::new(),
            ..output.clone()
        }),
        _ => Cow::Borrowed(output),
    }
}

/// Whether `answer` shows that all is well.
fn is_satisfied(guard: &Guard, answer: &str) -> bool {
    let first = Deserializer::from_str(answer).into_iter::<Value>().next();
    let json = first.and_then(Result::ok).unwrap_or_default();
    guard
        .holds
        .iter()
        .all(|(pointer, value)| json.pointer(pointer).is_some_and(|found| *found == **value))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::thread;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::{Runner, Settings};
    use crate::error::Code;
    use crate::plan::values::{GuestPath, MachineName};
    use crate::smolvm::call::{Call, Calls, Copy, Exec, Group, Guard, Hands, Recovery};
    use crate::smolvm::known::KnownUser;
    use crate::smolvm::progress::Progress;
    use crate::smolvm::version::ExecUser;

    /// A smolvm that writes its arguments down and does what a shell script says.
    struct Smolvm {
        directory: TempDir,
        runner: Runner,
    }

    impl Smolvm {
        fn new(user: ExecUser, script: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let program = directory.path().join("smolvm");
            let log = directory.path().join("log");
            let script = format!("#!/bin/sh\necho \"$*\" >>'{}'\n{script}\n", log.display());
            // Another process writes it: were it open here for writing while another thread starts
            // a process, it could not be run.
            let written = Command::new("sh")
                .args(["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""])
                .args([program.as_os_str(), script.as_ref()])
                .status();
            assert!(written.unwrap().success());
            let runner = Runner::new(Settings {
                program: program.into(),
                machine: MachineName::try_from("m".to_owned()).unwrap(),
                user,
                timeout: Duration::from_secs(60),
                trace: None,
                progress: Progress { show: None },
                known: None,
            });
            Self { directory, runner }
        }

        /// The calls so far, without what all execs begin with.
        fn log(&self) -> Vec<String> {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            let short = |line: &str| line.replace("machine exec --name m ", "");
            log.lines().map(short).collect()
        }
    }

    fn exec(word: &str) -> Exec {
        Exec::new(&[word])
    }

    fn group(words: &[&str], undo: Option<&str>) -> Group<String> {
        Group {
            calls: words.iter().map(|word| exec(word).into()).collect(),
            undo: undo.map(exec),
        }
    }

    #[test]
    fn only_what_is_not_its_own_fault_is_repeated_three_times() {
        let locked = "echo 'Error: database is locked' >&2; exit 1";
        let exists = "echo 'Error: failed to open staging file: File exists' >&2; exit 1";
        thread::scope(|scope| {
            for (script, is_copy, expected) in [
                ("exit 137", false, 4),
                ("exit 137", true, 1),
                ("exit 136", false, 1),
                ("exit 1", false, 1),
                ("", false, 1),
                (locked, false, 4),
                (locked, true, 4),
                (exists, true, 4),
                // The guest's own words are no reason.
                ("echo 'database is locked' >&2; exit 1", false, 1),
                ("echo 'Error: no' >&2; exit 1", false, 1),
            ] {
                scope.spawn(move || {
                    let mut smolvm = Smolvm::new(ExecUser::None, script);
                    let copy = Copy {
                        purpose: "copy".to_owned(),
                        from: "/x".into(),
                        to: GuestPath::try_from("/y".to_owned()).unwrap(),
                        owner: Hands::Root,
                        mode: "600",
                    };
                    let call = if is_copy {
                        Call::Copy(copy)
                    } else {
                        exec("a").into()
                    };
                    let result = smolvm.runner.run(&Calls::from(vec![call]));
                    assert_eq!(result.is_ok(), script.is_empty(), "{script}");
                    // A copy asks first what this smolvm's `cp` can do.
                    let asked = usize::from(is_copy);
                    assert_eq!(smolvm.log().len(), asked + expected, "{script}");
                    assert_eq!(smolvm.runner.calls() as usize, expected, "{script}");
                });
            }
        });
    }

    #[test]
    fn root_is_asked_for_where_it_can_be() {
        let refused = "echo 'Error: needs an image machine; a bare VM runs every command as root' >&2; exit 1";
        let said =
            "echo 'needs an image machine; a bare VM runs every command as root' >&2; exit 1";
        let root = "--user root -- a";
        for (version, on_root, log) in [
            ("smolvm 1.32.2", "true", vec!["--version", root, root]),
            (
                "smolvm 1.14.0",
                refused,
                vec!["--version", root, "-- a", "-- a"],
            ),
            ("smolvm 1.14.0", said, vec!["--version", root, root]),
            (
                "smolvm 1.14.0",
                "echo 'Error: no' >&2; exit 1",
                vec!["--version", root, root],
            ),
            ("smolvm 1.13.9", "true", vec!["--version", "-- a", "-- a"]),
            ("smolvm 0.5.16", "true", vec!["--version", "-- a", "-- a"]),
            ("rubbish", "true", vec!["--version", "-- a", "-- a"]),
        ] {
            let script = format!(
                "case \"$*\" in --version) echo '{version}' ;; *' --user root '*) {on_root} ;; esac"
            );
            let mut smolvm = Smolvm::new(ExecUser::Auto, &script);
            for _ in 0..2 {
                let _ = smolvm.runner.ask(&exec("a"));
            }
            assert_eq!(smolvm.log(), log, "{version} {on_root}");
        }
        let mut old = Smolvm::new(ExecUser::Auto, "echo smolvm 0.5.15");
        let error = old.runner.ask(&exec("a")).unwrap_err().error;
        assert_eq!(error.code, Some(Code::SmolvmMissing));
        assert_eq!(
            error.message,
            "a: smolvm machine exec: smolvm 0.5.15 is too old: 0.5.16 or later is needed"
        );
        let mut other = Smolvm::new(ExecUser::User("7".to_owned()), "");
        other.runner.ask(&exec("a")).unwrap();
        assert_eq!(other.log(), ["--user 7 -- a"]);
    }

    #[test]
    fn what_a_group_began_is_undone_after_the_first_failure() {
        let script =
            "case \"$*\" in *bad) echo no >&2; exit 3 ;; *undo) exit 4 ;; *) echo \"$*\" ;; esac";
        for (groups, log, result) in [
            (
                vec![group(&["a", "b"], Some("undo"))],
                vec!["-- a", "-- b"],
                Ok(2),
            ),
            (
                vec![group(&["a", "bad", "b"], Some("undo")), group(&["c"], None)],
                vec!["-- a", "-- bad", "-- undo"],
                Err("bad: smolvm machine exec: exit status 3: no"),
            ),
            (
                vec![group(&["a"], Some("undo")), group(&["bad", "c"], None)],
                vec!["-- a", "-- bad"],
                Err("bad: smolvm machine exec: exit status 3: no"),
            ),
        ] {
            let mut smolvm = Smolvm::new(ExecUser::None, script);
            let calls = Calls {
                first: group(&[], None),
                side_by_side: groups,
            };
            let found = smolvm.runner.run(&calls).map(|answers| answers.len());
            assert_eq!(
                found.map_err(|failure| failure.error.message),
                result.map_err(str::to_owned)
            );
            assert_eq!(smolvm.log(), log);
        }
    }

    #[test]
    fn side_by_side_no_group_is_begun_after_a_failure() {
        let groups = |word: &str| (0..12).map(|_| group(&[word], None)).collect();
        let mut calls = Calls {
            first: group(&[], None),
            side_by_side: groups("bad"),
        };
        let script = "case \"$*\" in *bad) exit 3 ;; esac";
        let mut smolvm = Smolvm::new(ExecUser::None, script);
        let error = smolvm.runner.run(&calls).unwrap_err().error;
        assert_eq!(error.message, "bad: smolvm machine exec: exit status 3");
        // There are four at a time, and each that fails is the last of its kind.
        assert!(smolvm.log().len() <= 4, "{:?}", smolvm.log());
        assert_eq!(smolvm.runner.calls() as usize, smolvm.log().len());
        calls.side_by_side = groups("good");
        let before = smolvm.runner.calls();
        assert_eq!(smolvm.runner.run(&calls).unwrap().len(), 12);
        assert_eq!(smolvm.runner.calls(), before + 12);
    }

    #[test]
    fn an_expected_failure_has_its_way_out() {
        let recovery = |has_guard: bool| Recovery {
            words: "already",
            guard: has_guard.then(|| Guard {
                call: exec("guard").private(),
                holds: vec![("/a", "1".to_owned()), ("/b", "2".to_owned())],
            }),
            calls: vec![exec("remove")],
        };
        let both = r#"{"a": "1", "b": "2"} {"a": "3"}"#;
        let first = r#"{"a": "1"}"#;
        let again = vec!["-- add", "-- guard", "-- remove", "-- add"];
        for (has_guard, add, guard, remove, log, result) in [
            (
                true,
                "already",
                both,
                "",
                vec!["-- add", "-- guard"],
                Ok(both),
            ),
            (true, "already", first, "", again.clone(), Ok(first)),
            (true, "already", "rubbish", "", again.clone(), Ok("rubbish")),
            (true, "already", first, "exit 5", again.clone(), Ok(first)),
            // A guard that fails shows nothing.
            (true, "already", "'; exit 6; '", "", again, Ok("")),
            // A way out that cannot be gone is told of itself.
            (
                true,
                "already",
                "'; rm \"$0\"; '",
                "",
                vec!["-- add", "-- guard"],
                Err(
                    "remove: smolvm machine exec: cannot be run: No such file or directory (os error 2)",
                ),
            ),
            (
                false,
                "already",
                "",
                "",
                vec!["-- add", "-- remove", "-- add"],
                Ok("added"),
            ),
            (
                true,
                "other",
                both,
                "",
                vec!["-- add"],
                Err("add: smolvm machine exec: exit status 3: other"),
            ),
        ] {
            let script = format!(
                "case \"$*\" in\n\
                 *guard) echo '{guard}' ;;\n\
                 *remove) {remove}\n;;\n\
                 *) if [ \"$(grep -c add \"${{0%/*}}/log\")\" -gt 1 ]; then echo added; exit; fi\n\
                 echo {add} >&2; exit 3 ;;\n\
                 esac"
            );
            let mut smolvm = Smolvm::new(ExecUser::None, &script);
            let add = exec("add").recover_with(recovery(has_guard));
            let found = smolvm.runner.run(&Calls::from(vec![add.into()]));
            let found = found.map(|answers| answers.concat().trim_end().to_owned());
            assert_eq!(
                found.map_err(|failure| failure.error.message),
                result.map(str::to_owned).map_err(str::to_owned)
            );
            assert_eq!(smolvm.log(), log);
        }
    }

    #[test]
    fn what_is_private_is_not_told() {
        let mut smolvm = Smolvm::new(ExecUser::None, "echo s3cret; echo no >&2; exit 3");
        let message =
            |exec: &Exec, smolvm: &mut Smolvm| smolvm.runner.ask(exec).unwrap_err().error.message;
        let told = "a: smolvm machine exec: exit status 3: ";
        assert_eq!(
            message(&exec("a"), &mut smolvm),
            format!("{told}s3cret; no")
        );
        assert_eq!(
            message(&exec("a").private(), &mut smolvm),
            format!("{told}no")
        );
    }

    #[test]
    fn what_one_runner_found_out_the_next_one_knows() {
        let refused = "echo 'Error: needs an image machine; a bare VM runs every command as root' >&2; exit 1";
        for (on_root, kept, first, second) in [
            ("true", "yes\n", "--user root -- a", "--user root -- a"),
            (refused, "no!\n", "-- a", "-- a"),
            (
                "echo 'Error: no' >&2; exit 1",
                "try\n",
                "--user root -- a",
                "--user root -- a",
            ),
        ] {
            let script = format!(
                "case \"$*\" in --version) echo 1.32.2 ;; *' --user root '*) {on_root} ;; esac"
            );
            let smolvm = Smolvm::new(ExecUser::Auto, &script);
            let known = smolvm.directory.path().join("known");
            let settings = Settings {
                known: Some(known.clone()),
                ..smolvm.runner.settings.clone()
            };
            let _ = Runner::new(settings.clone()).ask(&exec("a"));
            assert_eq!(smolvm.log().last().unwrap(), first);
            assert_eq!(
                fs::read_to_string(known).unwrap(),
                format!("{kept}1.32.2\n")
            );
            let before = smolvm.log().len();
            let _ = Runner::new(settings).ask(&exec("a"));
            assert_eq!(smolvm.log()[before..], [second]);
        }
    }

    #[test]
    fn more_than_four_groups_go_on_side_by_side() {
        // Each call waits until another one has begun.
        let script = "turns=0\n\
                      until [ \"$(grep -c a \"${0%/*}/log\")\" -ge 2 ]; do\n\
                      turns=$((turns + 1)); [ \"$turns\" -lt 3000 ] || exit 9; sleep 0.01\n\
                      done";
        let mut smolvm = Smolvm::new(ExecUser::None, script);
        let calls = Calls {
            first: group(&[], None),
            side_by_side: (0..5).map(|_| group(&["a"], None)).collect(),
        };
        assert_eq!(smolvm.runner.run(&calls).unwrap().len(), 5);
    }

    #[test]
    fn to_undo_may_not_take_long() {
        for (timeout, undo_timeout) in [(60_000, 5000), (5001, 5000), (4999, 4999)] {
            let mut smolvm = Smolvm::new(ExecUser::None, "exit 3");
            smolvm.runner.settings.timeout = Duration::from_millis(timeout);
            let calls = Calls {
                first: group(&["bad"], Some("undo")),
                side_by_side: Vec::new(),
            };
            assert!(smolvm.runner.run(&calls).is_err());
            assert_eq!(smolvm.log(), ["-- bad", "-- undo"]);
            let timeout = smolvm.runner.settings.timeout;
            assert_eq!(timeout, Duration::from_millis(undo_timeout));
        }
    }

    #[test]
    fn a_smolvm_that_does_not_tell_its_version_is_not_asked_for_root() {
        let mut smolvm = Smolvm::new(ExecUser::Auto, "exec sleep 1000");
        smolvm.runner.settings.timeout = Duration::from_millis(50);
        let asked = smolvm.runner.ask_version(&exec("a").into()).unwrap();
        assert_eq!((asked.version, asked.user), (None, KnownUser::None));
    }
}
