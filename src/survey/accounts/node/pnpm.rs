//! pnpm: the lock file of what it installed, in its virtual store.
//!
//! Lines are enough, for it writes them itself. It must never name what only stands there.

use super::{Directory, Manager, name_of};

pub(super) const PNPM: Manager = Manager {
    signs: &[".modules.yaml"],
    notes: &[
        ".pnpm-workspace-state.json",
        ".pnpm-workspace-state-v1.json",
        ".pnpm-debug.log",
    ],
    store: Some(".pnpm"),
    packages,
};

fn packages(modules: &Directory, _: &Directory) -> Vec<String> {
    let lock = modules.text(".pnpm/lock.yaml").unwrap_or_default();
    let keys = lock
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|key| !key.starts_with(' ')));
    // `'@scope/name@1.0.0(peer@2.0.0)':`, and `/@scope/name@1.0.0:` before version 9.
    let spec = |key: &str| {
        key.split_once(':')
            .and_then(|(spec, _)| name_of(spec.trim_matches('\'').trim_start_matches('/')))
    };
    keys.filter_map(spec).collect()
}
