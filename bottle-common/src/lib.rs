//! What the five provisioning steps share. Each module uses only those that are listed after it:
//!
//! - [`step`]: the skeleton of a step: options, one file for each mode, receipts, output
//! - [`smolvm`]: calls as data, the runner that makes them, what their failures mean
//! - [`guest`]: where things live in the guest, and how its files are listed and compared
//! - [`host`]: processes, signals, files, directory trees and the stage directory
//! - [`plan`]: the launcher's JSON, parsed into checked types
//! - [`error`] and [`text`]: the error type, and text for people

pub mod error;
#[cfg(test)]
mod fuzz;
pub mod guest;
pub mod host;
pub mod plan;
pub mod smolvm;
pub mod step;
pub mod text;
