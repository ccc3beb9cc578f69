//! Whether this command runs under a lock that another treewarden holds.

/// The variable with the repo's name, for a command that runs under a repo's lock.
pub const HOLDS: &str = "TREEWARDEN_HOLDS";

/// Returns why no lock may be waited for here: a parent process holds one, and whoever waits for a
/// second lock while holding one may wait for ever.
pub fn held_above() -> Option<String> {
    let held = std::env::var_os(HOLDS)?;
    let remedy =
        "and nobody takes a second one while holding one; run it outside of that `treewarden exec`";
    Some(format!(
        "this runs under the lock of {} already, {remedy}",
        held.display()
    ))
}
