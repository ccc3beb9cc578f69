//! The facts about a worktree: what its activity was measured by, its work, and who is in it.

use super::ExplainError;
use super::tree::One;
use crate::commands::rescues::unreached;
use crate::facts::worktree::{ActiveFrom, State};
use crate::fs::volume_path::VolumePath;
use crate::plan::worktree::Work;
use crate::report::explain::Tree;
use crate::report::rescues::Lonely;
use crate::survey::processes::Processes;
use crate::survey::reach;
use git2::Oid;

impl One<'_> {
    /// Returns the facts about the tree.
    pub(super) fn facts(
        &self,
        work: Option<&Work>,
        idle: Option<u64>,
    ) -> Result<Tree, ExplainError> {
        let Self { found, tree, .. } = self;
        let (from, file) = match &tree.active_from {
            ActiveFrom::Nothing => (None, None),
            ActiveFrom::Reflog => (Some("reflog"), Some("logs/HEAD".into())),
            ActiveFrom::Registration(name) => (Some("registration"), Some(name.into())),
            ActiveFrom::Written(file) => (Some("written"), Some(file.clone())),
            ActiveFrom::Arrived(file) => (Some("arrived"), Some(file.clone())),
        };
        let (commits, more_commits) = self.commits()?;
        let [processes, callers] = self.processes();
        let looked = match &tree.state {
            State::Inspected(contents) => Some(contents),
            _ => None,
        };
        let branch = tree.branch.as_ref();
        Ok(Tree {
            branch: branch.map(|branch| {
                branch
                    .strip_prefix("refs/heads/")
                    .unwrap_or(branch)
                    .to_owned()
            }),
            head: tree.head.clone(),
            class: work.map(|work| work.class),
            class_reasons: work.map(Work::sentences).unwrap_or_default(),
            idle_seconds: idle,
            active: from.map(|_| tree.active),
            active_from: from,
            active_file: file,
            bytes: found.sizes.get(&tree.path).map(|size| size.bytes),
            files: looked
                .map(|contents| contents.dirty.clone())
                .unwrap_or_default(),
            files_count: looked.map_or(0, |contents| contents.dirty_count),
            commits,
            more_commits,
            stashed: looked.is_some_and(|contents| contents.stashed),
            locked: tree.locked.clone(),
            dead_process: tree.dead_lock.map(|lock| lock.pid),
            in_progress: tree.in_progress.iter().map(ToString::to_string).collect(),
            processes,
            callers,
        })
    }

    /// Returns the commits that only this tree reaches.
    fn commits(&self) -> Result<(Vec<Lonely>, bool), ExplainError> {
        let tips = match &self.tree.state {
            State::Inspected(contents) => &contents.unreached,
            State::Missing { unreached, .. } => unreached,
            _ => return Ok((Vec::new(), false)),
        };
        let tips: Vec<Oid> = tips
            .iter()
            .filter_map(|tip| Oid::from_str(tip).ok())
            .collect();
        if tips.is_empty() {
            return Ok((Vec::new(), false));
        }
        let unread = |cause: &dyn std::fmt::Display| {
            ExplainError::Unread(format!(
                "failed to read the commits of {}: {cause}",
                self.repo.name
            ))
        };
        let stop = self.request.stop;
        let git = self.found.shadow.open().map_err(|error| unread(&error))?;
        let (admin, branch) = (&self.tree.admin, self.tree.branch.as_deref());
        let log = if self.tree.clone_of.is_some() {
            // The checkout's refs count, and the objects are perhaps in the clone alone.
            let objects = admin.path().join("objects");
            let odb = git.odb().map_err(|error| unread(&error))?;
            odb.add_disk_alternate(&objects.to_string_lossy())
                .map_err(|error| unread(&error))?;
            Vec::new()
        } else {
            reach::shared_log(admin, branch, stop).map_err(|error| unread(&error))?
        };
        unreached(&git, &tips, &log, stop).map_err(|error| unread(&error))
    }

    /// Returns the processes at work in the tree, and those of them that called this command.
    fn processes(&self) -> [Vec<String>; 2] {
        let Ok(place) = VolumePath::new(self.tree.admin.root(), &self.tree.path) else {
            return [Vec::new(), Vec::new()];
        };
        let others = Processes::but_callers().all_at_work(&place, self.request.stop);
        let mut callers = Processes::default().all_at_work(&place, self.request.stop);
        callers.retain(|who| !others.contains(who));
        [others, callers]
    }
}
