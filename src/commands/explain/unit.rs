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
use crate::plan::ladder::turn::of_unit;
use crate::report::explain::{Change, Explanation, Fate, Kind, Rule, SCHEMA, Unit};
use crate::report::pressure::{Part, UnderPressure};
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
    let reasons = reasons(&seen, cache, goes);
    let turn = of_unit(&unit, &request.policy.eviction, request.now);
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
        under_pressure: vec![UnderPressure::new(Part::Whole, turn)],
        held: Vec::new(),
        rules: rules(request, cache, &seen),
        changes: changes(request, cache, &seen),
        worktree: None,
        rescue: None,
        unit: Some(facts(unit, seen)),
    })
}

fn reasons(seen: &SeenUnit, cache: &policy::Cache, goes: bool) -> Vec<String> {
    match (&seen.held, goes, seen.eviction.triggered) {
        (_, true, _) => {
            vec!["it is among those that were used least recently, and room is wanted".to_owned()]
        }
        (Some(why), ..) => vec![why.clone()],
        (None, _, true) => std::iter::once(
            "its turn doesn't come: enough goes before it, or its cache holds it".to_owned(),
        )
        .chain(obstacles(seen, cache))
        .collect(),
        (None, _, false) if cache.reserve != Size::default() => vec![format!(
            "no room is wanted, and its cache has a reserve of {}",
            amount(cache.reserve)
        )],
        (None, _, false) => vec!["nothing holds it, but no room is wanted".to_owned()],
    }
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
    let mut caches = request.policy.caches.iter();
    let index = caches
        .position(|one| one.name == cache.name)
        .unwrap_or_default();
    let of = OfCache {
        request,
        cache,
        index,
    };
    let mut holding = [of.min_age(), of.in_use()];
    let held = seen.held.as_deref();
    if held.is_some_and(|why| why.starts_with("in use")) {
        holding.reverse();
    }
    let (marks, mut rules) = (of.marks(), Vec::from_iter(of.budget()));
    if held.is_some() {
        rules.extend(holding.into_iter().chain(marks));
    } else {
        rules.extend(marks.into_iter().chain(holding));
    }
    rules.extend(of.budget_of_all());
    rules.extend(of.reserve());
    rules
}

/// The rules for one of the config's caches.
struct OfCache<'a> {
    request: &'a Request<'a>,
    cache: &'a policy::Cache,
    /// Its position among them.
    index: usize,
}

impl OfCache<'_> {
    fn marks(&self) -> [Rule; 2] {
        let high = self.request.policy.eviction.high;
        let mark = |key, value, says| {
            let setting = self.request.source.of(&["eviction", "high", key]);
            self.request.rule(setting, (humanize::percent(value), says))
        };
        [
            mark(
                "bytes",
                high.bytes,
                "units are evicted when more of the volume's bytes are used",
            ),
            mark("inodes", high.inodes, "or more of its inodes"),
        ]
    }

    fn min_age(&self) -> Rule {
        let Request { policy, source, .. } = self.request;
        let own = source.of_cache(self.index, "min_age");
        let setting = if own.line.is_some() && self.cache.min_age > policy.eviction.min_age {
            own
        } else {
            source.of(&["eviction", "min_age"])
        };
        let says = "nothing used within this time is evicted";
        let value = units::typed(self.cache.min_age);
        self.request.rule(setting, (value, says))
    }

    fn in_use(&self) -> Rule {
        let Request { policy, source, .. } = self.request;
        let (value, says) = match policy.eviction.in_use {
            InUse::Keep => ("keep", "what a live tree's lock file names is not evicted"),
            InUse::Last => ("last", "what a live tree's lock file names is evicted last"),
        };
        let setting = source.of(&["eviction", "in_use"]);
        self.request.rule(setting, (value.to_owned(), says))
    }

    fn budget(&self) -> Option<Rule> {
        let says =
            "the cache may hold this much; the oldest above it go, however empty the volume is";
        let setting = self.request.source.of_cache(self.index, "budget");
        let budget = self.cache.budget?;
        Some(self.request.rule(setting, (amount(budget), says)))
    }

    fn budget_of_all(&self) -> Option<Rule> {
        let Request { policy, source, .. } = self.request;
        let says = "units are evicted when more than this stands below the root";
        let setting = source.of(&["eviction", "budget"]);
        let budget = policy.eviction.budget?;
        Some(self.request.rule(setting, (humanize::size(budget), says)))
    }

    fn reserve(&self) -> Option<Rule> {
        let reserve = self.cache.reserve;
        let setting = self.request.source.of_cache(self.index, "reserve");
        (reserve != Size::default()).then(|| {
            let says = "this much of the cache stays";
            self.request.rule(setting, (amount(reserve), says))
        })
    }
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
