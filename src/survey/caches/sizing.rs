//! Measures units in parallel: only those that may be evicted, so that the cost follows what is
//! evicted. If the listing already showed a unit's size, it isn't measured again.
//!
//! A unit that can't be measured is left out with a problem line, because what evicting it frees
//! would be a guess.

use crate::ecosystems;
use crate::ecosystems::lister::Stands;
use crate::facts::cache::{Cache, Size, Unit};
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::survey::{regenerable, size};
use rayon::prelude::*;
use rustix::fd::OwnedFd;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Returns the units with their sizes, in the same order, and a line for each that could not be
/// measured and is left out.
///
/// Once the run is to stop, nothing more is measured.
pub fn measure(units: Vec<Unit>, stop: &Stop) -> (Vec<Unit>, Vec<String>) {
    let (roots, mut problems) = roots(&units);
    let units = units.into_par_iter().filter(|_| stop.reached().is_none());
    let measured: Vec<Result<Unit, Unmeasured>> = units
        .filter_map(|unit| {
            let root = unit.paths.first().and_then(|path| roots.get(path.root()))?;
            Some(measure_one(root, unit, stop))
        })
        .collect();
    let units = measured
        .into_iter()
        .filter_map(|unit| {
            unit.map_err(|problem| problems.push(problem.to_string()))
                .ok()
        })
        .collect();
    (units, problems)
}

/// Opens the roots of the units, and returns a line for each that can't be opened.
fn roots(units: &[Unit]) -> (BTreeMap<Arc<Path>, OwnedFd>, Vec<String>) {
    let (mut roots, mut problems) = (BTreeMap::new(), Vec::new());
    let mut last = None;
    for root in units
        .iter()
        .filter_map(|unit| Some(unit.paths.first()?.root()))
    {
        if last == Some(root) || roots.contains_key(root) {
            continue;
        }
        last = Some(root);
        match openat::root(root) {
            Ok(opened) => drop(roots.insert(root.clone(), opened)),
            Err(error) => problems.push(format!(
                "failed to open `{}`: {error}; see that it is mounted",
                root.display()
            )),
        }
    }
    (roots, problems)
}

/// Measures every unit of the caches that have a reserve or a budget, because what may be evicted
/// there depends on the total.
pub fn measure_whole(caches: &mut [Cache], stop: &Stop) {
    for cache in caches
        .iter_mut()
        .filter(|cache| cache.budget.is_some() || cache.reserve != Size::default())
    {
        let (units, problems) = measure(std::mem::take(&mut cache.units), stop);
        cache.units = units;
        cache.problems.extend(problems);
    }
}

/// Why it is unknown how much evicting a unit frees.
#[derive(Debug, thiserror::Error)]
enum Unmeasured {
    /// It is unknown whether it contains only build output.
    #[error("failed to look into `{unit}`: {cause}")]
    Look {
        /// The unit.
        unit: String,
        /// Why.
        cause: io::Error,
    },
    /// It contains something that its tool didn't make.
    #[error("{0}, so it stays")]
    Own(String),
    /// It can't be measured.
    #[error("{0}")]
    Size(io::Error),
}

fn measure_one(root: &OwnedFd, mut unit: Unit, stop: &Stop) -> Result<Unit, Unmeasured> {
    if unit.size.is_none() {
        // A part of build output is recognised by its name; whose files are in it is checked when it
        // goes.
        if let Some(tree) = unit.tree.as_ref().filter(|tree| tree.part_of.is_none())
            && let Some(own) =
                regenerable::own_among(&unit.paths, &tree.made_again, stop).map_err(|cause| {
                    Unmeasured::Look {
                        unit: unit.name.clone(),
                        cause,
                    }
                })?
        {
            return Err(Unmeasured::Own(own));
        }
        // The layouts of the other kinds belong to their tools. Into these, people put repos of
        // their own, and worktrees may be there.
        let may_hold_repos = ecosystems::layout(unit.kind)
            .is_none_or(|layout| matches!(layout.stands, Stands::AtDepth | Stands::InWorktrees));
        let (size, shared) =
            size::measure(root, &unit.paths, may_hold_repos).map_err(Unmeasured::Size)?;
        (unit.size, unit.shared) = (Some(size), shared);
    }
    Ok(unit)
}
