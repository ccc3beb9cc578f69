//! Explains a unit of a cache.

use super::subject::UnitName;
use super::{ExplainError, Request};
use crate::config::policy::{self, InUse};
use crate::config::units;
use crate::facts::cache::Unit as Seen;
use crate::facts::cache::{self, Size};
use crate::fs::humanize;
use crate::fs::volume_path::VolumePath;
use crate::plan::evict;
use crate::report::explain::{Change, Explanation, Fate, Kind, Rule, SCHEMA, Unit};
use crate::run::eviction::SeenUnit;
use crate::run::inspect;
use std::path::PathBuf;

/// Units that are named if a path belongs to none.
const NAMED: usize = 5;

/// Explains the unit of this name, or with this path in it.
pub(super) fn explain(
    request: &Request<'_>,
    cache: &policy::Cache,
    name: &UnitName,
) -> Result<Explanation, ExplainError> {
    let is = |unit: &Seen| match name {
        UnitName::Name(name) => unit.name == *name,
        UnitName::Path(path) => unit.paths.iter().any(|own| path.starts_with(own.path())),
    };
    let mut seen = inspect::unit(request.policy, cache, &is, (request.stop, request.now))
        .map_err(ExplainError::Refused)?;
    let Some(unit) = seen.unit.take() else {
        return Err(none(cache, name, seen));
    };
    let rows = &seen.eviction.units;
    let goes = rows
        .iter()
        .any(|row| row.cache == cache.name && row.unit == unit.name);
    let triggered = seen.eviction.triggered;
    let reasons = match (&seen.held, goes, triggered) {
        (_, true, _) => {
            vec!["it is among those that were used least recently, and room is wanted".to_owned()]
        }
        (Some(why), ..) => vec![why.clone()],
        (None, _, true) => std::iter::once(
            "its turn doesn't come: enough goes before it, or its cache holds it".to_owned(),
        )
        .chain(obstacles(&seen, cache))
        .collect(),
        (None, _, false) if cache.reserve != Size::default() => vec![format!(
            "no room is wanted, and its cache has a reserve of {}",
            amount(cache.reserve)
        )],
        (None, _, false) => vec!["nothing holds it, but no room is wanted".to_owned()],
    };
    Ok(Explanation {
        schema: SCHEMA,
        at: request.now,
        path: unit.paths.first().map(VolumePath::path),
        kind: Kind::Unit,
        repo: unit.tree.as_ref().map(|tree| tree.repo.clone()),
        verdict: if goes { Fate::Evict } else { Fate::Keep },
        because: None,
        reasons,
        goes_at: goes.then_some(request.now),
        held: Vec::new(),
        rules: rules(request, cache, &seen),
        changes: changes(request, cache, &seen),
        worktree: None,
        rescue: None,
        unit: Some(facts(unit, seen)),
    })
}

/// Returns what stood in the way of the eviction in this cache.
fn obstacles<'a>(seen: &'a SeenUnit, cache: &policy::Cache) -> impl Iterator<Item = String> + 'a {
    let of = format!(" of {}: ", cache.name);
    let lines = seen.eviction.obstacles.iter();
    lines.filter(move |line| line.contains(&of)).cloned()
}

fn facts(unit: Seen, seen: SeenUnit) -> Unit {
    let (last_used, last_used_from) = evict::last_use(&unit);
    let in_use = evict::in_use(&unit);
    Unit {
        cache: unit.cache.to_string(),
        kind: unit.kind.name().to_owned(),
        paths: unit.paths.iter().map(VolumePath::path).collect(),
        unit: unit.name,
        bytes: unit.size.map(|size| size.bytes),
        last_used,
        last_used_from,
        named_by: unit.named.map(|named| named.by),
        in_use,
        free_from: seen.free_from,
        ahead: seen.ahead,
        ahead_bytes: seen.ahead_size.bytes,
        eviction: seen.eviction.reason,
    }
}

/// Returns the rules, the decisive one first.
fn rules(request: &Request<'_>, cache: &policy::Cache, seen: &SeenUnit) -> Vec<Rule> {
    let Request { policy, source, .. } = request;
    let mut caches = policy.caches.iter();
    let index = caches
        .position(|one| one.name == cache.name)
        .unwrap_or_default();
    let high = policy.eviction.high;
    let (bytes, inodes) = (
        humanize::percent(high.bytes),
        humanize::percent(high.inodes),
    );
    let mut rules = vec![
        request.rule(
            source.of(&["eviction", "high", "bytes"]),
            (
                bytes,
                "units are evicted when more of the volume's bytes are used",
            ),
        ),
        request.rule(
            source.of(&["eviction", "high", "inodes"]),
            (inodes, "or more of its inodes"),
        ),
    ];
    let own = source.of_cache(index, "min_age");
    let setting = if own.line.is_some() && cache.min_age > policy.eviction.min_age {
        own
    } else {
        source.of(&["eviction", "min_age"])
    };
    let min_age = request.rule(
        setting,
        (
            units::typed(cache.min_age),
            "nothing used within this time is evicted",
        ),
    );
    let in_use = match policy.eviction.in_use {
        InUse::Keep => ("keep", "what a live tree's lock file names is not evicted"),
        InUse::Last => ("last", "what a live tree's lock file names is evicted last"),
    };
    let in_use = request.rule(
        source.of(&["eviction", "in_use"]),
        (in_use.0.to_owned(), in_use.1),
    );
    let is_named = seen
        .held
        .as_ref()
        .is_some_and(|why| why.starts_with("in use"));
    let decisive = usize::from(seen.held.is_none()).saturating_mul(rules.len());
    rules.splice(
        decisive..decisive,
        if is_named {
            [in_use, min_age]
        } else {
            [min_age, in_use]
        },
    );
    if let Some(budget) = policy.eviction.budget {
        let says = "units are evicted when more than this stands below the root";
        let setting = source.of(&["eviction", "budget"]);
        rules.push(request.rule(setting, (humanize::size(budget), says)));
    }
    if let Some(budget) = cache.budget {
        let says =
            "the cache may hold this much; the oldest above it go, however empty the volume is";
        rules.insert(
            0,
            request.rule(source.of_cache(index, "budget"), (amount(budget), says)),
        );
    }
    if cache.reserve != Size::default() {
        let says = "this much of the cache stays";
        rules.push(request.rule(
            source.of_cache(index, "reserve"),
            (amount(cache.reserve), says),
        ));
    }
    rules
}

fn amount(size: Size) -> String {
    let bytes = (size.bytes > 0 && size.bytes < u64::MAX).then(|| humanize::size(size.bytes));
    let inodes =
        (size.inodes > 0 && size.inodes < u64::MAX).then(|| humanize::count(size.inodes, "inode"));
    humanize::and(&bytes.into_iter().chain(inodes).collect::<Vec<_>>())
}

fn changes(request: &Request<'_>, cache: &policy::Cache, seen: &SeenUnit) -> Vec<Change> {
    let mut changes = vec![Change::new(
        "any use of it, or a lock file of a live tree that names it, keeps it longer",
    )];
    if seen.held.is_some() && seen.free_from.is_some_and(|from| from > request.now) {
        changes.push(Change {
            what: "nobody uses it, and room is still wanted after the minimum age".to_owned(),
            goes_at: None,
        });
    }
    if !seen.eviction.triggered {
        changes.push(Change::new(
            "more data on the volume: see `eviction.high`, and `budget` of its cache",
        ));
    }
    if cache.kind == cache::CacheKind::new("build-output") {
        changes.push(Change::new("work in its worktree keeps it longer"));
    }
    changes
}

/// Returns the error for a path in a cache that belongs to no unit.
fn none(cache: &policy::Cache, name: &UnitName, seen: SeenUnit) -> ExplainError {
    let asked = match name {
        UnitName::Path(path) => format!(
            "`{}` is in the cache {}, and no unit of it",
            path.display(),
            cache.name
        ),
        UnitName::Name(name) => format!("the cache {} has no unit `{name}`", cache.name),
    };
    let path = match name {
        UnitName::Path(path) => path.clone(),
        UnitName::Name(name) => PathBuf::from(name),
    };
    let last = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut others = seen.others;
    let count = others.len();
    others.sort_by(|a, b| {
        let far = |name: &String| !name.contains(&last);
        far(a)
            .cmp(&far(b))
            .then_with(|| humanize::natural(a.as_bytes(), b.as_bytes()))
    });
    others.truncate(NAMED);
    let units = match count {
        0 => "it has none".to_owned(),
        _ => format!(
            "name one by a path in it, or as `{}:UNIT`; it has {}",
            cache.name,
            humanize::of_all(&others, count)
        ),
    };
    let failures: Vec<String> = seen.failures.iter().map(|why| format!("; {why}")).collect();
    ExplainError::Nothing(format!("{asked}; {units}{}", failures.concat()))
}
