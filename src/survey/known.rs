//! What git has recorded for a tree, in the commit and in the index, and how the tree differs from
//! it.
//!
//! An agent may have written the index, so its flags are ignored
//! (`docs/design/worktrees.md#what-git-loses-without-a-word`), except that a missing file may be
//! `skip-worktree`. A file's recorded state saves reading it only if it can't have changed since.

use super::attributes::Attributes;
use super::committed::{FILES_CAP, Files, Trees};
use super::elsewhere::Elsewhere;
use super::in_order::InOrder;
use super::objects::Objects;
pub use super::staged::INDEX_CAP;
use super::staged::{Staged, is_sparse};
use super::tree::{self, Listing, Stamp};
use super::{checkout, go_on, nested};
use crate::facts::worktree::{MadeAgain, Worktree};
use crate::fs::budget::Reservation;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use git2::{IndexEntry, Oid, Repository};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod change;
mod lists;
mod own;
pub(in crate::survey) use change::Change;

/// What git has recorded for a tree: the commit and the index.
pub struct Known {
    /// Every file of HEAD's tree.
    pub committed: Files,
    index: Staged,
    made_again: Arc<[MadeAgain]>,
    git_dir: VolumePath,
    admin: VolumePath,
    is_clone: bool,
    /// The repo's main checkout.
    checkout: Option<VolumePath>,
    /// Where the tree is registered.
    path: PathBuf,
    objects: Arc<Objects>,
    attributes: OnceCell<Option<Attributes>>,
    stop: Stop,
    _held: Reservation,
}

impl Known {
    /// Reads the tree of the worktree's `head`, and its index. Later calls on the result fail, too,
    /// once the run is to stop.
    ///
    /// # Errors
    /// An object or the index can't be read.
    pub fn of(
        stop: &Stop,
        objects: &Arc<Objects>,
        repo: &Repository,
        tree: &Worktree,
    ) -> io::Result<Self> {
        let above = tree.admin.relative().ancestors().nth(2);
        let git_dir = match &tree.clone_of {
            Some(git_dir) => git_dir.clone(),
            None => VolumePath::new(tree.admin.root(), above.unwrap_or(tree.admin.relative()))?,
        };
        let trees = Trees {
            stop,
            objects,
            repo,
        };
        let known = Self::read(trees, &tree.admin, git_dir, head_of(tree)?)?;
        Ok(Self {
            is_clone: tree.clone_of.is_some(),
            made_again: tree.made_again.clone(),
            checkout: tree.checkout.clone(),
            path: tree.path.clone(),
            ..known
        })
    }

    /// Reads the same for a submodule with this git dir. `repo` reads the submodule's objects.
    pub(super) fn of_submodule(
        stop: &Stop,
        repo: &Repository,
        git_dir: &VolumePath,
        head: Option<Oid>,
    ) -> io::Result<Self> {
        let trees = Trees {
            stop,
            objects: &Arc::default(),
            repo,
        };
        Self::read(trees, git_dir, git_dir.clone(), head)
    }

    fn read(
        trees: Trees<'_>,
        admin: &VolumePath,
        git_dir: VolumePath,
        head: Option<Oid>,
    ) -> io::Result<Self> {
        let Trees {
            stop,
            objects,
            repo,
        } = trees;
        let mut memory = stop.hold();
        let mut files = |tree| {
            trees
                .files(tree, FILES_CAP, &mut memory)
                .map_err(io::Error::other)
        };
        let tree = head
            .map(|head| repo.find_commit(head))
            .transpose()
            .map_err(io::Error::other)?
            .map(|head| head.tree_id());
        let committed = tree.map_or_else(|| Ok(Files::new()), &mut files)?;
        let mut index = Staged::read(admin, stop)?;
        index.unfold(files)?;
        let (attributes, made_again) = (OnceCell::new(), [].into());
        let (admin, objects, stop) = (admin.clone(), objects.clone(), stop.clone());
        Ok(Self {
            committed,
            index,
            made_again,
            git_dir,
            admin,
            is_clone: false,
            checkout: None,
            path: PathBuf::new(),
            objects,
            attributes,
            stop,
            _held: memory,
        })
    }

    /// Checks whether the index has a conflict, or an entry that HEAD doesn't have.
    pub(super) fn holds_staged_work(&self) -> bool {
        let committed = |(path, entry): (&PathBuf, &IndexEntry)| {
            self.committed.get(path) == Some(&(entry.mode, entry.id))
        };
        self.index.conflicts || !self.index.entries.iter().all(committed)
    }

    /// Decides on the `.git` files in a listing. A copied tree's files stay plain files, a
    /// disposable submodule's files are cut out, and any other `.git` file is a blocker.
    fn judge_pointers(&self, place: &VolumePath, listing: &mut Listing) -> io::Result<()> {
        for pointer in std::mem::take(&mut listing.pointers) {
            let directory = pointer.parent().unwrap_or(&pointer);
            let held = match self.committed.get(directory) {
                Some(&(SUBMODULE, recorded)) => {
                    nested::submodule(&self.admin, &place.join(directory)?, recorded, &self.stop)?
                        .map(|why| format!("is a submodule: {why}"))
                }
                _ if nested::is_copy(
                    &self.admin,
                    place,
                    &pointer,
                    [&self.path, &place.path()],
                )? =>
                {
                    continue;
                }
                _ => Some("holds a nested repo".to_owned()),
            };
            match held {
                Some(why) => listing
                    .blockers
                    .push(format!("{} {why}", directory.display())),
                None => nested::cut_out(listing, directory),
            }
        }
        Ok(())
    }

    /// Returns everything that HEAD alone would not bring back, each with how it differs, sorted. A
    /// file can be named twice. The result is counted in `held`.
    pub(super) fn dirty(
        &self,
        repo: &Repository,
        place: &VolumePath,
        listing: &Listing,
        held: &mut Reservation,
    ) -> io::Result<Vec<(PathBuf, Change)>> {
        let mut dirty = Dirty {
            files: Vec::new(),
            held,
        };
        self.compare_files(repo, place, listing, &mut dirty)?;
        self.compare_records(listing, &mut dirty)?;
        dirty.files.sort();
        Ok(dirty.files)
    }

    /// Notes the files in the tree that HEAD would not bring back.
    fn compare_files(
        &self,
        repo: &Repository,
        place: &VolumePath,
        listing: &Listing,
        dirty: &mut Dirty<'_>,
    ) -> io::Result<()> {
        let (mut recorded, mut staged) = (
            InOrder::of(&self.committed),
            InOrder::of(&self.index.entries),
        );
        let mut elsewhere = Elsewhere::of(self.checkout.as_ref(), &self.path);
        for (path, stamp) in &listing.files {
            go_on(Some(&self.stop))?;
            let staged = staged.at(path);
            let file = Standing { place, path, stamp };
            match recorded.at(path) {
                None if staged.is_none() && elsewhere.has(place, path, stamp, &self.stop)? => {}
                None => dirty.note(path, Change::Untracked)?,
                Some(&(mode, _)) if mode != stamp.git_mode() => {
                    dirty.note(path, Change::Mode)?;
                }
                Some(&(_, blob)) if !self.comes_back(repo, &file, staged, blob)? => {
                    dirty.note(path, Change::Modified)?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Notes deleted files, staged entries, and files in the registration that aren't git's.
    fn compare_records(&self, listing: &Listing, dirty: &mut Dirty<'_>) -> io::Result<()> {
        let Self {
            committed, index, ..
        } = self;
        let (mut standing, mut staged) = (InOrder::of(&listing.files), InOrder::of(&index.entries));
        for (path, &(mode, blob)) in committed {
            let staged = staged.at(path);
            if mode != SUBMODULE && standing.at(path).is_none() && !staged.is_some_and(is_sparse) {
                dirty.note(path, Change::Deleted)?;
            } else if staged.is_none_or(|entry| (entry.mode, entry.id) != (mode, blob)) {
                dirty.note(path, Change::Staged)?;
            }
        }
        let mut recorded = InOrder::of(committed);
        listing
            .registration
            .keys()
            .try_for_each(|path| dirty.note(&Path::new(".git").join(path), Change::NotGits))?;
        index
            .entries
            .keys()
            .filter(|path| recorded.at(path).is_none())
            .try_for_each(|path| dirty.note(path, Change::Staged))
    }

    /// Checks whether a checkout of `blob` would bring the file back unchanged. The index saves
    /// reading files that no filter touched. For a filtered file it would vouch for the blob, but
    /// not for what the filter dropped.
    fn comes_back(
        &self,
        repo: &Repository,
        &Standing { place, path, stamp }: &Standing<'_>,
        staged: Option<&IndexEntry>,
        blob: Oid,
    ) -> io::Result<bool> {
        let vouched =
            staged.is_some_and(|entry| entry.id == blob && self.index.vouches(entry, stamp));
        let size = self.objects.size(repo, blob)?;
        if size == stamp.size {
            return Ok(vouched || tree::hash(place, path, stamp, &self.stop)? == blob);
        }
        let place = place.join(path)?;
        // A larger blob is neither a pointer nor a text that is compared, so it isn't inflated.
        if stamp.is_link() || size > checkout::LONGEST_TEXT {
            return Ok(false);
        }
        // The text, with one more byte per line. What libgit2 reads is counted separately.
        let mut held = self.stop.hold();
        held.more(usize::try_from(stamp.size.min(size.saturating_mul(2))).unwrap_or(usize::MAX))?;
        let blob = repo.find_blob(blob).map_err(io::Error::other)?;
        let lengthens = || {
            Ok(self
                .attributes(repo)?
                .is_some_and(|attributes| attributes.lengthens(path, blob.content())))
        };
        let file = checkout::CheckedOut {
            git_dir: &self.git_dir,
            place: &place,
            size: stamp.size,
            vouched,
        };
        file.comes_from(blob.content(), lengthens, &self.stop)
    }

    /// Returns the attributes of HEAD's files, and reads them on the first call.
    fn attributes(&self, repo: &Repository) -> io::Result<Option<&Attributes>> {
        if let Some(known) = self.attributes.get() {
            return Ok(known.as_ref());
        }
        let read = Attributes::of(repo, &self.git_dir, &self.committed, &self.stop)?;
        Ok(self.attributes.get_or_init(|| read).as_ref())
    }

    /// Returns why a rescue can't contain the index; none if it can.
    pub(super) fn unholdable_index(&self) -> Option<String> {
        let why = "its index is split, and no rescue can contain a split index; `git update-index --no-split-index` in the tree makes it one";
        self.index.split.then(|| why.to_owned())
    }

    /// Returns what a rescue can't contain.
    pub(super) fn blockers(&self, listing: &Listing) -> Vec<String> {
        let unmerged = self
            .index
            .conflicts
            .then(|| "the index holds unmerged paths".to_owned());
        listing
            .blockers
            .iter()
            .cloned()
            .chain(submodules(&self.committed, &listing.files))
            .chain(unmerged)
            .collect()
    }
}

/// Returns the commit that a worktree's HEAD names.
pub(super) fn head_of(tree: &Worktree) -> io::Result<Option<Oid>> {
    tree.head
        .as_deref()
        .map(Oid::from_str)
        .transpose()
        .map_err(io::Error::other)
}

/// A file in the tree at `place`, in its current state.
struct Standing<'a> {
    place: &'a VolumePath,
    path: &'a Path,
    stamp: &'a Stamp,
}

/// What HEAD alone would not bring back, each with how it differs, counted in `held`.
struct Dirty<'a> {
    files: Vec<(PathBuf, Change)>,
    held: &'a mut Reservation,
}

impl Dirty<'_> {
    fn note(&mut self, path: &Path, what: Change) -> io::Result<()> {
        self.held.path(path)?;
        self.files.push((path.to_owned(), what));
        Ok(())
    }
}

/// Lists the tree, which is now at `place`, if HEAD alone would bring back all of it.
///
/// # Errors
/// Something can't be read.
pub fn list_clean(
    repo: &Repository,
    tree: &Worktree,
    place: &VolumePath,
    stop: &Stop,
) -> io::Result<Option<Listing>> {
    let known = Known::of(stop, &Arc::default(), repo, tree)?;
    let listing = known.list(place)?;
    let clean = listing.blockers.is_empty()
        && known
            .dirty(repo, place, &listing, &mut stop.hold())?
            .is_empty();
    Ok(clean.then_some(listing))
}

/// Lists the tree, which is now at `place`.
///
/// # Errors
/// Something can't be read.
pub fn list(
    repo: &Repository,
    tree: &Worktree,
    place: &VolumePath,
    stop: &Stop,
) -> io::Result<Listing> {
    Known::of(stop, &Arc::default(), repo, tree)?.list(place)
}

const SUBMODULE: u32 = 0o160_000;

/// Describes the submodules with files. A submodule that was never initialised is an empty
/// directory; one with files has a repo of its own.
fn submodules(committed: &Files, files: &BTreeMap<PathBuf, Stamp>) -> Vec<String> {
    let filled = |path: &Path| {
        files
            .range(path.to_owned()..)
            .take_while(|(file, _)| file.starts_with(path))
            .next()
            .is_some()
    };
    committed
        .iter()
        .filter(|(path, (mode, _))| *mode == SUBMODULE && filled(path))
        .map(|(path, _)| format!("{} is a submodule", path.display()))
        .collect()
}
