//! What would go if the volume were too full, for `explain` and `worktree list`.

use crate::config::policy::{self, Policy};
use crate::facts::worktree::Worktree;
use crate::plan::ladder::turn::{Rules, Turn};
use crate::report::pressure::{Part, UnderPressure};
use crate::run::inspect::Found;
use chrono::{DateTime, Utc};

/// Why an unregistered directory is on no rung.
pub(super) const DIRECTORY: &str = "a directory that no registration names is never removed";

/// Returns the turn of a tree, and that of its build output.
pub(super) fn tree(
    policy: &Policy,
    (repo, found): (&policy::Repo, &Found),
    tree: &Worktree,
    now: DateTime<Utc>,
) -> Vec<UnderPressure> {
    let rules = Rules {
        worktrees: &repo.worktrees,
        busy: found.facts.busy.as_deref(),
        caches: &policy.caches,
        eviction: &policy.eviction,
        now,
    };
    let whole = rules.tree(tree).map(|turn| (Part::Whole, turn));
    let output = rules.output(tree).map(|turn| (Part::BuildOutput, turn));
    let both = whole.into_iter().chain(output);
    both.map(|(part, turn)| UnderPressure::new(part, turn))
        .collect()
}

/// Returns the turn of something that no pressure lets go.
pub(super) fn never(why: &str) -> Vec<UnderPressure> {
    let turn = Turn::Never(why.to_owned());
    vec![UnderPressure::new(Part::Whole, turn)]
}
