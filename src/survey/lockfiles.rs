//! The survey of lock files: which packages the default branch names as committed, and which each
//! live tree names as it is.
//!
//! The next job starts from the default branch; a tree is what somebody works with. A content is
//! parsed once, and known by its blob id from then on. A tree's index shows each file's blob
//! without reading it. So a tree that was just surveyed costs nothing, and any other costs reading
//! its index, listing its root, and a stat per lock file. Untracked lock files below the root are
//! not searched. If a cache contains uv's archives, those that a tree's environments link to count
//! as named, too. Everything here is untrusted: sizes and numbers are capped, links are not
//! followed, and what can't be read is unknown. One unreadable file doesn't fail the whole survey.

use super::committed;
use super::landed::Upstream;
use super::staged::Staged;
use super::tree;
use crate::ecosystems;
use crate::ecosystems::ecosystem::{Linked, Links};
use crate::ecosystems::lock_file::{self, LockFile as Format, LockFileError};
use crate::facts::locks::{DEFAULT, Files, Locks, Seen};
use crate::facts::package::Package;
use crate::facts::worktree::LockFile;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use git2::{ObjectType, Oid, Repository};
use rayon::prelude::*;
use rustix::fs::{FileType, OFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Bytes. The largest well-formed ones have some ten MiB.
const LARGEST: u64 = 64 << 20;
/// Bytes that a parsed lock file takes, per byte of its text.
const UNDERSTOOD: usize = 6;

/// Packages of one lock file, packages that one repo's survey may add, and lock files of one tree.
/// The first and the last are tens of times more than any well-formed file or tree has. The second
/// is a limit because these packages are all in memory together.
const MOST_PACKAGES: usize = 200_000;
const MOST_NEW: usize = 1_000_000;
const MOST_FILES: usize = 1000;

/// Problems that are reported per repo.
const TOLD: usize = 5;

/// The kind of a regular file in git's modes: links and submodules name nothing themselves.
const REGULAR: u32 = 0o100_000;

/// A live tree of a repo.
pub struct Live<'a> {
    /// Its directory.
    pub place: &'a VolumePath,
    /// Its admin directory; a main checkout's git dir.
    pub admin: &'a VolumePath,
    /// Its lock files, if they were listed just now.
    pub looked: Option<&'a [LockFile]>,
}

/// What earlier runs have learned.
pub struct Known<'a> {
    /// About this repo.
    pub seen: Option<&'a Seen>,
    /// Whether a content was parsed already.
    pub content: &'a (dyn Fn(&str) -> bool + Sync),
    /// Finds links from trees into caches.
    pub links: &'a [Linked],
}

/// Surveys the lock files of a repo's default branch and of `trees`.
pub fn survey(repo: &Repository, trees: &[Live<'_>], known: &Known<'_>, stop: &Stop) -> Locks {
    let mut look = LockFileReader {
        repo,
        stop,
        known,
        locks: Locks::default(),
        new: 0,
    };
    look.default_branch();
    // Indexes, listings and links are read in parallel; lock files are read and parsed in order.
    let stands = |live: &Live<'_>| {
        let links = known.links.iter().map(|of| of(live.place, stop));
        (standing(live, stop), links.collect::<Vec<_>>())
    };
    let stands: Vec<_> = trees.par_iter().map(stands).collect();
    for (tree, (stands, links)) in trees.iter().zip(stands) {
        look.tree(tree, stands, links);
    }
    look.finish()
}

/// Checks whether a file at that path in a tree names packages.
pub(super) fn is_one(path: &Path) -> bool {
    ecosystems::lock_file(path).is_some()
}

struct LockFileReader<'a> {
    repo: &'a Repository,
    stop: &'a Stop,
    known: &'a Known<'a>,
    locks: Locks,
    /// Packages in `locks`.
    new: usize,
}

impl LockFileReader<'_> {
    /// Reads the default branch, unless its commit is the last survey's and all contents are known.
    fn default_branch(&mut self) {
        let tip = match Upstream::of(self.repo, self.stop).tip() {
            Ok(Some(tip)) => tip,
            Ok(None) => return,
            Err(why) => return self.unknown(DEFAULT, &why.to_string()),
        };
        let name = tip.to_string();
        let again = self
            .known
            .seen
            .filter(|seen| seen.tip.as_ref() == Some(&name))
            .and_then(|seen| seen.trees.get(DEFAULT));
        if let Some(files) = again.filter(|files| self.all_known(files)) {
            let files = files
                .iter()
                .map(|(path, content)| (path.clone(), Some(content.clone())))
                .collect();
            self.locks.trees.insert(DEFAULT.to_owned(), Some(files));
            self.locks.tip = Some(name);
            return;
        }
        let files = match committed::files_of(self.repo, tip, self.stop, &mut self.stop.hold()) {
            Ok(files) => files,
            Err(error) => return self.unknown(DEFAULT, error.message()),
        };
        let files = files
            .into_iter()
            .filter(|(_, (mode, _))| mode & 0o170_000 == REGULAR);
        let blobs = files
            .filter_map(|(path, (_, blob))| Some((ecosystems::lock_file(&path)?, path, blob)))
            .take(MOST_FILES);
        let mut named = BTreeMap::new();
        for (format, path, blob) in blobs {
            let content = self.content(format, blob, || self.blob(blob));
            named.insert(
                path.to_string_lossy().into_owned(),
                self.told(DEFAULT, &path, content),
            );
        }
        self.locks.tip = named.values().all(Option::is_some).then_some(name);
        self.locks.trees.insert(DEFAULT.to_owned(), Some(named));
    }

    fn tree(
        &mut self,
        live: &Live<'_>,
        stands: io::Result<Vec<Standing>>,
        links: Vec<io::Result<Links>>,
    ) {
        let name = live.place.relative().to_string_lossy().into_owned();
        let stands = match stands {
            Ok(stands) => stands,
            Err(error) => return self.unknown(&name, &error.to_string()),
        };
        let mut named = BTreeMap::new();
        for Standing { path, blob } in stands {
            let Some(format) = ecosystems::lock_file(&path) else {
                continue;
            };
            let content = blob.and_then(|blob| self.standing(live, &path, format, blob));
            let content = self.told(&name, &path, content);
            named.insert(path.to_string_lossy().into_owned(), content);
        }
        let all = |links: Vec<io::Result<Links>>| -> io::Result<Vec<Package>> {
            let links = links.into_iter().collect::<io::Result<Vec<_>>>()?;
            Ok(links.into_iter().flat_map(|links| links.packages).collect())
        };
        let linked = all(links).map_err(LockFileError::from);
        if !linked.as_ref().is_ok_and(Vec::is_empty) {
            let content = linked.and_then(|packages| self.linked(packages));
            let content = self.told(&name, Path::new(ENVIRONMENTS), content);
            named.insert(ENVIRONMENTS.to_owned(), content);
        }
        self.locks.trees.insert(name, Some(named));
    }

    /// Returns what environments link to, with an id like the content of a lock file.
    fn linked(&self, archives: Vec<Package>) -> Result<Content, LockFileError> {
        let text = archives
            .iter()
            .map(Package::as_str)
            .collect::<Vec<_>>()
            .join("\n");
        let blob = Oid::hash_object(ObjectType::Blob, text.as_bytes())?;
        self.few("uv-links", blob, || Ok(archives))
    }

    /// Returns the content of a tree's file, which is read only if the index doesn't vouch for it
    /// or the content is not known yet.
    fn standing(
        &self,
        live: &Live<'_>,
        path: &Path,
        format: &Format,
        vouched: Option<Oid>,
    ) -> Result<Content, LockFileError> {
        if let Some(id) = vouched
            .map(|blob| content_id(format.format, blob))
            .filter(|id| self.knows(id))
        {
            return Ok(Content { id, packages: None });
        }
        let place = live.place.join(path)?;
        let length = openat::stat(&place)?.st_size;
        let mut held = self.stop.hold();
        held.more(
            usize::try_from(length)
                .unwrap_or(usize::MAX)
                .saturating_mul(UNDERSTOOD),
        )?;
        let bytes = openat::read(&place, LARGEST)?;
        // The id of what was read, whatever was vouched for a moment ago: what is recorded under an
        // id is remembered for months.
        let blob = Oid::hash_object(ObjectType::Blob, &bytes)?;
        self.content(format, blob, || Ok(bytes))
    }

    /// Returns a content by its id, with its packages only if they are not known yet.
    fn content(
        &self,
        format: &Format,
        blob: Oid,
        read: impl FnOnce() -> Result<Vec<u8>, LockFileError>,
    ) -> Result<Content, LockFileError> {
        self.few(format.format, blob, || {
            lock_file::parse(&read()?, format.parse)
        })
    }

    /// Does the same, however the packages are found. Too many are an error.
    fn few(
        &self,
        format: &str,
        blob: Oid,
        find: impl FnOnce() -> Result<Vec<Package>, LockFileError>,
    ) -> Result<Content, LockFileError> {
        let id = content_id(format, blob);
        if self.knows(&id) {
            return Ok(Content { id, packages: None });
        }
        if self.new >= MOST_NEW {
            return Err(LockFileError::TooManyNew(MOST_NEW));
        }
        let mut packages = find()?;
        packages.sort_unstable();
        packages.dedup();
        if packages.len() > MOST_PACKAGES {
            return Err(LockFileError::TooMany(packages.len()));
        }
        Ok(Content {
            id,
            packages: Some(packages),
        })
    }

    fn knows(&self, id: &str) -> bool {
        (self.known.content)(id) || self.locks.contents.contains_key(id)
    }

    fn blob(&self, blob: Oid) -> Result<Vec<u8>, LockFileError> {
        let (size, _) = self.repo.odb()?.read_header(blob)?;
        if size as u64 > LARGEST {
            return Err(LockFileError::TooLarge(size));
        }
        let mut held = self.stop.hold();
        held.more(size.saturating_mul(UNDERSTOOD))?;
        Ok(self.repo.find_blob(blob)?.content().to_vec())
    }

    fn all_known(&self, files: &Files) -> bool {
        files.values().all(|content| (self.known.content)(content))
    }

    /// Records a content, or notes why there is none.
    fn told(
        &mut self,
        tree: &str,
        path: &Path,
        content: Result<Content, LockFileError>,
    ) -> Option<String> {
        match content {
            Ok(Content { id, packages }) => {
                if let Some(packages) = packages {
                    self.new = self.new.saturating_add(packages.len());
                    self.locks.contents.insert(id.clone(), packages);
                }
                Some(id)
            }
            Err(why) => {
                self.note(format!(
                    "failed to read `{}` in {tree}: {why}",
                    path.display()
                ));
                None
            }
        }
    }

    fn unknown(&mut self, tree: &str, why: &str) {
        self.note(format!("failed to look for lock files in {tree}: {why}"));
        self.locks.trees.insert(tree.to_owned(), None);
    }

    fn note(&mut self, problem: String) {
        self.locks.problems.push(format!(
            "{problem}; what it named last still counts as in use"
        ));
    }

    fn finish(mut self) -> Locks {
        let untold = self.locks.problems.len().saturating_sub(TOLD);
        self.locks.problems.truncate(TOLD);
        if untold > 0 {
            self.locks
                .problems
                .push(format!("{untold} more lock files or trees like these"));
        }
        self.locks
    }
}

/// The name of a tree's environments among its lock files.
const ENVIRONMENTS: &str = "(virtual environments)";

fn content_id(format: &str, blob: Oid) -> String {
    format!("{format} {blob}")
}

struct Content {
    id: String,
    packages: Option<Vec<Package>>,
}

/// A lock file of a tree.
struct Standing {
    path: PathBuf,
    /// The blob, if the index vouches for one.
    blob: Result<Option<Oid>, LockFileError>,
}

/// Returns a tree's lock files: as listed just now, or else those in its index and its root.
fn standing(live: &Live<'_>, stop: &Stop) -> io::Result<Vec<Standing>> {
    if let Some(looked) = live.looked {
        let blob = |file: &LockFile| {
            file.blob
                .as_deref()
                .map(Oid::from_str)
                .transpose()
                .map_err(LockFileError::from)
        };
        let files = looked.iter().take(MOST_FILES);
        return Ok(files
            .map(|file| Standing {
                path: file.path.clone(),
                blob: blob(file),
            })
            .collect());
    }
    let index = Staged::read(live.admin, stop)?;
    let mut paths: BTreeSet<PathBuf> = index
        .paths()
        .filter(|path| is_one(path))
        .map(Path::to_owned)
        .collect();
    paths.extend(at_root(live.place)?);
    // None for a link or the like, or if it is missing.
    let blob = |path: &Path| {
        let place = live.place.join(path)?;
        let stat = found(openat::stat(&place))?;
        let file = stat.filter(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
        Ok::<_, LockFileError>(file.map(|stat| index.vouched(path, &tree::stamp(&stat))))
    };
    let stands = |path: PathBuf| blob(&path).transpose().map(|blob| Standing { path, blob });
    Ok(paths
        .into_iter()
        .take(MOST_FILES)
        .filter_map(stands)
        .collect())
}

/// Returns the lock files in the tree's root: those of a new project may not be tracked yet.
fn at_root(place: &VolumePath) -> io::Result<Vec<PathBuf>> {
    let listed = openat::list(openat::open(place, OFlags::RDONLY | OFlags::DIRECTORY)?)?;
    let files = listed
        .into_iter()
        .filter(|(_, kind)| matches!(kind, FileType::RegularFile | FileType::Unknown));
    Ok(files
        .map(|(name, _)| name.into())
        .filter(|path: &PathBuf| is_one(path))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str, bytes: &[u8]) -> Result<Vec<String>, LockFileError> {
        let format = ecosystems::lock_file(Path::new(name)).unwrap();
        let names = lock_file::parse(bytes, format.parse)?
            .iter()
            .map(|package| package.as_str().to_owned())
            .collect::<Vec<_>>();
        // Every release comes with its project's page.
        Ok(names
            .into_iter()
            .filter(|name| !name.starts_with("python-page "))
            .collect())
    }

    #[test]
    fn odd_encodings() {
        let text = "requests==2.31.0\r\nsix==1.16.0\r\n";
        let wide = |of: fn(u16) -> [u8; 2], mark: [u8; 2]| {
            [mark.to_vec(), text.encode_utf16().flat_map(of).collect()].concat()
        };
        let table = [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            wide(u16::to_le_bytes, [0xff, 0xfe]),
            wide(u16::to_be_bytes, [0xfe, 0xff]),
        ];
        for bytes in table {
            assert_eq!(
                names("requirements.txt", &bytes).unwrap(),
                ["python requests 2.31", "python six 1.16"],
                "{bytes:?}"
            );
        }
        let cargo = "\u{feff}version = 4\r\n[[package]]\r\nname = \"a\"\r\nversion = \"1.0.0\"\r\nsource = \"registry+x\"\r\n";
        assert_eq!(
            names("Cargo.lock", cargo.as_bytes()).unwrap(),
            ["cargo a-1.0.0"]
        );
    }

    #[test]
    fn what_is_no_lock_file_names_nothing_and_says_so() {
        let pointer =
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
        for name in [
            "Cargo.lock",
            "go.sum",
            "package-lock.json",
            "pnpm-lock.yaml",
            "yarn.lock",
            "uv.lock",
            "requirements.txt",
        ] {
            assert!(names(name, pointer).is_err(), "{name}");
            assert!(names(name, b"\0\0\0\0").is_err(), "{name}");
        }
    }

    #[test]
    fn both_sides_of_a_conflict_count_where_lines_can_be_told() {
        let text = "<<<<<<< HEAD\nexample.com/a v1.0.0 h1:x\n=======\nexample.com/a v1.1.0 h1:y\n>>>>>>> theirs\n";
        assert_eq!(
            names("go.sum", text.as_bytes()).unwrap(),
            ["go example.com/a@v1.0.0", "go example.com/a@v1.1.0"]
        );
        let text = "<<<<<<< HEAD\nsix==1.16.0\n=======\nsix==1.17.0\n>>>>>>> theirs\n";
        assert_eq!(
            names("requirements.txt", text.as_bytes()).unwrap(),
            ["python six 1.16", "python six 1.17"]
        );
    }

    #[test]
    fn names_of_requirements() {
        for name in [
            "requirements.txt",
            "requirements-dev.txt",
            "dev-requirements.txt",
            "constraints.txt",
            "api/requirements/base.txt",
        ] {
            assert!(ecosystems::lock_file(Path::new(name)).is_some(), "{name}");
        }
        for name in [
            "notes.txt",
            "requirements.md",
            "requirements/base.in",
            "requirements",
        ] {
            assert!(ecosystems::lock_file(Path::new(name)).is_none(), "{name}");
        }
    }

    #[test]
    fn nobodys_name_is_so_long() {
        let text = format!("{}==1.0\nsix==1.16.0\n", "a".repeat(lock_file::LONGEST));
        assert_eq!(
            names("requirements.txt", text.as_bytes()).unwrap(),
            ["python six 1.16"]
        );
    }
}
