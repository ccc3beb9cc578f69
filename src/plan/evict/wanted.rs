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
/// it goes on to 90 % of it. The larger number of bytes counts.
pub fn wanted(usage: &Usage, policy: &policy::Eviction) -> Option<Wanted> {
    let [bytes, inodes] = resources(usage, policy);
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
    wanted.reason = reasons.join("; and ");
    (!reasons.is_empty()).then_some(wanted)
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
        let told = |size: Size| Size {
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
        let [holds, budget, goal] = [holds, budget, goal].map(|size| in_amounts(told(size)));
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
    let told = resources(usage, policy)
        .into_iter()
        .filter(|resource| resource.total > 0);
    told.map(|resource| resource.told("the high mark is"))
        .collect::<Vec<_>>()
        .join("; ")
}

fn resources(usage: &Usage, policy: &policy::Eviction) -> [Resource; 2] {
    let (high, low) = (policy.high, policy.low);
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
    /// Returns why eviction starts; none if it doesn't. A volume without a fixed number of inodes
    /// (a total of 0) never runs out of them.
    fn passed(&self) -> Option<String> {
        let passed = self.total > 0 && self.used > share(self.total, self.high);
        passed.then(|| {
            format!(
                "{}; going down to {}",
                self.told("above the high mark of"),
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

    fn told(&self, high: &str) -> String {
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
    fn a_calm_night_says_how_calm() {
        let told = "71 % of bytes used, the high mark is 85 %; 12.5 % of inodes used, the high mark is 85 %";
        assert_eq!(calm(&usage(710, 125, 1000), &policy(None)), told);
        assert_eq!(
            calm(&usage(710, 125, 0), &policy(None)),
            "71 % of bytes used, the high mark is 85 %"
        );
    }
}
