//! An index that holds anything at all, before each of those who read one: our reader of entries,
//! the one of objects, the one of extensions, and libgit2. The input ends before the closing sum,
//! which nobody could make up.
//!
//! Where two of them make sense of it, they must see the same. It must never be shown to libgit2
//! while ours find that its names aren't as long as it says: git2 would read what is nobody's.

use git2::{Index, IndexEntry, Oid};
use std::cell::OnceCell;
use std::fs;
use tempfile::NamedTempFile;
use treewarden::commands::fuzzing;
use treewarden::survey::extensions::{self, RESOLVED};

const KIND: u32 = 0o170_000;
const SUBMODULE: u32 = 0o160_000;

thread_local! {
    static FILE: OnceCell<NamedTempFile> = const { OnceCell::new() };
}

/// All readers of an index see the same entries and objects; what is taken out of its extensions
/// takes nothing else along.
pub fn index(data: &[u8]) {
    let bytes = [data, &treewarden::git::sha1::of(data)].concat();
    let (ours, ids) = (fuzzing::index(&bytes), fuzzing::index_ids(&bytes));
    if let Ok([hidden, seen]) = &ids {
        for ids in [hidden, seen] {
            assert!(
                ids.windows(2).all(|pair| pair[0] < pair[1]) && !ids.contains(&[0; 20]),
                "{ids:?}"
            );
        }
        if let Ok((entries, _)) = &ours {
            assert_named(entries, seen);
        }
    }
    // Both read all names; either refuses where they lie.
    if (ours.is_ok() || ids.is_ok())
        && let Some(theirs) = libgit2(&bytes)
    {
        if let Ok([_, seen]) = &ids {
            assert_named(&theirs, seen);
        }
        if let Ok((entries, false)) = &ours {
            assert_eq!(told(entries), told(&theirs));
        }
    }
    let Ok(resolved) = extensions::resolved(&bytes) else {
        return;
    };
    if let Ok([hidden, _]) = &ids {
        let named = resolved
            .iter()
            .flatten()
            .map(|(_, (_, id))| id)
            .filter(|id| !id.is_zero());
        named.for_each(|id| assert!(is_among(*id, hidden), "{id} is missing"));
    }
    let [without, kept] = [&[][..], &[RESOLVED]]
        .map(|keep| extensions::with(&bytes, keep).expect("it was read before"));
    let again = |bytes: &[u8]| extensions::resolved(bytes).expect("it was written just now");
    assert!(
        again(&without)
            .iter()
            .all(std::collections::BTreeMap::is_empty)
    );
    assert_eq!(again(&kept), resolved);
    assert_eq!(
        extensions::with(&without, &[]).expect("it was written just now"),
        without
    );
    if let Ok((entries, split)) = &ours {
        for fewer in [&without, &kept] {
            let (left, still) =
                fuzzing::index(fewer).expect("only what may be passed over was taken out");
            assert_eq!((told(&left), still), (told(entries), *split));
        }
    }
}

fn assert_named(entries: &[IndexEntry], seen: &[[u8; 20]]) {
    let objects = entries
        .iter()
        .filter(|entry| entry.mode & KIND != SUBMODULE && !entry.id.is_zero());
    objects.for_each(|entry| assert!(is_among(entry.id, seen), "{} is missing", entry.id));
}

fn is_among(id: Oid, ids: &[[u8; 20]]) -> bool {
    ids.binary_search_by(|other| other[..].cmp(id.as_bytes()))
        .is_ok()
}

/// What counts of each entry, in an order of their own: libgit2 sorts them.
fn told(entries: &[IndexEntry]) -> Vec<(&[u8], u16, u32, Oid)> {
    let mut told: Vec<_> = entries
        .iter()
        .map(|entry| (&entry.path[..], entry.flags >> 12 & 3, entry.mode, entry.id))
        .collect();
    told.sort_unstable();
    told
}

fn libgit2(bytes: &[u8]) -> Option<Vec<IndexEntry>> {
    // It makes room for all entries that the header claims: the program looks before it asks.
    let claimed = u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    if claimed as usize > bytes.len() / 62 {
        return None;
    }
    FILE.with(|file| {
        let file = file.get_or_init(|| NamedTempFile::new().expect("a file"));
        fs::write(file.path(), bytes).expect("a file");
        Some(Index::open(file.path()).ok()?.iter().collect())
    })
}
