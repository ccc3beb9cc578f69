//! pnpm's account of a `node_modules`: the lock file of what it installed, in its virtual store. It
//! is read line by line, since pnpm writes it itself.

use crate::ecosystems::account::Tool;
use crate::ecosystems::directory::Directory;
use crate::ecosystems::node;
use crate::ecosystems::node::{Manager, name_of};

/// The packages that it installs.
pub(super) const MODULES: Tool = Tool {
    signs: &[],
    made: |parent, name| node::made(parent, name, &MANAGER),
    account: |modules| node::account(modules, &MANAGER),
};

const MANAGER: Manager = Manager {
    signs: &[".modules.yaml"],
    notes: &[
        ".pnpm-workspace-state.json",
        ".pnpm-workspace-state-v1.json",
        ".pnpm-debug.log",
    ],
    store: Some(".pnpm"),
    packages,
    tells: |_, _| false,
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
