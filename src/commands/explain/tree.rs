//! Explains a worktree, an unregistered directory, or a main checkout.

use super::rules::fixed;
use super::subject::UnitName;
use super::{ExplainError, Request, unit};
use crate::commands::rescues::unreached;
use crate::config::policy::{self, Policy};
use crate::facts::worktree::{ActiveFrom, State, Worktree};
use crate::fs::volume_path::VolumePath;
use crate::plan::class::Class;
use crate::plan::reason::{KeepReason, Obstacle};
use crate::plan::repo::plan;
use crate::plan::when;
use crate::plan::worktree::{Verdict, Work, goes_from, work};
use crate::report::explain::{Change, Explanation, Fate, Kind, SCHEMA, Tree};
use crate::report::rescues::Lonely;
use crate::report::{self, rows};
use crate::run::inspect::{self, Found, Inspected, InspectedRepo, Wanted};
use crate::survey::context::Explained;
use crate::survey::processes::Processes;
use crate::survey::reach;
use chrono::{DateTime, Utc};
use git2::Oid;
use std::path::{Path, PathBuf};

/// A registered worktree, as it was named.
pub(super) struct Registered {
    /// Its admin directory.
    pub(super) admin: VolumePath,
    /// Its path.
    pub(super) path: PathBuf,
    /// The given path in it.
    pub(super) asked: PathBuf,
}

/// Explains a registered worktree.
pub(super) fn registered(
    request: &Request<'_>,
    repo: &policy::Repo,
    Registered { admin, path, asked }: Registered,
) -> Result<Explanation, ExplainError> {
    let (inspected, doubts) = inspect(request, repo, Explained::One(admin.clone()))?;
    let blank = blank(request, (Kind::Worktree, path), repo);
    let mut explained = match &inspected.found {
        Err(why) => Explanation {
            verdict: Fate::Unknown,
            because: Some(report::ReasonName::Unknown.to_string()),
            reasons: vec![why.clone()],
            rules: vec![fixed("nothing is done in a repo that can't be surveyed")],
            ..blank
        },
        Ok(found) => {
            let by_admin = |(tree, _): &&(Worktree, Verdict)| tree.admin == admin;
            let (tree, verdict) = found.plan.trees.iter().find(by_admin).ok_or_else(|| {
                ExplainError::Unread(format!(
                    "the registration `{admin}` went away while it was surveyed; try again"
                ))
            })?;
            if let Some((cache, unit)) = build_output(request.policy, tree, &asked) {
                return unit::explain(request, cache, &UnitName::Name(unit));
            }
            let one = One {
                request,
                repo,
                found,
                tree,
                verdict,
            };
            one.explain(blank)?
        }
    };
    explained.held.extend(
        inspected
            .held
            .map(|why| format!("a run leaves the whole repo alone for now: {why}")),
    );
    explained.held.extend(
        doubts
            .into_iter()
            .map(|doubt| format!("nothing goes for now: {doubt}")),
    );
    Ok(explained)
}

/// Returns the cache and the unit that the given path is, if it is build output of the tree.
fn build_output<'a>(
    policy: &'a Policy,
    tree: &Worktree,
    asked: &Path,
) -> Option<(&'a policy::Cache, String)> {
    let State::Looked(contents) = &tree.state else {
        return None;
    };
    let cache = policy.caches.iter().find(|cache| cache.place.is_none())?;
    let mut units = contents.regenerable.iter();
    let unit = units.find(|unit| unit.path() == asked)?;
    Some((cache, unit.to_string()))
}

/// Explains a directory that no registration names.
pub(super) fn directory(
    request: &Request<'_>,
    repo: &policy::Repo,
    path: &Path,
) -> Result<Explanation, ExplainError> {
    let (inspected, _) = inspect(request, repo, Explained::None)?;
    let found = inspected
        .found
        .map_err(|why| ExplainError::Unread(format!("{}: {why}", repo.name)))?;
    let rows = rows::worktrees(&found.plan, &found.facts.unregistered, request.now);
    let row = rows
        .into_iter()
        .find(|row| row.path == path)
        .ok_or_else(|| {
            ExplainError::Unread(format!("`{}` went away; try again", path.display()))
        })?;
    Ok(Explanation {
        because: Some(row.because.to_string()),
        reasons: row.reasons,
        rules: vec![fixed(
            "a directory that no registration names is reported, and never removed",
        )],
        changes: vec![Change::new("delete it by hand, if nobody needs it")],
        ..blank(request, (Kind::Directory, path.to_owned()), repo)
    })
}

/// Explains a main checkout.
pub(super) fn checkout(
    request: &Request<'_>,
    repo: &policy::Repo,
) -> Result<Explanation, ExplainError> {
    let (inspected, _) = inspect(request, repo, Explained::None)?;
    let gc = match &inspected.found {
        Ok(found) => format!("its repack in the next run: {}", found.plan.gc.reason),
        Err(why) => format!("nothing is done in it: {why}"),
    };
    let held = inspected
        .held
        .map(|why| format!("a run leaves it alone for now: {why}"));
    Ok(Explanation {
        reasons: vec!["a main checkout is never removed".to_owned(), gc],
        held: held.into_iter().collect(),
        rules: vec![fixed(
            "a run repacks a checkout's repo, and touches none of its files",
        )],
        changes: vec![Change::new(format!(
            "take {} out of the config: then nothing is done in it, nor about its worktrees",
            repo.name
        ))],
        ..blank(request, (Kind::Checkout, repo.place.path()), repo)
    })
}

/// Surveys the repo as a run does. Also returns why a run would be refused.
fn inspect(
    request: &Request<'_>,
    repo: &policy::Repo,
    explained: Explained,
) -> Result<(InspectedRepo, Vec<String>), ExplainError> {
    let wanted = Wanted {
        repos: vec![repo],
        explained,
        measured: true,
        // Whoever asks may well stand in the tree; that is told apart from the verdict.
        processes: Processes::but_callers(),
    };
    let Inspected { mut repos, doubts } =
        inspect::inspect(request.policy, &wanted, request.stop, request.now)
            .map_err(ExplainError::Refused)?;
    let inspected = repos
        .pop()
        .ok_or_else(|| ExplainError::Unread("nothing was surveyed".to_owned()))?;
    Ok((inspected, doubts))
}

/// Returns an explanation that keeps, without reasons.
fn blank(request: &Request<'_>, (kind, path): (Kind, PathBuf), repo: &policy::Repo) -> Explanation {
    Explanation {
        schema: SCHEMA,
        at: request.now,
        path: Some(path),
        kind,
        repo: Some(repo.name.clone()),
        verdict: Fate::Keep,
        because: None,
        reasons: Vec::new(),
        goes_at: None,
        held: Vec::new(),
        rules: Vec::new(),
        changes: Vec::new(),
        worktree: None,
        rescue: None,
        unit: None,
    }
}

/// One worktree, and its verdict.
struct One<'a> {
    request: &'a Request<'a>,
    repo: &'a policy::Repo,
    found: &'a Found,
    tree: &'a Worktree,
    verdict: &'a Verdict,
}

impl One<'_> {
    fn explain(&self, blank: Explanation) -> Result<Explanation, ExplainError> {
        let Self {
            request,
            repo,
            found,
            tree,
            verdict,
        } = self;
        let row = rows::worktree(tree, verdict, request.now);
        let dropped = found.plan.drop.contains(tree);
        let (fate, goes_at) = match verdict {
            Verdict::Reap(_) => (Fate::Reap, Some(request.now)),
            Verdict::Unknown(_) => (Fate::Unknown, None),
            Verdict::Missing if dropped => (Fate::Drop, Some(request.now)),
            Verdict::Missing => (Fate::Keep, self.dropped_from(tree)),
            Verdict::Keep(_) => (Fate::Keep, self.goes_from(tree)),
        };
        let mut held = Vec::new();
        let too_many = fate == Fate::Reap
            && inspect::is_one_too_many(request.policy, tree, (request.stop, request.now))
                .map_err(ExplainError::Refused)?;
        if too_many {
            held.push(format!(
                "kept for now, because more trees are due than one run may remove (run.max_reaped: {})",
                request.policy.run.max_reaped
            ));
        }
        if matches!(verdict, Verdict::Missing) {
            held.extend(found.plan.prune_refused.iter().map(ToString::to_string));
        }
        let work = work(tree);
        let facts = self.facts(work.as_ref(), row.idle_seconds)?;
        held.extend(
            facts
                .callers
                .iter()
                .map(|who| format!("{who}: while it does, a run keeps the tree")),
        );
        Ok(Explanation {
            verdict: fate,
            because: Some(row.because.to_string()),
            reasons: row.reasons,
            goes_at,
            held,
            rules: request.rules(repo, verdict),
            changes: self.changes(),
            worktree: Some(facts),
            ..blank
        })
    }

    /// Returns from when a run removes this tree.
    fn goes_from(&self, tree: &Worktree) -> Option<DateTime<Utc>> {
        let busy = self.found.facts.busy.as_deref();
        goes_from(tree, &self.repo.worktrees, busy, self.request.now)
    }

    /// Returns from when a run drops the registration of this missing tree.
    fn dropped_from(&self, tree: &Worktree) -> Option<DateTime<Utc>> {
        let mut facts = self.found.facts.clone();
        for known in facts
            .worktrees
            .iter_mut()
            .filter(|known| known.admin == tree.admin)
        {
            *known = tree.clone();
        }
        when::first(self.request.now, |then| {
            let plan = plan(&facts, self.repo, 0, then);
            plan.drop.iter().any(|dropped| dropped.admin == tree.admin)
        })
    }

    fn facts(&self, work: Option<&Work>, idle: Option<u64>) -> Result<Tree, ExplainError> {
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
            State::Looked(contents) => Some(contents),
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
            State::Looked(contents) => &contents.unreached,
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
        let branch = self.tree.branch.as_deref();
        let log =
            reach::shared_log(&self.tree.admin, branch, stop).map_err(|error| unread(&error))?;
        unreached(&git, &tips, &log, stop).map_err(|error| unread(&error))
    }

    /// Returns the processes at work in the tree, and those of them that called this command.
    fn processes(&self) -> [Vec<String>; 2] {
        let Ok(place) = VolumePath::new(self.tree.admin.root(), &self.tree.path) else {
            return [Vec::new(), Vec::new()];
        };
        let others = Processes::but_callers().all_at_work(&place);
        let mut callers = Processes::default().all_at_work(&place);
        callers.retain(|who| !others.contains(who));
        [others, callers]
    }

    /// Returns what would change the verdict. When the tree would then go is the plan's answer for
    /// facts without that one.
    fn changes(&self) -> Vec<Change> {
        let (tree, path) = (self.tree, self.tree.path.display());
        let without = |what: String, change: &dyn Fn(&mut Worktree)| {
            let mut other = tree.clone();
            change(&mut other);
            Change {
                what,
                goes_at: self.goes_from(&other),
            }
        };
        let name = format!("{} {path}", self.repo.name);
        let unsaved = work(tree).is_some_and(|work| work.class == Class::Unsaved);
        let (option, rescues) = if unsaved {
            (" --rescue", "rescues its work and ")
        } else {
            ("", "")
        };
        let now = Change::new(format!(
            "`treewarden worktree remove {name}{option}` {rescues}removes it now; its branch stays"
        ));
        let lock = Change::new(format!("`git worktree lock {path}` keeps it"));
        let kept = match self.verdict {
            Verdict::Reap(_) => {
                return vec![Change::new("any work in it starts its time anew"), lock];
            }
            Verdict::Unknown(_) => {
                return vec![Change::new(
                    "what is unknown is kept until somebody repairs it: see the reason",
                )];
            }
            Verdict::Missing => return self.missing_changes(),
            Verdict::Keep(kept) => &kept.reason,
        };
        match kept {
            KeepReason::Locked(_) | KeepReason::LockedByDeadProcess { .. } => {
                vec![without(format!("`git worktree unlock {path}`"), &|tree| {
                    (tree.locked, tree.dead_lock) = (None, None);
                })]
            }
            KeepReason::InProgress(what) => {
                let what = format!("end or abort the {}", what.join(" and the "));
                vec![without(what, &|tree| tree.in_progress.clear())]
            }
            KeepReason::InUse(_) => {
                vec![without(
                    "the process ends, or leaves it".to_owned(),
                    &|tree| tree.in_use = None,
                )]
            }
            KeepReason::Busy(_) => {
                let goes_at = goes_from(tree, &self.repo.worktrees, None, self.request.now);
                vec![Change {
                    what: "the busy probe says idle".to_owned(),
                    goes_at,
                }]
            }
            KeepReason::InTheFuture(_) => vec![without(
                "`touch` its files and those of its registration".to_owned(),
                &|tree| {
                    tree.active = self.request.now;
                },
            )],
            KeepReason::CannotBeRescued(Obstacle::TooLarge { .. }) => {
                vec![Change::new("raise `rescue_max`, or save the work by hand")]
            }
            KeepReason::CannotBeRescued(_) => vec![Change::new(
                "see the reason; `treewarden worktree list` then says when it goes",
            )],
            KeepReason::SwitchedOff(_) => {
                vec![Change::new("give its class an age in the config"), now]
            }
            KeepReason::TooYoung | KeepReason::Recent(..) | KeepReason::NotAskedFor => {
                vec![
                    Change::new("any work in it starts its time anew"),
                    lock,
                    now,
                ]
            }
        }
    }

    fn missing_changes(&self) -> Vec<Change> {
        let mut changes = vec![Change::new(
            "put the tree back; if it was moved, run `git worktree repair` in it",
        )];
        if self.tree.missing_since.is_none() {
            let mut marked = self.tree.clone();
            marked.missing_since = Some(self.request.now);
            changes.push(Change {
                what: "a run finds it missing for the first time".to_owned(),
                goes_at: self.dropped_from(&marked),
            });
        }
        if self.tree.locked.is_some() {
            changes.push(Change::new(format!(
                "`git worktree unlock {}`",
                self.tree.path.display()
            )));
        }
        changes.push(Change::new(format!(
            "`treewarden worktree remove {} {} --rescue` lets go of its registration now",
            self.repo.name,
            self.tree.path.display()
        )));
        changes
    }
}
