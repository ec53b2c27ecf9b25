//! Finds out smolvm's version, and whether smolvm and the machine accept `--user`.

use std::process::Output;
use std::sync::Arc;

use crate::error::Code;
use crate::smolvm::call::{Call, Hands};
use crate::smolvm::failure::{self, CallFailure, Reason};
use crate::smolvm::known::{Known, KnownSmolvm, KnownUser};
use crate::smolvm::settings::Settings;
use crate::smolvm::version::{self, ExecUser, OLDEST};

/// What a bare machine prints if `--user` is given (smolvm 1.32.2).
const USER_REFUSED: &str = "needs an image machine; a bare VM runs every command as root";

/// What has been found out so far.
#[derive(Clone)]
pub(super) struct Discovery {
    /// What this runner knows; `None` until it is needed.
    smolvm: Option<KnownSmolvm>,
    /// The file that is shared with other steps.
    known: Option<Arc<Known>>,
}

impl Discovery {
    /// Opens the shared file that `settings` name. Nothing is asked yet.
    pub fn new(settings: &Settings) -> Self {
        let file = settings.known.as_deref();
        Self {
            smolvm: None,
            // If the file cannot be opened, this step asks smolvm itself.
            known: file.and_then(|file| Known::open(file).ok()).map(Arc::new),
        }
    }

    /// Returns what is known about smolvm. The first time, its version is read from the shared
    /// file or asked for.
    pub fn smolvm(
        &mut self,
        settings: &Settings,
        call: &Call<String>,
    ) -> Result<&KnownSmolvm, CallFailure> {
        let smolvm = match (self.smolvm.take(), &self.known) {
            (Some(smolvm), _) => smolvm,
            (None, Some(known)) => known.get_or_ask(|| ask_version(settings, call))?,
            (None, None) => ask_version(settings, call)?,
        };
        if let (ExecUser::Auto, Some(version)) = (&settings.user, &smolvm.version)
            && *version < OLDEST
        {
            return Err(settings.failure(call, Reason::TooOld(version)));
        }
        Ok(self.smolvm.insert(smolvm))
    }

    /// Returns the value of `--user` for a command that `hands` should run, or `None` to leave the
    /// option out.
    pub fn user(
        &mut self,
        settings: &Settings,
        call: &Call<String>,
        hands: Hands,
    ) -> Result<Option<String>, CallFailure> {
        match &settings.user {
            ExecUser::None => return Ok(None),
            ExecUser::User(user) => return Ok(Some(user.clone())),
            ExecUser::Auto => {}
        }
        let is_accepted = self.smolvm(settings, call)?.user != KnownUser::None;
        Ok(is_accepted.then(|| hands.name().to_owned()))
    }

    /// Tells scripts/provision that the machine is not there or not running.
    pub fn set_down(&self) {
        if let Some(known) = &self.known {
            known.set_down();
        }
    }

    /// Learns from `output`, that of an exec, whether the machine accepts `--user`. Returns whether
    /// it refused the option, so that the call has to be made again without it.
    pub fn is_user_refused(&mut self, settings: &Settings, output: &Output) -> bool {
        let Some(smolvm) = &mut self.smolvm else {
            return false;
        };
        let is_unknown = smolvm.user == KnownUser::UnlessRefused;
        if !is_unknown || !matches!(settings.user, ExecUser::Auto) {
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
}

/// Asks smolvm for its version. If this times out, the version is unknown, but the calls may still
/// work.
pub(super) fn ask_version(
    settings: &Settings,
    call: &Call<String>,
) -> Result<KnownSmolvm, CallFailure> {
    let version = match settings.start(call, &["--version".to_owned()]) {
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
