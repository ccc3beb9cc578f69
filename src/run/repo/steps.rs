//! A first pass's steps in their order: what a dead git left, registrations, old rescues, marks, the repack.
//!
//! It must never end at a step that fails, but for those that rest on it.

use super::{Decided, Night, Tended};
use crate::apply::at_work::settle;
use crate::apply::repo::Hands;
use crate::apply::trash::{Emptied, Trash};
use crate::lock::LockedRepo;

impl Night<'_> {
    /// Does what a first pass does, step by step; what fails is a row.
    pub(super) fn apply(&self, tended: &mut Tended, decided: &Decided, lock: &LockedRepo, trash: &Trash) {
        let hands = Hands { lock, shadow: &decided.shadow, trash, stop: &decided.stop, now: self.now };
        let plan = &decided.plan;
        tended.row.gc.stale_locks.clear();
        settle(&decided.facts.leftovers, &decided.stop);
        for leftover in &plan.clear {
            if tended.did(&leftover.path(), self.on_io(hands.stop, || hands.clear(leftover))) {
                tended.row.gc.stale_locks.push(leftover.path());
            }
        }
        let git_works = !plan.gc.steps.is_empty() || !plan.expire.is_empty() || !plan.drop.is_empty();
        if git_works {
            decided.note.begin(lock);
        }
        tended.row.prune.dropped.clear();
        for tree in &plan.drop {
            if tended.did(&tree.path, self.on_io(hands.stop, || hands.drop_registration(tree))) {
                tended.row.prune.dropped.push(tree.path.clone());
            }
        }
        // Before the repack, which drops what they alone held.
        let due = std::mem::take(&mut tended.row.rescues.expired);
        for ((rescue, _), row) in plan.expire.iter().zip(due) {
            match hands.expire(rescue) {
                Ok(()) => tended.row.rescues.expired.push(row),
                Err(error) => tended.row.failures.push(error.to_string()),
            }
        }
        for admin in &plan.unmark {
            tended.did(&admin.path(), self.on_io(hands.stop, || hands.unmark(admin)));
        }
        for (admin, grace) in &plan.mark {
            tended.did(&admin.path(), hands.mark(admin, *grace).map(|()| Emptied::default()));
        }
        self.repack(tended, decided, &hands);
        // What failed may have been a git that was ended, and left its locks.
        if (git_works || decided.note.killed().is_some()) && tended.row.failures.is_empty() {
            decided.note.end();
        }
    }
}
