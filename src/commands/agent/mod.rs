//! The agents' side of the lock: running a command under it, with the cache environment.
//!
//! Agents are untrusted and their commands are their own business; the lock is not. A command takes
//! one repo's lock, never the volume's or a second repo's, and treewarden itself changes nothing in
//! the repo.

pub mod checkout;
pub mod child;
pub mod env;
pub mod exec;
pub mod locks;
