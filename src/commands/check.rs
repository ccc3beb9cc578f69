//! `treewarden check`: whether a run is possible here, line by line, with the remedy if not. It
//! changes nothing, and continues after a problem.

use crate::config::policy::{self, Policy};
use crate::fs::mount;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git;
use crate::git::confine;
use crate::git::shadow::Shadow;
use crate::lock;
use crate::plan::reason::NO_DEFAULT_BRANCH;
use crate::report::words;
use crate::state::outside::{self, OutsideError};
use crate::state::volume;
use crate::survey;
use crate::survey::landed::Upstream;
use rustix::fs::{Access, AtFlags, OFlags};
use std::iter;

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The thing.
    pub what: String,
    /// What was found, if it is as it should be.
    pub found: String,
    /// What is wrong, and what helps.
    pub trouble: Option<String>,
}

fn ok(what: impl Into<String>, found: impl Into<String>) -> Line {
    Line {
        what: what.into(),
        found: found.into(),
        trouble: None,
    }
}

fn bad(what: impl Into<String>, trouble: impl ToString) -> Line {
    Line {
        what: what.into(),
        found: String::new(),
        trouble: Some(trouble.to_string()),
    }
}

/// Checks everything that a run needs.
pub fn check(policy: &Policy, stop: &Stop) -> Vec<Line> {
    let many = |many: usize, what| words::count(many as u64, what);
    let mut lines = vec![
        ok(
            "config",
            format!(
                "{}, {}",
                many(policy.repos.len(), "repo"),
                many(policy.caches.len(), "cache")
            ),
        ),
        git(stop),
    ];
    lines.push(volume::prove(&policy.volume).map_or_else(
        |error| bad("volume", error),
        |sentinel| ok("volume", sentinel.id),
    ));
    lines.push(space(policy));
    lines.extend(mount(policy));
    lines.push(writable(&policy.volume.state));
    lines.extend(policy.repos.iter().map(|it| repo(policy, it, stop)));
    lines.extend(policy.caches.iter().map(|it| cache(policy, it)));
    lines.extend(alerts(&policy.alerts));
    lines
}

/// Checks whether a repo can be maintained, and who holds its lock.
fn repo(policy: &Policy, repo: &policy::Repo, stop: &Stop) -> Line {
    let what = format!("repo {}", repo.name);
    let whole =
        Shadow::of(&repo.place, stop).and_then(|shadow| survey::damage::prove_whole(&shadow, stop));
    if let Err(refusal) = whole {
        return bad(what, refusal);
    }
    match lock::peek(&policy.volume.locks(), &repo.name) {
        Ok(Ok(())) if lands_nowhere(&repo.place, stop) => {
            ok(what, format!("free; {NO_DEFAULT_BRANCH}"))
        }
        Ok(Ok(())) => ok(what, "free"),
        Ok(Err(holder)) => ok(what, lock::LockError::Busy(holder).to_string()),
        Err(error) => bad(what, error),
    }
}

/// Checks a cache's directory.
fn cache(policy: &Policy, cache: &policy::Cache) -> Line {
    let what = format!("cache {}", cache.name);
    let Some(place) = &cache.place else {
        return ok(what, "in idle worktrees");
    };
    if let Some(directory) = &cache.outside {
        let root = &policy.volume.root;
        let proven = outside::prove(directory).and_then(|_| outside::prove_cache(place, root));
        return match (proven, survey::volume::usage(&directory.root)) {
            (Ok(()), Ok(usage)) => ok(
                what,
                format!(
                    "{place}, with {} free of {}",
                    words::size(usage.free_bytes),
                    words::size(usage.total_bytes)
                ),
            ),
            (Ok(()), Err(error)) => bad(what, error),
            (Err(missing @ OutsideError::Missing(_)), _) => ok(what, missing.to_string()),
            (Err(error), _) => bad(what, error),
        };
    }
    match openat::found(openat::dir(place)) {
        Ok(Some(_)) => ok(what, place.to_string()),
        Ok(None) => ok(what, format!("{place}: not there yet")),
        Err(error) => bad(
            what,
            format!("failed to open `{place}`: {error}; repair it, or take it out of the config"),
        ),
    }
}

/// Lists where a run sends its metrics and alerts. The sinks themselves are not contacted.
fn alerts(alerts: &policy::Alerts) -> Option<Line> {
    let sinks = [
        ("pushgateway", alerts.pushgateway.is_some()),
        ("textfile", alerts.textfile.is_some()),
        ("alertmanager", alerts.alertmanager.is_some()),
        ("webhook", alerts.webhook.is_some()),
        ("termination_log", alerts.termination_log.is_some()),
    ];
    let named: Vec<&str> = sinks
        .into_iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(name, _)| name)
        .collect();
    (!named.is_empty()).then(|| {
        ok(
            "alerts",
            format!(
                "each run sends them to: {}; check asks none of them",
                named.join(", ")
            ),
        )
    })
}

fn lands_nowhere(place: &VolumePath, stop: &Stop) -> bool {
    Shadow::of(place, stop).is_ok_and(|shadow| {
        shadow
            .open()
            .is_ok_and(|repo| Upstream::of(&repo, stop).is_none())
    })
}

fn git(stop: &Stop) -> Line {
    let (major, minor) = git::OLDEST;
    match git::version(stop) {
        Ok(Some(found)) if found >= git::OLDEST => {
            let confined = if confine::held() {
                "confined by Landlock"
            } else {
                "not confined: this kernel has no Landlock"
            };
            ok("git", format!("{}.{}, {confined}", found.0, found.1))
        }
        Ok(Some(found)) => bad(
            "git",
            format!(
                "{}.{} is too old; install {major}.{minor} or newer",
                found.0, found.1
            ),
        ),
        Ok(None) => bad(
            "git",
            format!("`git version` printed no version; install {major}.{minor} or newer"),
        ),
        Err(error) => bad("git", error),
    }
}

fn space(policy: &Policy) -> Line {
    match survey::volume::usage(&policy.volume.root) {
        Ok(usage) => ok(
            "space",
            format!(
                "{} free of {}",
                words::size(usage.free_bytes),
                words::size(usage.total_bytes)
            ),
        ),
        Err(error) => bad(
            "space",
            format!(
                "failed to ask how full `{}` is: {error}; is it mounted?",
                policy.volume.root.display()
            ),
        ),
    }
}

fn mount(policy: &Policy) -> Vec<Line> {
    let facts = match mount::of(&policy.volume.root) {
        Ok(facts) => facts,
        Err(error) => {
            return vec![bad(
                "mount",
                format!(
                    "failed to ask how `{}` is mounted: {error}; is it there?",
                    policy.volume.root.display()
                ),
            )];
        }
    };
    let told = facts.mount.as_ref().map_or_else(
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
            Ok(found) => ok(judged.what, found),
            Err(trouble) => bad(judged.what, trouble.to_string()),
        });
    iter::once(ok("mount", told)).chain(judged).collect()
}

fn writable(state: &VolumePath) -> Line {
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let asked = openat::open(state, OFlags::PATH | OFlags::DIRECTORY)
        .and_then(|directory| rustix::fs::accessat(directory, ".", wanted, AtFlags::empty()))
        .map_err(openat::cause);
    match asked {
        Ok(()) => ok("state directory", state.to_string()),
        Err(error) => bad(
            "state directory",
            format!(
                "failed to write to `{state}`: {error}; run as the agents' user, or mount the volume writable"
            ),
        ),
    }
}

/// Renders a line for each: `ok` or `!!`, what, and what was found or what to do.
pub fn render(lines: &[Line]) -> String {
    let width = lines
        .iter()
        .map(|line| words::width(&line.what))
        .max()
        .unwrap_or(0);
    let row = |line: &Line| {
        let (mark, text) = line
            .trouble
            .as_ref()
            .map_or(("ok", &line.found), |trouble| ("!!", trouble));
        format!(
            "{mark}  {:width$}  {}\n",
            words::plain(&line.what),
            words::plain(text)
        )
    };
    lines.iter().map(row).collect()
}
