//! The agents' side of the lock: running a command under it, with the caches wired.
//!
//! Agents are untrusted and their commands are their own business; the lock is not. It must never take the volume's lock, never hold a
//! second repo's, and never change a repo itself.

pub mod checkout;
pub mod child;
pub mod env;
pub mod exec;
pub mod locks;
