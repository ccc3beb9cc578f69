//! The commands besides the run, for operators and agents.

pub mod agent;
pub mod check;
pub mod demo;
pub mod enroll;
pub mod explain;
#[doc(hidden)]
pub mod fuzzing;
pub mod held;
pub mod here;
pub mod init;
mod pressure;
pub mod repos;
pub mod rescues;
pub mod room;
pub mod schedule;
pub mod worktrees;
