//! How much must be freed: the watermarks and the budget against the volume's usage.
//!
//! The used fraction is `used / (used + free)`, as in `df` and the kubelet, because nobody can fill
//! blocks reserved for root. No more is wanted than watermarks and budget need.

use super::links::standing;
use super::{in_amounts, less};
use crate::config::policy;
use crate::facts::cache::{Cache, Size};
use crate::facts::volume::Usage;
use crate::fs::humanize;
use std::collections::BTreeMap;

/// An eviction for a budget goes on to this fraction of it.
pub const GOAL: f64 = 0.9;

/// What is to be freed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Bytes, in any cache.
    pub bytes: u64,
    /// Inodes, in any cache.
    pub inodes: u64,
    /// What caches over their own budgets must free: this comes first, and counts for all.
    pub caches: BTreeMap<String, Size>,
    /// Why, for the report.
    pub reason: String,
}

impl Wanted {
    /// Returns the total to be freed.
    pub fn total(&self) -> Size {
        let mut over = Size::default();
        self.caches.values().for_each(|cache| over += *cache);
        Size {
            bytes: self.bytes.max(over.bytes),
            inodes: self.inodes.max(over.inodes),
        }
    }
}

/// A watermark that a run may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// `eviction.high`: caches are evicted.
    High,
    /// `eviction.critical`: it is urgent.
    Critical,
}

/// One resource of a volume, against its watermarks.
struct Resource {
    name: &'static str,
    used: u64,
    total: u64,
    high: f64,
    low: f64,
}

/// Returns what is to be freed; none below the high watermarks and the budget.
///
/// Past any high watermark, eviction goes on until all low watermarks are reached. Over the budget,
/// it goes on to 90 % of it, and below `volume.floor` to a tenth more. The larger number counts.
pub fn wanted(usage: &Usage, policy: &policy::Eviction) -> Option<Wanted> {
    let [bytes, inodes] = resources(usage, policy.high, policy.low);
    let mut wanted = Wanted::default();
    let mut reasons: Vec<String> = [&bytes, &inodes]
        .into_iter()
        .filter_map(Resource::passed)
        .collect();
    if !reasons.is_empty() {
        (wanted.bytes, wanted.inodes) = (bytes.above_low(), inodes.above_low());
    }
    if let (Some(standing), Some(budget)) = (
        usage.standing_bytes,
        policy
            .budget
            .filter(|budget| usage.standing_bytes > Some(*budget)),
    ) {
        let goal = share(budget, GOAL);
        wanted.bytes = wanted.bytes.max(standing.saturating_sub(goal));
        let [standing, budget, goal] = [standing, budget, goal].map(humanize::bytes);
        reasons.push(format!(
            "{standing} stand below the root, over the budget of {budget}; going down to {goal}"
        ));
    }
    if let Some(missing) = missing(usage, policy) {
        wanted.bytes = wanted.bytes.max(missing.bytes);
        wanted.inodes = wanted.inodes.max(missing.inodes);
        reasons.extend(below_floor(usage, policy));
    }
    wanted.reason = reasons.join("; and ");
    (!reasons.is_empty()).then_some(wanted)
}

/// Returns how much less than `volume.floor` is free, and a tenth of the floor on top, or the next
/// job would find too little again. None if enough is free.
fn missing(usage: &Usage, policy: &policy::Eviction) -> Option<Size> {
    let short = |free: u64, floor: u64| {
        let goal = floor.saturating_add(floor / 10);
        if free < floor {
            goal.saturating_sub(free)
        } else {
            0
        }
    };
    let free = free(usage);
    let missing = Size {
        bytes: short(free.bytes, policy.floor.bytes),
        inodes: short(free.inodes, policy.floor.inodes),
    };
    (missing != Size::default()).then_some(missing)
}

fn free(usage: &Usage) -> Size {
    Size {
        bytes: usage.free_bytes,
        inodes: match usage.total_inodes {
            0 => u64::MAX,
            total => total.saturating_sub(usage.used_inodes),
        },
    }
}

/// Returns what is free, if it is less than `volume.floor`: `2.0 GiB free, below volume.floor (5.0
/// GiB)`.
pub fn below_floor(usage: &Usage, policy: &policy::Eviction) -> Option<String> {
    missing(usage, policy)?;
    let (free, floor) = (free(usage), policy.floor);
    let bytes = (floor.bytes > 0).then(|| humanize::bytes(free.bytes));
    let inodes = (floor.inodes > 0).then(|| format!("{} inodes", free.inodes));
    let free: Vec<String> = bytes.into_iter().chain(inodes).collect();
    let (free, floor) = (free.join(" and "), in_amounts(floor));
    Some(format!("{free} free, below volume.floor ({floor})"))
}

/// Returns what the upper rungs of [the ladder](crate::plan::ladder) have to free, after the lower
/// ones; none if the volume is no longer above a high watermark, or they are switched off.
///
/// `before` is the usage that the eviction started from. If it was critical, the upper rungs go on
/// to the low watermarks, as an eviction does. Else they stop as soon as nothing is above a high
/// one. So they do for `volume.floor`. Budgets are no reason for them.
pub fn urgent(before: &Usage, now: &Usage, policy: &policy::Eviction) -> Option<Size> {
    if policy.min_idle == policy::Age::Never || below(now, policy, Mark::High).is_some() {
        return None;
    }
    let mut critical = resources(before, policy.critical, policy.low).into_iter();
    let goal = if critical.any(|resource| resource.is_above()) {
        policy.low
    } else {
        policy.high
    };
    let [bytes, inodes] = resources(now, policy.high, goal);
    let missing = missing(now, policy).unwrap_or_default();
    Some(Size {
        bytes: bytes.above_low().max(missing.bytes),
        inodes: inodes.above_low().max(missing.inodes),
    })
}

/// Adds the caches over their own budgets: each is evicted from until 90 % of its budget, however
/// empty the volume is. Its units must be measured.
pub fn with_budgets(wanted: Option<Wanted>, caches: &[Cache]) -> Option<Wanted> {
    let mut reasons: Vec<String> = wanted.iter().map(|wanted| wanted.reason.clone()).collect();
    let mut wanted = wanted.unwrap_or_default();
    for cache in caches {
        let (Some(budget), holds) = (cache.budget, standing(cache)) else {
            continue;
        };
        if holds.bytes <= budget.bytes && holds.inodes <= budget.inodes {
            continue;
        }
        let part = |of| if of == u64::MAX { of } else { share(of, GOAL) };
        let goal = Size {
            bytes: part(budget.bytes),
            inodes: part(budget.inodes),
        };
        wanted.caches.insert(cache.name.clone(), less(holds, goal));
        // A resource without a budget is not mentioned.
        let of_budget = |size: Size| Size {
            bytes: if budget.bytes == u64::MAX {
                0
            } else {
                size.bytes
            },
            inodes: if budget.inodes == u64::MAX {
                0
            } else {
                size.inodes
            },
        };
        let [holds, budget, goal] = [holds, budget, goal].map(|size| in_amounts(of_budget(size)));
        reasons.push(format!(
            "{} holds {holds}, over its budget of {budget}; going down to {goal}",
            cache.name
        ));
    }
    wanted.reason = reasons.join("; and ");
    (!reasons.is_empty()).then_some(wanted)
}

/// Returns why nothing is to be freed, for the report.
pub fn calm(usage: &Usage, policy: &policy::Eviction) -> String {
    message(&resources(usage, policy.high, policy.low), "high")
}

/// Returns how full the volume is, if it is at or below this watermark; none if it is above, or
/// less than `volume.floor` is free. Budgets don't count.
pub fn below(usage: &Usage, policy: &policy::Eviction, mark: Mark) -> Option<String> {
    let (name, marks) = match mark {
        Mark::High => ("high", policy.high),
        Mark::Critical => ("critical", policy.critical),
    };
    let resources = resources(usage, marks, policy.low);
    let is_below = resources.iter().all(|resource| !resource.is_above());
    (is_below && missing(usage, policy).is_none()).then(|| message(&resources, name))
}

/// Describes how much is in use, against the watermark of this name.
fn message(resources: &[Resource], mark: &str) -> String {
    let limited = resources.iter().filter(|resource| resource.total > 0);
    let mark = format!("the {mark} mark is");
    let all: Vec<String> = limited.map(|resource| resource.message(&mark)).collect();
    all.join("; ")
}

fn resources(usage: &Usage, high: policy::Marks, low: policy::Marks) -> [Resource; 2] {
    let usable = usage.used_bytes.saturating_add(usage.free_bytes);
    [
        Resource {
            name: "bytes",
            used: usage.used_bytes,
            total: usable,
            high: high.bytes,
            low: low.bytes,
        },
        Resource {
            name: "inodes",
            used: usage.used_inodes,
            total: usage.total_inodes,
            high: high.inodes,
            low: low.inodes,
        },
    ]
}

impl Resource {
    /// Returns whether more is in use than the watermark that starts something. A volume without a
    /// fixed number of inodes (a total of 0) never runs out of them.
    fn is_above(&self) -> bool {
        self.total > 0 && self.used > share(self.total, self.high)
    }

    /// Returns why eviction starts; none if it doesn't.
    fn passed(&self) -> Option<String> {
        self.is_above().then(|| {
            format!(
                "{}; going down to {}",
                self.message("above the high mark of"),
                percent(self.low)
            )
        })
    }

    fn above_low(&self) -> u64 {
        if self.total == 0 {
            0
        } else {
            self.used.saturating_sub(share(self.total, self.low))
        }
    }

    fn message(&self, high: &str) -> String {
        let tenths = (u128::from(self.used) * 1000).div_ceil(u128::from(self.total.max(1)));
        format!(
            "{} of {} used, {high} {}",
            tenths_of_percent(tenths),
            self.name,
            percent(self.high)
        )
    }
}

/// Returns a fraction of a number, rounded to an integer.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of a count is one"
)]
fn share(of: u64, fraction: f64) -> u64 {
    (of as f64 * fraction.clamp(0.0, 1.0)).round() as u64
}

fn percent(fraction: f64) -> String {
    tenths_of_percent(u128::from(share(1000, fraction)))
}

/// Formats it. Callers round used fractions up, so that none above a watermark reads like it.
fn tenths_of_percent(tenths: u128) -> String {
    if tenths.is_multiple_of(10) {
        format!("{} %", tenths / 10)
    } else {
        format!("{}.{} %", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const GIB: u64 = 1 << 30;

    fn policy(budget: Option<u64>) -> policy::Eviction {
        let marks = |part| policy::Marks {
            bytes: part,
            inodes: part,
        };
        policy::Eviction {
            high: marks(0.85),
            low: marks(0.75),
            critical: marks(0.95),
            min_idle: policy::Age::After(Duration::from_hours(1)),
            floor: Size::default(),
            budget,
            min_age: Duration::ZERO,
            in_use: policy::InUse::Keep,
        }
    }

    fn usage(used_bytes: u64, used_inodes: u64, total_inodes: u64) -> Usage {
        // 10 bytes more are reserved for root: they count neither as used nor as free.
        Usage {
            total_bytes: 1010,
            used_bytes,
            free_bytes: 1000 - used_bytes,
            total_inodes,
            used_inodes,
            standing_bytes: None,
        }
    }

    #[test]
    fn marks() {
        let both = "88 % of bytes used, above the high mark of 85 %; going down to 75 %; and \
                    90 % of inodes used, above the high mark of 85 %; going down to 75 %";
        // used bytes, used inodes, total inodes -> wanted bytes, wanted inodes, reason
        let table = [
            (850, 850, 1000, None),
            (
                851,
                0,
                0,
                Some((
                    101,
                    0,
                    "85.1 % of bytes used, above the high mark of 85 %; going down to 75 %",
                )),
            ),
            (
                880,
                10,
                1000,
                Some((
                    130,
                    0,
                    "88 % of bytes used, above the high mark of 85 %; going down to 75 %",
                )),
            ),
            (
                100,
                860,
                1000,
                Some((
                    0,
                    110,
                    "86 % of inodes used, above the high mark of 85 %; going down to 75 %",
                )),
            ),
            (
                800,
                860,
                1000,
                Some((
                    50,
                    110,
                    "86 % of inodes used, above the high mark of 85 %; going down to 75 %",
                )),
            ),
            (880, 900, 1000, Some((130, 150, both))),
            (500, 999, 0, None),
        ];
        for (bytes, inodes, total, expected) in table {
            let found = wanted(&usage(bytes, inodes, total), &policy(None));
            let expected = expected.map(|(bytes, inodes, reason)| Wanted {
                bytes,
                inodes,
                caches: BTreeMap::new(),
                reason: reason.into(),
            });
            assert_eq!(found, expected, "{bytes} bytes, {inodes} of {total} inodes");
        }
    }

    #[test]
    fn a_budget_goes_down_to_nine_tenths() {
        let mut seen = Usage {
            used_bytes: 30,
            free_bytes: 900 * GIB,
            standing_bytes: Some(30 * GIB),
            ..Usage::default()
        };
        let found = wanted(&seen, &policy(Some(25 * GIB))).unwrap();
        assert_eq!(found.bytes, 30 * GIB - 25 * GIB / 10 * 9);
        assert_eq!(
            found.reason,
            "30.0 GiB stand below the root, over the budget of 25.0 GiB; going down to 22.5 GiB"
        );
        seen.standing_bytes = Some(25 * GIB);
        assert_eq!(wanted(&seen, &policy(Some(25 * GIB))), None);
        assert_eq!(wanted(&seen, &policy(None)), None);
    }

    #[test]
    fn a_mark_is_passed_by_either_resource_and_not_by_a_budget() {
        let message = |mark: &str| {
            Some(format!(
                "86 % of bytes used, the {mark}; 12.5 % of inodes used, the {mark}"
            ))
        };
        // used bytes, used inodes -> what is told below the high mark, and below the critical one
        let table = [
            (850, 850, true, true),
            (851, 0, false, true),
            (0, 851, false, true),
            (950, 950, false, true),
            (951, 0, false, false),
            (0, 951, false, false),
        ];
        for (bytes, inodes, high, critical) in table {
            let usage = Usage {
                standing_bytes: Some(30 * GIB),
                ..usage(bytes, inodes, 1000)
            };
            let is_below = |mark| below(&usage, &policy(Some(GIB)), mark).is_some();
            assert_eq!(
                [is_below(Mark::High), is_below(Mark::Critical)],
                [high, critical],
                "{bytes} bytes, {inodes} inodes"
            );
        }
        let some = usage(860, 125, 1000);
        assert_eq!(
            below(&some, &policy(None), Mark::Critical),
            message("critical mark is 95 %")
        );
        assert_eq!(below(&some, &policy(None), Mark::High), None);
        let unlimited = usage(500, 999, 0);
        assert!(below(&unlimited, &policy(None), Mark::High).is_some());
    }

    #[test]
    fn below_the_floor_room_is_wanted_however_empty_the_volume_is() {
        let with = |bytes, inodes| policy::Eviction {
            floor: Size { bytes, inodes },
            ..policy(None)
        };
        let seen = usage(400, 400, 1000);
        // The floor, in bytes and inodes -> what is wanted, and why.
        let table = [
            (600, 600, None),
            (0, 0, None),
            (
                601,
                0,
                Some((61, 0, "600 B free, below volume.floor (601 B)")),
            ),
            (
                500,
                700,
                Some((
                    0,
                    170,
                    "600 B and 600 inodes free, below volume.floor (500 B and 700 inodes)",
                )),
            ),
        ];
        for (bytes, inodes, expected) in table {
            let policy = with(bytes, inodes);
            let found = wanted(&seen, &policy);
            let wanted = found.map(|found| (found.bytes, found.inodes, found.reason));
            let expected = expected.map(|(bytes, inodes, why)| (bytes, inodes, why.to_owned()));
            assert_eq!(wanted, expected, "{bytes} {inodes}");
            assert_eq!(
                below_floor(&seen, &policy),
                expected.as_ref().map(|found| found.2.clone())
            );
            // The upper rungs are for it as well, and whoever waits for a mark goes on.
            let more = expected.map(|(bytes, inodes, _)| Size { bytes, inodes });
            assert_eq!(urgent(&seen, &seen, &policy), more);
            assert_eq!(
                below(&seen, &policy, Mark::Critical).is_none(),
                more.is_some()
            );
        }
        assert_eq!(wanted(&usage(400, 999, 0), &with(0, 700)), None);
    }

    #[test]
    fn a_calm_night_says_how_calm() {
        let message = "71 % of bytes used, the high mark is 85 %; 12.5 % of inodes used, the high mark is 85 %";
        assert_eq!(calm(&usage(710, 125, 1000), &policy(None)), message);
        assert_eq!(
            calm(&usage(710, 125, 0), &policy(None)),
            "71 % of bytes used, the high mark is 85 %"
        );
    }
}
