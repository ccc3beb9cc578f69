//! The eviction stage: reckon what is wanted, list and order units, weigh as many as needed, evict them, tell.
//!
//! Below the marks it costs nothing beyond the statvfs that the run made already, save for the caches that have a budget of their own. It must
//! never end the run: what fails is a row.

use crate::apply::evict::{Evictor, UnitOutcome};
use crate::apply::trash::Emptied;
use crate::config::policy::{self, Policy};
use crate::facts::cache::{IdleTree, Size, Unit};
use crate::facts::locks::Locks;
use crate::facts::rescue::Rescue;
use crate::facts::volume::Usage;
use crate::facts::worktree::{Contents, LockFile, State, Worktree};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::Shadow;
use crate::lock::LockedVolume;
use crate::plan::evict::{self, Sieve, Wanted};
use crate::plan::gc::PRUNED_AFTER;
use crate::plan::repo::Plan;
use crate::plan::worktree::Verdict;
use crate::report::{self, rows};
use crate::run::repo::{Night, Tended};
use crate::state::ledger::Ledger;
use crate::survey;
use crate::survey::caches::used::{Eye, keeps_access_times};
use crate::survey::caches::{self, sizing};
use crate::survey::lockfiles::{self, Known, Live};
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

/// Units held at once, of the many that a survey lists. A night that takes more of them looks again for the next.
const AT_ONCE: usize = 70_000;

/// Trees that nobody is working in, and that were looked at, by their path. Those that are to go are among them: whether they went, their rows tell.
pub fn idle(repo: &policy::Repo, plan: &Plan) -> Vec<(PathBuf, IdleTree)> {
    let idle = plan.trees.iter().filter_map(|(tree, verdict)| match (verdict, &tree.state) {
        (Verdict::Keep(kept), State::Looked(_)) if kept.because == "busy" => None,
        (Verdict::Keep(_) | Verdict::Reap { .. }, State::Looked(contents)) => Some((tree, contents.as_ref())),
        _ => None,
    });
    let facts = |(tree, contents): (&Worktree, &Contents)| {
        let (admin, regenerable, made_again) = (tree.admin.path(), contents.regenerable.clone(), tree.made_again.clone());
        (tree.path.clone(), IdleTree { repo: repo.name.clone(), admin, active: tree.active, made_again, regenerable })
    };
    idle.map(facts).collect()
}

/// What goes with the rescues whose time is over, before any cache does.
pub fn expiring(shadow: &Shadow, plan: &Plan, now: DateTime<Utc>) -> Size {
    let rescues: Vec<&Rescue> = plan.expire.iter().map(|(rescue, _)| rescue).filter(|_| plan.gc.drops_objects()).collect();
    let Some(repo) = shadow.open().ok().filter(|_| !rescues.is_empty()) else { return Size::default() };
    survey::rescues::prunable(&repo, shadow.git_dir(), &rescues, now - PRUNED_AFTER)
}

/// What the lock files of the default branch, the checkout and all trees name, those that are to go among them; none when git2 can't tell, or the
/// run is to stop, and then they count as they were seen last.
pub fn look(shadow: &Shadow, repo: &policy::Repo, plan: &Plan, known: &Known<'_>, stop: &Stop) -> Option<Locks> {
    let stands = |(tree, verdict): &&(Worktree, Verdict)| !matches!(verdict, Verdict::Missing) && !plan.drop.contains(tree);
    let place = |tree: &Worktree| VolumePath::new(repo.place.root(), &tree.path).ok();
    let places: Vec<(VolumePath, &Worktree)> =
        plan.trees.iter().filter(stands).filter_map(|(tree, _)| Some((place(tree)?, tree))).collect();
    let mut trees = vec![Live { place: &repo.place, admin: shadow.git_dir(), looked: None }];
    trees.extend(places.iter().map(|(place, tree)| Live { place, admin: &tree.admin, looked: lock_files(tree) }));
    let worked = plan.trees.iter().map(|(tree, _)| tree.active).max();
    let locks = Locks { worked, ..lockfiles::survey(&shadow.open().ok()?, &trees, known, stop) };
    stop.reached().is_none().then_some(locks)
}

fn lock_files(tree: &Worktree) -> Option<&[LockFile]> {
    match &tree.state {
        State::Looked(contents) => Some(&contents.lock_files),
        _ => None,
    }
}

/// The ledger with what this night saw of lock files, and lines about what it could not see.
pub fn remember(mut ledger: Ledger, policy: &Policy, night: &Night<'_>, tended: &mut [Tended]) -> (Ledger, Vec<String>) {
    let mut lines = Vec::new();
    for tended in tended {
        if tended.rests {
            ledger.again(&tended.row.name, night.now);
        }
        let Some(mut locks) = tended.locks.take() else { continue };
        // What went needs nothing any more; what was to go and stays needs what it needed.
        for tree in tended.row.worktrees.iter().filter(|tree| tree.goes()) {
            let name = tree.path.strip_prefix(&policy.volume.root).unwrap_or(&tree.path);
            locks.trees.remove(&*name.to_string_lossy());
        }
        lines.extend(locks.problems.iter().map(|problem| format!("{}: {problem}", tended.row.name)));
        lines.extend(ledger.note(&tended.row.name, locks, night.now));
    }
    let enrolled: BTreeSet<&str> = policy.repos.iter().map(|repo| repo.name.as_str()).collect();
    (ledger.tidied(&enrolled, night.now), lines)
}

/// Whether units may be wanted tonight, so that trees and lock files have to be looked at: a volume as full as this, or a cache over a budget of its own.
/// What such a cache holds is listed and weighed for that alone; what goes is chosen from what is seen after the look. Works in the caller's rayon pool.
pub fn may_begin(policy: &Policy, usage: &Usage, stop: &Stop) -> bool {
    let budgeted: Vec<policy::Cache> = policy.caches.iter().filter(|cache| cache.budget.is_some()).cloned().collect();
    let wanted = evict::wanted(usage, &policy.eviction).is_some();
    if wanted || budgeted.is_empty() {
        return wanted;
    }
    // What stands in the trees, and what can't be seen, only the eviction itself can tell.
    let placed = budgeted.iter().all(|cache| cache.place.is_some());
    let Some(eye) = Eye::open(&policy.volume.root, false).ok().filter(|_| placed) else { return true };
    let mut caches = caches::survey(&budgeted, &[], &eye, &Some, stop);
    sizing::weigh_whole(&mut caches, stop);
    evict::with_budgets(None, &caches).is_some()
}

/// A night that evicts nothing, on a volume as full as this.
fn calm(policy: &Policy, usage: &Usage) -> report::Eviction {
    report::Eviction { reason: evict::calm(usage, &policy.eviction), ..report::Eviction::default() }
}

/// The same, where the volume wants nothing by its marks.
pub fn none_wanted(policy: &Policy, usage: &Usage) -> Option<report::Eviction> {
    evict::wanted(usage, &policy.eviction).is_none().then(|| calm(policy, usage))
}

/// Least recently used first, until the marks are reached. Without a lock on the volume, it only tells what would go.
pub fn evict(
    night: &Night<'_>,
    policy: &Policy,
    lock: Option<&LockedVolume>,
    usage: &Usage,
    idle: &[IdleTree],
    ledger: &Ledger,
    failures: &mut Vec<String>,
) -> report::Eviction {
    let wanted = evict::wanted(usage, &policy.eviction);
    let looked_at = |cache: &&policy::Cache| wanted.is_some() || cache.budget.is_some();
    let looked_at: Vec<policy::Cache> = policy.caches.iter().filter(looked_at).cloned().collect();
    let access_times = ledger.access_times.unwrap_or_else(|| keeps_access_times(&policy.volume.root));
    let eye = match Eye::open(&policy.volume.root, access_times) {
        Ok(eye) => eye,
        Err(error) => {
            failures.push(format!("failed to open `{}`: {error}; see that it is mounted", policy.volume.root.display()));
            return report::Eviction::default();
        }
    };
    let names = ledger.names();
    let in_use = policy.eviction.in_use;
    let enough = wanted.as_ref().map_or_else(Size::default, Wanted::total);
    let sieve = Sieve::new(&names, in_use, night.now, AT_ONCE, None).enough(enough);
    let mut caches = caches::survey(&looked_at, idle, &eye, &|unit| sieve.sift(&looked_at, unit), night.stop);
    sizing::weigh_whole(&mut caches, night.stop);
    let Some(wanted) = evict::with_budgets(wanted, &caches) else {
        return calm(policy, usage);
    };
    evict::name(&mut caches, &names);
    let mut queue = evict::order(caches, wanted, in_use, night.now);
    queue.add(sieve.sifted());
    let (mut rows, mut freed) = (Vec::new(), Size::default());
    loop {
        while let Some(batch) = queue.next_batch() {
            let (units, problems) = sizing::weigh(batch, night.stop);
            queue.choose(units, problems);
        }
        // Then what was listed or weighed is not all there is, and a plan made of it would be another night's.
        match night.stop.reached() {
            Some(why) if rows.is_empty() => {
                return report::Eviction {
                    reason: format!("not begun: {why}; the next night goes on here"),
                    ..report::Eviction::default()
                };
            }
            Some(_) => break,
            None => {}
        }
        let chosen = queue.take_chosen();
        let (outcomes, gone) = match lock {
            Some(lock) => apply(night, lock, &chosen, &eye, failures),
            None => (vec![UnitOutcome::Planned; chosen.len()], foreseen(&chosen)),
        };
        freed += gone;
        let all_had_their_turn = outcomes.len() == chosen.len();
        rows.extend(rows::units(chosen, outcomes));
        let Some(after) = queue.wants_after().filter(|_| all_had_their_turn) else { break };
        // What has a reserve or a budget was listed whole.
        let sieve = Sieve::new(&names, in_use, night.now, AT_ONCE, Some(after)).enough(queue.wants());
        caches::survey(&looked_at, idle, &eye, &|unit| sieve.sift(&looked_at, unit).and(None), night.stop);
        queue.add(sieve.sifted());
    }
    rows::eviction(queue.finish(), rows, freed)
}

fn foreseen(units: &[Unit]) -> Size {
    let mut sum = Size::default();
    units.iter().filter_map(|unit| unit.size).for_each(|size| sum += size);
    sum
}

fn apply(night: &Night<'_>, lock: &LockedVolume, units: &[Unit], eye: &Eye, failures: &mut Vec<String>) -> (Vec<UnitOutcome>, Size) {
    let Some(trash) = &night.trash else { return (Vec::new(), Size::default()) };
    let evictor = Evictor { lock, locks: &night.locks, trash, stop: night.stop, now: night.now, eye, one_at_a_time: Mutex::default() };
    match evictor.evict(units) {
        Ok((outcomes, Emptied { freed, left })) => {
            failures.extend(left.into_iter().map(|left| format!("left in the trash: {left}; the next night tries again")));
            (outcomes, freed)
        }
        Err(error) => {
            failures.push(format!("failed to evict: {error}; look into the volume's state folder"));
            (Vec::new(), Size::default())
        }
    }
}
