//! Resolves what was typed to a complete [`Policy`]: defaults filled in, everything checked.
//!
//! A pure function that doesn't read the disk. A problem is noted and a stand-in used, so that all
//! problems are found; the policy is used only if nothing was noted.

use super::caches::{CacheResolver, amount};
use super::policy::{self, Eviction, InUse, Marks, Policy, Run, Volume};
use super::problem::{KeyPath, Notes};
use super::units::{Bytes, ClassAge, Count, Percent, Time};
use super::values::{Places, odd, one_of};
use super::{alerts, raw, report, repos};
use crate::facts::cache::Size;
use crate::fs::assigned::Assigned;
use crate::fs::volume_path::VolumePath;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// More threads than this are a typing error.
const MOST_THREADS: usize = 1024;

pub(super) const IN_USE: [(&str, InUse); 2] = [("keep", InUse::Keep), ("last", InUse::Last)];

/// Resolves a whole config.
pub(super) fn policy(typed: &raw::Config, notes: &mut Notes) -> Policy {
    let top = KeyPath::default();
    let (volume, mut places) = volume(&typed.volume, &top.key("volume"), notes);
    let eviction = Eviction {
        floor: amount(typed.volume.floor, 0),
        ..eviction(&typed.eviction, &top.key("eviction"), notes)
    };
    let run = run(&typed.run, &top.key("run"), notes);
    let mut repos = repos::repos(typed, &mut places, notes);
    let caches = CacheResolver {
        min_age: eviction.min_age,
        repos: &repos,
        places: &mut places,
        notes,
    }
    .caches(typed);
    let assigned = Arc::new(Assigned {
        repos: repos.iter().map(|repo| repo.place.clone()).collect(),
        others: caches
            .iter()
            .filter_map(|cache| cache.place.clone())
            .chain([volume.state.clone()])
            .collect(),
    });
    for repo in &mut repos {
        repo.assigned = assigned.clone();
    }
    let report = report::report(&typed.report, &caches, &mut places, notes);
    let alerts = alerts::alerts(&typed.alerts, &top.key("alerts"), notes);
    Policy {
        volume,
        eviction,
        run,
        repos,
        caches,
        report,
        alerts,
    }
}

/// Resolves the volume, and takes its first directory, the state.
fn volume(typed: &raw::Volume, at: &KeyPath, notes: &mut Notes) -> (Volume, Places) {
    // Any path lies inside `/`, so with this stand-in a wrong root doesn't make every other path
    // look wrong too.
    let root: Arc<Path> = root(typed.root.as_deref(), &at.key("root"), notes)
        .unwrap_or("/".into())
        .into();
    let mut places = Places::below(root.clone());
    let state = typed.state.as_deref().unwrap_or(policy::STATE);
    let state = places.take(Some(state), policy::STATE, &at.key("state"), notes);
    let state = state.unwrap_or_else(|| {
        VolumePath::new(&root, Path::new(policy::STATE)).expect("the default lies inside any root")
    });
    (Volume { root, state }, places)
}

fn root(typed: Option<&str>, at: &KeyPath, notes: &mut Notes) -> Option<PathBuf> {
    let Some(typed) = typed else {
        notes.add(
            at,
            "is missing; write the volume's absolute path, for instance /data",
        );
        return None;
    };
    let path = Path::new(typed);
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || odd(typed) {
        notes.add(at, format!("`{typed}` is no plain absolute path; write the one that the agents see, for instance /data"));
        None
    } else if path.parent().is_none() {
        notes.add(
            at,
            "`/` is the whole machine; name the directory that the shared volume is mounted at",
        );
        None
    } else {
        // `/data/` and `/data//` are `/data`: this path is compared with the one in the volume's
        // sentinel.
        Some(path.components().collect())
    }
}

fn eviction(typed: &raw::Eviction, at: &KeyPath, notes: &mut Notes) -> Eviction {
    let (high, low) = (
        marks(&typed.high, policy::HIGH),
        marks(&typed.low, policy::LOW),
    );
    for (key, low, high) in [
        ("bytes", low.bytes, high.bytes),
        ("inodes", low.inodes, high.inodes),
    ] {
        if low >= high && !notes.is_taken_out(&at.key("high").key(key)) {
            let how = if low > high { "is above" } else { "equals" };
            notes.add(
                &at.key("low").key(key),
                format!(
                    "{} {how} high ({}); set it below",
                    Percent(low),
                    Percent(high)
                ),
            );
        }
    }
    let critical = critical(&typed.critical, high, &at.key("critical"), notes);
    if typed.budget == Some(Bytes(0)) {
        notes.add(&at.key("budget"), "0 would empty every cache; write a size such as 25GiB, or leave the key out for no budget");
    }
    let min_age = typed.min_age.map_or(policy::MIN_AGE, |time| time.0);
    let in_use = typed.in_use.as_deref().map(|name| one_of(&IN_USE, name));
    let in_use = in_use
        .transpose()
        .map_err(|unknown| notes.add(&at.key("in_use"), unknown))
        .ok()
        .flatten()
        .unwrap_or(policy::IN_USE);
    Eviction {
        high,
        low,
        critical,
        min_idle: typed
            .critical
            .min_idle
            .map_or(policy::MIN_IDLE, |ClassAge(age)| age),
        floor: Size::default(),
        budget: typed.budget.map(|bytes| bytes.0),
        min_age,
        in_use,
    }
}

/// Resolves the critical watermarks. If they were not typed, a high one lifts them.
fn critical(typed: &raw::Critical, high: Marks, at: &KeyPath, notes: &mut Notes) -> Marks {
    for (key, typed, high) in [
        ("bytes", typed.bytes, high.bytes),
        ("inodes", typed.inodes, high.inodes),
    ] {
        if let Some(Percent(critical)) = typed.filter(|typed| typed.0 < high) {
            let (critical, high) = (Percent(critical), Percent(high));
            notes.add(
                &at.key(key),
                format!("{critical} is below high ({high}); set it above"),
            );
        }
    }
    let of = |typed: Option<Percent>, default: f64, high| typed.map_or(default.max(high), |p| p.0);
    Marks {
        bytes: of(typed.bytes, policy::CRITICAL.bytes, high.bytes),
        inodes: of(typed.inodes, policy::CRITICAL.inodes, high.inodes),
    }
}

fn marks(typed: &raw::Marks, default: Marks) -> Marks {
    Marks {
        bytes: typed.bytes.map_or(default.bytes, |p| p.0),
        inodes: typed.inodes.map_or(default.inodes, |p| p.0),
    }
}

fn run(typed: &raw::Run, at: &KeyPath, notes: &mut Notes) -> Run {
    let mut threads = |key: &str, typed: Option<Count>, default| match typed {
        Some(Count(count)) if !(1..=MOST_THREADS).contains(&count) => {
            notes.add(&at.key(key), format!("`{count}` is not between 1 and {MOST_THREADS}; write a number such as {default}"));
            default
        }
        typed => typed.map_or(default, |count| count.0),
    };
    let repos_in_parallel = threads(
        "repos_in_parallel",
        typed.repos_in_parallel,
        policy::REPOS_IN_PARALLEL,
    );
    let io_threads = threads("io_threads", typed.io_threads, policy::IO_THREADS);
    if typed.deadline == Some(Time(Duration::ZERO)) {
        notes.add(
            &at.key("deadline"),
            "0 leaves a run no time; write a time such as 4h",
        );
    }
    let deadline = typed.deadline.map_or(policy::DEADLINE, |time| time.0);
    Run {
        repos_in_parallel,
        io_threads,
        deadline,
        max_reaped: typed.max_reaped.map_or(policy::MAX_REAPED, |count| count.0),
    }
}
