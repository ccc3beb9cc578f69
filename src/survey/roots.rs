//! The roots of a repo's objects: every place in the real git dir that names one, read by our own
//! code.
//!
//! Git runs in a sanitised git dir and doesn't see all of them
//! (`docs/design/git.md#what-a-sanitised-git-dir-hides`), and it treats an unreadable directory as
//! empty. So refs, reflogs, HEADs, in-progress states, indexes and grafts are read here, from the
//! files themselves. If any of these files can't be read, that is reported, and nothing may be
//! dropped.

use super::registry::admins;
use super::{lines, place, reach};
use crate::fs::budget::Reservation;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use rustix::fs::FileType;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead};
use std::path::Path;

pub(super) mod index;

/// An object's name.
pub type Id = [u8; 20];

/// Ids of a repo in either list, at most; they would take 320 MB.
const MOST: usize = 16 << 20;
/// New ids that are gathered before duplicates are dropped, at least.
const AT_ONCE: usize = 256 << 10;
/// Bytes of a file, at most: 64 MiB of a reflog are some 400,000 moves.
const LARGEST: u64 = reach::LOG_CAP;
/// Bytes of an index, at most: four million files.
const LARGEST_INDEX: u64 = 512 << 20;
/// Bytes that an id takes, with room to grow.
const AN_ID: usize = 2 * size_of::<Id>();
/// Bytes of a ref: it is one line.
const REF: u64 = 4096;
/// The longest line of `packed-refs` that is compared whole: no loose ref has a longer name.
const NAMES: usize = 4096;
/// Directories in which git keeps the state of an unfinished operation.
const IN_PROGRESS: [&str; 3] = ["rebase-merge", "rebase-apply", "sequencer"];
/// Unreadable files that are named; the rest is only counted.
const NAMED: usize = 5;

/// The objects that a repo's files name.
#[derive(Debug, Default)]
pub struct Roots {
    /// Objects that git doesn't find in a sanitised git dir, sorted.
    pub hidden: Vec<Id>,
    /// Objects that it finds there: refs and the entries of indexes, sorted.
    pub seen: Vec<Id>,
    /// What could not be read, each with its cause and remedy. If there is any, nothing may be
    /// dropped.
    pub unread: Vec<String>,
}

/// Ids, each once.
#[derive(Debug, Default)]
struct Ids {
    ids: Vec<Id>,
    held: Reservation,
    /// The number of ids when they were last sorted.
    sorted: usize,
}

impl Ids {
    fn push(&mut self, id: Id) -> io::Result<()> {
        if id == [0; 20] {
            return Ok(());
        }
        if self.ids.len() >= MOST {
            return Err(io::Error::other(
                "the repo names more objects than any well-formed one",
            ));
        }
        self.held.more(AN_ID)?;
        self.ids.push(id);
        if self.ids.len().saturating_sub(self.sorted) > AT_ONCE.max(self.sorted) {
            self.settle();
        }
        Ok(())
    }

    fn settle(&mut self) {
        self.ids.sort_unstable();
        self.ids.dedup();
        self.sorted = self.ids.len();
        self.held.only(AN_ID.saturating_mul(self.sorted));
    }

    fn sorted(mut self) -> Vec<Id> {
        self.settle();
        self.ids
    }
}

#[derive(Debug, Default)]
struct Named {
    hidden: Ids,
    seen: Ids,
}

impl Named {
    fn of(stop: &Stop) -> Self {
        let ids = || Ids {
            held: stop.hold(),
            ..Ids::default()
        };
        Self {
            hidden: ids(),
            seen: ids(),
        }
    }
}

/// Reads the roots of a repo.
pub fn read(git_dir: &VolumePath, stop: &Stop) -> Roots {
    let mut reader = Reader {
        named: Named::of(stop),
        stop,
        unread: Vec::new(),
        more: 0,
    };
    reader.git_dir(git_dir);
    match admins(git_dir) {
        Ok(admins) => admins.iter().for_each(|admin| reader.admin(admin)),
        Err(error) => reader.failed(
            &at(git_dir, "worktrees"),
            &error,
            "fix the registry of worktrees",
        ),
    }
    let Reader {
        named: Named { hidden, seen },
        mut unread,
        more,
        ..
    } = reader;
    if more > 0 {
        unread.push(format!(
            "failed to read {more} more files of `{git_dir}`; see `git fsck`"
        ));
    }
    Roots {
        hidden: hidden.sorted(),
        seen: seen.sorted(),
        unread,
    }
}

/// Returns the ids that one index names, hidden and seen, as [`read`] does for a repo.
///
/// # Errors
/// It is malformed, or has an unknown part.
pub(crate) fn of_index(bytes: &[u8]) -> io::Result<[Vec<Id>; 2]> {
    let mut named = Named::default();
    index::ids(bytes, bytes.len() as u64, &mut named)?;
    Ok([named.hidden, named.seen].map(Ids::sorted))
}

struct Reader<'a> {
    named: Named,
    stop: &'a Stop,
    unread: Vec<String>,
    /// Problems that are only counted.
    more: usize,
}

impl Reader<'_> {
    fn git_dir(&mut self, git_dir: &VolumePath) {
        let stop = self.stop;
        // Loose refs first, so that one that is packed meanwhile is read twice, and not missed.
        let remedy = "delete it, if nobody knows what it named";
        let loose = self.below(&at(git_dir, "refs"), remedy, |file, named| {
            reference(file, &mut named.seen, stop)
        });
        let name = |file: &VolumePath| {
            Some(
                file.relative()
                    .strip_prefix(git_dir.relative())
                    .ok()?
                    .as_os_str()
                    .as_encoded_bytes()
                    .to_owned(),
            )
        };
        let names: HashSet<Vec<u8>> = loose
            .iter()
            .flat_map(|loose| &loose.all)
            .filter_map(name)
            .collect();
        self.file(
            &at(git_dir, "packed-refs"),
            "see `git fsck`",
            |file, named| packed(file, &names, &mut named.seen, stop),
        );
        self.file(
            &at(git_dir, "info/grafts"),
            "fix it by hand",
            |file, named| scan(file, &mut named.hidden, stop),
        );
        self.common(git_dir);
        self.index(
            git_dir,
            "delete it, then `git reset` in the checkout makes a new one",
        );
    }

    fn admin(&mut self, admin: &VolumePath) {
        let stop = self.stop;
        self.below(
            &at(admin, "refs"),
            "delete it, if nobody knows what it named",
            |file, named| reference(file, &mut named.hidden, stop),
        );
        self.common(admin);
        let tree = place::place(admin).unwrap_or_else(|_| admin.path());
        self.index(
            admin,
            &format!(
                "delete it, then `git reset` in `{}` makes a new one",
                tree.display()
            ),
        );
    }

    /// Reads what git dirs and admin directories have in common.
    fn common(&mut self, directory: &VolumePath) {
        let stop = self.stop;
        self.below(
            &at(directory, "logs"),
            "fix it or take it away",
            |file, named| log(file, &mut named.hidden, stop),
        );
        for name in IN_PROGRESS {
            self.below(
                &at(directory, name),
                "end or abort what is in progress",
                |file, named| scan(file, &mut named.hidden, stop),
            );
        }
        let names = match found(
            openat::dir(directory).and_then(|directory| Ok(openat::list(directory)?)),
        ) {
            Ok(names) => names.unwrap_or_default(),
            Err(error) => return self.failed(directory, &error, "see `git fsck`"),
        };
        for (name, kind) in names {
            // Git names its state files so: ORIG_HEAD, FETCH_HEAD, MERGE_AUTOSTASH,
            // BISECT_EXPECTED_REV and others. Any other file with such a name is scanned like one.
            let name = name.to_string_lossy();
            let is_state = name
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'_' | b'-'));
            let remedy = "fix it or take it away";
            if is_state && kind == FileType::Directory && name != "HEAD" {
                self.below(&at(directory, &name), remedy, |file, named| {
                    scan(file, &mut named.hidden, stop)
                });
            } else if is_state {
                self.file(&at(directory, &name), remedy, |file, named| {
                    scan(file, &mut named.hidden, stop)
                });
            }
            if let Some(base) = name.strip_prefix("sharedindex.")
                && base.len() == 40
            {
                self.shared_index(&at(directory, &name));
            }
        }
    }

    fn index(&mut self, directory: &VolumePath, remedy: &str) {
        let Some(base) = self.one_index(&at(directory, "index"), remedy) else {
            return;
        };
        let shared = at(directory, &format!("sharedindex.{}", hex(&base)));
        match openat::stat(&shared) {
            Ok(_) => {}
            Err(error) => self.failed(&shared, &error, remedy),
        }
    }

    /// Adds a shared index's objects as hidden: git reads only what an index uses of it, if any.
    fn shared_index(&mut self, place: &VolumePath) {
        let others = std::mem::take(&mut self.named.seen);
        self.one_index(place, "delete it, if no index rests on it");
        let theirs = std::mem::replace(&mut self.named.seen, others).sorted();
        if let Err(error) = theirs
            .into_iter()
            .try_for_each(|id| self.named.hidden.push(id))
        {
            self.failed(place, &error, "delete it, if no index rests on it");
        }
    }

    fn one_index(&mut self, place: &VolumePath, remedy: &str) -> index::Shared {
        let read = |named: &mut Named| -> io::Result<index::Shared> {
            let Some(file) = found(openat::file(place))? else {
                return Ok(None);
            };
            let length = file.metadata()?.len();
            if length > LARGEST_INDEX {
                return Err(io::Error::other("it is larger than any well-formed one"));
            }
            self.stop.read(length)?;
            // Nothing was ever staged here.
            if length == 0 {
                Ok(None)
            } else {
                index::ids(file, length, named)
            }
        };
        read(&mut self.named).unwrap_or_else(|error| {
            self.failed(place, &error, remedy);
            None
        })
    }

    /// Reads a file, and returns whether it is there, even if it can't be read.
    fn file(
        &mut self,
        place: &VolumePath,
        remedy: &str,
        read: impl Fn(File, &mut Named) -> io::Result<()>,
    ) -> bool {
        let done = found(openat::file(place)).and_then(|file| match file {
            Some(file) if file.metadata()?.len() > LARGEST => {
                Err(io::Error::other("it is larger than any well-formed one"))
            }
            Some(file) => read(file, &mut self.named).map(|()| true),
            None => Ok(false),
        });
        done.unwrap_or_else(|error| {
            self.failed(place, &error, remedy);
            true
        })
    }

    /// Reads every file below a directory, and returns those that were there.
    fn below(
        &mut self,
        directory: &VolumePath,
        remedy: &str,
        read: impl Fn(File, &mut Named) -> io::Result<()>,
    ) -> Option<reach::FilesBelow> {
        let mut files = reach::files_below(directory, self.stop)
            .inspect_err(|error| self.failed(directory, error, "see that it can be read"))
            .ok()?;
        // A lock file is skipped: no ref may have such a name. What an unfinished write will name
        // is named elsewhere, too.
        files.all.retain(|file| {
            !file
                .relative()
                .as_os_str()
                .as_encoded_bytes()
                .ends_with(b".lock")
                && self.file(file, remedy, &read)
        });
        Some(files)
    }

    fn failed(&mut self, place: &VolumePath, error: &io::Error, remedy: &str) {
        if self.unread.len() < NAMED {
            self.unread
                .push(format!("failed to read `{place}`: {error}; {remedy}"));
        } else {
            self.more = self.more.saturating_add(1);
        }
    }
}

fn at(directory: &VolumePath, name: &str) -> VolumePath {
    directory
        .join(Path::new(name))
        .expect("a name that was listed stays inside")
}

/// Reads lines of `ID NAME`, and after a tag its peeled `^ID`. A line about a ref that is also
/// loose is outdated, and skipped.
fn packed(file: File, loose: &HashSet<Vec<u8>>, ids: &mut Ids, stop: &Stop) -> io::Result<()> {
    let mut counts = true;
    lines::each(file, NAMES, stop, |line| {
        let (named, name) = match line {
            [b'#', ..] | [] => return Ok(()),
            [b'^', peeled @ ..] => (peeled.get(..40), None),
            _ => (
                line.get(..40),
                Some(
                    line.get(40..)
                        .and_then(|rest| rest.strip_prefix(b" "))
                        .ok_or_else(|| nonsense(line))?,
                ),
            ),
        };
        let named = named.and_then(id).ok_or_else(|| nonsense(line))?;
        counts = name.map_or(counts, |name| !loose.contains(name));
        if counts { ids.push(named) } else { Ok(()) }
    })
}

/// Reads an id, or the name of another ref, which adds nothing.
fn reference(file: File, ids: &mut Ids, _stop: &Stop) -> io::Result<()> {
    let text = openat::content(file, REF)?;
    if text.starts_with(b"ref:") {
        return Ok(());
    }
    ids.push(text.get(..40).and_then(id).ok_or_else(|| nonsense(&text))?)
}

/// Reads lines of `OLD NEW`, then who moved it, when and why. Like git, it skips malformed lines.
fn log(file: File, ids: &mut Ids, stop: &Stop) -> io::Result<()> {
    lines::each(file, 82, stop, |line| {
        if let [old @ .., b' '] = line
            && let Some((old, new)) = old.split_at_checked(40)
            && let Some(new) = new.strip_prefix(b" ")
            && let (Some(old), Some(new)) = (id(old), id(new))
        {
            ids.push(old)?;
            ids.push(new)?;
        }
        Ok(())
    })
}

/// Adds every run of forty hexadecimal digits: git and tools write these files in many forms.
fn scan(file: File, ids: &mut Ids, stop: &Stop) -> io::Result<()> {
    let mut file = io::BufReader::with_capacity(64 << 10, file);
    let (mut run, mut many) = ([0; 40], 0);
    loop {
        let bytes = file.fill_buf()?;
        stop.read(bytes.len() as u64)?;
        // The end of the file ends the run of digits.
        let ends = bytes.is_empty();
        for &byte in if ends { &b"\n"[..] } else { bytes } {
            if byte.is_ascii_hexdigit() {
                if let Some(place) = run.get_mut(many) {
                    *place = byte;
                }
                many = many.saturating_add(1);
            } else {
                if many == 40
                    && let Some(id) = id(&run)
                {
                    ids.push(id)?;
                }
                many = 0;
            }
        }
        if ends {
            return Ok(());
        }
        let all = bytes.len();
        file.consume(all);
    }
}

fn nonsense(line: &[u8]) -> io::Error {
    let line = String::from_utf8_lossy(line.get(..41).unwrap_or(line)).into_owned();
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it holds {line:?}, which names nothing"),
    )
}

/// Parses an id of forty hexadecimal digits.
pub fn id(text: &[u8]) -> Option<Id> {
    let mut id = [0; 20];
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    if text.len() != 40 {
        return None;
    }
    for (place, [high, low]) in id.iter_mut().zip(text.as_chunks().0) {
        *place = digit(*high)? << 4 | digit(*low)?;
    }
    Some(id)
}

/// Formats an id.
pub fn hex(id: &Id) -> String {
    use std::fmt::Write;
    id.iter().fold(String::with_capacity(40), |mut text, byte| {
        let _never_fails = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
