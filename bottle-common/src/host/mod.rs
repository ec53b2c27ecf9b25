//! The host: processes, signals, files, and directories that are packed into a tar.

pub mod choice;
pub mod directory;
pub mod file_list;
pub mod files;
pub mod parts;
pub mod process;
pub mod signals;
pub mod stage_dir;
pub mod tar;
pub mod tree;
pub mod walk;
