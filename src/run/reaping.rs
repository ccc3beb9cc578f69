//! The second pass over the repos: the trees go, unless there are so many that the plan is more likely wrong than the trees.
//!
//! Whose are held back is [decided elsewhere](crate::plan::fair). It must never take a tree of a repo that is.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::config::policy;
use crate::plan::fair::held_back;
use crate::plan::shard::Shard;
use crate::report::{RunReport, TreeOutcome};
use crate::run::repo::{Night, Tended};
use rayon::prelude::*;

/// As many of those that are held back are named.
const NAMED: usize = 10;

/// Every repo's trees that are to go, but for those of repos that are held back: these are named in the report.
pub(super) fn reap(
    night: &Night<'_>,
    repos: &[&policy::Repo],
    tended: Vec<Tended>,
    most: usize,
    shard: Option<Shard>,
    report: &mut RunReport,
) -> Vec<Tended> {
    let due = |tended: &Tended| tended.row.worktrees.iter().filter(|tree| tree.outcome == TreeOutcome::Planned).count();
    let counts: Vec<usize> = tended.iter().map(due).collect();
    let part = shard.map_or(most, |shard| shard.part(most));
    let held = held_back(&counts, part);
    let named =
        repos.iter().zip(&counts).zip(&held).filter(|(_, held)| **held).map(|((repo, count), _)| format!("{} ({count})", repo.name));
    let named: Vec<String> = named.collect();
    if !named.is_empty() {
        let of = shard.map(|shard| format!("; shard {shard} has {part} of them")).unwrap_or_default();
        let count: usize = counts.iter().sum();
        let all = held.iter().zip(&counts).all(|(held, count)| *held || *count == 0);
        let more = if named.len() > NAMED { format!(" and {} more", named.len().saturating_sub(NAMED)) } else { String::new() };
        let whose = format!("{}{more}", named.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", "));
        let went = if all { "none went" } else { "the others went, none of these did" };
        let remedy = "look at a dry run, then raise max_reaped, or run with --repo";
        report.failures.push(format!("{count} trees would go, more than max_reaped ({most}{of}), of {whose}: {went}; {remedy}"));
    }
    let each = tended.into_par_iter().zip(repos).zip(counts).zip(held);
    let one = |(((tended, repo), count), held): (((Tended, &&policy::Repo), usize), bool)| match held {
        true => refuse_reaps(tended),
        false if count > 0 => night.reap(repo, tended),
        false => tended,
    };
    each.map(one).collect()
}

fn refuse_reaps(mut tended: Tended) -> Tended {
    for tree in tended.row.worktrees.iter_mut().filter(|tree| tree.outcome == TreeOutcome::Planned) {
        tree.outcome = TreeOutcome::Kept;
        "too many at once".clone_into(&mut tree.because);
        tree.reasons.insert(0, "kept, because too many trees of this repo would go at once".to_owned());
    }
    tended
}
