//! The guest, a Debian image whose agent is the user `node`: where things live in it, and how its
//! files are listed and compared. Shell programs that run there are files in `scripts/`.

pub mod listing;
pub mod paths;
