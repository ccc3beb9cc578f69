//! The agents' side of the lock: running a command under it, with the cache environment.
//!
//! Agents are untrusted: their commands are their own business, and the lock is ours. A command
//! takes one repo's lock, never the volume's or a second repo's. In the repo, treewarden itself
//! writes nothing but a worktree's heartbeat.

pub mod checkout;
pub mod child;
pub mod env;
pub mod exec;
pub mod locks;
