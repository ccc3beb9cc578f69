//! npm: its cache ([`cache`], [`npx`]), its lock files ([`lock_file`]), and the packages that it installs
//! ([`modules`]).

mod cache;
pub(crate) mod index;
mod lock_file;
mod modules;
mod npx;

use super::ecosystem::Ecosystem;
use super::lister::{CacheLayout, Stands};
use super::lock_file::{LockFile, Parse};
use super::usual::Usual;
use crate::facts::cache::CacheKind;

pub(super) static NPM: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("npm"),
        unit: "a cached download with its index, or what `npx` installed",
        stands: Stands::InDirectory,
        variables: |place| vec![("npm_config_cache", cache::directory(place).to_owned())],
        usual: &[&[Usual::Variable("npm_config_cache"), Usual::Home(".npm")]],
        units: |lister| {
            let mut units = cache::units(lister);
            units.extend(npx::units(lister));
            units
        },
        last_use: cache::LAST_USE,
        locks: |_| Vec::new(),
    }],
    lock_files: &[LockFile {
        format: "npm",
        is_one: |name, _| ["package-lock.json", "npm-shrinkwrap.json"].contains(&name),
        parse: Parse::Whole(lock_file::packages),
    }],
    output: &[modules::MODULES],
    ..Ecosystem::named("npm")
};
