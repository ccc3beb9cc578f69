//! Measures what deleting files and trees would free.
//!
//! A file counts only if all of its links are within what is measured: deleting one link of several
//! frees nothing. Blocks count, not lengths, so sparse files are measured correctly; a directory
//! counts with its own blocks. No link is followed and no other mount entered. Errors are returned.
//!
//! Every directory is a task of its own in the caller's rayon pool, opened from its parent. Its own
//! stat is taken after opening it, which saves a look-up of its name.

use crate::facts::cache::{Shared, Size};
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::fs::walk::{Anchor, LISTING, spread};
use rayon::Scope;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, OFlags, RawDir, Stat};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Any of these in a directory makes it a repo or a worktree.
const REPO: [&[u8]; 3] = [b".git", b".hg", b".jj"];
/// All of these together make it a bare repo.
const BARE: [&[u8]; 3] = [b"HEAD", b"objects", b"refs"];

/// Measures what deleting all of `paths` would free. Missing paths and other file systems count as
/// nothing.
///
/// # Errors
/// Something could not be inspected; the error names the first.
pub fn size(paths: &[VolumePath], stop: &Stop) -> io::Result<Size> {
    let Measured { size, problems, .. } = sum_up(None, paths, true, Some(stop));
    first_problem(size, problems)
}

/// Measures the same until it is time to stop. What could not be inspected counts as nothing.
pub fn readable(paths: &[VolumePath], stop: &Stop) -> Size {
    sum_up(None, paths, true, Some(stop)).size
}

fn first_problem<T>(what: T, problems: Vec<String>) -> io::Result<T> {
    problems
        .into_iter()
        .next()
        .map_or(Ok(what), |problem| Err(io::Error::other(problem)))
}

/// Measures the same, opened from `root`, and returns the files that have links elsewhere, too. If
/// `may_hold_repos`, a git repo or worktree in it is an error: it is somebody's work, and not
/// regenerable.
///
/// # Errors
/// As [`size`]; or such a repo is somewhere in it.
pub fn measure(
    root: &OwnedFd,
    paths: &[VolumePath],
    may_hold_repos: bool,
) -> io::Result<(Size, Vec<Shared>)> {
    let sum = sum_up(Some(root), paths, true, None);
    match sum.repos.into_iter().min().filter(|_| may_hold_repos) {
        Some(repo) => Err(io::Error::other(format!(
            "`{}` is a git repo or worktree, so what holds it stays",
            repo.display()
        ))),
        None => first_problem((sum.size, sum.shared), sum.problems),
    }
}

/// Returns the first repo or worktree in `paths`, however deep.
///
/// # Errors
/// As [`size`].
pub fn repo_among(paths: &[VolumePath], stop: &Stop) -> io::Result<Option<PathBuf>> {
    let Measured {
        repos, problems, ..
    } = sum_up(None, paths, false, Some(stop));
    first_problem(repos.into_iter().min(), problems)
}

/// Measures everything below `root` until it is time to stop, with a line for each unreadable
/// directory, which counts as nothing. The file system's own `lost+found` is left out.
///
/// # Errors
/// The root itself can't be listed.
pub fn standing(root: &Arc<Path>, stop: &Stop) -> io::Result<(Size, Vec<String>)> {
    let Measured { size, problems, .. } = sum_up(None, &children(root)?, true, Some(stop));
    Ok((size, problems))
}

fn children(root: &Arc<Path>) -> io::Result<Vec<VolumePath>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name() != "lost+found" {
            entries.push(VolumePath::new(root, &entry.path())?);
        }
    }
    Ok(entries)
}

/// Measures the same by part, in one walk: each of `places` without the deeper ones in it, and
/// every other entry of the root. Together with the files that they share with
/// one another or with the outside, each counted once, they add up to all that stands there.
///
/// # Errors
/// As [`standing`].
pub fn parts(
    root: &Arc<Path>,
    places: &[VolumePath],
    stop: &Stop,
) -> io::Result<(Vec<Part>, Size, Vec<String>)> {
    let entries = children(root)?;
    let all: BTreeSet<&VolumePath> = places.iter().chain(&entries).collect();
    let sum = || {
        Mutex::new(Sum {
            stop: Some(stop.clone()),
            ..Sum::default()
        })
    };
    let parts: Parts = all
        .into_iter()
        .map(|place| (place.relative().to_owned(), sum()))
        .collect();
    let nowhere = sum();
    Walk {
        root: None,
        places: &entries,
        sum: &nowhere,
        whole: true,
        parts: Some(&parts),
    }
    .take();
    let mut problems = Vec::new();
    let mut measured = Vec::new();
    let mut shared: HashMap<(u64, u64), u64> = HashMap::new();
    for (path, sum) in parts {
        let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        problems.append(&mut sum.problems);
        let linked = sum.count_linked();
        let shared_bytes = linked
            .iter()
            .fold(0, |sum, file| file.bytes.saturating_add(sum));
        shared.extend(linked.iter().map(|file| (file.file, file.bytes)));
        measured.push(Part {
            place: VolumePath::new(root, &path)?,
            size: sum.size,
            shared_bytes,
        });
    }
    problems.sort_unstable();
    let shared = Size {
        bytes: shared.values().copied().fold(0, u64::saturating_add),
        inodes: shared.len() as u64,
    };
    Ok((measured, shared, problems))
}

/// Measures one place as a part, with a line for each directory that could not be read.
pub fn part(place: &VolumePath, stop: &Stop) -> (Part, Vec<String>) {
    let measured = sum_up(None, std::slice::from_ref(place), true, Some(stop));
    let shared = measured.shared.iter();
    let part = Part {
        place: place.clone(),
        size: measured.size,
        shared_bytes: shared.fold(0, |sum, file| file.bytes.saturating_add(sum)),
    };
    (part, measured.problems)
}

/// A part of the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its place.
    pub place: VolumePath,
    /// What deleting it would free.
    pub size: Size,
    /// Bytes of files that also have links elsewhere.
    pub shared_bytes: u64,
}

/// A sum for each part, by the place at which it begins.
type Parts = BTreeMap<PathBuf, Mutex<Sum>>;

/// The result of measuring.
struct Measured {
    size: Size,
    shared: Vec<Shared>,
    /// Directories that are repos or worktrees.
    repos: Vec<PathBuf>,
    problems: Vec<String>,
}

/// Measures `places`. Only directories count unless `whole`.
fn sum_up(
    root: Option<&OwnedFd>,
    places: &[VolumePath],
    whole: bool,
    stop: Option<&Stop>,
) -> Measured {
    let sum = Mutex::new(Sum {
        stop: stop.cloned(),
        ..Sum::default()
    });
    Walk {
        root,
        places,
        sum: &sum,
        whole,
        parts: None,
    }
    .take();
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.problems.sort_unstable();
    let shared = sum.count_linked();
    Measured {
        size: sum.size,
        shared,
        repos: sum.repos,
        problems: sum.problems,
    }
}

/// What is measured, and where it is counted.
struct Walk<'a> {
    /// The directory that places are opened from; if none, each from its own root.
    root: Option<&'a OwnedFd>,
    places: &'a [VolumePath],
    sum: &'a Mutex<Sum>,
    whole: bool,
    parts: Option<&'a Parts>,
}

/// A directory that was read, and the names of its subdirectories, which are measured next.
struct Listed<'a> {
    place: &'a VolumePath,
    device: u64,
    /// The directory, or one above it.
    anchor: Arc<Anchor>,
    /// Its path, relative to the place.
    directory: PathBuf,
    names: Vec<CString>,
}

impl<'a> Walk<'a> {
    fn take(&'a self) {
        let begin = |scope: &Scope<'a>, number: usize| {
            if let Some(place) = self.places.get(number) {
                self.begin(scope, place);
            }
        };
        rayon::scope(|scope| spread(scope, 0..self.places.len(), begin));
    }

    /// Returns the sum in which a place counts: its own, or `outer`, that of its parent.
    fn sum_of(&self, place: &Path, outer: &'a Mutex<Sum>) -> &'a Mutex<Sum> {
        self.parts
            .and_then(|parts| parts.get(place))
            .unwrap_or(outer)
    }

    fn begin(&'a self, scope: &Scope<'a>, place: &'a VolumePath) {
        let sum = self.sum_of(place.relative(), self.sum);
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let opened = self.root.map_or_else(
            || openat::open(place, flags),
            |root| openat::below(root, place.relative(), flags),
        );
        let seen = opened.and_then(|place| Ok((rustix::fs::fstat(&place)?, place)));
        match seen {
            Err(Errno::NOENT | Errno::XDEV) => {}
            Err(errno) => lock(sum).problem(place, Path::new(""), errno),
            Ok((stat, top)) if is_dir(&stat) => {
                let anchor = Arc::new(Anchor::new(top, 0));
                let above = Listed {
                    place,
                    device: stat.st_dev,
                    anchor,
                    directory: PathBuf::new(),
                    names: Vec::new(),
                };
                self.folder(scope, &above, sum, PathBuf::new());
            }
            Ok((stat, _)) => lock(sum).add(&stat),
        }
    }

    /// Measures a directory, and spawns tasks for its subdirectories.
    fn folder(
        &'a self,
        scope: &Scope<'a>,
        above: &Listed<'a>,
        sum: &'a Mutex<Sum>,
        directory: PathBuf,
    ) {
        let place = above.place;
        let measured = above
            .anchor
            .open(&directory)
            .and_then(|folder| Ok((measure_one(&folder, above.device, self.whole)?, folder)));
        match measured {
            Ok(((found, names), folder)) => {
                let stopped = lock(sum).merge(found, place, &directory);
                if stopped || names.is_empty() {
                    return;
                }
                let length = directory.as_os_str().len();
                let anchor = if Anchor::are_scarce() {
                    above.anchor.clone()
                } else {
                    Arc::new(Anchor::new(folder, length))
                };
                let all = 0..names.len();
                let listed = Listed {
                    place,
                    device: above.device,
                    anchor,
                    directory,
                    names,
                };
                spread(scope, all, move |scope, number| {
                    let Some(name) = listed.names.get(number) else {
                        return;
                    };
                    let directory = listed.directory.join(OsStr::from_bytes(name.to_bytes()));
                    let sum = if self.parts.is_none() {
                        sum
                    } else {
                        self.sum_of(&place.relative().join(&directory), sum)
                    };
                    self.folder(scope, &listed, sum, directory);
                });
            }
            // It was removed meanwhile, or something was mounted there.
            Err(Errno::NOENT | Errno::XDEV) => {}
            Err(errno) => lock(sum).problem(place, &directory, errno),
        }
    }
}

/// Measures one directory without its subdirectories, which are returned by name, to be measured
/// next.
fn measure_one(folder: &OwnedFd, device: u64, whole: bool) -> Result<(Sum, Vec<CString>), Errno> {
    let (mut sum, mut below) = (Sum::default(), Vec::new());
    let own = rustix::fs::fstat(folder)?;
    if own.st_dev != device {
        return Err(Errno::XDEV);
    }
    sum.add(&own);
    let mut parts = [false; BARE.len()];
    let mut buffer = Vec::with_capacity(LISTING);
    let mut entries = RawDir::new(folder, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if openat::is_dots(name) {
            continue;
        }
        let text = name.to_bytes();
        sum.is_repo |= REPO.iter().any(|repo| text.eq_ignore_ascii_case(repo));
        parts
            .iter_mut()
            .zip(BARE)
            .for_each(|(seen, part)| *seen |= text == part);
        match entry.file_type() {
            // It is measured once it is open.
            FileType::Directory => {
                below.push(name.to_owned());
                continue;
            }
            FileType::Unknown => {}
            _ if !whole => continue,
            _ => {}
        }
        match rustix::fs::statat(
            folder,
            name,
            AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        ) {
            Ok(stat) if stat.st_dev == device && is_dir(&stat) => below.push(name.to_owned()),
            Ok(stat) if stat.st_dev == device => sum.add(&stat),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    sum.is_repo |= parts == [true; BARE.len()];
    Ok((sum, below))
}

fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_dir()
}

fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0)
}

/// Returns what it takes by itself, without its contents and whatever its number of links.
pub fn of_one(stat: &Stat) -> Size {
    Size::of_blocks(blocks(stat))
}

fn lock(sum: &Mutex<Sum>) -> std::sync::MutexGuard<'_, Sum> {
    sum.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the path relative to the volume's root.
fn plain(place: &VolumePath, below: &Path) -> PathBuf {
    place.relative().join(below).components().collect()
}

/// The sum so far.
#[derive(Default)]
struct Sum {
    /// When to stop measuring.
    stop: Option<Stop>,
    size: Size,
    /// Files with several links, by device and inode.
    linked: HashMap<(u64, u64), Linked>,
    /// This directory is a repo.
    is_repo: bool,
    /// All directories that are repos.
    repos: Vec<PathBuf>,
    problems: Vec<String>,
}

/// A file with several links.
struct Linked {
    seen: u64,
    links: u64,
    blocks: u64,
}

impl Sum {
    fn add(&mut self, stat: &Stat) {
        let blocks = blocks(stat);
        // The width of `st_nlink` differs between processors.
        #[allow(clippy::useless_conversion)]
        let links = u64::from(stat.st_nlink);
        if is_dir(stat) || links <= 1 {
            self.count(blocks);
        } else {
            let linked = self
                .linked
                .entry((stat.st_dev, stat.st_ino))
                .or_insert(Linked {
                    seen: 0,
                    links,
                    blocks,
                });
            linked.seen = linked.seen.saturating_add(1);
        }
    }

    fn count(&mut self, blocks: u64) {
        self.size += Size::of_blocks(blocks);
    }

    /// Adds another sum, and returns whether it is time to stop.
    fn merge(&mut self, other: Self, place: &VolumePath, below: &Path) -> bool {
        if other.is_repo {
            self.repos.push(plain(place, below));
        }
        self.size += other.size;
        for (file, more) in other.linked {
            self.linked
                .entry(file)
                .and_modify(|linked| linked.seen = linked.seen.saturating_add(more.seen))
                .or_insert(more);
        }
        self.stop
            .as_ref()
            .is_some_and(|stop| stop.reached().is_some())
    }

    fn problem(&mut self, place: &VolumePath, below: &Path, errno: Errno) {
        self.problems.push(format!(
            "failed to measure `{}`: {}",
            plain(place, below).display(),
            openat::cause(errno)
        ));
    }

    /// Counts each file with several links once, if all of them were seen. Returns the others, in
    /// order.
    fn count_linked(&mut self) -> Vec<Shared> {
        let mut shared = Vec::new();
        for (
            file,
            Linked {
                seen,
                links,
                blocks,
            },
        ) in std::mem::take(&mut self.linked)
        {
            if seen >= links {
                self.count(blocks);
            } else {
                shared.push(Shared {
                    file,
                    here: seen,
                    links,
                    bytes: Size::of_blocks(blocks).bytes,
                });
            }
        }
        shared.sort_unstable_by_key(|shared| shared.file);
        shared
    }
}

#[cfg(test)]
mod tests;
