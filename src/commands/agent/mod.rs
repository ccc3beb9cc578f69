//! The agents' side of the lock: running a command under it, with the caches wired.
//!
//! Agents are untrusted and their commands are their own business; the lock is not. It must never
//! take the volume's lock, never hold a second repo's, and never change a repo itself.

pub mod checkout;
pub mod child;
pub mod env;
pub mod exec;
pub mod locks;

/// In the environment of a command that runs under a repo's lock: the repo's name.
pub const HOLDS: &str = "TREEWARDEN_HOLDS";

/// Why no lock may be waited for here: one is held further up, and whoever waits for a second while
/// holding one may wait for ever.
pub fn held_above() -> Option<String> {
    let held = std::env::var_os(HOLDS)?;
    let remedy =
        "and nobody takes a second one while holding one; run it outside of that `treewarden exec`";
    Some(format!(
        "this runs under the lock of {} already, {remedy}",
        held.display()
    ))
}
