//! Runs a step's smolvm calls: finds the user, repeats transient failures, limits the time.

use std::path::Path;
use std::process::Output;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use serde_json::{Deserializer, Value};

use crate::host::signals;
use crate::smolvm::call::{Call, Calls, Copy, Exec, Group, Guard, Recovery};
use crate::smolvm::discovery::Discovery;
use crate::smolvm::failure::{self, CallFailure, Reason};
use crate::smolvm::progress::Progress;
use crate::smolvm::settings::{Settings, presentable};
use crate::smolvm::version;
use crate::text;

/// The exit status after SIGKILL. Some versions of smolvm kill early execs for no reason.
const KILLED: i32 = 137;
/// Errors of smolvm that do not occur again if the call is repeated. The first one comes from two
/// calls at once. The second one comes from a bare machine whose smolvm agent ended in the middle
/// of a copy: the temporary file of that copy is still there. The repeated copy uses another name.
const TRANSIENT: [&str; 2] = [
    "database is locked",
    "failed to open staging file: File exists",
];
/// The maximum number of times that a call is repeated after a transient failure.
const MAX_REPEATS: u32 = 3;
/// The time to wait before a call is repeated.
const PAUSE: Duration = Duration::from_millis(200);
/// The time limit for an undo call, which is short because somebody may be waiting for the end.
const UNDO_TIMEOUT: Duration = Duration::from_secs(5);
/// The length of a guard's answer that is parsed, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// The number of groups that are run side by side. More of them gain nothing.
const SIDE_BY_SIDE: usize = 4;

/// Runs smolvm calls for one machine.
#[derive(Clone)]
pub struct Runner {
    settings: Settings,
    discovery: Discovery,
    calls: u32,
}

impl Runner {
    /// Makes a runner. This does not run smolvm.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            discovery: Discovery::new(&settings),
            settings,
            calls: 0,
        }
    }

    /// The number of calls for the machine so far, including repeated ones.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Makes `calls` in order, and stops at the first that fails. Returns what each call printed on
    /// stdout.
    ///
    /// # Errors
    ///
    /// The failure of that call.
    pub fn run(&mut self, calls: &Calls<String>) -> Result<Vec<String>, CallFailure> {
        let mut answers = self.run_group(&calls.first)?;
        let groups = &calls.side_by_side;
        // For a few groups, threads would not pay off.
        if groups.len() > SIDE_BY_SIDE {
            answers.extend(self.run_side_by_side(groups)?);
        } else {
            for group in groups {
                answers.extend(self.run_group(group)?);
            }
        }
        Ok(answers)
    }

    /// Makes one call, without its recovery.
    ///
    /// # Errors
    ///
    /// The failure of the call.
    pub fn ask(&mut self, exec: &Exec) -> Result<String, CallFailure> {
        self.attempt(&Call::Exec(exec.clone()))
    }

    /// Does the same as [`ask`](Self::ask), in at most the time `limit`.
    ///
    /// # Errors
    ///
    /// The failure of the call.
    pub fn ask_within(
        &mut self,
        limit: Option<Duration>,
        exec: &Exec,
    ) -> Result<String, CallFailure> {
        let timeout = self.settings.timeout;
        self.settings.timeout = limit.map_or(timeout, |limit| limit.min(timeout));
        let answer = self.ask(exec);
        self.settings.timeout = timeout;
        answer
    }

    /// Runs several groups at a time. After a failure, no further group is started.
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
        // Groups are started in order. So a group without an answer comes after a failed one, at
        // which this loop ends.
        for answer in answers.into_iter().filter_map(OnceLock::into_inner) {
            all.extend(answer?);
        }
        Ok(all)
    }

    /// Makes the calls of `group`. If one of them fails, makes the group's undo call.
    fn run_group(&mut self, group: &Group<String>) -> Result<Vec<String>, CallFailure> {
        let mut answers = Vec::new();
        self.settings.is_staged = group.calls.iter().any(|call| {
            let stage_dir = &self.settings.stage_dir;
            matches!(call, Call::Copy(copy) if Path::new(&copy.from).starts_with(stage_dir))
        });
        for call in &group.calls {
            match self.run_call(call) {
                Ok(answer) => answers.push(answer),
                Err(failure) => {
                    if let Some(undo) = &group.undo {
                        self.settings.timeout = self.settings.timeout.min(UNDO_TIMEOUT);
                        // If this fails, too, only the first failure is reported.
                        let _ = signals::deferred(|| self.ask(undo));
                    }
                    return Err(failure);
                }
            }
        }
        Ok(answers)
    }

    /// Makes `call`, with its recovery if it fails as expected.
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

    /// Asks the guard whether the failed `call` is needed at all. If it is, makes the calls of
    /// `recovery` and repeats `call`.
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
            // If this fails, the repeated call shows whether that matters.
            if let Err(failure) = self.ask(exec) {
                failure.unless_failed()?;
            }
        }
        let printed = self.attempt(call)?;
        Ok(answer.unwrap_or(printed))
    }

    /// Makes `call`. Repeats it if `--user` was refused, and after a transient failure.
    fn attempt(&mut self, call: &Call<String>) -> Result<String, CallFailure> {
        let mut repeats = 0;
        loop {
            let output = self.invoke(call)?;
            let is_exec = matches!(call, Call::Exec(_));
            if is_exec && self.discovery.is_user_refused(&self.settings, &output) {
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

    /// Whether smolvm itself failed, with an error that does not occur again if the call is
    /// repeated. If a machine has too many calls at once, smolvm says that it is not running.
    fn is_transient(&self, output: &Output) -> bool {
        let machine = &self.settings.machine;
        let down = format!("connect: machine '{machine}' is not running");
        smolvm_says(output, &[&TRANSIENT[..], &[down.as_str()]].concat())
    }

    /// Returns the stdout of a call that succeeded, or the failure of one that did not.
    fn judge(&self, call: &Call<String>, output: &Output) -> Result<String, CallFailure> {
        if output.status.success() {
            return Ok(text::lossless(&output.stdout));
        }
        if smolvm_says(output, &["is not running", "vm not found"]) {
            self.discovery.set_down();
        }
        let program = match call {
            Call::Exec(exec) => exec.argv.first().map(String::as_str),
            Call::Copy(_) => None,
        };
        let output = presentable(call, output);
        let reason = Reason::Failed {
            output: &output,
            program,
        };
        Err(self.settings.failure(call, reason))
    }

    /// Makes `call` once.
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
        if let Some(mode) = copy.mode {
            let smolvm = self.discovery.smolvm(&self.settings, call)?;
            if version::copies_for(smolvm.version.as_ref()) {
                args.extend(["--mode", mode, "--uid", "0", "--gid", "0"]);
            }
        }
        args.extend([copy.from.as_str(), &target]);
        let args: Vec<_> = args.into_iter().map(str::to_owned).collect();
        self.settings.start(call, &args)
    }

    fn invoke_exec(&mut self, call: &Call<String>, exec: &Exec) -> Result<Output, CallFailure> {
        let user = self.discovery.user(&self.settings, call, exec.by)?;
        let machine = &self.settings.machine;
        let mut args = ["machine", "exec", "--name", machine]
            .map(str::to_owned)
            .to_vec();
        if let Some(user) = user {
            args.extend(["--user".to_owned(), user]);
        }
        if exec.input.is_some() {
            args.push("-i".to_owned());
        }
        for (name, value) in &exec.env {
            args.extend(["-e".to_owned(), format!("{name}={value}")]);
        }
        args.push("--".to_owned());
        args.extend_from_slice(&exec.argv);
        self.settings.start(call, &args)
    }
}

/// Whether smolvm itself failed, with one of these `words`.
fn smolvm_says(output: &Output, words: &[&str]) -> bool {
    let stderr = String::from_utf8_lossy(failure::end(&output.stderr));
    failure::is_smolvms_own(output) && words.iter().any(|words| stderr.contains(words))
}

/// Whether `answer` shows that the failed call is not needed. A longer one than [`MAX_ANSWER`] does
/// not, because its JSON could take many times its size in memory.
fn is_satisfied(guard: &Guard, answer: &str) -> bool {
    if answer.len() > MAX_ANSWER {
        return false;
    }
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

    use super::{MAX_ANSWER, Runner, Settings, is_satisfied};
    use crate::error::Code;
    use crate::plan::values::{GuestPath, MachineName};
    use crate::smolvm::call::{Call, Calls, Copy, Exec, Group, Guard, Recovery};
    use crate::smolvm::discovery::ask_version;
    use crate::smolvm::known::KnownUser;
    use crate::smolvm::progress::Progress;
    use crate::smolvm::version::ExecUser;

    /// A smolvm that logs its arguments and runs a shell script.
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
            // Another process writes the program. If it were open for writing here while another
            // thread starts a process, it could not be run.
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
                stage_dir: "/nowhere".into(),
                is_staged: false,
                known: None,
            });
            Self { directory, runner }
        }

        /// Gives the calls so far, without the first words of all execs.
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
    fn only_transient_failures_are_repeated_three_times() {
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
                // The guest's own output does not count.
                ("echo 'database is locked' >&2; exit 1", false, 1),
                ("echo 'Error: no' >&2; exit 1", false, 1),
            ] {
                scope.spawn(move || {
                    let mut smolvm = Smolvm::new(ExecUser::None, script);
                    let copy = Copy {
                        purpose: "copy".to_owned(),
                        from: "/x".into(),
                        to: GuestPath::try_from("/y".to_owned()).unwrap(),
                        mode: Some("600"),
                    };
                    let call = if is_copy {
                        Call::Copy(copy)
                    } else {
                        exec("a").into()
                    };
                    let result = smolvm.runner.run(&Calls::from(vec![call]));
                    assert_eq!(result.is_ok(), script.is_empty(), "{script}");
                    // Before a copy, smolvm is asked for its version.
                    let asked = usize::from(is_copy);
                    assert_eq!(smolvm.log().len(), asked + expected, "{script}");
                    assert_eq!(smolvm.runner.calls() as usize, expected, "{script}");
                });
            }
        });
    }

    #[test]
    fn root_is_requested_if_smolvm_accepts_a_user() {
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
    fn a_group_is_undone_after_its_first_failure() {
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
    fn no_group_starts_after_a_failure_side_by_side() {
        let groups = |word: &str| (0..12).map(|_| group(&[word], None)).collect();
        let mut calls = Calls {
            first: group(&[], None),
            side_by_side: groups("bad"),
        };
        let script = "case \"$*\" in *bad) exit 3 ;; esac";
        let mut smolvm = Smolvm::new(ExecUser::None, script);
        let error = smolvm.runner.run(&calls).unwrap_err().error;
        assert_eq!(error.message, "bad: smolvm machine exec: exit status 3");
        // Four threads run the groups, and each stops after its failure.
        assert!(smolvm.log().len() <= 4, "{:?}", smolvm.log());
        assert_eq!(smolvm.runner.calls() as usize, smolvm.log().len());
        calls.side_by_side = groups("good");
        let before = smolvm.runner.calls();
        assert_eq!(smolvm.runner.run(&calls).unwrap().len(), 12);
        assert_eq!(smolvm.runner.calls(), before + 12);
    }

    #[test]
    fn a_long_answer_satisfies_no_guard() {
        let guard = Guard {
            call: exec("guard"),
            holds: vec![("/a", "1".to_owned())],
        };
        let answer = |length: usize| {
            let json = r#"{"a": "1"}"#;
            json.to_owned() + &" ".repeat(length - json.len())
        };
        assert!(is_satisfied(&guard, &answer(MAX_ANSWER)));
        assert!(!is_satisfied(&guard, &answer(MAX_ANSWER + 1)));
    }

    #[test]
    fn an_expected_failure_is_recovered_from() {
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
            // A guard that fails has no output.
            (true, "already", "'; exit 6; '", "", again, Ok("")),
            // If a call of the recovery cannot be made, that is the error.
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
            let program = smolvm.directory.path().join("smolvm").display().to_string();
            assert_eq!(
                found.map_err(|failure| failure.error.message.replace(&program, "smolvm")),
                result.map(str::to_owned).map_err(str::to_owned)
            );
            assert_eq!(smolvm.log(), log);
        }
    }

    #[test]
    fn private_output_is_not_in_the_message() {
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
    fn a_runner_knows_what_the_one_before_found_out() {
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
    fn more_than_four_groups_run_side_by_side() {
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
    fn the_time_limit_for_undoing_is_short() {
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
    fn root_is_not_requested_from_a_smolvm_without_a_version() {
        let mut smolvm = Smolvm::new(ExecUser::Auto, "exec sleep 1000");
        smolvm.runner.settings.timeout = Duration::from_millis(50);
        let asked = ask_version(&smolvm.runner.settings, &exec("a").into()).unwrap();
        assert_eq!((asked.version, asked.user), (None, KnownUser::None));
    }
}
