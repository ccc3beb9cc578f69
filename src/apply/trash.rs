//! The trash: the only place that deletes.
//!
//! What is to go is first renamed into the trash, in one step on the same file system; it is deleted from there, now or in a later night.
//! A tree half deleted never stands where somebody works. How it is deleted is the business of the room behind, `delete`. It must never
//! delete anything that was not renamed here first, nor a tree whose registration still stands: nobody looked at it again.

use crate::beneath::{self, found};
use crate::durable;
use crate::facts::cache::Size;
use crate::inside::Inside;
use crate::lock::{LockError, LockedRepo, StillHeld};
use crate::stop::Stop;
use delete::empty;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

mod delete;

/// The note that lies beside what was taken.
const NOTE: &str = "note.json";
const SCHEMA: &str = "treewarden.taken/1";

/// `<state>/trash`.
pub struct Trash {
    place: Inside,
}

/// One night's bin, or one tree's: a folder in the trash whose entries are numbered.
pub struct Bin {
    place: Inside,
    next: AtomicUsize,
}

/// Where a bin's first entry came from: it proves to the next night that a missing tree is our own doing.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    schema: String,
    from: PathBuf,
    /// Its registration, which goes when the tree was looked at again. While it stands, the tree is not ours to delete.
    admin: Option<PathBuf>,
}

/// A bin whose tree is still registered. Somebody is at work on it, under the repo's lock, or was killed there, or the file server vanished.
struct Unfinished {
    bin: Bin,
    from: Inside,
    admin: Inside,
    /// Whether the tree is in it.
    taken: bool,
}

/// What could not be moved to the trash.
#[derive(Debug, thiserror::Error)]
pub enum TrashError {
    /// The lock is gone.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file system refused.
    #[error("failed to move `{path}` to the trash: {cause}; it stands as before")]
    Move {
        /// What should have gone.
        path: Inside,
        /// Why it didn't.
        cause: io::Error,
    },
    /// It should have come back, and something stood in its place.
    #[error("failed to put `{path}` back: {cause}; it is kept in `{place}`, move it by hand")]
    Stranded {
        /// Where it stood.
        path: Inside,
        /// Where it is.
        place: Inside,
        /// Why.
        cause: io::Error,
    },
    /// Nobody can tell what an earlier run left there.
    #[error("failed to read the trash: {0}; look into the volume's state folder")]
    Unreadable(#[from] io::Error),
}

fn rename(from: &Inside, to: &Inside) -> io::Result<()> {
    let root = beneath::root(from.root())?;
    let folder = |of: &Inside| match of.relative().parent().filter(|above| !above.as_os_str().is_empty()) {
        Some(above) => Ok(beneath::below(&root, above, OFlags::DIRECTORY | OFlags::PATH)?),
        None => root.try_clone(),
    };
    let (parent, new_parent) = (folder(from)?, folder(to)?);
    let [Some(name), Some(new_name)] = [from, to].map(|place| place.relative().file_name()) else { return Err(Errno::INVAL.into()) };
    let rename = || rustix::fs::renameat(&parent, name, &new_parent, new_name);
    match rename() {
        Err(Errno::ACCESS) => writable(from, rename),
        moved => Ok(moved?),
    }
}

/// Renames once more with the folder's own write bit set, and without success takes it back: a folder that its owner can't write to (Go's modules)
/// can't be moved to another parent, for its `..` changes.
fn writable(folder: &Inside, rename: impl FnOnce() -> rustix::io::Result<()>) -> io::Result<()> {
    let refused = io::Error::from(Errno::ACCESS);
    let Ok(folder) = beneath::dir(folder) else { return Err(refused) };
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&folder)?.st_mode);
    if mode.contains(Mode::WUSR) || rustix::fs::fchmod(&folder, mode | Mode::WUSR).is_err() {
        return Err(refused);
    }
    Ok(rename().inspect_err(|_| {
        let _unchanged = rustix::fs::fchmod(&folder, mode);
    })?)
}

/// What emptying the trash did.
#[derive(Debug, Default, Clone)]
pub struct Emptied {
    /// What was freed: a file counts at its last link.
    pub freed: Size,
    /// What is still there, and why.
    pub left: Vec<String>,
}

impl Trash {
    /// The trash of the volume whose state folder is `state`.
    ///
    /// # Errors
    /// It can't be made.
    pub fn of(state: &Inside) -> io::Result<Self> {
        let place = state.join("trash").map_err(io::Error::other)?;
        durable::make_folder(&place.path())?;
        Ok(Self { place })
    }

    /// A new, empty bin; for a tree, its place and its registration are noted durably before anything is moved there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn bin(&self, tree: Option<(&Inside, &Inside)>) -> io::Result<Bin> {
        let place = self.place.join(uuid::Uuid::new_v4().to_string()).map_err(io::Error::other)?;
        std::fs::create_dir(place.path())?;
        if let Some((from, admin)) = tree {
            let note = serde_json::to_vec(&Note { schema: SCHEMA.to_owned(), from: from.path(), admin: Some(admin.path()) })?;
            durable::create(&place.path().join(NOTE), &note)?;
            durable::sync_folder(&place.path())?;
        }
        Ok(Bin { place, next: AtomicUsize::new(0) })
    }

    /// Moves one of our own folders here without a bin of its own: that would need room which may not be there.
    ///
    /// # Errors
    /// It stays; `NotFound` when it isn't there.
    pub fn adopt(&self, ours: &Inside) -> io::Result<()> {
        let (parent, name) = beneath::parent(ours)?;
        Ok(rustix::fs::renameat(&parent, name, &beneath::dir(&self.place)?, uuid::Uuid::new_v4().to_string())?)
    }

    /// Deletes what is in the trash, in parallel on the current rayon pool, until done or told to stop.
    ///
    /// Agents and other shards may be at work here: what comes after the first look stays, and so does the bin of a tree that is registered,
    /// also where the tree is still to come. Any other is moved aside before it is believed to be one.
    ///
    /// # Errors
    /// The trash can't be read; what can't be deleted is in [`Emptied::left`].
    pub fn empty(&self, stop: &Stop) -> io::Result<Emptied> {
        let (mut due, mut left) = (HashSet::new(), Vec::new());
        for place in bins(&self.place)? {
            let unfinished = match self.unfinished(&place)? {
                None if stop.reached().is_none() => match found(self.aside(&place)) {
                    Ok(Some(aside)) => self.unfinished(&aside)?.ok_or(aside),
                    Ok(None) => continue,
                    Err(_) => Err(place),
                },
                unfinished => unfinished.ok_or(place),
            };
            match unfinished {
                Err(place) => due.extend(place.relative().file_name().map(OsString::from)),
                Ok(Unfinished { from, taken: true, .. }) => {
                    left.push(format!("`{from}` was taken by a run that did not finish, and waits for its repo"));
                }
                Ok(_) => {}
            }
        }
        let mut emptied = empty(&self.place, stop, Some(&due))?;
        emptied.left.extend(left);
        Ok(emptied)
    }

    /// Gives a bin another name, so that nobody can put anything there any more.
    fn aside(&self, bin: &Inside) -> io::Result<Inside> {
        let aside = self.place.join(uuid::Uuid::new_v4().to_string()).map_err(io::Error::other)?;
        rename(bin, &aside).map(|()| aside)
    }

    /// Puts the repo's trees back that an earlier run took and did not come to look at again: somebody may have gone on working in them.
    /// What a killed command was about to make goes.
    ///
    /// # Errors
    /// [`TrashError`]: they stay in the trash, or where [`TrashError::Stranded`] says.
    pub fn undo(&self, lock: &LockedRepo, stop: &Stop) -> Result<(), TrashError> {
        for place in bins(&self.place)? {
            let Some(Unfinished { bin, from, admin, taken }) = self.unfinished(&place)? else { continue };
            if !admin.relative().starts_with(lock.place().relative()) {
                continue;
            }
            lock.still_held()?;
            if taken {
                bin.give_back(&bin.place.join("0").map_err(io::Error::other)?, &from)?;
            }
            bin.empty(stop)?;
        }
        self.sweep(lock, stop)
    }

    /// The repo's [workshop](super::workshop).
    pub(super) fn workshop(&self, lock: &LockedRepo) -> io::Result<Inside> {
        let state = self.place.relative().parent().unwrap_or(self.place.relative());
        let name = [OsStr::new("making-"), lock.stem()].into_iter().collect::<OsString>();
        Inside::new(self.place.root(), &state.join(name)).map_err(io::Error::other)
    }

    /// Clears the repo's workshop of what a killed command left there.
    pub(super) fn sweep(&self, lock: &LockedRepo, stop: &Stop) -> Result<(), TrashError> {
        let workshop = self.workshop(lock)?;
        if found(beneath::stat(&workshop))?.is_none() {
            return Ok(());
        }
        let bin = self.bin(None)?;
        bin.take(lock, &workshop)?;
        // What can't be deleted now goes with the next night.
        bin.empty(stop)?;
        Ok(())
    }

    fn unfinished(&self, place: &Inside) -> io::Result<Option<Unfinished>> {
        let root = self.place.root();
        let at = |name: &str| place.join(name).map_err(io::Error::other);
        let note = match beneath::read(&at(NOTE)?, 64 << 10) {
            // Our notes are whole files in folders: anything else is somebody's doing, and must not stop every night to come.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::InvalidData) || is_link(&error) => None,
            // A note that makes no sense was cut short before anything was moved.
            note => found(note)?.and_then(|note| serde_json::from_slice::<Note>(&note).ok()),
        };
        let Some(Note { from, admin: Some(admin), .. }) = note else { return Ok(None) };
        let (Ok(from), Ok(admin)) = (Inside::new(root, &from), Inside::new(root, &admin)) else { return Ok(None) };
        if found(beneath::stat(&admin))?.is_none() {
            return Ok(None);
        }
        let taken = found(beneath::stat(&at("0")?))?.is_some();
        Ok(Some(Unfinished { bin: Bin { place: place.clone(), next: AtomicUsize::new(1) }, from, admin, taken }))
    }
}

impl Bin {
    /// Moves `what` here in one step, and says where it is now.
    ///
    /// # Errors
    /// [`TrashError`]: it stands as before.
    pub fn take(&self, lock: &impl StillHeld, what: &Inside) -> Result<Inside, TrashError> {
        lock.still_held()?;
        let failed = |cause| TrashError::Move { path: what.clone(), cause };
        let number = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let to = self.place.join(number).map_err(|error| failed(io::Error::other(error)))?;
        rename(what, &to).map_err(failed)?;
        Ok(to)
    }

    /// Moves `what`, which was taken from `from`, back there. When something stands there by now, it is kept beside the trash, for what is in
    /// the trash is deleted.
    ///
    /// # Errors
    /// [`TrashError::Stranded`] says where it is.
    pub fn give_back(&self, what: &Inside, from: &Inside) -> Result<(), TrashError> {
        // A folder's rename replaces nothing but an empty folder.
        let Err(cause) = rename(what, from) else { return Ok(()) };
        let stranded = |place: &Inside| TrashError::Stranded { path: from.clone(), place: place.clone(), cause };
        let state = self.place.relative().ancestors().nth(2).unwrap_or(self.place.relative());
        let beside = Inside::new(self.place.root(), &state.join(format!("kept-{}", uuid::Uuid::new_v4())));
        match beside {
            Ok(beside) if rename(what, &beside).is_ok() => Err(stranded(&beside)),
            _ => Err(stranded(what)),
        }
    }

    /// Deletes what is in the bin, and the bin.
    ///
    /// # Errors
    /// As [`Trash::empty`].
    pub fn empty(self, stop: &Stop) -> io::Result<Emptied> {
        let mut emptied = empty(&self.place, stop, None)?;
        if emptied.left.is_empty() {
            let (parent, name) = beneath::parent(&self.place)?;
            if let Err(error) = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
                emptied.left.push(format!("{}: {error}", self.place));
            }
        }
        Ok(emptied)
    }
}

/// Where the trees in the trash came from. A look: it changes nothing.
pub fn taken_from(state: &Inside) -> HashSet<Inside> {
    let Ok(trash) = state.join("trash") else { return HashSet::new() };
    let Ok(bins) = std::fs::read_dir(trash.path()) else { return HashSet::new() };
    let notes = bins.flatten().filter_map(|bin| beneath::read(&trash.join(bin.file_name()).ok()?.join(NOTE).ok()?, 64 << 10).ok());
    notes.filter_map(|note| origin(&note, state)).collect()
}

/// What a note says; none when it is torn, or of a schema that isn't known: then nothing proves whose doing a missing tree is.
pub(crate) fn origin(note: &[u8], state: &Inside) -> Option<Inside> {
    let note: Note = serde_json::from_slice(note).ok()?;
    if note.schema == SCHEMA { Inside::new(state.root(), &note.from).ok() } else { None }
}

fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// What earlier nights left in the trash. A look: it changes nothing.
///
/// # Errors
/// The trash can't be read.
pub fn waiting(state: &Inside) -> io::Result<Vec<Inside>> {
    let trash = state.join("trash").map_err(io::Error::other)?;
    bins(&trash)
}

fn bins(trash: &Inside) -> io::Result<Vec<Inside>> {
    let Some(bins) = found(std::fs::read_dir(trash.path()))? else { return Ok(Vec::new()) };
    bins.map(|bin| trash.join(bin?.file_name()).map_err(io::Error::other)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::OFlags;
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    struct Free;
    impl StillHeld for Free {
        fn still_held(&self) -> Result<(), LockError> {
            Ok(())
        }
    }

    fn volume() -> (tempfile::TempDir, Arc<Path>, Trash) {
        let top = tempfile::tempdir().unwrap();
        let root: Arc<Path> = top.path().into();
        fs::create_dir(top.path().join("state")).unwrap();
        let trash = Trash::of(&Inside::new(&root, Path::new("state")).unwrap()).unwrap();
        (top, root, trash)
    }

    fn forever() -> Stop {
        Stop::after(Duration::from_mins(10), Arc::default())
    }

    #[test]
    fn links_are_deleted_and_never_followed_and_hard_links_count_once() {
        let (top, root, trash) = volume();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "x").unwrap();
        let tree = top.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::write(tree.join("a/big"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(tree.join("a/big"), tree.join("a/b/again")).unwrap();
        fs::write(top.path().join("stays"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(top.path().join("stays"), tree.join("shared")).unwrap();
        std::os::unix::fs::symlink(outside.path(), tree.join("a/out")).unwrap();
        fs::set_permissions(tree.join("a/b"), std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();

        let [tree, admin] = ["tree", "admin"].map(|name| Inside::new(&root, Path::new(name)).unwrap());
        let bin = trash.bin(Some((&tree, &admin))).unwrap();
        bin.take(&Free, &tree).unwrap();
        assert!(!tree.path().exists());
        let state = Inside::new(&root, Path::new("state")).unwrap();
        assert_eq!(taken_from(&state), HashSet::from([tree]));
        let emptied = bin.empty(&forever()).unwrap();
        assert_eq!(emptied.left, Vec::<String>::new());
        assert!((1 << 20..1 << 21).contains(&emptied.freed.bytes), "{}", emptied.freed.bytes);
        assert_eq!(fs::read(outside.path().join("precious")).unwrap(), b"x");
        assert!(top.path().join("stays").exists());
        assert_eq!(fs::read_dir(top.path().join("state/trash")).unwrap().count(), 0);
    }

    #[test]
    fn what_comes_back_never_replaces_anything() {
        let (top, root, trash) = volume();
        let [tree, admin] = ["tree", "admin"].map(|name| Inside::new(&root, Path::new(name)).unwrap());
        let bin = trash.bin(Some((&tree, &admin))).unwrap();
        let take = || {
            fs::create_dir_all(top.path().join("tree/work")).unwrap();
            bin.take(&Free, &tree).unwrap()
        };
        bin.give_back(&take(), &tree).unwrap();
        assert!(top.path().join("tree/work").exists());
        let taken = take();
        fs::create_dir_all(top.path().join("tree/new")).unwrap();
        let Err(TrashError::Stranded { place, .. }) = bin.give_back(&taken, &tree) else { panic!("it replaced something") };
        trash.empty(&forever()).unwrap();
        assert!(place.path().join("work").exists() && top.path().join("tree/new").exists());
    }

    #[test]
    fn a_tree_that_is_still_to_come_finds_its_bin() {
        let (top, root, trash) = volume();
        let [tree, admin] = ["tree", "admin"].map(|name| Inside::new(&root, Path::new(name)).unwrap());
        for place in [&tree, &admin] {
            fs::create_dir_all(place.path().join("work")).unwrap();
        }
        let bin = trash.bin(Some((&tree, &admin))).unwrap();
        // Another shard, or a night beside an agent's command, empties the trash now.
        assert_eq!(trash.empty(&forever()).unwrap().left, Vec::<String>::new());
        let taken = bin.take(&Free, &tree).unwrap();
        assert_eq!(trash.empty(&forever()).unwrap().left.len(), 1);
        assert!(taken.path().join("work").exists());
        bin.take(&Free, &admin).unwrap();
        assert_eq!(trash.empty(&forever()).unwrap().left, Vec::<String>::new());
        assert_eq!(fs::read_dir(top.path().join("state/trash")).unwrap().count(), 0);
    }

    /// Nobody is sure to find a bin before its note is written; then no tree may get into it any more.
    #[test]
    fn nothing_gets_into_a_bin_that_is_being_deleted() {
        let (_top, root, trash) = volume();
        let tree = Inside::new(&root, Path::new("tree")).unwrap();
        for number in 0..200 {
            fs::create_dir_all(tree.path()).unwrap();
            fs::write(tree.path().join("work"), "x").unwrap();
            let admin = Inside::new(&root, Path::new("admin")).unwrap();
            fs::create_dir_all(admin.path()).unwrap();
            let emptier = std::thread::spawn({
                let trash = Trash { place: trash.place.clone() };
                move || {
                    std::thread::sleep(Duration::from_micros(number * 3));
                    trash.empty(&forever()).map(drop)
                }
            });
            let taken = trash.bin(Some((&tree, &admin))).ok().and_then(|bin| bin.take(&Free, &tree).ok());
            emptier.join().unwrap().unwrap();
            let bins = super::bins(&trash.place).unwrap();
            let stands = std::iter::once(tree.clone()).chain(bins.into_iter().map(|bin| bin.join("0").unwrap()));
            assert_eq!(stands.filter(|place| place.path().join("work").exists()).count(), 1, "{number}: {taken:?}");
            fs::rename(admin.path(), trash.place.path().join("admin")).unwrap();
            trash.empty(&forever()).unwrap();
        }
    }

    #[test]
    fn a_folder_that_nobody_may_write_to_can_be_taken() {
        // As root it always could.
        let (top, root, trash) = volume();
        let module = top.path().join("module@v1");
        fs::create_dir(&module).unwrap();
        fs::write(module.join("go.mod"), "x").unwrap();
        fs::set_permissions(&module, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
        let bin = trash.bin(None).unwrap();
        bin.take(&Free, &Inside::new(&root, Path::new("module@v1")).unwrap()).unwrap();
        assert_eq!(bin.empty(&forever()).unwrap().left, Vec::<String>::new());
        assert!(!module.exists());
    }

    #[test]
    fn depth_costs_nothing() {
        let (top, _, trash) = volume();
        let bin = trash.bin(None).unwrap();
        let mut fd = beneath::dir(&bin.place).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&fd, "d", Mode::RWXU).unwrap();
            fd = rustix::fs::openat(&fd, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        drop(fd);
        let emptied = trash.empty(&forever()).unwrap();
        assert_eq!((emptied.left, emptied.freed.inodes), (Vec::new(), 5001));
        assert_eq!(fs::read_dir(top.path().join("state/trash")).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_with_more_names_than_are_held_in_memory_is_emptied() {
        let (top, _, trash) = volume();
        let bin = trash.bin(None).unwrap();
        let folder = bin.place.path().join("0");
        fs::create_dir(&folder).unwrap();
        for number in 0..33_500 {
            if number % 50 == 0 {
                fs::create_dir_all(folder.join(format!("{number}/below"))).unwrap();
            } else {
                drop(fs::File::create(folder.join(number.to_string())).unwrap());
            }
        }
        let emptied = trash.empty(&forever()).unwrap();
        assert_eq!((emptied.left, emptied.freed.inodes), (Vec::new(), 33_500 + 670 + 2));
        assert_eq!(fs::read_dir(top.path().join("state/trash")).unwrap().count(), 0);
    }

    #[test]
    fn where_descriptors_are_scarce_folders_are_moved_up() {
        let (top, _, trash) = volume();
        let bin = trash.bin(None).unwrap();
        for number in 0..20 {
            fs::create_dir_all(bin.place.path().join(format!("{number}/a/b/c/d"))).unwrap();
            fs::write(bin.place.path().join(format!("{number}/a/b/file")), "x").unwrap();
        }
        let anchors = crate::walk::testing::all_held();
        let emptied = trash.empty(&forever()).unwrap();
        drop(anchors);
        assert_eq!((emptied.left, emptied.freed.inodes), (Vec::new(), 20 * 6 + 1));
        assert_eq!(fs::read_dir(top.path().join("state/trash")).unwrap().count(), 0);
    }

    #[test]
    fn cut_short_it_leaves_the_rest_for_the_next_night() {
        let (top, _, trash) = volume();
        let bin = trash.bin(None).unwrap();
        fs::write(bin.place.path().join("0"), "x").unwrap();
        let now = Stop::after(Duration::ZERO, Arc::default());
        assert!(!trash.empty(&now).unwrap().left.is_empty());
        assert!(bin.place.path().join("0").exists());
        assert!(trash.empty(&forever()).unwrap().left.is_empty());
        assert_eq!(fs::read_dir(top.path().join("state/trash")).unwrap().count(), 0);
    }
}
