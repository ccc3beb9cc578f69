//! The repack in a repo's run, and the check of its result. Nothing is dropped unless all that must
//! be kept is readable. The report names each unreadable file.

use super::decide::Decided;
use crate::apply::gc::{gc, judge};
use crate::apply::repo::RepoExecutor;
use crate::fs::stop::Stop;
use crate::git::shadow::Shadow;
use crate::plan::repo::Plan;
use crate::report::rows;
use crate::run::context::{RepoResult, RunContext};
use crate::survey;

impl RunContext<'_> {
    /// Returns the unreadable files that name what a repack must keep. If there are any, the plan
    /// drops nothing.
    pub(super) fn unread(&self, shadow: &Shadow, plan: &mut Plan, stop: &Stop) -> Vec<String> {
        if !plan.gc.drops_objects() {
            return Vec::new();
        }
        let unread = self
            .on_io(stop, || survey::roots::read(shadow.git_dir(), stop))
            .unread;
        if !unread.is_empty() {
            plan.gc = plan
                .gc
                .clone()
                .gently("not all that leads to its objects can be read");
        }
        unread
            .into_iter()
            .map(|what| format!("{what}; until then nothing is dropped from the repo's objects"))
            .collect()
    }

    pub(super) fn repack(
        &self,
        result: &mut RepoResult,
        decided: &Decided,
        executor: &RepoExecutor<'_>,
    ) {
        let plan = &decided.plan.gc;
        if plan.steps.is_empty() && plan.index.is_empty() {
            return;
        }
        let done = gc(executor, plan, self.limits)
            .inspect(|done| result.left.extend_from_slice(&done.left));
        match self.on_io(executor.stop, || {
            survey::store::count(decided.shadow.git_dir(), executor.stop)
        }) {
            Ok(after) => {
                let row = &mut result.row.gc;
                row.after = rows::counts(&after);
                tracing::info!(action = ?row.action, reason = row.reason, before = ?row.before, after = ?row.after, "repacked");
                let judged = done.and_then(|done| judge(plan, &done, &decided.facts.store, &after));
                result
                    .row
                    .failures
                    .extend(judged.err().map(|error| error.to_string()));
            }
            Err(error) => result
                .row
                .failures
                .push(format!("failed to count objects after the repack: {error}")),
        }
    }
}
