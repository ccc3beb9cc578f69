//! What `npx` installed: each directory of `_npx` is a unit, with a `node_modules` of its own.
//!
//! Observed with npm 11: `npx` writes into the directory on every use, which moves its times, and
//! installs again what is gone. It holds no lock while the program runs.

use crate::ecosystems::hex::is_hash;
use crate::ecosystems::lister::{CacheLister, Entry};
use crate::facts::cache::Unit;
use rayon::prelude::*;

pub(super) fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let Ok(installed) = lister.place.join("_npx") else {
        return Vec::new();
    };
    let entries = lister.entries(&installed).into_par_iter();
    let unit = |entry: Entry| {
        if !entry.is_dir || !is_hash(&entry.name) {
            lister.odd(&entry);
            return None;
        }
        lister.unit(format!("npx {}", entry.name), vec![entry.place])
    };
    entries.filter_map(unit).collect()
}

#[cfg(test)]
mod tests {
    use crate::ecosystems::testing::{Field, ago};

    #[test]
    fn each_directory_of_npx_is_a_unit() {
        let field = Field::new();
        let installed = "npm/_npx/e3e1d528ee105f80";
        field.file(&format!("{installed}/node_modules/x/index.js"), 9);
        for path in ["node_modules/x", "node_modules", ""] {
            field.age(&format!("{installed}/{path}"), 9);
        }
        field.age(installed, 2);
        field.file("npm/_npx/notes", 9);
        field.file("npm/_logs/2026-debug-0.log", 9);
        let seen = field.survey(&field.policy("npm", "npm"));
        let units = seen.units.iter();
        let units: Vec<_> = units.map(|unit| (&*unit.name, unit.last_used)).collect();
        assert_eq!(units, [("npx e3e1d528ee105f80", ago(2))]);
        assert!(seen.problems.len() == 1 && seen.problems[0].contains("_npx/notes"));
        // In the cache below it, as some configs have it, there is none.
        let policy = field.policy("npm", "npm/_cacache");
        assert_eq!(field.names(&policy), Vec::<String>::new());
    }
}
