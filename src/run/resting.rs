//! Which repos rest tonight, and what that changes for the others.
//!
//! It must never let a repo rest of which an eviction needs to know what is idle and what is in use.

use super::Options;
use crate::config::policy::{self, Policy};
use crate::facts::repo::Missing;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::run::repo::{Night, Tended};
use crate::run::rest::{self, Look};
use crate::run::shards;
use crate::survey;
use chrono::{DateTime, Utc};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};

/// What earlier nights saw of those repos that may rest. Not while a dead night's trees wait in the trash: they may be some repo's.
pub(super) fn resting(
    policy: &Policy,
    options: &Options,
    repos: &[&policy::Repo],
    trashed: &HashSet<VolumePath>,
    now: DateTime<Utc>,
    stop: &Stop,
) -> Vec<Option<Look>> {
    let may_rest = trashed.is_empty() && options.only.all_of_a_repo();
    repos.par_iter().map(|repo| may_rest.then(|| rest::holds(policy, repo, now, stop)).flatten()).collect()
}

/// How many trees of the whole volume are missing; none is in a repo that rests.
pub(super) fn missing(policy: &Policy, chosen: &[&policy::Repo], resting: &[Option<Look>], trashed: &HashSet<VolumePath>) -> Missing {
    let rest: HashMap<&str, &Look> =
        chosen.iter().zip(resting).filter_map(|(repo, look)| Some((repo.name.as_str(), look.as_ref()?))).collect();
    let awake: Vec<&policy::Repo> = policy.repos.iter().filter(|repo| !rest.contains_key(repo.name.as_str())).collect();
    let found = survey::repo::missing(&awake, trashed);
    Missing { of: found.of + rest.values().map(|look| look.trees()).sum::<usize>(), ..found }
}

/// What units are to be chosen by is looked at anew, in repos that rest as well.
pub(super) fn wake(night: &Night<'_>, repos: &[&policy::Repo], tended: &mut [Tended]) {
    let resting: Vec<(&mut Tended, &policy::Repo)> =
        tended.iter_mut().zip(repos.iter().copied()).filter(|(tended, _)| tended.rests).collect();
    resting.into_par_iter().for_each(|(tended, repo)| {
        let seen = shards::look(night, &[repo]).pop();
        (tended.idle, tended.locks) = seen.map(|seen| (seen.idle, seen.locks)).unwrap_or_default();
    });
}
