//! Go's build cache: every `xx/<hash>-a` (an action) and `xx/<hash>-d` (its output) is a unit.
//!
//! Each may be evicted alone: Go looks for the output before it trusts the action, and treats a
//! lone action as a miss. A `-d` with an executable is a directory. `fuzz/`, which is not
//! regenerable, `trim.txt`, `testexpire.txt` and `README` are never touched.

use crate::ecosystems::hex::is_hex;
use crate::ecosystems::last_use::{LastUse, Use};
use crate::ecosystems::lister::{CacheLister, Entry};
use crate::facts::cache::Unit;
use crate::facts::cache::UsedFrom;
use rayon::prelude::*;

/// Hexadecimal digits of SHA-256, which names an entry.
const DIGEST: usize = 64;

/// Digits of a digest that a name shows: 64 bits distinguish any two.
const SHOWN: usize = 16;

/// Go itself refreshes the write time on use.
pub(super) const LAST_USE: LastUse = LastUse::of(|_, path| {
    Ok(Use {
        from: UsedFrom::ToolRecord,
        ..path.seen.times(false)?
    })
});

pub(super) fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let shards = lister.directories(lister.place);
    shards
        .par_iter()
        .filter(|shard| is_hex(&shard.name, 2))
        .flat_map_iter(|shard| lister.entries(&shard.place))
        .filter_map(|entry| unit(lister, entry))
        .collect()
}

fn unit(lister: &CacheLister<'_>, entry: Entry) -> Option<Unit> {
    let (hash, suffix) = entry.name.split_once('-').unwrap_or_default();
    let known = suffix == "d" || (suffix == "a" && !entry.is_dir);
    if !known || !is_hex(hash, DIGEST) {
        lister.odd(&entry);
        return None;
    }
    lister.unit(format!("{}-{suffix}", &hash[..SHOWN]), vec![entry.place])
}

#[cfg(test)]
mod tests {
    use crate::ecosystems::testing::{Field, ago};
    use crate::facts::cache::UsedFrom;

    #[test]
    fn actions_and_outputs_are_units() {
        let field = Field::new();
        let (first, second) = ("ab".repeat(32), "cd".repeat(32));
        field.file(&format!("go/ab/{first}-a"), 3);
        field.read(&format!("go/ab/{first}-a"), 1);
        field.file(&format!("go/cd/{second}-d"), 3);
        field.file(&format!("go/ab/{first}-d/tool"), 3);
        for other in [
            "go/README",
            "go/trim.txt",
            "go/testexpire.txt",
            "go/fuzz/ab/cd/seed",
        ] {
            field.file(other, 3);
        }
        let policy = field.policy("go-build", "go");
        assert_eq!(
            field.names(&policy),
            [
                "abababababababab-a",
                "abababababababab-d",
                "cdcdcdcdcdcdcdcd-d"
            ]
        );
        let seen = field.survey(&policy);
        let action = seen
            .units
            .iter()
            .find(|unit| unit.name.ends_with("-a"))
            .unwrap();
        assert_eq!(
            (action.last_used, action.last_used_from),
            (ago(3), UsedFrom::ToolRecord)
        );
        assert!(seen.problems.is_empty());
    }
}
