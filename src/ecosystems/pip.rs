//! pip: its cache ([`cache`]). Requirements and environments belong to `python`.

mod cache;

use super::ecosystem::Ecosystem;
use super::lister::{CacheLayout, Stands};
use super::usual::Usual;
use crate::facts::cache::CacheKind;

pub(super) static PIP: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("pip"),
        unit: "a cached download with its metadata, or a built wheel",
        stands: Stands::InDirectory,
        variables: |place| vec![("PIP_CACHE_DIR", place.to_owned())],
        usual: &[&[Usual::Variable("PIP_CACHE_DIR"), Usual::Cache("pip")]],
        units: cache::units,
        last_use: cache::LAST_USE,
        locks: |_| Vec::new(),
    }],
    ..Ecosystem::named("pip")
};
