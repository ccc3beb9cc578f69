//! `init --outside`, and what it prints.

use super::{Exit, complain, print, refused, usage};
use crate::commands::init;
use crate::config::policy::Policy;
use crate::fs::clock;

/// Prepares the directories that caches outside of the volume stand in.
pub(super) fn init(policy: &Policy) -> Result<u8, Exit> {
    let directories = policy.outside();
    if directories.is_empty() {
        return Err(usage(
            "no cache in the config stands outside of the volume; name one with `outside: true`",
        ));
    }
    let mut code = 0;
    for directory in directories {
        match init::init_outside(directory, clock::now()) {
            Ok(true) => print(&format!("prepared `{}`\n", directory.state))?,
            Ok(false) => print(&format!("`{}` is prepared already\n", directory.state))?,
            Err(error) => {
                complain(&refused(error));
                code = 3;
            }
        }
    }
    Ok(code)
}
