//! `treewarden check`: whether a run is possible here, line by line, with the remedy if not. It
//! changes nothing, and continues after a problem.

use crate::apply::reserved_space;
use crate::config::policy::{self, HtmlFile, Policy};
use crate::fs::denied::{self, Wanted};
use crate::fs::mount;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git;
use crate::git::confine;
use crate::git::formats;
use crate::git::shadow::{Refusal, Shadow, layout};
use crate::lock;
use crate::plan::reason::NO_DEFAULT_BRANCH;
use crate::report::checks::Check;
use crate::report::words;
use crate::state::outside::{self, OutsideError};
use crate::state::volume;
use crate::survey;
use crate::survey::landed::Upstream;
use rustix::fs::{Access, AtFlags, OFlags};
use std::iter;
use std::path::Path;

/// Checks everything that a run needs. `file` is the config that was read.
pub fn check(policy: &Policy, file: &Path, stop: &Stop) -> Vec<Check> {
    let many = |many: usize, what| words::count(many as u64, what);
    let mut lines = vec![Check::ok(
        "config",
        format!(
            "{}: {}, {}",
            file.display(),
            many(policy.repos.len(), "repo"),
            many(policy.caches.len(), "cache")
        ),
    )];
    lines.extend(git(stop));
    lines.push(volume::prove(&policy.volume).map_or_else(
        |error| Check::bad("volume", error),
        |sentinel| Check::ok("volume", sentinel.id),
    ));
    lines.push(space(policy));
    lines.extend(mount(policy));
    lines.push(writable(&policy.volume.state));
    for it in &policy.repos {
        lines.push(repo(policy, it, stop));
        let what = || format!("repo {}", it.name);
        lines.extend(
            it.shows_secret()
                .then(|| Check::warning(what(), policy::WITH_SECRET)),
        );
    }
    lines.extend(policy.caches.iter().map(|it| cache(policy, it)));
    lines.extend(policy.report.html_file.as_ref().map(html_file));
    lines
}

/// Checks whether a repo can be maintained, and who holds its lock.
fn repo(policy: &Policy, repo: &policy::Repo, stop: &Stop) -> Check {
    let what = format!("repo {}", repo.name);
    let shadow = match sound(repo, stop) {
        Ok(shadow) => shadow,
        Err(refusal) => return Check::bad(what, refusal.message(&policy.volume.root)),
    };
    match lock::peek(&policy.volume.locks(), &repo.name) {
        Ok(Ok(())) if lands_nowhere(&shadow, stop) => {
            Check::ok(what, format!("free; {NO_DEFAULT_BRANCH}"))
        }
        Ok(Ok(())) => Check::ok(what, "free"),
        Ok(Err(holder)) => Check::ok(what, lock::LockError::Busy(holder).to_string()),
        Err(error) => Check::bad(what, error),
    }
}

/// Proves that a repo can be maintained, whoever holds its lock.
///
/// # Errors
/// [`Refusal`] says why not.
pub fn sound(repo: &policy::Repo, stop: &Stop) -> Result<Shadow, Refusal> {
    let shadow = Shadow::of(&layout::find(&repo.place, &repo.assigned)?, stop)?;
    survey::damage::prove_whole(&shadow, stop)?;
    Ok(shadow)
}

/// Checks a cache's directory.
fn cache(policy: &Policy, cache: &policy::Cache) -> Check {
    let what = format!("cache {}", cache.name);
    let Some(place) = &cache.place else {
        return Check::ok(what, "in idle worktrees");
    };
    if let Some(directory) = &cache.outside {
        let root = &policy.volume.root;
        let proven = outside::prove(directory).and_then(|_| outside::prove_cache(place, root));
        return match (proven, survey::volume::usage(&directory.root)) {
            (Ok(()), Ok(usage)) => Check::ok(
                what,
                format!(
                    "{place}, with {} free of {}",
                    words::size(usage.free_bytes),
                    words::size(usage.total_bytes)
                ),
            ),
            (Ok(()), Err(error)) => Check::bad(what, error),
            (Err(missing @ OutsideError::Missing(_)), _) => Check::ok(what, missing.to_string()),
            (Err(error), _) => Check::bad(what, error),
        };
    }
    match openat::found(openat::dir(place)) {
        Ok(Some(_)) => Check::ok(what, place.to_string()),
        Ok(None) => Check::ok(what, format!("{place}: not there yet")),
        Err(error) => Check::bad(
            what,
            format!("failed to open `{place}`: {error}; repair it, or take it out of the config"),
        ),
    }
}

/// Checks whether a run can replace the page there.
fn html_file(file: &HtmlFile) -> Check {
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    let (path, asked) = match file {
        HtmlFile::OnVolume(place) => (
            place.path(),
            openat::parent(place).and_then(|(directory, _)| {
                Ok(rustix::fs::accessat(
                    directory,
                    ".",
                    wanted,
                    AtFlags::empty(),
                )?)
            }),
        ),
        HtmlFile::Elsewhere(path) => {
            let directory = path.parent().unwrap_or(Path::new("/"));
            let asked = rustix::fs::access(directory, wanted);
            (path.clone(), asked.map_err(Into::into))
        }
    };
    let path = path.display();
    match asked {
        Ok(()) => Check::ok("report.html_file", path.to_string()),
        Err(error) => Check::warning(
            "report.html_file",
            format!(
                "failed to write `{path}`: {error}; see that its directory is there and writable"
            ),
        ),
    }
}

fn lands_nowhere(shadow: &Shadow, stop: &Stop) -> bool {
    shadow
        .open()
        .is_ok_and(|repo| Upstream::of(&repo, stop).is_none())
}

/// Checks git's version, and says which formats can be maintained with it.
fn git(stop: &Stop) -> Vec<Check> {
    let (major, minor) = git::OLDEST;
    let check = match git::version(stop) {
        Ok(Some(found)) if found >= git::OLDEST => {
            let confined = if confine::held() {
                "confined by Landlock"
            } else {
                "not confined: this kernel has no Landlock"
            };
            return vec![
                Check::ok("git", format!("{}.{}, {confined}", found.0, found.1)),
                Check::ok("formats", formats::summary(found)),
            ];
        }
        Ok(Some(found)) => Check::bad(
            "git",
            format!(
                "{}.{} is too old; install {major}.{minor} or newer",
                found.0, found.1
            ),
        ),
        Ok(None) => Check::bad(
            "git",
            format!("`git version` printed no version; install {major}.{minor} or newer"),
        ),
        Err(error) => Check::bad("git", error),
    };
    vec![check]
}

fn space(policy: &Policy) -> Check {
    match survey::volume::usage(&policy.volume.root) {
        Ok(usage) => {
            let inodes = usage.total_inodes.saturating_sub(usage.used_inodes);
            let found = format!(
                "{} free of {}",
                words::size(usage.free_bytes),
                words::size(usage.total_bytes)
            );
            if !reserved_space::is_scarce(&usage) {
                return Check::ok("space", found);
            }
            let remedy = if reserved_space::is_there(&policy.volume.state) {
                "`treewarden run` gives up its reserved space and makes room"
            } else {
                "its reserved space is gone, too: delete something there by hand (`treewarden report` says what fills it), then `treewarden run`"
            };
            let inodes = words::count(inodes, "inode");
            let wrong = format!("{found}, {inodes} left: the volume is full; {remedy}");
            Check::bad("space", wrong)
        }
        Err(error) => Check::bad(
            "space",
            format!(
                "failed to ask how full `{}` is: {error}; is it mounted?",
                policy.volume.root.display()
            ),
        ),
    }
}

fn mount(policy: &Policy) -> Vec<Check> {
    let facts = match mount::of(&policy.volume.root) {
        Ok(facts) => facts,
        Err(error) => {
            return vec![Check::bad(
                "mount",
                format!(
                    "failed to ask how `{}` is mounted: {error}; is it there?",
                    policy.volume.root.display()
                ),
            )];
        }
    };
    let message = facts.mount.as_ref().map_or_else(
        || "not listed by the kernel".to_owned(),
        |mount| {
            format!(
                "{} at {} ({})",
                mount.kind,
                mount.at.display(),
                mount.options.join(",")
            )
        },
    );
    let judged = mount::judge(&facts)
        .into_iter()
        .map(|judged| match judged.found {
            Ok(found) => Check::ok(judged.what, found),
            Err(trouble) => Check::bad(judged.what, trouble.to_string()),
        });
    iter::once(Check::ok("mount", message))
        .chain(judged)
        .collect()
}

fn writable(state: &VolumePath) -> Check {
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let asked = openat::open(state, OFlags::PATH | OFlags::DIRECTORY)
        .and_then(|directory| rustix::fs::accessat(directory, ".", wanted, AtFlags::empty()));
    match asked {
        Ok(()) => Check::ok("state directory", state.to_string()),
        Err(errno) => Check::bad(
            "state directory",
            format!(
                "failed to write to `{state}`: {}{}; run as the agents' user, or mount the volume writable",
                openat::cause(errno),
                denied::message(&state.path(), Wanted::Read, &errno.into())
            ),
        ),
    }
}
