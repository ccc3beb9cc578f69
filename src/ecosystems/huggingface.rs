//! Hugging Face: the cache of its hub, with models and datasets.
//!
//! | path | unit |
//! | --- | --- |
//! | `models--<owner>--<name>/`, `datasets--…/`, `spaces--…/`, `kernels--…/` | the directory: all snapshots of a repo, and the blobs that they link to |
//! | `blobs/<xx>/<hash>` with its `.refs` | a blob that repos share, before the list of who links to it |
//! | `.locks`, `blobs/.huggingface-shared-blobs`, `version.txt` | stay |
//!
//! Observed with `huggingface_hub` 2.4.0: what is missing is fetched again, also a blob whose
//! snapshot is there. A download creates a file in `blobs`, which moves the times of that
//! directory, so its repo counts as used. `.locks` protects only against fetching twice, so it isn't
//! taken; the lock beside a shared blob is. A repo that links to shared blobs is no unit: it holds
//! next to nothing, and reading a shared blob leaves no trace in it.

use super::ecosystem::Ecosystem;
use super::hex::is_hex;
use super::last_use::LastUse;
use super::lister::{CacheLayout, CacheLister, Entry, Stands};
use super::shards::shards;
use super::usual::Usual;
use crate::facts::cache::{CacheKind, Unit};
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;
use rustix::io::Errno;
use std::collections::BTreeMap;

/// Hexadecimal digits of the hash that names a shared blob.
const DIGEST: usize = 64;

/// What the directory of a repo begins with.
const KINDS: [&str; 4] = ["models--", "datasets--", "spaces--", "kernels--"];

pub(super) static HUGGING_FACE: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("huggingface"),
        unit: "a model, dataset or space with all its snapshots, or a file that several share",
        stands: Stands::InDirectory,
        variables: |place| vec![("HF_HUB_CACHE", place.to_owned())],
        usual: &[&[
            Usual::Variable("HF_HUB_CACHE"),
            Usual::Below("HF_HOME", "hub"),
            Usual::Cache("huggingface/hub"),
        ]],
        units,
        last_use: LastUse::ENTRIES,
        locks: |_| Vec::new(),
    }],
    ..Ecosystem::named("Hugging Face")
};

fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let repos = lister.directories(lister.place).into_par_iter();
    let repos = repos.filter_map(|entry| repo(lister, entry));
    let Ok(store) = lister.place.join("blobs") else {
        return Vec::new();
    };
    let shared = shards(lister, &store, 2, 1).into_par_iter();
    repos
        .chain(shared.flat_map_iter(|shard| shared_blobs(lister, &shard.place)))
        .collect()
}

fn repo(lister: &CacheLister<'_>, entry: Entry) -> Option<Unit> {
    KINDS.iter().find(|kind| entry.name.starts_with(**kind))?;
    let blobs = entry.place.join("blobs").ok()?;
    let (mut all, files) = (0_usize, lister.entries(&blobs).len());
    match lister.probe.list(&blobs, |name, _| {
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        all = all.saturating_add(usize::from(!is_hidden));
    }) {
        // Links are counted, but not listed.
        Ok(()) if all > files => None,
        Ok(()) | Err(Errno::NOENT) => {
            lister.unit(entry.name.replacen("--", "/", 2), vec![entry.place])
        }
        Err(_) => None,
    }
}

/// Returns the units of a shard of the shared blobs.
fn shared_blobs(lister: &CacheLister<'_>, shard: &VolumePath) -> Vec<Unit> {
    let mut blobs: BTreeMap<String, [Option<VolumePath>; 3]> = BTreeMap::new();
    for entry in lister.entries(shard) {
        let (hash, end) = entry.name.split_once('.').unwrap_or((&entry.name, ""));
        let known = is_hex(hash, DIGEST) && !entry.is_dir;
        let part = ["", "refs", "lock"].iter().position(|part| *part == end);
        let parts = known.then(|| blobs.entry(hash.to_owned()).or_default());
        if let Some(place) = parts.zip(part).and_then(|(all, part)| all.get_mut(part)) {
            *place = Some(entry.place);
        }
    }
    let units = blobs.into_iter().filter_map(|(hash, [blob, list, lock])| {
        let paths = [Some(blob?), list].into_iter().flatten().collect();
        let unit = lister.seen(Vec::new(), format!("shared blob {hash}"), paths)?;
        (lister.gate)(Unit {
            locks: lock.into_iter().collect(),
            ..unit
        })
    });
    units.collect()
}

#[cfg(test)]
mod tests {
    use crate::ecosystems::testing::{Field, ago};
    use std::os::unix::fs::symlink;

    #[test]
    fn repos_and_shared_blobs_are_units() {
        let field = Field::new();
        let (blob, shared) = ("ab".repeat(20), "cd".repeat(32));
        for path in [
            format!("models--acme--one/blobs/{blob}"),
            "models--acme--one/refs/main".to_owned(),
            format!("datasets--squad/blobs/{blob}"),
            format!("blobs/cd/{shared}"),
            format!("blobs/cd/{shared}.refs"),
            format!("blobs/cd/{shared}.lock"),
            "blobs/.huggingface-shared-blobs".to_owned(),
            format!("models--acme--shared/blobs/{blob}"),
            format!(".locks/models--acme--one/{blob}.lock"),
            "tmp--acme--one/x".to_owned(),
            "version.txt".to_owned(),
        ] {
            field.file(&format!("hub/{path}"), 9);
        }
        let link = field.at("hub/models--acme--shared/blobs/ef").path();
        symlink(format!("../../blobs/cd/{shared}"), link).unwrap();
        field.age("hub/datasets--squad/blobs", 9);
        field.age("hub/datasets--squad", 9);
        field.read(&format!("hub/datasets--squad/blobs/{blob}"), 3);
        let policy = field.policy("huggingface", "hub");
        let of_shared = format!("shared blob {shared}");
        let expected = ["datasets/squad", "models/acme/one", &of_shared];
        assert_eq!(field.names(&policy), expected);
        let units = field.survey(&policy).units;
        let unit = |name: &str| units.iter().find(|unit| unit.name == name).unwrap();
        assert_eq!(unit("datasets/squad").last_used, ago(3));
        let place = |end: &str| field.at(&format!("hub/blobs/cd/{shared}{end}"));
        let goes = unit(&of_shared);
        assert_eq!(goes.paths, [place(""), place(".refs")]);
        assert_eq!(goes.locks[..], [place(".lock")]);
    }
}
