//! Where the config is: `--config`, else `TREEWARDEN_CONFIG` unless it is empty, else the user's
//! own, else the machine's.
//!
//! Nothing in the current directory counts: in a checkout, anybody who can commit would choose the
//! commands that a config names.

use super::{Exit, usage};
use crate::config::{self, Source, policy::Policy};
use std::env::var_os;
use std::path::{Path, PathBuf};

/// The variable that names it.
const VARIABLE: &str = "TREEWARDEN_CONFIG";
/// Its path in a directory of configs.
const NAME: &str = "treewarden/treewarden.yaml";
/// Where it is if nothing names it and the user has none.
const OF_THE_MACHINE: &str = "/etc/treewarden/treewarden.yaml";

/// Reads the config.
pub(super) fn load(typed: Option<&Path>) -> Result<Policy, Exit> {
    Ok(load_with_source(typed)?.0)
}

/// Does the same, and returns the file as it was read, too.
pub(super) fn load_with_source(typed: Option<&Path>) -> Result<(Policy, Source), Exit> {
    config::load_with_source(&find(typed)?).map_err(usage)
}

/// Returns the config's path.
pub(super) fn find(typed: Option<&Path>) -> Result<PathBuf, Exit> {
    if let Some(named) = named(typed) {
        return Ok(named);
    }
    let machines = PathBuf::from(OF_THE_MACHINE);
    let places: Vec<PathBuf> = own().into_iter().chain([machines]).collect();
    let found = places.iter().find(|path| path.exists());
    found.cloned().ok_or_else(|| usage(none_at(&places)))
}

fn none_at(places: &[PathBuf]) -> String {
    let places: Vec<String> = places
        .iter()
        .map(|path| format!("`{}`", path.display()))
        .collect();
    format!(
        "there is no config at {}; `treewarden init --discover` writes one, or name yours with --config",
        places.join(", ")
    )
}

/// Returns the path of a config that is to be written.
pub(super) fn to_write(typed: Option<&Path>) -> Result<PathBuf, Exit> {
    let path = named(typed).or_else(own).ok_or_else(|| {
        usage("HOME is not set, so there is no place for a config; name one with --config")
    })?;
    std::path::absolute(path).map_err(usage)
}

/// Returns the user's home directory.
pub(super) fn home() -> Option<PathBuf> {
    directory("HOME")
}

/// Returns the path that somebody named.
pub(super) fn named(typed: Option<&Path>) -> Option<PathBuf> {
    let variable = || var_os(VARIABLE).filter(|path| !path.is_empty());
    typed
        .map(Path::to_owned)
        .or_else(|| variable().map(PathBuf::from))
}

/// Returns the path of the user's own, by the XDG base directories.
fn own() -> Option<PathBuf> {
    let configs = directory("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")))?;
    Some(configs.join(NAME))
}

/// Returns the directory that a variable names; as XDG has it, only an absolute one counts.
fn directory(variable: &str) -> Option<PathBuf> {
    var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}
