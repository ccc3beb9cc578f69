//! The size of the object store, and what a crashed git left in it.
//!
//! It counts what git itself would count. Locks are listed by exact name, since somebody else's
//! file may end in `.lock` too; only among refs and reflogs is the suffix enough, for no ref may
//! have it. Whether a leftover is old enough is decided in `plan`.

use super::go_on;
use crate::facts::cache::Size;
use crate::facts::repo::{Leftover, LeftoverKind, Store};
use crate::fs::budget::Reservation;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, TimeDelta, Utc};
use rayon::prelude::*;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes that a directory entry takes.
const AN_ENTRY: usize = 128;
/// Git's locks, relative to the git dir, and relative to each worktree's admin directory.
const LOCKS: [&str; 12] = [
    "index.lock",
    "HEAD.lock",
    "packed-refs.lock",
    // Not a lock, but it blocks like one: git writes the new packed-refs here.
    "packed-refs.new",
    "config.lock",
    "shallow.lock",
    "gc.pid",
    "gc.pid.lock",
    "objects/maintenance.lock",
    "objects/info/commit-graph.lock",
    "objects/info/commit-graphs/commit-graph-chain.lock",
    "objects/pack/multi-pack-index.lock",
];
const TREE_LOCKS: [&str; 2] = ["index.lock", "HEAD.lock"];
/// Prefixes of packs, their companions, commit-graphs and loose objects while they are written;
/// `.tmp-` is that of `git repack`, and libgit2's contain its name.
const TEMPORARY: [&str; 11] = [
    "tmp_pack_",
    "tmp_idx_",
    "tmp_rev_",
    "tmp_mtimes_",
    "tmp_bitmap_",
    "tmp_obj_",
    "tmp_object_git2_",
    "streamed_git2_",
    "bitmap-ref-tips_",
    "tmp_graph_",
    ".tmp-",
];
/// Companions of a pack, which are worth nothing without it.
const BESIDE_A_PACK: [&str; 4] = ["idx", "rev", "mtimes", "bitmap"];
/// Locks that a run's git never takes in the repo itself, so they are an agent's, who may hold one
/// for an hour with an editor open.
const NEVER_OURS: [&str; 5] = [
    "index.lock",
    "config.lock",
    "gc.pid",
    "gc.pid.lock",
    "maintenance.lock",
];
/// Only treewarden writes here, so under the repo's lock a lock file here is a crashed run's.
const OURS: [&str; 2] = ["refs/treewarden", "logs/refs/treewarden"];
/// Refs that an earlier version created while it repacked.
const SHIELD: &str = "treewarden/shield";

/// Counts the store and lists leftovers, with their age by `clock`. `killed` is when a run that was
/// killed here noted that it was at work.
///
/// # Errors
/// A directory can't be read.
pub fn survey(
    git_dir: &VolumePath,
    clock: DateTime<Utc>,
    killed: Option<DateTime<Utc>>,
    stop: &Stop,
) -> io::Result<(Store, Vec<Leftover>)> {
    let mut look = StoreCounter {
        git_dir,
        clock,
        killed,
        stop,
        store: Store::default(),
        leftovers: Vec::new(),
        held: stop.hold(),
    };
    look.objects(&git_dir.path().join("objects"))?;
    look.refs(&git_dir.path().join("refs"))?;
    look.log_locks(&git_dir.path().join("logs"))?;
    look.locks(&git_dir.path())?;
    look.store.packed_refs_bytes = found(std::fs::symlink_metadata(
        git_dir.path().join("packed-refs"),
    ))?
    .map_or(0, |data| data.len());
    look.leftovers.sort_by(|a, b| a.place.cmp(&b.place));
    Ok((look.store, look.leftovers))
}

/// Counts the store again, after a repack.
///
/// # Errors
/// As [`survey`].
pub fn count(git_dir: &VolumePath, stop: &Stop) -> io::Result<Store> {
    Ok(survey(git_dir, DateTime::UNIX_EPOCH, None, stop)?.0)
}

struct StoreCounter<'a> {
    git_dir: &'a VolumePath,
    clock: DateTime<Utc>,
    killed: Option<DateTime<Utc>>,
    stop: &'a Stop,
    store: Store,
    leftovers: Vec<Leftover>,
    held: Reservation,
}

impl StoreCounter<'_> {
    fn objects(&mut self, objects: &Path) -> io::Result<()> {
        self.each(&entries(objects, self.stop)?, Self::in_objects)?;
        for entry in &*entries(&objects.join("info/commit-graphs"), self.stop)? {
            if let Some(metadata) = found(entry.metadata())? {
                self.temporary(entry, &metadata)?;
            }
        }
        let graph = objects.join("info/commit-graph");
        let chain = objects.join("info/commit-graphs/commit-graph-chain");
        self.store.commit_graph =
            graph.symlink_metadata().is_ok() || chain.symlink_metadata().is_ok();
        self.packs(&objects.join("pack"))
    }

    /// Inspects many entries in parallel, because each one takes a round trip on a network.
    fn each(
        &mut self,
        entries: &[DirEntry],
        look: fn(&mut Self, &DirEntry) -> io::Result<()>,
    ) -> io::Result<()> {
        let (git_dir, clock, killed, stop) = (self.git_dir, self.clock, self.killed, self.stop);
        let one = |entry| {
            go_on(Some(stop))?;
            let mut part = StoreCounter {
                git_dir,
                clock,
                killed,
                stop,
                store: Store::default(),
                leftovers: Vec::new(),
                held: stop.hold(),
            };
            look(&mut part, entry).map(|()| part)
        };
        for part in entries
            .par_iter()
            .map(one)
            .collect::<io::Result<Vec<_>>>()?
        {
            self.store.loose_objects = self
                .store
                .loose_objects
                .saturating_add(part.store.loose_objects);
            self.store.loose_bytes = self
                .store
                .loose_bytes
                .saturating_add(part.store.loose_bytes);
            self.leftovers.extend(part.leftovers);
            self.held.take_over(part.held);
        }
        Ok(())
    }

    fn in_objects(&mut self, entry: &DirEntry) -> io::Result<()> {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.len() == 2
            && name.bytes().all(|byte| byte.is_ascii_hexdigit())
            && entry.file_type()?.is_dir()
        {
            self.loose(&entry.path())?;
        } else if let Some(metadata) = found(entry.metadata())? {
            self.temporary(entry, &metadata)?;
        }
        Ok(())
    }

    fn loose(&mut self, shard: &Path) -> io::Result<()> {
        for entry in &*entries(shard, self.stop)? {
            let Some(metadata) = found(entry.metadata())? else {
                continue;
            };
            let name = entry.file_name();
            if name.len() == 38 {
                self.store.loose_objects = self.store.loose_objects.saturating_add(1);
                self.store.loose_bytes = self
                    .store
                    .loose_bytes
                    .saturating_add(Size::of_blocks(metadata.blocks()).bytes);
            } else {
                self.temporary(entry, &metadata)?;
            }
        }
        Ok(())
    }

    fn packs(&mut self, directory: &Path) -> io::Result<()> {
        let all = entries(directory, self.stop)?;
        let names: HashSet<OsString> = all.iter().map(DirEntry::file_name).collect();
        let has =
            |stem: &str, ending: &str| names.contains(OsStr::new(&format!("{stem}.{ending}")));
        let (mut largest, mut promised) = (0, false);
        for entry in &*all {
            let Some(metadata) = found(entry.metadata())? else {
                continue;
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            self.temporary(entry, &metadata)?;
            if name.starts_with("pack-") {
                self.store.pack_bytes = self.store.pack_bytes.saturating_add(metadata.len());
            }
            // A killed git may leave some of a pack's files, since they come and go one by one.
            if let Some((stem, ending)) = name.split_once('.')
                && stem.starts_with("pack-")
                && BESIDE_A_PACK.contains(&ending)
                && !has(stem, "pack")
            {
                self.push(&entry.path(), &metadata, LeftoverKind::Temporary)?;
            }
            let Some(stem) = name.strip_suffix(".pack") else {
                continue;
            };
            if stem.starts_with("pack-") && !has(stem, "idx") {
                self.push(&entry.path(), &metadata, LeftoverKind::PackWithoutIndex)?;
            }
            if has(stem, "keep") || has(stem, "mtimes") {
                continue;
            }
            // Promised objects need a pack of their own, so the first of these isn't counted.
            let is_first = has(stem, "promisor") && !std::mem::replace(&mut promised, true);
            self.store.packs = self.store.packs.saturating_add(u64::from(!is_first));
            if metadata.len() > largest {
                largest = metadata.len();
                // Git touches a pack, but not its index, whenever somebody writes an object that it
                // contains already.
                let index = found(std::fs::symlink_metadata(
                    directory.join(format!("{stem}.idx")),
                ))?
                .unwrap_or(metadata);
                self.store.last_full = index.modified().ok().map(openat::time);
            }
        }
        Ok(())
    }

    fn refs(&mut self, refs: &Path) -> io::Result<()> {
        for entry in walkdir::WalkDir::new(refs).follow_links(false) {
            go_on(Some(self.stop))?;
            let entry = entry?;
            if entry.file_type().is_file() {
                self.store.loose_refs = self.store.loose_refs.saturating_add(1);
                // No ref may have such a name (git check-ref-format), so it is a lock.
                let is_lock = entry.file_name().to_string_lossy().ends_with(".lock");
                if is_lock || entry.path().starts_with(refs.join(SHIELD)) {
                    self.leftover(entry.path(), LeftoverKind::Lock)?;
                }
            }
        }
        Ok(())
    }

    /// Finds the locks of reflogs. Those are named like refs, so none ends in `.lock` itself.
    fn log_locks(&mut self, logs: &Path) -> io::Result<()> {
        for entry in walkdir::WalkDir::new(logs).follow_links(false) {
            go_on(Some(self.stop))?;
            match entry {
                Ok(entry) if entry.file_name().to_string_lossy().ends_with(".lock") => {
                    self.leftover(entry.path(), LeftoverKind::Lock)?;
                }
                Ok(_) => {}
                Err(error)
                    if error
                        .io_error()
                        .is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn locks(&mut self, git_dir: &Path) -> io::Result<()> {
        for name in LOCKS {
            self.leftover(&git_dir.join(name), LeftoverKind::Lock)?;
        }
        self.each(
            &entries(&git_dir.join("worktrees"), self.stop)?,
            Self::in_admin,
        )
    }

    fn in_admin(&mut self, admin: &DirEntry) -> io::Result<()> {
        for name in TREE_LOCKS {
            self.leftover(&admin.path().join(name), LeftoverKind::Lock)?;
        }
        self.log_locks(&admin.path().join("logs"))
    }

    fn temporary(&mut self, entry: &DirEntry, metadata: &Metadata) -> io::Result<()> {
        let name = entry.file_name();
        let is_temporary = TEMPORARY
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix));
        if is_temporary && metadata.is_file() {
            self.push(&entry.path(), metadata, LeftoverKind::Temporary)?;
        }
        Ok(())
    }

    fn leftover(&mut self, path: &Path, kind: LeftoverKind) -> io::Result<()> {
        if let Some(metadata) = found(std::fs::symlink_metadata(path))?
            && metadata.is_file()
        {
            self.push(path, &metadata, kind)?;
        }
        Ok(())
    }

    fn push(&mut self, path: &Path, metadata: &Metadata, kind: LeftoverKind) -> io::Result<()> {
        let written = metadata.modified().map_or(self.clock, openat::time);
        let age = self
            .clock
            .signed_duration_since(written)
            .max(TimeDelta::zero())
            .to_std()
            .unwrap_or_default();
        if let Ok(place) = VolumePath::new(self.git_dir.root(), path) {
            let kind = if kind == LeftoverKind::Lock && self.is_own(path, written) {
                LeftoverKind::OwnLock
            } else {
                kind
            };
            // Twice: a row names it, too.
            self.held.path(path)?;
            self.held.path(path)?;
            self.leftovers.push(Leftover { place, age, kind });
        }
        Ok(())
    }
}

impl StoreCounter<'_> {
    /// Returns whether a lock is that of a run's own git.
    fn is_own(&self, path: &Path, written: DateTime<Utc>) -> bool {
        let name = path.strip_prefix(self.git_dir.path()).unwrap_or(path);
        let never = NEVER_OURS.iter().any(|never| name.ends_with(never));
        OURS.iter().any(|ours| name.starts_with(ours))
            || (!never && self.killed.is_some_and(|since| written >= since))
    }
}

/// A directory's entries, and the memory counted for them.
struct Entries {
    all: Vec<DirEntry>,
    held: Reservation,
}

impl std::ops::Deref for Entries {
    type Target = [DirEntry];

    fn deref(&self) -> &[DirEntry] {
        &self.all
    }
}

/// Returns a directory's entries; none if it is missing.
fn entries(directory: &Path, stop: &Stop) -> io::Result<Entries> {
    let mut entries = Entries {
        all: Vec::new(),
        held: stop.hold(),
    };
    for entry in found(std::fs::read_dir(directory))?.into_iter().flatten() {
        let entry = entry?;
        entries.held.more(AN_ENTRY)?;
        entries.all.push(entry);
    }
    go_on(Some(stop))?;
    Ok(entries)
}
