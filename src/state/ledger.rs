//! The ledger: when each package was last named by a lock file, and in which repo.
//!
//! It is one file in the volume's state directory, replaced as a whole. A repo that a run could not
//! survey keeps what it named before. Losing the ledger only means a worse choice of what to evict
//! for some weeks, so an unreadable one is replaced by an empty one, with a message. Its size is
//! bounded, and a dry run doesn't write it.

use crate::facts::locks::{Files, Locks, Names, Naming, Seen};
use crate::facts::package::Package;
use crate::fs::atomic::{self, Draft};
use crate::fs::openat::found;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

/// The schema's name and version.
const SCHEMA: &str = "treewarden.ledger/1";

/// Its file name in the state directory.
pub const NAME: &str = "ledger.json";

/// How long a package is remembered after it was last named.
const REMEMBERED: TimeDelta = TimeDelta::days(90);

/// Bytes. Ten times a large fleet's ledger.
const LARGEST: u64 = 256 << 20;

/// Packages that are remembered although no lock file names them any more, the latest first; and
/// packages that the lock files of one repo may name together.
const MOST_PAST: usize = 500_000;
const MOST_OF_A_REPO: usize = 500_000;

/// What is remembered about lock files, and about the mount.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ledger {
    schema: String,
    /// Whether the volume keeps access times, as a run's probe found.
    pub access_times: Option<bool>,
    /// The last survey of each repo, by its name.
    repos: BTreeMap<String, Seen>,
    /// The packages that each content names, by their index in `packages`.
    contents: BTreeMap<String, Vec<u32>>,
    packages: Vec<Entry>,
    #[serde(skip)]
    places: HashMap<Package, u32>,
}

/// Why a file is not a valid ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It isn't JSON, or has another form.
    #[error("{0}")]
    Form(#[from] serde_json::Error),
    /// It is of another version, or its parts don't fit one another.
    #[error("it is of another version, or damaged")]
    Unsound,
}

/// A package, when it was last named (in seconds since 1970), and by which repo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry(Package, i64, String);

impl Ledger {
    /// Reads the ledger in the state directory `state`. If it is unreadable, returns an empty one,
    /// and why.
    pub fn read(state: &VolumePath) -> (Self, Option<String>) {
        let read = file(state).and_then(|file| found(atomic::read(&file, LARGEST)));
        let (ledger, why) = match read {
            Ok(None) => (Self::default(), None),
            Ok(Some(bytes)) => match Self::parse(&bytes) {
                Ok(ledger) => (ledger, None),
                Err(why) => (Self::default(), Some(why.to_string())),
            },
            Err(error) => (Self::default(), Some(error.to_string())),
        };
        let why = why.map(|why| {
            format!(
                "failed to read the ledger of lock files `{state}/{NAME}`: {why}; \
                 it starts anew, so for a while less is known of last use"
            )
        });
        (ledger, why)
    }

    /// Parses a ledger.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        let ledger: Self = serde_json::from_slice(bytes)?;
        if ledger.schema != SCHEMA || !ledger.is_sound() {
            return Err(LedgerError::Unsound);
        }
        let places = ledger
            .packages
            .iter()
            .zip(0..)
            .map(|(entry, place)| (entry.0.clone(), place))
            .collect();
        Ok(Self { places, ..ledger })
    }

    /// Replaces the ledger on the disk, in one step.
    ///
    /// # Errors
    /// It can't be written; the old one stays.
    pub fn write(&self, state: &VolumePath) -> io::Result<()> {
        let to = file(state)?;
        // The draft is in the trash, under a name that nobody could plant a link at: the next run
        // deletes what a kill leaves behind.
        let trash = state.join("trash")?;
        atomic::make_directory(&trash)?;
        let mut new = Draft::readable(&trash)?;
        atomic::json(new.file(), self)?;
        if new.file().metadata()?.len() > LARGEST {
            return Err(io::Error::other(
                "the next run could not read so large a one",
            ));
        }
        new.put_durably(&to)
    }

    /// Returns the last survey of a repo's lock files.
    pub fn seen(&self, repo: &str) -> Option<&Seen> {
        self.repos.get(repo)
    }

    /// Returns whether a content was parsed already.
    pub fn knows(&self, content: &str) -> bool {
        self.contents.contains_key(content)
    }

    /// Adds a run's survey of a repo: all packages that its lock files name count as named now.
    /// What could not be read stays as in the last survey. Returns a message if there was too much.
    pub fn note(&mut self, repo: &str, locks: Locks, now: DateTime<Utc>) -> Option<String> {
        for (content, packages) in locks.contents {
            let places = packages
                .into_iter()
                .map(|package| self.place(package))
                .collect();
            self.contents.insert(content, places);
        }
        let mut old = self.repos.remove(repo).unwrap_or_default();
        let mut trees = merged(locks.trees, &mut old.trees);
        let too_much = self.cap(&mut trees).then(|| {
            format!("{repo}: its lock files name more than {MOST_OF_A_REPO} packages; not all of them count as in use")
        });
        self.repos.insert(
            repo.to_owned(),
            Seen {
                at: now,
                tip: locks.tip,
                trees,
                worked: locks.worked.max(old.worked),
            },
        );
        self.again(repo, now);
        too_much
    }

    /// Forgets contents that are not known, and those that exceed what a repo may name. Returns
    /// whether there were any of the latter.
    fn cap(&self, trees: &mut BTreeMap<String, Files>) -> bool {
        let (mut named, mut too_much) = (BTreeSet::new(), false);
        for files in trees.values_mut() {
            files.retain(|_, content| {
                let Some(packages) = self.contents.get(content) else {
                    return false;
                };
                let fits = named.len().saturating_add(packages.len()) <= MOST_OF_A_REPO;
                if fits {
                    named.extend(packages.iter().copied());
                }
                too_much |= !fits;
                fits
            });
        }
        too_much
    }

    /// Counts what a repo's lock files last named as named now, for an unchanged repo.
    pub fn again(&mut self, repo: &str, now: DateTime<Utc>) {
        let contents = self
            .repos
            .get(repo)
            .into_iter()
            .flat_map(|seen| seen.trees.values())
            .flat_map(BTreeMap::values);
        let named: BTreeSet<u32> = contents
            .filter_map(|content| self.contents.get(content))
            .flatten()
            .copied()
            .collect();
        for place in named {
            let Some(entry) = self.packages.get_mut(place as usize) else {
                continue;
            };
            if entry.1 < now.timestamp() {
                (entry.1, entry.2) = (now.timestamp(), repo.to_owned());
            }
        }
    }

    /// Forgets repos that are no longer enrolled, contents that no tree has, and packages that
    /// nobody has named for a long time.
    #[must_use]
    pub fn tidied(mut self, enrolled: &BTreeSet<&str>, now: DateTime<Utc>) -> Self {
        self.repos
            .retain(|repo, _| enrolled.contains(repo.as_str()));
        let held: BTreeSet<&String> = self
            .repos
            .values()
            .flat_map(|seen| seen.trees.values())
            .flat_map(BTreeMap::values)
            .collect();
        self.contents.retain(|content, _| held.contains(content));
        let in_use = self.in_use();
        let since = now
            .checked_sub_signed(REMEMBERED)
            .unwrap_or(DateTime::<Utc>::MIN_UTC)
            .timestamp();
        let is_past = |(place, entry): &(u32, &Entry)| entry.1 >= since && !in_use.contains(place);
        let mut past: Vec<(u32, &Entry)> = (0..).zip(&self.packages).filter(is_past).collect();
        past.sort_unstable_by_key(|(_, entry)| std::cmp::Reverse(entry.1));
        past.truncate(MOST_PAST);
        let past: Vec<u32> = past.into_iter().map(|(place, _)| place).collect();
        let stays: BTreeSet<u32> = in_use.into_iter().chain(past).collect();
        let moved: HashMap<u32, u32> = stays.iter().copied().zip(0..).collect();
        for packages in self.contents.values_mut() {
            *packages = packages
                .iter()
                .filter_map(|place| moved.get(place).copied())
                .collect();
        }
        self.packages = stays
            .iter()
            .filter_map(|place| self.packages.get(*place as usize).cloned())
            .collect();
        self.places = self
            .packages
            .iter()
            .zip(0..)
            .map(|(entry, place)| (entry.0.clone(), place))
            .collect();
        SCHEMA.clone_into(&mut self.schema);
        self
    }

    /// Returns when each package was last named, and whether it is in use: named by a lock file in
    /// its last survey. Only for a tidied ledger: otherwise repos that are no longer enrolled still
    /// count.
    pub fn names(&self) -> Names {
        let worked = self.worked();
        let entries = (0..).zip(&self.packages);
        let naming = |place: u32, Entry(_, at, by): &Entry| {
            let at = DateTime::from_timestamp(*at, 0).unwrap_or_default();
            Naming {
                at,
                by: by.clone(),
                in_use: worked.contains_key(&place),
                worked: worked.get(&place).copied().flatten(),
            }
        };
        entries
            .map(|(place, entry)| (entry.0.clone(), naming(place, entry)))
            .collect()
    }

    /// Returns the packages in use, each with the last work in a repo that names it.
    fn worked(&self) -> HashMap<u32, Option<DateTime<Utc>>> {
        let mut worked = HashMap::new();
        for seen in self.repos.values() {
            for place in seen
                .trees
                .values()
                .flat_map(BTreeMap::values)
                .filter_map(|content| self.contents.get(content))
                .flatten()
            {
                let newest = worked.entry(*place).or_default();
                *newest = seen.worked.max(*newest);
            }
        }
        worked
    }

    fn in_use(&self) -> BTreeSet<u32> {
        self.contents.values().flatten().copied().collect()
    }

    fn place(&mut self, package: Package) -> u32 {
        let next = u32::try_from(self.packages.len())
            .expect("a run's lock files name fewer packages than that");
        *self.places.entry(package.clone()).or_insert_with(|| {
            self.packages.push(Entry(package, i64::MIN, String::new()));
            next
        })
    }

    /// Checks that every index is valid: anybody may have changed the file.
    fn is_sound(&self) -> bool {
        self.contents
            .values()
            .flatten()
            .all(|place| (*place as usize) < self.packages.len())
    }
}

fn file(state: &VolumePath) -> io::Result<VolumePath> {
    state.join(NAME).map_err(io::Error::from)
}

/// Returns each tree's lock files as seen now; what could not be read stays as it was `before`.
fn merged(
    seen: BTreeMap<String, Option<BTreeMap<String, Option<String>>>>,
    before: &mut BTreeMap<String, Files>,
) -> BTreeMap<String, Files> {
    let mut files_of = |tree: &str, files: Option<BTreeMap<String, Option<String>>>| {
        let mut before = before.remove(tree).unwrap_or_default();
        let Some(files) = files else {
            return before;
        };
        let known = |(path, content): (String, Option<String>)| {
            let content = content.or_else(|| before.remove(&path))?;
            Some((path, content))
        };
        files.into_iter().filter_map(known).collect()
    };
    seen.into_iter()
        .map(|(tree, files)| {
            let files = files_of(&tree, files);
            (tree, files)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::Arc;

    fn night(number: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + number * 86_400, 0).unwrap()
    }

    /// A repo with one tree that has one lock file, which names these crates.
    fn locks(path: &str, crates: &[&str]) -> Locks {
        let content = format!("cargo {crates:?}");
        Locks {
            trees: BTreeMap::from([(
                "tree".to_owned(),
                Some(BTreeMap::from([(path.to_owned(), Some(content.clone()))])),
            )]),
            contents: BTreeMap::from([(
                content,
                crates
                    .iter()
                    .map(|name| Package::new("cargo", name))
                    .collect(),
            )]),
            ..Locks::default()
        }
    }

    /// Returns lines of `name: run, repo`, with a star for what is in use.
    fn told(ledger: &Ledger) -> Vec<String> {
        let names = ledger.names();
        let told = |(package, naming): (&Package, &Naming)| {
            let star = if naming.in_use { "*" } else { "" };
            format!(
                "{}{star}: {}, {}",
                package.as_str(),
                (naming.at - night(0)).num_days(),
                naming.by
            )
        };
        let mut told: Vec<String> = names.iter().map(told).collect();
        told.sort();
        told
    }

    fn after(ledger: Ledger, number: i64) -> Ledger {
        ledger.tidied(&BTreeSet::from(["a", "b", "c"]), night(number))
    }

    #[test]
    fn a_package_keeps_the_last_night_it_was_named() {
        let mut ledger = Ledger::default();
        ledger.note("a", locks("Cargo.lock", &["old-1", "kept-1"]), night(0));
        ledger.note("b", locks("Cargo.lock", &["kept-1", "b-1"]), night(0));
        assert_eq!(
            told(&ledger),
            [
                "cargo b-1*: 0, b",
                "cargo kept-1*: 0, a",
                "cargo old-1*: 0, a"
            ]
        );
        // On the next run b is busy.
        ledger.note("a", locks("Cargo.lock", &["new-1"]), night(1));
        let ledger = after(ledger, 1);
        assert_eq!(
            told(&ledger),
            [
                "cargo b-1*: 0, b",
                "cargo kept-1*: 0, a",
                "cargo new-1*: 1, a",
                "cargo old-1: 0, a"
            ]
        );
        // Later a leaves the config, and what it named is forgotten in time.
        let gone = ledger.clone().tidied(&BTreeSet::from(["b"]), night(91));
        assert_eq!(
            told(&gone),
            [
                "cargo b-1*: 0, b",
                "cargo kept-1*: 0, a",
                "cargo new-1: 1, a"
            ]
        );
        assert_eq!(
            told(&ledger.tidied(&BTreeSet::new(), night(92))),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_could_not_be_read_stays_as_it_was() {
        let mut ledger = Ledger::default();
        ledger.note("a", locks("Cargo.lock", &["x-1"]), night(0));
        let unknown_file = BTreeMap::from([(
            "tree".to_owned(),
            Some(BTreeMap::from([("Cargo.lock".to_owned(), None)])),
        )]);
        let unknown_tree = BTreeMap::from([("tree".to_owned(), None)]);
        for (number, trees) in [(1, unknown_file), (2, unknown_tree)] {
            ledger.note(
                "a",
                Locks {
                    trees,
                    ..Locks::default()
                },
                night(number),
            );
            ledger = after(ledger, number);
            assert_eq!(told(&ledger), [format!("cargo x-1*: {number}, a")]);
        }
        ledger.note("a", Locks::default(), night(3));
        assert_eq!(told(&after(ledger, 3)), ["cargo x-1: 2, a"]);
    }

    #[test]
    fn what_is_in_use_knows_the_last_work_in_a_repo_that_names_it() {
        let mut ledger = Ledger::default();
        let mut note = |repo: &str, crates: &[&str], worked: Option<i64>, at: i64| {
            ledger.note(
                repo,
                Locks {
                    worked: worked.map(night),
                    ..locks("Cargo.lock", crates)
                },
                night(at),
            );
        };
        note("a", &["both-1", "a-1"], Some(1), 9);
        note("b", &["both-1", "b-1"], Some(4), 9);
        note("c", &["c-1"], None, 9);
        // On the next run the tree that b was worked in is gone.
        note("b", &["both-1", "b-1"], Some(2), 10);
        let names = after(ledger, 10).names();
        let worked = |name: &str| names[&Package::new("cargo", name)].worked;
        assert_eq!(
            ["a-1", "both-1", "b-1", "c-1"].map(worked),
            [Some(night(1)), Some(night(4)), Some(night(4)), None]
        );
    }

    #[test]
    fn on_the_disk_and_back() {
        let top = tempfile::tempdir().unwrap();
        let root: Arc<Path> = top.path().canonicalize().unwrap().into();
        let state = VolumePath::new(&root, Path::new("state")).unwrap();
        assert_eq!(Ledger::read(&state), (Ledger::default(), None));
        std::fs::create_dir(state.path()).unwrap();
        let mut ledger = Ledger {
            access_times: Some(true),
            ..Ledger::default()
        };
        ledger.note("a", locks("Cargo.lock", &["x-1", "y-2"]), night(0));
        let ledger = after(ledger, 0);
        ledger.write(&state).unwrap();
        assert_eq!(Ledger::read(&state), (ledger.clone(), None));
        ledger.write(&state).unwrap();
        assert_eq!(
            std::fs::read_dir(state.path().join("trash"))
                .unwrap()
                .count(),
            0
        );
        let text = std::fs::read_to_string(state.path().join("ledger.json")).unwrap();
        for bad in [
            "",
            "{}",
            &text[..text.len() / 2],
            &text.replace("ledger/1", "ledger/9"),
            &text.replace("[0,1]", "[0,7]"),
            "[[[[[[",
        ] {
            std::fs::write(state.path().join("ledger.json"), bad).unwrap();
            let (found, why) = Ledger::read(&state);
            assert!(
                found == Ledger::default() && why.unwrap().contains("starts anew"),
                "{bad}"
            );
        }
    }
}
