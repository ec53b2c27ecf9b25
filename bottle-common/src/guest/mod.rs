//! The guest: the paths that the steps use, and listings of files and how two listings differ. The
//! guest runs Debian, and the agent runs as the user `node`. The shell programs that run in the
//! guest are in `scripts/`.

pub mod listing;
pub mod paths;
