//! The alert rules over a report.
//!
//! Pure; the sinks deliver. A dry run raises no alerts, and every summary is one escaped line.

use crate::plan::shard::Shard;
use crate::report::troubles::{
    BUSY_NIGHTS, Kind, Trouble, amount, in_use, merged, missing, troubles,
};
use crate::report::{
    Alert, Eviction, ReasonName, Repo, RepoOutcome, RunOutcome, RunReport, Severity, TreeOutcome,
    Unit, VerdictName, Worktree, words,
};
use std::collections::BTreeMap;

/// Seconds. By the default ages, a tree that is idle for 30 days would be gone.
const STUCK: u64 = 30 * 86_400;
/// The most stuck trees that are named.
const NAMED: usize = 50;
/// The longest quotation in an alert, in columns.
const QUOTED: usize = 300;
/// The most failures that are named, each with a cause of its own.
const FAILURES: usize = 100;
/// The most evicted units that are named.
const LARGEST: usize = 10;

/// Returns the report's alerts, the worst first.
pub fn alerts(report: &RunReport) -> Vec<Alert> {
    if report.run.dry_run {
        return Vec::new();
    }
    let rules = [
        refused,
        shortfall,
        evicted_in_use,
        failed,
        interrupted,
        still_high,
        missing_trees,
        busy,
        stuck,
        evicted,
        rescues,
    ];
    let mut alerts: Vec<Alert> = rules.iter().filter_map(|rule| rule(report)).collect();
    alerts.sort_by_key(|alert| std::cmp::Reverse(alert.severity));
    alerts
}

fn alert(name: &str, severity: Severity, summary: &str) -> Alert {
    Alert {
        name: name.to_owned(),
        severity,
        summary: words::plain(summary),
        repo: None,
        details: Vec::new(),
    }
}

/// Returns the repo that an alert is about, if it is the only one.
fn only<'a>(mut repos: impl Iterator<Item = &'a Repo>) -> Option<String> {
    repos
        .next()
        .filter(|_| repos.next().is_none())
        .map(|repo| repo.name.clone())
}

fn quoted(text: &str) -> String {
    words::shorten(&words::plain(text), QUOTED)
}

fn reason(report: &RunReport) -> String {
    quoted(
        report
            .run
            .reason
            .as_deref()
            .unwrap_or("no reason was given"),
    )
}

/// The run touched nothing, because the volume is not what the config says.
fn refused(report: &RunReport) -> Option<Alert> {
    let summary = || {
        format!(
            "the run on {} was refused and touched nothing: {}",
            report.volume.root.display(),
            reason(report)
        )
    };
    (report.run.outcome == RunOutcome::Refused)
        .then(|| alert("RunRefused", Severity::Critical, &summary()))
}

/// Less was evicted than needed: the volume keeps filling.
fn shortfall(report: &RunReport) -> Option<Alert> {
    let (eviction, missing) = (&report.eviction, missing(&report.eviction)?);
    let said = |bytes, inodes| amount(bytes, inodes).unwrap_or_else(|| "nothing".to_owned());
    let wanted = said(eviction.wanted_bytes, eviction.wanted_inodes);
    let freed = said(eviction.freed_bytes, eviction.freed_inodes);
    let summary = format!("eviction wanted {wanted}, freed {freed}, is short by {missing}");
    let all = troubles(report);
    let advice = all.iter().find(|trouble| trouble.kind == Kind::Shortfall);
    // What would let more go comes first.
    let advice = advice.map(|advice| words::plain(&advice.why));
    Some(Alert {
        details: advice.into_iter().chain(details(eviction)).collect(),
        ..alert("EvictionShortfall", Severity::Critical, &summary)
    })
}

/// Returns the largest evicted units, and what prevented more.
fn details(eviction: &Eviction) -> Vec<String> {
    let mut gone: Vec<&Unit> = eviction
        .units
        .iter()
        .filter(|unit| unit.outcome.goes())
        .collect();
    gone.sort_by_key(|unit| std::cmp::Reverse(unit.bytes));
    let largest = gone.iter().take(LARGEST).map(|unit| {
        format!(
            "{} went: {}, {}",
            words::size(unit.bytes),
            unit.cache,
            unit.unit
        )
    });
    let in_the_way = eviction.in_the_way();
    largest
        .chain(in_the_way.iter().map(|why| format!("in the way: {why}")))
        .map(|line| quoted(&line))
        .collect()
}

/// Live trees' packages were evicted: their next jobs fetch them again.
fn evicted_in_use(report: &RunReport) -> Option<Alert> {
    let summary = format!(
        "evicted because nothing else was left: {}",
        in_use(&report.eviction)?
    );
    Some(alert("EvictedInUse", Severity::Warning, &summary))
}

/// Something failed; the rest went on. The details are all failures, one line for each cause.
fn failed(report: &RunReport) -> Option<Alert> {
    let mut failures = troubles(report);
    failures.retain(|trouble| trouble.kind == Kind::Failure);
    let many = failures.len();
    let said: Vec<String> = merged(failures).iter().map(said).collect();
    let first = said.first()?;
    let summary = match many {
        1 => format!("1 failure: {first}"),
        many => format!(
            "{}, the first: {first}",
            words::count(many as u64, "failure")
        ),
    };
    // A single cause is in the summary.
    let details = if said.len() > 1 { said } else { Vec::new() };
    Some(Alert {
        details: at_most(details, FAILURES),
        ..alert("RunFailed", Severity::Warning, &summary)
    })
}

fn said(trouble: &Trouble) -> String {
    match trouble.about.as_str() {
        "" => quoted(&trouble.why),
        about => quoted(&format!("{about}: {}", trouble.why)),
    }
}

/// Returns so many lines, and how many more there are.
fn at_most(mut lines: Vec<String>, most: usize) -> Vec<String> {
    let more = lines.len().saturating_sub(most);
    lines.truncate(most);
    lines.extend((more > 0).then(|| format!("and {} more", words::number(more as u64))));
    lines
}

/// The run was stopped; the next run does the rest.
fn interrupted(report: &RunReport) -> Option<Alert> {
    let summary = || format!("the run was stopped early: {}", reason(report));
    (report.run.outcome == RunOutcome::Interrupted)
        .then(|| alert("RunInterrupted", Severity::Warning, &summary()))
}

/// The volume is above its high watermark even after the run. A shard that leaves the eviction to
/// another one doesn't count.
fn still_high(report: &RunReport) -> Option<Alert> {
    let shard: Option<Shard> = report
        .run
        .shard
        .as_deref()
        .and_then(|shard| shard.parse().ok());
    if shard.is_some_and(|shard| !shard.is_last()) {
        return None;
    }
    let volume = &report.volume;
    let after = volume
        .share(volume.after)
        .filter(|&after| volume.high > 0.0 && after > volume.high)?;
    let summary = format!(
        "{} is {} full after the run, above its high mark of {}",
        volume.root.display(),
        words::percent(after),
        words::percent(volume.high)
    );
    Some(alert("VolumeStillHigh", Severity::Warning, &summary))
}

/// So many trees were missing at once that the volume may be partly mounted.
fn missing_trees(report: &RunReport) -> Option<Alert> {
    let repos = || {
        report
            .repos
            .iter()
            .filter(|repo| repo.prune.refused.is_some())
    };
    let said = repos().map(|repo| {
        quoted(&format!(
            "{}: {}",
            repo.name,
            repo.prune.refused.as_deref().unwrap_or_default()
        ))
    });
    let said: Vec<String> = said.collect();
    let summary = || format!("pruning was refused in {}", words::few(&said, 3));
    let alert = || Alert {
        repo: only(repos()),
        ..alert("MissingTreesRefused", Severity::Warning, &summary())
    };
    (!said.is_empty()).then(alert)
}

/// Repos that could not be maintained for many runs.
fn busy(report: &RunReport) -> Option<Alert> {
    let repos = || {
        report.repos.iter().filter(|repo| {
            repo.outcome == RepoOutcome::Busy && repo.lock.busy_nights >= BUSY_NIGHTS
        })
    };
    let said = repos().map(|repo| {
        let why = repo
            .reason
            .as_deref()
            .or(repo.lock.holder.as_deref())
            .unwrap_or("its holder left no name");
        quoted(&format!(
            "{} for {} days ({why})",
            repo.name, repo.lock.busy_nights
        ))
    });
    let said: Vec<String> = said.collect();
    let summary = || {
        format!(
            "busy day after day: {}; end what holds them, or fix their busy probe",
            words::few(&said, 3)
        )
    };
    (!said.is_empty()).then(|| Alert {
        repo: only(repos()),
        ..alert("RepoBusy", Severity::Warning, &summary())
    })
}

/// Trees that stay whatever their age: each waits for a person, who may not know it.
fn stuck(report: &RunReport) -> Option<Alert> {
    let never = |tree: &&Worktree| {
        // What is too many at once has an alert of its own.
        let passes = tree.because.is_in_order() || tree.because == ReasonName::TooManyAtOnce;
        let waits = tree.verdict != VerdictName::Reap && !passes;
        waits
            && tree.outcome == TreeOutcome::Kept
            && tree.idle_seconds.is_some_and(|idle| idle >= STUCK)
    };
    let repos = || {
        report
            .repos
            .iter()
            .filter(|repo| repo.worktrees.iter().any(|tree| never(&tree)))
    };
    let trees: Vec<&Worktree> = report.worktrees().filter(never).collect();
    let name = |tree: &Worktree| words::below(&report.volume.root, &tree.path);
    let names: Vec<String> = trees.iter().map(|tree| name(tree)).collect();
    let many = words::count(trees.len() as u64, "tree");
    let summary = || {
        format!(
            "{many}, idle for 30 days and more, will never go by themselves: {}; the details say what would let each go",
            words::few(&names, 5)
        )
    };
    let detail = |tree: &&Worktree| {
        let why = tree.reasons.first().map_or("", String::as_str);
        let idle = words::age(tree.idle_seconds.unwrap_or_default());
        quoted(&format!(
            "{}, idle {idle}: {}: {why}{}",
            name(tree),
            tree.because,
            lets_go(tree)
        ))
    };
    let details = trees.iter().take(NAMED).map(detail).collect();
    (!trees.is_empty()).then(|| Alert {
        repo: only(repos()),
        details,
        ..alert("TreesStuck", Severity::Warning, &summary())
    })
}

/// Returns what would let a tree go. If its state is unknown, the reason says that itself.
fn lets_go(tree: &Worktree) -> &'static str {
    match tree.because {
        ReasonName::Locked => "; `git worktree unlock` it",
        ReasonName::InProgress => {
            "; end it there, or drop it (`git bisect reset`, `git rebase --abort` and the like)"
        }
        _ if tree.verdict == VerdictName::Unknown => "",
        _ => "; move that elsewhere, or remove the tree by hand",
    }
}

/// `volume from 88 % to 74 %, 12.3 GiB wanted, 12.4 GiB freed, from npm (41 units) and cargo (3
/// units)`.
fn evicted(report: &RunReport) -> Option<Alert> {
    let eviction = &report.eviction;
    let mut units: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for unit in eviction.units.iter().filter(|unit| unit.outcome.goes()) {
        let (bytes, many) = units.entry(&unit.cache).or_default();
        *bytes += unit.bytes;
        *many += 1;
    }
    let mut caches: Vec<_> = units.into_iter().collect();
    caches.sort_by_key(|(_, (bytes, _))| std::cmp::Reverse(*bytes));
    let from: Vec<String> = caches
        .iter()
        .map(|(cache, (_, many))| format!("{cache} ({})", words::count(*many, "unit")))
        .collect();
    let level = |level| {
        report
            .volume
            .share(level)
            .map_or("?".to_owned(), words::percent)
    };
    let wanted = amount(eviction.wanted_bytes, eviction.wanted_inodes)
        .map(|wanted| format!("{wanted} wanted, "))
        .unwrap_or_default();
    let freed =
        amount(eviction.freed_bytes, eviction.freed_inodes).unwrap_or_else(|| "nothing".to_owned());
    let levels = format!(
        "volume from {} to {}",
        level(report.volume.before),
        level(report.volume.after)
    );
    let summary = format!(
        "{levels}, {wanted}{freed} freed, from {}",
        words::few(&from, 6)
    );
    (!from.is_empty()).then(|| Alert {
        details: details(eviction),
        ..alert("Evicted", Severity::Info, &summary)
    })
}

/// Unsaved work was rescued to a ref: its owner may want it back.
fn rescues(report: &RunReport) -> Option<Alert> {
    let trees = report.worktrees().filter(|tree| tree.rescued());
    let names: Vec<String> = trees
        .map(|tree| words::below(&report.volume.root, &tree.path))
        .collect();
    let summary = || {
        let many = words::count(names.len() as u64, "tree");
        format!(
            "unsaved work of {many} was rescued: {}; `treewarden rescue list` shows it",
            words::few(&names, 5)
        )
    };
    (!names.is_empty()).then(|| alert("RescuesMade", Severity::Info, &summary()))
}
