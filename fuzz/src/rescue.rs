//! A rescue of which an agent wrote everything: the commit, its trees, the manifest, the ref.
//!
//! It must never lead out of the tree that it is restored to, nor into a `.git`.

use super::worktree::{replace, section};
use chrono::{DateTime, Utc};
use git2::{ObjectType, Odb, Oid, Repository};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use treewarden::facts::rescue::{Manifest, REFS, SCHEMA};
use treewarden::fs::budget::Reservation;
use treewarden::fs::stop::Stop;
use treewarden::fs::volume_path::VolumePath;
use treewarden::survey::rescues::{self, Pieces};

/// What the rescue's ref is called where the input doesn't say it: after the time of the commit
/// below.
const NAME: &str = "tree/20231114T221320Z";
/// The commit, where the input says none. The words in capitals are put in.
const COMMIT: &[u8] =
    b"tree TREE\nparent HEAD\nparent EXTRAS\nauthor A <a@example.com> 1700000000 +0000\ncommitter A <a@example.com> 1700000000 +0000\n\nRescue\n";
/// What the second parent may hold, in order: files, and directories of files.
const EXTRAS: [&str; 7] = [
    "index",
    "manifest.json",
    "registration",
    "resolved1",
    "stage2",
    "staged",
    "sub",
];

thread_local! {
    static FIELD: OnceCell<TempDir> = const { OnceCell::new() };
}

/// Whatever stands below the rescues' refs: what is read of it comes back in its tree, each file in
/// a directory, and tells the same when it is told again.
pub fn rescue(data: &[u8]) {
    FIELD.with(|field| {
        let field = field.get_or_init(|| {
            let top = tempfile::tempdir().expect("a folder");
            Repository::init_bare(top.path().join("repo")).expect("a repo");
            top
        });
        look(field.path(), data);
    });
}

fn look(top: &Path, data: &[u8]) {
    // Anew for each input, with a store in memory: objects of a million inputs are none that
    // anybody wants.
    let repo = Repository::open(top.join("repo")).expect("a repo");
    let odb = repo.odb().expect("a store");
    let _memory = odb.add_new_mempack_backend(1000).expect("room");
    let Some(commit) = write(&odb, data) else {
        return;
    };
    let refs = top.join("repo").join(REFS);
    drop(fs::remove_dir_all(&refs));
    let name = section(data, "ref").map_or(NAME.into(), |name| {
        String::from_utf8_lossy(name.trim_ascii_end())
    });
    let named = repo
        .reference(&format!("{REFS}/{name}"), commit, true, "")
        .is_ok();
    let all = rescues::all(&repo).expect("the refs are there");
    assert!(all.len() == usize::from(named), "{all:?}");
    for rescue in &all {
        let made = Oid::from_str(&rescue.commit)
            .and_then(|id| repo.find_commit(id))
            .ok();
        assert!(
            rescue.commit.len() == 40
                && (made.is_some() || (rescue.taken, rescue.own) == (None, None)),
            "{rescue:?}"
        );
        let times = rescue
            .taken
            .zip(made)
            .map(|(taken, made)| (taken.timestamp(), made.time().seconds()));
        assert!(
            times.is_none_or(|(taken, made)| taken == made),
            "{rescue:?}"
        );
    }
    let root: Arc<Path> = top.into();
    let git_dir = VolumePath::new(&root, Path::new("repo")).expect("inside");
    rescues::prunable(
        &repo,
        &git_dir,
        &all.iter().collect::<Vec<_>>(),
        DateTime::<Utc>::MAX_UTC,
    );
    let stop = Stop::after(Duration::from_mins(10), Arc::default());
    let Ok(held) = rescues::read(&repo, commit, &stop, &mut Reservation::default()) else {
        return;
    };
    assert_eq!(
        (held.commit, held.manifest.schema.as_str()),
        (commit, SCHEMA)
    );
    let again = serde_json::to_vec(&held.manifest).expect("a manifest can be written");
    assert_eq!(
        serde_json::from_slice::<Manifest>(&again).ok().as_ref(),
        Some(&held.manifest)
    );
    assert!(held.same_work(&held));
    [held.pieces(Path::new("")), held.registered()]
        .iter()
        .flatten()
        .for_each(stays);
    for path in held.files.keys().take(4) {
        if let Ok(pieces) = held.pieces(path) {
            stays(&pieces);
            assert!(
                pieces
                    .files
                    .iter()
                    .all(|piece| piece.path.starts_with(path)),
                "{pieces:?}"
            );
        }
    }
    let alone = held.staged_alone(&BTreeMap::new());
    assert!(
        alone
            .iter()
            .all(|path| held.staged.iter().any(|files| files.contains_key(path))),
        "{alone:?}"
    );
}

/// Writes what the input says, and gives the rescue's commit; none where it is no input.
fn write(odb: &Odb<'_>, data: &[u8]) -> Option<Oid> {
    let put = |kind, bytes: &[u8]| odb.write(kind, bytes).ok();
    let blob = put(ObjectType::Blob, b"precious\n")?;
    let tree = |name: &str, below: Oid| {
        put(
            ObjectType::Tree,
            &entries(section(data, name).unwrap_or_default(), blob, below),
        )
    };
    let empty = put(ObjectType::Tree, b"")?;
    let sub = tree("sub", empty)?;
    let work = tree("tree", sub)?;
    let mut extras = entries(section(data, "extras").unwrap_or_default(), blob, sub);
    // In order, for libgit2 looks for a name by halves.
    for (name, bytes) in EXTRAS
        .iter()
        .filter_map(|name| Some((*name, section(data, name)?)))
    {
        let is_file = ["index", "manifest.json"].contains(&name);
        let (mode, id) = if is_file {
            ("100644", put(ObjectType::Blob, bytes)?)
        } else {
            ("40000", tree(name, empty)?)
        };
        extras.extend([format!("{mode} {name}\0").as_bytes(), id.as_bytes()].concat());
    }
    let extras = put(ObjectType::Tree, &extras)?;
    let who = "author A <a@example.com> 1700000000 +0000\ncommitter A <a@example.com> 1700000000 +0000\n\n";
    let head = put(
        ObjectType::Commit,
        format!("tree {}\n{who}", tree("head", sub)?).as_bytes(),
    )?;
    let extras = put(
        ObjectType::Commit,
        format!("tree {extras}\n{who}").as_bytes(),
    )?;
    let words = [("TREE", work), ("EXTRAS", extras), ("HEAD", head)];
    let commit = words.iter().fold(
        section(data, "commit").unwrap_or(COMMIT).to_vec(),
        |text, (word, id)| replace(&text, word.as_bytes(), id.to_string().as_bytes()),
    );
    put(ObjectType::Commit, &commit)
}

/// A tree's bytes of lines `MODE NAME`: directories are all the same one, and so are files.
fn entries(lines: &[u8], blob: Oid, below: Oid) -> Vec<u8> {
    let lines = lines
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .flat_map(|line| {
            [
                line,
                b"\0",
                if line.starts_with(b"40000 ") {
                    below
                } else {
                    blob
                }
                .as_bytes(),
            ]
            .concat()
        })
        .collect()
}

/// In its tree, out of any `.git`, each in a directory that comes back, too, and with no bits that
/// lend anybody's rights.
fn stays(pieces: &Pieces) {
    let root = Path::new("/data/tree");
    for path in pieces
        .files
        .iter()
        .map(|piece| &piece.path)
        .chain(pieces.directories.keys())
    {
        super::below(root, &root.join(path));
        assert!(
            path.components()
                .all(|part| !part.as_os_str().eq_ignore_ascii_case(".git")),
            "{}",
            path.display()
        );
        let above = path
            .ancestors()
            .skip(1)
            .filter(|above| !above.as_os_str().is_empty());
        above.for_each(|above| assert!(pieces.directories.contains_key(above), "{pieces:?}"));
    }
    for piece in &pieces.files {
        assert!(
            !pieces.directories.contains_key(&piece.path)
                && piece.mode.is_none_or(|mode| mode & !0o1777 == 0),
            "{piece:?}"
        );
    }
    assert!(
        pieces.directories.values().all(|mode| mode & !0o7777 == 0),
        "{pieces:?}"
    );
}
