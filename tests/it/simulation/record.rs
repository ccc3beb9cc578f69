//! The volume's contents, read by code that shares nothing with the program: files, refs, reflogs,
//! indexes, objects.
//!
//! It reads the real files and asks neither git nor treewarden, so that neither's mistakes can hide
//! others. It changes nothing.

use git2::Oid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The content of a tree, by path.
pub(super) type Files = BTreeMap<PathBuf, Entry>;

/// What is at a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    /// Permission bits and content.
    File(u32, Arc<[u8]>),
    /// The target.
    Link(PathBuf),
    /// Permission bits.
    Directory(u32),
    /// A pipe or the like.
    Other,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(mode, bytes) => {
                write!(
                    f,
                    "file {mode:o} {:?}",
                    String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
                )
            }
            Self::Link(to) => write!(f, "link to {}", to.display()),
            Self::Directory(mode) => write!(f, "directory {mode:o}"),
            Self::Other => write!(f, "neither file, link nor directory"),
        }
    }
}

/// Reads a tree, without its `.git` and without the directories to `skip`.
pub(super) fn files(top: &Path, skip: &BTreeSet<PathBuf>) -> Files {
    let mut found = Files::new();
    let walk = walkdir::WalkDir::new(top).min_depth(1).into_iter();
    let wanted = |entry: &walkdir::DirEntry| {
        !(skip.contains(entry.path()) || entry.depth() == 1 && entry.file_name() == ".git")
    };
    for entry in walk.filter_entry(wanted).flatten() {
        let kind = entry.file_type();
        let mode = entry.metadata().map_or(0, |data| data.mode() & 0o7777);
        let what = if kind.is_dir() {
            Entry::Directory(mode)
        } else if kind.is_symlink() {
            Entry::Link(fs::read_link(entry.path()).unwrap_or_default())
        } else if kind.is_file() {
            Entry::File(mode, fs::read(entry.path()).unwrap_or_default().into())
        } else {
            Entry::Other
        };
        found.insert(entry.path().strip_prefix(top).unwrap().to_owned(), what);
    }
    found
}

/// Something that keeps an object alive in git.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Root {
    /// The object.
    pub(super) id: Oid,
    /// The file in the git dir that names it.
    pub(super) from: String,
    /// When the line was written, for a reflog.
    pub(super) when: Option<i64>,
}

/// Files of a git dir or an admin directory that name a commit.
const NAMES: [&str; 8] = [
    "HEAD",
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "rebase-merge/autostash",
    "rebase-merge/orig-head",
    "rebase-merge/onto",
    "rebase-merge/stopped-sha",
];

/// Returns everything that keeps objects alive in a repo, registered worktrees included.
pub(super) fn roots(git_dir: &Path) -> BTreeSet<Root> {
    let mut roots = BTreeSet::new();
    let mut note = |from: &str, id: Option<Oid>, when| {
        if let Some(id) = id.filter(|id| !id.is_zero()) {
            roots.insert(Root {
                id,
                from: from.to_owned(),
                when,
            });
        }
    };
    let packed = fs::read_to_string(git_dir.join("packed-refs")).unwrap_or_default();
    for line in packed.lines() {
        if let Some((hex, name)) = line.split_once(' ') {
            // A loose ref overrides it.
            let hidden = git_dir.join(name).is_file();
            note(name, id(hex).filter(|_| !hidden), None);
        }
    }
    for (directory, name) in directories(git_dir) {
        let at = |file: &str| format!("{name}{file}");
        for file in NAMES {
            note(&at(file), one(&directory.join(file)), None);
        }
        // Locks are no refs: a killed process leaves them.
        for file in below(&directory.join("refs"))
            .into_iter()
            .filter(|file| file.extension().is_none_or(|end| end != "lock"))
        {
            let path = file
                .strip_prefix(&directory)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            note(&at(&path), one(&file), None);
        }
        for file in below(&directory.join("logs")) {
            let path = at(&file.strip_prefix(&directory).unwrap().to_string_lossy());
            for line in String::from_utf8_lossy(&fs::read(&file).unwrap_or_default()).lines() {
                let when = line
                    .split('\t')
                    .next()
                    .and_then(|line| line.rsplit(' ').nth(1))
                    .and_then(|when| when.parse().ok());
                for word in line.split(' ').take(2) {
                    note(&path, id(word), when);
                }
            }
        }
        let index = index(&directory.join("index"));
        index
            .entries
            .iter()
            .filter(|entry| entry.mode != 0o160_000 && !entry.only_intended)
            .for_each(|entry| {
                note(&at("index"), Some(entry.id), None);
            });
        index
            .undo
            .iter()
            .for_each(|&id| note(&at("index, resolve-undo"), Some(id), None));
        index
            .cached
            .iter()
            .for_each(|&id| note(&at("index, cached trees"), Some(id), None));
    }
    roots
}

/// Returns the git dir and every registration in it, each with its prefix in the roots.
fn directories(git_dir: &Path) -> Vec<(PathBuf, String)> {
    let admins = fs::read_dir(git_dir.join("worktrees"))
        .into_iter()
        .flatten()
        .flatten();
    let admins = admins.map(|entry| {
        (
            entry.path(),
            format!("worktrees/{}/", entry.file_name().to_string_lossy()),
        )
    });
    std::iter::once((git_dir.to_owned(), String::new()))
        .chain(admins)
        .collect()
}

/// Returns every registration of a repo: its directory, and the tree that its `gitdir` names.
pub(super) fn registered(git_dir: &Path) -> BTreeMap<PathBuf, PathBuf> {
    let admins = directories(git_dir)
        .into_iter()
        .skip(1)
        .map(|(directory, _)| directory);
    let tree = |admin: &PathBuf| {
        let text = fs::read_to_string(admin.join("gitdir")).unwrap_or_default();
        Path::new(text.trim_end())
            .parent()
            .unwrap_or(Path::new(""))
            .to_owned()
    };
    admins.map(|admin| (admin.clone(), tree(&admin))).collect()
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(directory).into_iter().flatten();
    walk.filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect()
}

fn one(file: &Path) -> Option<Oid> {
    id(fs::read_to_string(file).ok()?.trim_end())
}

fn id(hex: &str) -> Option<Oid> {
    (hex.len() == 40).then(|| Oid::from_str(hex).ok()).flatten()
}

/// Returns the commit of a git dir's or an admin directory's HEAD.
pub(super) fn head(directory: &Path, roots: &BTreeSet<Root>) -> Option<Oid> {
    let text = fs::read_to_string(directory.join("HEAD")).ok()?;
    match text.trim_end().strip_prefix("ref: ") {
        Some(name) => roots
            .iter()
            .find(|root| root.from == name)
            .map(|root| root.id),
        None => id(text.trim_end()),
    }
}

/// An entry of an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Staged {
    pub(super) path: Vec<u8>,
    pub(super) stage: u16,
    pub(super) mode: u32,
    pub(super) id: Oid,
    /// From `git add -N`: it has no content yet.
    pub(super) only_intended: bool,
}

/// An index.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) entries: Vec<Staged>,
    /// The versions that resolved conflicts came from.
    pub(super) undo: Vec<Oid>,
    /// The cached trees.
    pub(super) cached: Vec<Oid>,
    link: Option<Link>,
}

/// Reads an index of version 2 or 3, with its shared index; returns an empty one for anything else.
pub(super) fn index(file: &Path) -> Index {
    let mut index = fs::read(file)
        .ok()
        .and_then(|bytes| parse(&bytes))
        .unwrap_or_default();
    if let Some(Link {
        base,
        deleted,
        replaced,
    }) = index.link.take()
    {
        let below = self::index(&file.with_file_name(format!("sharedindex.{base}"))).entries;
        let mut all: Vec<Option<Staged>> = below.into_iter().map(Some).collect();
        let mut own = std::mem::take(&mut index.entries).into_iter();
        for (place, new) in replaced.into_iter().zip(own.by_ref()) {
            let path = all[place].take().map(|old| old.path).unwrap_or_default();
            all[place] = Some(Staged { path, ..new });
        }
        for place in deleted {
            all[place] = None;
        }
        index.entries = all.into_iter().flatten().chain(own).collect();
        index
            .entries
            .sort_by(|one, other| (&one.path, one.stage).cmp(&(&other.path, other.stage)));
    }
    index
}

/// A split index' changes to its shared index, by the positions of the entries there.
#[derive(Debug)]
struct Link {
    base: Oid,
    deleted: Vec<usize>,
    replaced: Vec<usize>,
}

fn link(data: &[u8]) -> Option<Link> {
    let base = Oid::from_bytes(data.get(..20)?).ok()?;
    let mut rest = data.get(20..)?;
    let [deleted, replaced] = if rest.is_empty() {
        Default::default()
    } else {
        [bits(&mut rest)?, bits(&mut rest)?]
    };
    (!base.is_zero()).then_some(Link {
        base,
        deleted,
        replaced,
    })
}

/// Returns the positions of the set bits in a compressed (EWAH) bitmap: each marker word has the
/// number of equal words and of literal words that follow.
fn bits(data: &mut &[u8]) -> Option<Vec<usize>> {
    let words = number(data, 4)? as usize;
    let (body, rest) = data.get(8..)?.split_at_checked(words * 8)?;
    *data = rest.get(4..)?;
    let mut words = body
        .chunks(8)
        .map(|word| u64::from_be_bytes(word.try_into().expect("eight bytes")));
    let (mut set, mut at) = (Vec::new(), 0);
    while let Some(word) = words.next() {
        let alike = (word >> 1 & 0xffff_ffff) as usize * 64;
        set.extend((at..at + alike).filter(|_| word & 1 == 1));
        at += alike;
        for literal in words.by_ref().take((word >> 33) as usize) {
            set.extend(
                (0..64)
                    .filter(|bit| literal >> bit & 1 == 1)
                    .map(|bit| at + bit),
            );
            at += 64;
        }
    }
    Some(set)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn parse(bytes: &[u8]) -> Option<Index> {
    let mut index = Index::default();
    let (version, count) = (number(bytes, 4)?, number(bytes, 8)?);
    assert!(
        bytes.starts_with(b"DIRC") && matches!(version, 2 | 3),
        "an index of version {version}"
    );
    let mut at = 12;
    for _ in 0..count {
        let flags = u16::from_be_bytes(bytes.get(at + 60..at + 62)?.try_into().ok()?);
        let extended = flags & 0x4000 != 0;
        let name = at + if extended { 64 } else { 62 };
        let end = name + bytes.get(name..)?.iter().position(|&byte| byte == 0)?;
        index.entries.push(Staged {
            path: bytes[name..end].to_owned(),
            stage: flags >> 12 & 3,
            mode: number(bytes, at + 24)?,
            id: Oid::from_bytes(bytes.get(at + 40..at + 60)?).ok()?,
            only_intended: extended && bytes[at + 62] & 0x20 != 0,
        });
        at += (end - at + 8) / 8 * 8;
    }
    while at + 8 <= bytes.len() - 20 {
        let length = number(bytes, at + 4)? as usize;
        let data = bytes.get(at + 8..at + 8 + length)?;
        match &bytes[at..at + 4] {
            b"REUC" => undo(data, &mut index.undo)?,
            b"TREE" => cached(data, &mut index.cached)?,
            b"link" => index.link = link(data),
            _ => {}
        }
        at += 8 + length;
    }
    Some(index)
}

fn undo(mut data: &[u8], ids: &mut Vec<Oid>) -> Option<()> {
    let word = |data: &mut &[u8], end: u8| {
        let length = data.iter().position(|&byte| byte == end)?;
        let word = String::from_utf8_lossy(&data[..length]).into_owned();
        *data = &data[length + 1..];
        Some(word)
    };
    while !data.is_empty() {
        word(&mut data, 0)?;
        let modes = [
            word(&mut data, 0)?,
            word(&mut data, 0)?,
            word(&mut data, 0)?,
        ];
        for _ in modes.iter().filter(|mode| *mode != "0") {
            ids.push(Oid::from_bytes(data.get(..20)?).ok()?);
            data = &data[20..];
        }
    }
    Some(())
}

fn cached(mut data: &[u8], ids: &mut Vec<Oid>) -> Option<()> {
    while !data.is_empty() {
        data = &data[data.iter().position(|&byte| byte == 0)? + 1..];
        let line = data.iter().position(|&byte| byte == b'\n')?;
        let valid = !data.starts_with(b"-");
        data = &data[line + 1..];
        if valid {
            ids.push(Oid::from_bytes(data.get(..20)?).ok()?);
            data = &data[20..];
        }
    }
    Some(())
}

/// Returns every object of a store.
pub(super) fn objects(git_dir: &Path) -> BTreeSet<Oid> {
    let mut found = packed(git_dir);
    for file in below(&git_dir.join("objects")) {
        let name = file.file_name().unwrap().to_string_lossy();
        let directory = file
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy();
        found.extend(id(&format!("{directory}{name}")));
    }
    found
}

/// Returns the objects that are in packs.
pub(super) fn packed(git_dir: &Path) -> BTreeSet<Oid> {
    let files = below(&git_dir.join("objects/pack")).into_iter();
    let indexes = files.filter(|file| {
        file.extension().is_some_and(|end| end == "idx") && file.with_extension("pack").is_file()
    });
    indexes
        .flat_map(|file| {
            fs::read(&file)
                .ok()
                .and_then(|bytes| names(&bytes))
                .unwrap_or_default()
        })
        .collect()
}

/// Returns the object ids in a pack's index of version 2.
fn names(bytes: &[u8]) -> Option<Vec<Oid>> {
    let count = number(bytes, 8 + 255 * 4)? as usize;
    let names = bytes.get(8 + 256 * 4..8 + 256 * 4 + count * 20)?;
    names
        .chunks(20)
        .map(|name| Oid::from_bytes(name).ok())
        .collect()
}

/// Copies every file of a store that the vault doesn't have, so that the vault keeps whatever ever
/// existed.
pub(super) fn keep(git_dir: &Path, vault: &Path) {
    for file in below(&git_dir.join("objects")) {
        let name = file.file_name().unwrap().to_string_lossy();
        let wanted = name.len() == 38 || name.ends_with(".pack") || name.ends_with(".idx");
        let to = vault.join(file.strip_prefix(git_dir).unwrap());
        if wanted && !to.exists() {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&file, &to).unwrap();
        }
    }
}
