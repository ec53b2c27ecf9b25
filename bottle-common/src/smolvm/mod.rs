//! smolvm: its calls as data, the runner that makes them, and what a failed call means.

pub mod call;
mod discovery;
pub mod failure;
mod hints;
pub mod install;
mod known;
pub mod progress;
pub mod runner;
pub mod settings;
pub mod staged;
pub mod version;
