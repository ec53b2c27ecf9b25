//! What the five provisioning steps share: the [`plan`], smolvm's [`call`]s and their runner, the skeleton of a
//! [`step`].

pub mod archive;
pub mod call;
pub mod call_error;
pub mod check;
pub mod checked;
pub mod command;
mod document;
pub mod exec_user;
pub mod failure;
pub mod guest;
mod interrupt;
pub mod options;
pub mod pack;
pub mod plan;
mod progress;
pub mod receipt;
#[cfg(test)]
mod schema;
mod script;
mod section;
pub mod smolvm;
pub mod stage;
pub mod step;
pub mod upstream;
pub mod work;
mod written;
