//! A name that belongs to nothing: what stands there, what a run removed from there, and what may
//! have been meant.

use super::subject::{Subject, known};
use super::{ExplainError, Request};
use crate::commands::rescues;
use crate::config::policy::Policy;
use crate::fs::humanize;
use crate::report::journal;
use crate::report::{RunReport, TreeOutcome};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Things that are named as nearest.
const NEAREST: usize = 3;
/// How alike a path is to one that contains it.
const BELOW: f64 = 2.0;
/// Below this, two names have nothing in common.
const ALIKE: f64 = 0.8;

/// Returns the error that says so.
pub(super) fn error(request: &Request<'_>, asked: &OsStr, paths: &[PathBuf]) -> ExplainError {
    let policy = request.policy;
    let stands = paths
        .first()
        .map_or("there is nothing", |path| stands(path));
    let own = paths
        .iter()
        .any(|path| path.starts_with(policy.volume.state.path()));
    let what = if own {
        "is in treewarden's own state directory".to_owned()
    } else {
        format!("belongs to nothing that treewarden looks after: {stands}")
    };
    let message: Vec<String> = [
        paths.iter().find_map(|path| removed(policy, path)),
        paths.iter().find_map(|path| rescued(request, path)),
        Some(nearest(policy, paths)),
    ]
    .into_iter()
    .flatten()
    .map(|message| format!("; {message}"))
    .collect();
    ExplainError::Nothing(format!("`{}` {what}{}", asked.display(), message.concat()))
}

fn stands(path: &Path) -> &'static str {
    match std::fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => "there is a directory",
        Ok(data) if data.is_symlink() => "there is a link",
        Ok(data) if data.is_file() => "there is a file",
        Ok(_) => "there is neither a file nor a directory",
        Err(_) => "there is nothing",
    }
}

/// Returns which run removed a tree that contained the path.
fn removed(policy: &Policy, path: &Path) -> Option<String> {
    let past = journal::read(&journal::file(&policy.volume.state)).ok()?;
    let was_here = |run: &&RunReport| {
        let mut trees = run.worktrees();
        trees.any(|tree| tree.outcome == TreeOutcome::Reaped && path.starts_with(&tree.path))
    };
    let run = past.runs.iter().rfind(was_here)?;
    let mut trees = run.worktrees();
    let tree = trees.find(|tree| path.starts_with(&tree.path))?;
    Some(format!(
        "the run of {} removed the worktree that stood there ({})",
        run.run.started.format("%F %H:%M UTC"),
        tree.because
    ))
}

/// Returns the rescue of a tree that contained the path.
fn rescued(request: &Request<'_>, path: &Path) -> Option<String> {
    let listed = rescues::list(request.policy, &[], request.stop, request.now).ok()?;
    let mut entries = listed.rescues.into_iter();
    let entry =
        entries.find(|entry| entry.path.as_ref().is_some_and(|own| path.starts_with(own)))?;
    Some(format!(
        "its work was rescued: `treewarden rescue show {}`",
        entry.id
    ))
}

/// Returns what stands below the path, or is named like it.
fn nearest(policy: &Policy, paths: &[PathBuf]) -> String {
    let root = &policy.volume.root;
    let mut near: Vec<(f64, String)> = Vec::new();
    for (place, subject) in known(policy) {
        let (kind, of) = match subject {
            Subject::Tree(repo, tree) if tree.path == place => ("a worktree", &repo.name),
            Subject::Checkout(repo) => ("the checkout", &repo.name),
            Subject::Unit(cache, _) => ("a cache", &cache.name),
            _ => continue,
        };
        let alike = paths
            .iter()
            .map(|path| alike(root, path, &place))
            .fold(0.0, f64::max);
        if alike >= ALIKE {
            let shown = place.strip_prefix(root).unwrap_or(&place);
            near.push((alike, format!("`{}` ({kind}: {of})", shown.display())));
        }
    }
    near.sort_by(|(a, one), (b, other)| {
        b.total_cmp(a)
            .then_with(|| humanize::natural(one.as_bytes(), other.as_bytes()))
    });
    // What is below the path was meant, and nothing else.
    let most = near.first().map_or(0.0, |(alike, _)| *alike);
    near.retain(|(alike, _)| most < BELOW || *alike >= BELOW);
    let count = near.len();
    let names = near.into_iter().map(|(_, name)| name);
    let names: Vec<String> = names.take(NEAREST).collect();
    match (count, most < BELOW) {
        (0, _) => {
            "`treewarden worktree list` names the worktrees, `treewarden rescue list` the rescues"
                .to_owned()
        }
        (_, true) => format!("nearest: {}", humanize::and(&names)),
        (_, false) => format!("below it: {}", humanize::of_all(&names, count)),
    }
}

/// Returns how alike two paths are: most if the second is below the first.
fn alike(root: &Path, asked: &Path, known: &Path) -> f64 {
    if known.starts_with(asked) {
        return BELOW;
    }
    let text = |path: &OsStr| path.to_string_lossy().into_owned();
    let names = [asked, known].map(|path| text(path.file_name().unwrap_or_default()));
    let whole = [asked, known].map(|path| {
        path.strip_prefix(root)
            .ok()
            .map(|path| text(path.as_os_str()))
    });
    let like = |[one, other]: [&String; 2]| strsim::jaro_winkler(one, other);
    let whole = match &whole {
        [Some(asked), Some(known)] => like([asked, known]),
        _ => 0.0,
    };
    like(names.each_ref()).max(whole)
}
