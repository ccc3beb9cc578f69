//! uv: its cache ([`cache`]), and the environments that link into it ([`links`]). Its lock file and
//! its output in a tree belong to `python`.

mod cache;
mod links;

use super::ecosystem::Ecosystem;
use super::last_use::LastUse;
use super::lister::{CacheLayout, Stands};
use super::usual::Usual;
use crate::facts::cache::CacheKind;

pub(super) static UV: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("uv"),
        unit: "an unpacked wheel, a source with what was built from it, an environment of a script or of `uvx`, a page of an index",
        stands: Stands::InDirectory,
        variables: |place| vec![("UV_CACHE_DIR", place.to_owned())],
        usual: &[&[Usual::Variable("UV_CACHE_DIR"), Usual::Cache("uv")]],
        units: cache::units,
        last_use: LastUse::ENTRIES,
        locks: cache::locks,
    }],
    linked: Some(links::of),
    ..Ecosystem::named("uv")
};
