//! What an operator or an agent asks for besides the run.

pub mod agent;
pub mod check;
pub mod demo;
pub mod enroll;
#[doc(hidden)]
pub mod fuzzing;
pub mod init;
pub mod rescues;
pub mod worktrees;
