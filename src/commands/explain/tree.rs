//! Explains a worktree, an unregistered directory, or a main checkout.

use super::rules::fixed;
use super::subject::UnitName;
use super::{ExplainError, Request, unit};
use crate::commands::pressure;
use crate::config::policy::{self, Policy};
use crate::facts::worktree::{State, Worktree};
use crate::fs::volume_path::VolumePath;
use crate::plan::fair::TOO_MANY;
use crate::plan::repo::{goes_from, plan};
use crate::plan::when;
use crate::plan::worktree::{Verdict, work};
use crate::report::explain::{Change, Explanation, Fate, Kind, SCHEMA};
use crate::report::{ReasonName, rows};
use crate::run::inspect::{self, Found, Inspected, InspectedRepo, Wanted};
use crate::survey::context::Explained;
use crate::survey::processes::Processes;
use chrono::{DateTime, Utc};
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
    // A cap takes the oldest of all trees, so each must be known.
    let capped = repo.worktrees.max_trees.is_some() || repo.worktrees.max_bytes.is_some();
    let explained = if capped {
        Explained::All
    } else {
        Explained::One(admin.clone())
    };
    let (inspected, doubts) = inspect(request, repo, explained)?;
    let blank = blank(request, (kind(&admin, &path), path), repo);
    let mut explained = match &inspected.found {
        Err(why) => Explanation {
            verdict: Fate::Unknown,
            because: Some(ReasonName::Unknown.to_string()),
            reasons: vec![why.clone()],
            rules: vec![fixed("nothing is done in a repo that can't be surveyed")],
            ..blank
        },
        Ok(found) => {
            let (tree, verdict) = planned(found, &admin)?;
            if let Some((cache, unit)) = build_output(request.policy, tree, &asked) {
                match unit::explain(request, cache, &UnitName::Name(unit)) {
                    // A run doesn't look into the tree yet, so its output is no unit.
                    Err(ExplainError::Nothing(_)) => {}
                    explained => return explained,
                }
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
    let alone = |why| format!("a run leaves the whole repo alone for now: {why}");
    explained.held.extend(inspected.held.map(alone));
    let doubts = doubts.into_iter();
    let doubts = doubts.map(|doubt| format!("nothing goes for now: {doubt}"));
    explained.held.extend(doubts);
    Ok(explained)
}

/// Only a clone has its git dir in it.
fn kind(admin: &VolumePath, path: &Path) -> Kind {
    if admin.path().starts_with(path) {
        Kind::Clone
    } else {
        Kind::Worktree
    }
}

/// Returns the tree and what the plan says of it.
fn planned<'a>(
    found: &'a Found,
    admin: &VolumePath,
) -> Result<&'a (Worktree, Verdict), ExplainError> {
    let mut trees = found.plan.trees.iter();
    trees.find(|(tree, _)| tree.admin == *admin).ok_or_else(|| {
        ExplainError::Unread(format!(
            "`{admin}` went away while it was surveyed; try again"
        ))
    })
}

/// Returns the cache and the unit that the given path is, if it is build output of the tree.
fn build_output<'a>(
    policy: &'a Policy,
    tree: &Worktree,
    asked: &Path,
) -> Option<(&'a policy::Cache, String)> {
    let State::Inspected(contents) = &tree.state else {
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
    let rows = rows::worktrees(&found.plan, &found.facts.unregistered, request.now, |_| {
        None
    });
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
        under_pressure: pressure::never(pressure::DIRECTORY),
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
        under_pressure: pressure::never("a main checkout is never removed"),
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
        under_pressure: Vec::new(),
        held: Vec::new(),
        rules: Vec::new(),
        changes: Vec::new(),
        worktree: None,
        rescue: None,
        unit: None,
    }
}

/// One worktree, and its verdict.
pub(super) struct One<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) repo: &'a policy::Repo,
    pub(super) found: &'a Found,
    pub(super) tree: &'a Worktree,
    pub(super) verdict: &'a Verdict,
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
        let mut row = rows::worktree(tree, verdict, request.now);
        let dropped = found.plan.drop.contains(tree);
        let (fate, goes_at) = match verdict {
            Verdict::Reap(_) => (Fate::Reap, Some(request.now)),
            Verdict::Unknown(_) => (Fate::Unknown, None),
            Verdict::Missing if dropped => (Fate::Drop, Some(request.now)),
            Verdict::Missing => (Fate::Keep, self.dropped_from(tree)),
            Verdict::Keep(_) => (Fate::Keep, self.goes_from(tree)),
        };
        let work = work(tree);
        let facts = self.facts(work.as_ref(), row.idle_seconds)?;
        let too_many = self.is_one_too_many()?;
        if too_many {
            row.because = ReasonName::TooManyAtOnce;
            row.reasons.insert(0, TOO_MANY.to_owned());
        }
        Ok(Explanation {
            verdict: fate,
            because: Some(row.because.to_string()),
            reasons: row.reasons,
            goes_at,
            under_pressure: pressure::tree(request.policy, (repo, found), tree, request.now),
            held: self.held(too_many, &facts.callers),
            rules: request.rules(repo, verdict),
            changes: self.changes(),
            worktree: Some(facts),
            ..blank
        })
    }

    /// Returns whether a run keeps this due tree, because too many are due at once.
    fn is_one_too_many(&self) -> Result<bool, ExplainError> {
        let Request {
            policy, stop, now, ..
        } = *self.request;
        let is_due = matches!(self.verdict, Verdict::Reap(_));
        Ok(is_due
            && inspect::is_one_too_many(policy, self.tree, (stop, now))
                .map_err(ExplainError::Refused)?)
    }

    /// Returns why a run leaves it alone for now, whatever its verdict is.
    fn held(&self, too_many: bool, callers: &[String]) -> Vec<String> {
        let most = self.request.policy.run.max_reaped;
        let many = format!("more trees are due than one run may remove (run.max_reaped: {most})");
        let is_missing = matches!(self.verdict, Verdict::Missing);
        let refused = self.found.plan.prune_refused.iter();
        let refused = refused.filter(|_| is_missing).map(ToString::to_string);
        let callers = callers.iter();
        let callers = callers.map(|who| format!("{who}: while it does, a run keeps the tree"));
        too_many
            .then_some(many)
            .into_iter()
            .chain(refused)
            .chain(callers)
            .collect()
    }

    /// Returns from when a run removes this tree.
    pub(super) fn goes_from(&self, tree: &Worktree) -> Option<DateTime<Utc>> {
        goes_from(&self.found.facts, self.repo, tree, self.request.now)
    }

    /// Returns from when a run drops the registration of this missing tree.
    pub(super) fn dropped_from(&self, tree: &Worktree) -> Option<DateTime<Utc>> {
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
}
