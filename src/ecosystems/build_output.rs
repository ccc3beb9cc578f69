//! Build output: regenerable directories that tools create, in worktrees that nobody used lately.
//!
//! It has no directory of its own. The worktrees' survey finds its units
//! (`survey/caches/build_output.rs`), and each is as old as its worktree's last activity.

use super::ecosystem::Ecosystem;
use super::last_use::LastUse;
use super::lister::{CacheLayout, Stands};
use crate::facts::cache::CacheKind;

pub(super) static BUILD_OUTPUT: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("build-output"),
        unit: "`node_modules`, `target`, `.venv` and some forty more, in worktrees that stay and are idle; known by their structure, and by `made_again` in the config",
        stands: Stands::InWorktrees,
        variables: |_| Vec::new(),
        usual: &[],
        units: |_| Vec::new(),
        last_use: LastUse::ENTRIES,
        locks: |_| Vec::new(),
    }],
    ..Ecosystem::named("build output")
};
