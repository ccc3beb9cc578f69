//! The oracle: what was on the volume in the evening must be there in the morning, or be what the
//! README says that it became.
//!
//! | in the evening | in the morning |
//! | --- | --- |
//! | a checkout, an unregistered directory | the same, to the byte |
//! | a tree | the same; or a rescue that restores it; or gone, if it was clean by HEAD's own files and idle for long enough |
//! | what refs, reflogs, HEADs and indexes name | is still reached, except by old lines of reflogs and expired rescues |
//! | any other object | is there, or was made before the grace |
//! | a repo that is busy | the same |
//! | a cached crate | there, or nobody used it for a day and no lock file names it |
//!
//! What somebody writes into a tree while it is removed is there, or is back with the tree. A tree
//! that is never reaped is reported.
//!
//! The oracle keeps every object that ever existed in a vault of its own, and what it can't explain
//! is a problem. It asks the program only to list and restore rescues, as a user would.

use super::super::support::{Ran, remove};
use super::days::{
    CRATES, DAY, Ended, GRACE, LATE_FILE, REFLOGS, RESCUE_KEEP, SUBMODULE, Sim, UNSAVED,
};
use super::record::{self, Entry, Files, Root, Staged};
use super::rescues;
use chrono::{DateTime, NaiveDateTime, Utc};
use git2::{ObjectType, Oid};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// A leftover that outlives this many whole nights counts as permanent.
const NIGHTS: u32 = 3;
/// A held tree that is idle for more days than this must be reported.
const STUCK: i64 = 31;
/// A registration without its tree must be dropped within this many days.
const LATE: u32 = 10;

/// Mode and blob of files by path.
type Committed = BTreeMap<PathBuf, (u32, Oid)>;

/// A tree as it was in the evening.
#[derive(Clone)]
pub(super) struct Expected {
    pub(super) repo: usize,
    pub(super) path: PathBuf,
    pub(super) admin: PathBuf,
    inode: u64,
    files: Files,
    /// The content of its `.git`, its HEAD and its index.
    texts: [Vec<u8>; 3],
    head: Option<Oid>,
    index: Vec<Staged>,
    /// The newest write that counts as activity: to its registration, or to a file that no tool
    /// made.
    active: i64,
    tools: BTreeSet<PathBuf>,
    /// Why it has to stay.
    pub(super) held: Option<&'static str>,
    /// What somebody put into its registration.
    notes: Option<Vec<u8>>,
    /// Whether somebody asked for its removal, so that its age doesn't matter.
    asked: bool,
}

/// The volume as it was in the evening.
#[derive(Default)]
pub(super) struct Evening {
    trees: Vec<Expected>,
    /// Registrations of trees that somebody deleted by hand.
    deleted: Vec<Expected>,
    others: BTreeMap<PathBuf, Files>,
    roots: Vec<BTreeSet<Root>>,
    objects: Vec<BTreeSet<Oid>>,
    /// The objects that were in packs.
    packed: Vec<BTreeSet<Oid>>,
    /// Cached crates, and when each was last used.
    crates: BTreeMap<PathBuf, i64>,
}

/// What the oracle remembers from night to night.
#[derive(Default, Clone)]
pub(super) struct Oracle {
    first_seen: Vec<BTreeMap<Oid, u32>>,
    /// What each rescue must restore, by its commit.
    saved: BTreeMap<String, Expected>,
    /// Trees taken by a run that did not finish.
    limbo: Vec<Expected>,
    /// How many whole nights each leftover has survived.
    leftovers: BTreeMap<PathBuf, u32>,
    pub(super) rescues_seen: u32,
    pub(super) reaped: u32,
    pub(super) evicted: usize,
    pub(super) written_late: usize,
}

const IN_PROGRESS: [&str; 7] = [
    "rebase-merge",
    "rebase-apply",
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "BISECT_LOG",
    "sequencer",
];

impl Expected {
    /// Records what is at `path`, and in its registration.
    pub(super) fn of(
        sim: &Sim,
        repo: usize,
        admin: &Path,
        path: &Path,
        roots: &BTreeSet<Root>,
    ) -> Self {
        let inode = path.symlink_metadata().map_or(0, |data| data.ino());
        let read = |file: PathBuf| fs::read(file).unwrap_or_default();
        let texts = [
            read(path.join(".git")),
            read(admin.join("HEAD")),
            read(admin.join("index")),
        ];
        let files = record::files(path, &BTreeSet::new());
        let index = record::index(&admin.join("index")).entries;
        let known = sim.trees.iter().find(|tree| tree.path == path);
        let tools = known.map_or(BTreeSet::new(), |tree| tree.tools.clone());
        let checkout = &sim.repos[repo].path;
        let is_git = |path: &Path| path.file_name().is_some_and(|name| name == ".git");
        let odd = |(path, entry): (&PathBuf, &Entry)| {
            *entry == Entry::Other || is_git(path) && !tools.contains(path)
        };
        let work = |(path, entry): (&PathBuf, &Entry)| {
            path.starts_with(SUBMODULE) && is_work(checkout, path, entry) && !tools.contains(path)
        };
        let held = match () {
            () if admin.join("locked").exists() => Some("locked"),
            () if IN_PROGRESS.iter().any(|name| admin.join(name).exists()) => {
                Some("in the middle of something")
            }
            () if index.iter().any(|entry| entry.stage > 0) => Some("unmerged"),
            () if files.iter().any(odd) => Some("with a nested repo or a pipe in it"),
            () if files.iter().any(work) => Some("with work in its submodule"),
            () => None,
        };
        let written = |file: PathBuf| file.symlink_metadata().map_or(0, |data| data.mtime());
        let own = files
            .iter()
            .filter(|(path, entry)| !tools.contains(*path) && is_work(checkout, path, entry));
        let marks = ["HEAD", "index", "ORIG_HEAD"].map(|name| admin.join(name));
        let active = own
            .map(|(file, _)| path.join(file))
            .chain(marks)
            .map(written)
            .max()
            .unwrap_or_default();
        let notes = fs::read(admin.join("agent-notes.md")).ok();
        let commit = record::head(admin, roots);
        let (path, admin) = (path.to_owned(), admin.to_owned());
        Self {
            repo,
            path,
            admin,
            inode,
            files,
            texts,
            head: commit,
            index,
            active,
            tools,
            held,
            notes,
            asked: false,
        }
    }

    fn stands_at(&self, place: &Path) -> bool {
        place
            .symlink_metadata()
            .is_ok_and(|data| data.ino() == self.inode)
    }

    /// Returns why it is not clean: what would be lost without a rescue.
    fn unclean(&self, sim: &Sim) -> Option<String> {
        if self.head.is_none() {
            return Some("it has no commit".to_owned());
        }
        let (committed, checkout) = (self.committed(sim), &sim.repos[self.repo].path);
        for (path, entry) in self
            .files
            .iter()
            .filter(|(path, _)| !self.tools.contains(*path))
        {
            let found = match entry {
                _ if !is_work(checkout, path, entry) && !committed.contains_key(path) => continue,
                Entry::Directory(_) => continue,
                Entry::File(mode, bytes) => Some((
                    if mode & 0o100 == 0 {
                        0o100_644
                    } else {
                        0o100_755
                    },
                    blob(bytes),
                )),
                Entry::Link(to) => Some((0o120_000, blob(to.as_os_str().as_encoded_bytes()))),
                Entry::Other => None,
            };
            if found.as_ref() != committed.get(path) {
                return Some(format!("`{}` is not what HEAD has", path.display()));
            }
        }
        if let Some((path, _)) = committed
            .iter()
            .find(|(path, (mode, _))| *mode != 0o160_000 && !self.files.contains_key(*path))
        {
            return Some(format!("`{}` was deleted", path.display()));
        }
        self.holds_staged(&committed)
            .then(|| "something is staged".to_owned())
    }

    /// Whether its index names content that HEAD doesn't have.
    fn holds_staged(&self, committed: &Committed) -> bool {
        let staged = |entry: &Staged| (path_of(&entry.path), (entry.mode, entry.id));
        self.index.iter().map(staged).collect::<Committed>() != *committed
    }

    /// Returns the files of its HEAD.
    fn committed(&self, sim: &Sim) -> Committed {
        let Some(head) = self.head else {
            return Committed::new();
        };
        let vault = &sim.repos[self.repo].vault;
        let list = sim
            .git_with(
                vault,
                &["ls-tree", "-r", "-z", "--full-tree", &head.to_string()],
                &[],
            )
            .unwrap();
        let lines = list
            .split(|&byte| byte == 0)
            .filter(|line| !line.is_empty());
        let file = |line: &[u8]| {
            let (what, path) = line.split_at(line.iter().position(|&byte| byte == b'\t').unwrap());
            let what = String::from_utf8_lossy(what);
            let mut words = what.split(' ');
            let mode = u32::from_str_radix(words.next().unwrap(), 8).unwrap();
            (
                path_of(&path[1..]),
                (mode, Oid::from_str(words.nth(1).unwrap()).unwrap()),
            )
        };
        lines.map(file).collect()
    }
}

/// Whether a file is somebody's work, by the README: a link that leads out of the tree is none, and
/// neither is a copy of the checkout's file.
fn is_work(checkout: &Path, path: &Path, entry: &Entry) -> bool {
    match entry {
        Entry::File(_, bytes) => {
            let there = checkout.join(path);
            !there.symlink_metadata().is_ok_and(|data| data.is_file())
                || fs::read(there).is_ok_and(|there| there != **bytes)
        }
        Entry::Link(to) => to.is_relative() && leads_in(path, to),
        Entry::Directory(_) => false,
        Entry::Other => true,
    }
}

/// Whether a link at `path` stays inside the tree, judged by its text.
fn leads_in(path: &Path, to: &Path) -> bool {
    let into = |depth: usize, part| {
        if part == Component::ParentDir {
            depth.checked_sub(1)
        } else {
            Some(depth + 1)
        }
    };
    to.components()
        .try_fold(path.components().count() - 1, into)
        .is_some()
}

fn path_of(bytes: &[u8]) -> PathBuf {
    std::ffi::OsString::from_vec(bytes.to_owned()).into()
}

fn blob(bytes: &[u8]) -> Oid {
    Oid::hash_object(ObjectType::Blob, bytes).unwrap()
}

fn differences(before: &Files, now: &Files) -> Vec<String> {
    let late = |path: &&PathBuf| base(path).starts_with(LATE_FILE);
    let paths: BTreeSet<&PathBuf> = before
        .keys()
        .chain(now.keys())
        .filter(|path| !late(path))
        .collect();
    let differ = paths
        .into_iter()
        .filter(|path| before.get(*path) != now.get(*path));
    differ
        .map(|path| {
            format!(
                "`{}`: {:?}, now {:?}",
                path.display(),
                before.get(path),
                now.get(path)
            )
        })
        .collect()
}

impl Oracle {
    /// Records the volume in the evening.
    pub(super) fn look(&mut self, sim: &Sim) -> Evening {
        let mut evening = Evening::default();
        let registered = sim.registered();
        let trees: BTreeSet<PathBuf> = registered.keys().cloned().collect();
        for (number, repo) in sim.repos.iter().enumerate() {
            let git_dir = repo.git_dir();
            record::keep(&git_dir, &repo.vault);
            let roots = record::roots(&git_dir);
            let objects = record::objects(&git_dir);
            self.saw(number, &objects, sim.day);
            evening
                .others
                .insert(repo.path.clone(), record::files(&repo.path, &trees));
            for (path, (_, admin)) in registered.iter().filter(|(_, (of, _))| *of == number) {
                let tree = Expected::of(sim, number, admin, path, &roots);
                if leads_to(path, admin) {
                    evening.trees.push(tree);
                } else if !path.exists() {
                    evening.deleted.push(tree);
                }
            }
            evening.roots.push(roots);
            evening.packed.push(record::packed(&git_dir));
            evening.objects.push(objects);
        }
        for stray in &sim.strays {
            evening
                .others
                .insert(stray.clone(), record::files(stray, &BTreeSet::new()));
        }
        let used = |file: PathBuf| Some((file.clone(), file.symlink_metadata().ok()?.mtime()));
        evening.crates = children(&sim.world.at(CRATES))
            .into_iter()
            .filter_map(used)
            .collect();
        evening.trees.extend(std::mem::take(&mut self.limbo));
        evening
    }

    /// Records since when these objects of a repo exist.
    fn saw(&mut self, repo: usize, objects: &BTreeSet<Oid>, day: u32) {
        self.first_seen
            .resize_with(self.first_seen.len().max(repo + 1), BTreeMap::new);
        for &id in objects {
            self.first_seen[repo].entry(id).or_insert(day);
        }
    }

    /// Judges trees that somebody had the program remove, by the same rules as in a night.
    pub(super) fn removed(&mut self, sim: &mut Sim) -> Vec<String> {
        let (removed, mut problems) = (std::mem::take(&mut sim.removed), Vec::new());
        let listed = if removed.is_empty() {
            Vec::new()
        } else {
            rescues::list(sim)
        };
        for tree in removed {
            self.gone(
                sim,
                &Expected {
                    asked: true,
                    ..tree
                },
                &listed,
                Ended::Whole,
                &mut problems,
            );
        }
        problems
    }

    /// Compares morning and evening; returns every problem that it can't explain.
    pub(super) fn compare(
        &mut self,
        sim: &mut Sim,
        evening: &Evening,
        ran: &Ran,
        ended: Ended,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        match (ended, ran.code) {
            (Ended::Whole, 0) | (Ended::Early, _) => {}
            (_, 1) if !sim.written_late.is_empty() && Self::failed_late(ran) => {}
            (_, code) => problems.push(format!(
                "exit code {code}: {} {}",
                ran.err.trim_end(),
                ran.troubles()
            )),
        }
        Self::others(sim, evening, &mut problems);
        self.written_late(sim, &mut problems);
        self.trees(sim, evening, ended, &mut problems);
        self.reached(sim, evening, &mut problems);
        self.cached(sim, evening, &mut problems);
        Self::sound(sim, &mut problems);
        if ended == Ended::Whole {
            self.leftovers(sim, &mut problems);
            Self::late(sim, &mut problems);
            Self::told(sim, evening, ran, &mut problems);
        }
        problems
    }

    /// Checks files written into a tree, through a directory held open, while it was removed: they
    /// are in the tree or in the trash. Their writer takes them from there, and the trash can be
    /// emptied.
    fn written_late(&mut self, sim: &mut Sim, problems: &mut Vec<String>) {
        self.written_late += sim.written_late.len();
        for (name, text) in std::mem::take(&mut sim.written_late) {
            let files = walkdir::WalkDir::new(&sim.world.root)
                .into_iter()
                .flatten()
                .map(walkdir::DirEntry::into_path);
            let found: Vec<PathBuf> = files
                .filter(|path| {
                    base(path) == name && fs::read(path).is_ok_and(|found| found == text)
                })
                .collect();
            sim.say(format!("{name}, written late, is in {found:?}"));
            if found.is_empty() {
                problems.push(format!(
                    "{name} is lost, which was written while its tree was removed"
                ));
            }
            found
                .iter()
                .filter(|path| path.starts_with(sim.world.at(".treewarden/trash")))
                .for_each(|path| remove(path));
        }
    }

    /// Checks that trees that are never reaped are reported.
    fn told(sim: &Sim, evening: &Evening, ran: &Ran, problems: &mut Vec<String>) {
        if ran.code > 1 {
            return;
        }
        let report = ran.report();
        let alert = report
            .alerts
            .iter()
            .find(|alert| alert.name == "TreesStuck");
        let details = alert.map_or(&[][..], |alert| &alert.details);
        for tree in evening
            .trees
            .iter()
            .filter(|tree| tree.stands_at(&tree.path) && sim.busy != Some(tree.repo))
        {
            let (name, idle) = (sim.short(&tree.path), (sim.now() - tree.active) / DAY);
            if let Some(held) = tree.held.filter(|_| idle > STUCK)
                && !details
                    .iter()
                    .any(|told| told.starts_with(&format!("{name}, idle ")))
            {
                problems.push(format!(
                    "{name} stays, for it is {held}, and nobody hears of it after {idle} days"
                ));
            }
        }
    }

    /// Whether the only failures report late writes.
    fn failed_late(ran: &Ran) -> bool {
        let troubles = treewarden::report::troubles::troubles(&ran.report());
        let mut failures = troubles
            .iter()
            .filter(|trouble| trouble.kind == treewarden::report::troubles::Kind::Failure);
        failures.all(|trouble| {
            trouble.why.contains(LATE_FILE)
                || trouble
                    .why
                    .contains("somebody worked in it while it was being reaped")
        })
    }

    fn others(sim: &Sim, evening: &Evening, problems: &mut Vec<String>) {
        let trees: BTreeSet<PathBuf> = evening
            .trees
            .iter()
            .map(|tree| tree.path.clone())
            .chain(sim.registered().into_keys())
            .collect();
        for (place, before) in &evening.others {
            // If a nested tree was reaped, its empty parent directory may be gone too; nothing else
            // may differ.
            let skip = if sim.strays.contains(place) {
                BTreeSet::new()
            } else {
                trees.clone()
            };
            let differ = differences(before, &record::files(place, &skip));
            problems.extend(
                differ
                    .into_iter()
                    .map(|what| format!("{}: {what}", sim.short(place))),
            );
        }
    }

    fn trees(
        &mut self,
        sim: &mut Sim,
        evening: &Evening,
        ended: Ended,
        problems: &mut Vec<String>,
    ) {
        let gone: Vec<&Expected> = evening
            .trees
            .iter()
            .filter(|tree| !tree.stands_at(&tree.path))
            .collect();
        for tree in evening
            .trees
            .iter()
            .filter(|tree| tree.stands_at(&tree.path))
        {
            let differ = differences(&tree.files, &record::files(&tree.path, &BTreeSet::new()));
            problems.extend(
                differ
                    .into_iter()
                    .map(|what| format!("{}: {what}", sim.short(&tree.path))),
            );
            let read = |file: PathBuf| fs::read(file).unwrap_or_default();
            let texts = [
                read(tree.path.join(".git")),
                read(tree.admin.join("HEAD")),
                read(tree.admin.join("index")),
            ];
            for ((name, before), now) in [".git", "HEAD", "index"]
                .iter()
                .zip(&tree.texts)
                .zip(&texts)
            {
                if before != now {
                    problems.push(format!("{}: its {name} changed", sim.short(&tree.path)));
                }
            }
            if let Some(notes) = tree
                .notes
                .as_ref()
                .filter(|notes| **notes != read(tree.admin.join("agent-notes.md")))
            {
                problems.push(format!(
                    "{}: its notes changed: {notes:?}",
                    sim.short(&tree.path)
                ));
            }
        }
        let listed = if gone.is_empty() && sim.rng.u32(..4) > 0 {
            Vec::new()
        } else {
            rescues::list(sim)
        };
        for tree in gone {
            self.gone(sim, tree, &listed, ended, problems);
        }
        // And a rescue made some nights ago.
        let standing: Vec<&rescues::Listed> = listed
            .iter()
            .filter(|listed| self.saved.contains_key(&listed.commit))
            .collect();
        if !standing.is_empty() {
            let one = standing[sim.rng.usize(..standing.len())].clone();
            let expected = self.saved[&one.commit].clone();
            problems.extend(rescues::bring_back(sim, &one, &expected));
        }
    }

    /// Judges a tree that is gone: it is in a rescue, had nothing to rescue, or was taken by a
    /// killed run and must come back with the next one.
    fn gone(
        &mut self,
        sim: &mut Sim,
        tree: &Expected,
        listed: &[rescues::Listed],
        ended: Ended,
        problems: &mut Vec<String>,
    ) {
        let name = sim.short(&tree.path);
        let state = sim.world.at(".treewarden");
        let waits = |directory: &Path| {
            children(directory)
                .into_iter()
                .flat_map(|bin| [bin.join("0"), bin])
                .find(|place| tree.stands_at(place))
        };
        let taken = waits(&state.join("trash"))
            .filter(|_| ended == Ended::Early)
            .or_else(|| waits(&state));
        let registered = record::registered(&sim.repos[tree.repo].git_dir()).get(&tree.admin)
            == Some(&tree.path);
        if let Some(place) = taken.filter(|_| registered || ended == Ended::Whole) {
            let differ = differences(&tree.files, &record::files(&place, &BTreeSet::new()));
            problems.extend(
                differ
                    .into_iter()
                    .map(|what| format!("{name}, taken to {}: {what}", sim.short(&place))),
            );
            self.limbo.push(tree.clone());
            return;
        }
        if registered && !tree.path.exists() {
            problems.push(format!("{name}: it is gone, and its registration stands"));
        }
        if let Some(held) = tree
            .held
            .or((sim.busy == Some(tree.repo) && !tree.asked).then_some("in a busy repo"))
        {
            problems.push(format!("{name}: it went, although it was {held}"));
        }
        self.reaped += 1;
        sim.taken.push((tree.repo, tree.path.clone()));
        let new = |listed: &&rescues::Listed| {
            listed.path.as_ref() == Some(&tree.path) && listed.taken > sim.now() - DAY / 2
        };
        let idle = (sim.now() - tree.active) / DAY;
        if let Some(rescue) = listed.iter().find(new) {
            sim.say(format!("{name} was rescued as {}", rescue.id));
            self.rescues_seen += 1;
            if idle < i64::from(UNSAVED) && !tree.asked {
                problems.push(format!(
                    "{name}: it went after {idle} days, with unsaved work"
                ));
            }
            problems.extend(rescues::bring_back(sim, rescue, tree));
            self.saved.insert(rescue.commit.clone(), tree.clone());
        } else {
            sim.say(format!("{name} is gone"));
            let unclean = tree.unclean(sim).or(tree
                .notes
                .as_ref()
                .map(|_| "notes stand in its registration".to_owned()));
            if let Some(why) = unclean {
                problems.push(format!("{name}: it went without a rescue, and {why}"));
            }
            if idle < 1 && !tree.asked {
                problems.push(format!("{name}: it went on the day it was worked in"));
            }
        }
    }

    /// Checks that what was named is still reached, and that what was made exists.
    fn reached(&mut self, sim: &Sim, evening: &Evening, problems: &mut Vec<String>) {
        for (number, repo) in sim.repos.iter().enumerate() {
            let git_dir = repo.git_dir();
            record::keep(&git_dir, &repo.vault);
            let (roots, objects) = (record::roots(&git_dir), record::objects(&git_dir));
            // A rescue's objects are created during the night.
            self.saw(number, &objects, sim.day);
            let ids: BTreeSet<Oid> = roots.iter().map(|root| root.id).collect();
            let stood = &evening.objects[number];
            let may_go = |root: &Root| Self::may_go(sim, root, &roots, evening, number);
            for root in evening.roots[number]
                .difference(&roots)
                .filter(|root| !of_gone(root, &evening.trees, number) && !may_go(root))
            {
                problems.push(format!(
                    "{}: `{}` does not name {} any more",
                    repo.name, root.from, root.id
                ));
            }
            let missed: Vec<&Root> = evening.roots[number]
                .iter()
                .filter(|root| !ids.contains(&root.id) && stood.contains(&root.id) && !may_go(root))
                .collect();
            let lost: Vec<Oid> = stood.difference(&objects).copied().collect();
            if sim.busy == Some(number) && (roots != evening.roots[number] || objects != *stood) {
                problems.push(format!(
                    "{}: it was busy, and something changed in it",
                    repo.name
                ));
            }
            let reached = if missed.is_empty() && lost.is_empty() {
                BTreeSet::new()
            } else {
                closure(sim, &repo.vault, &ids)
            };
            for root in missed.iter().filter(|root| !reached.contains(&root.id)) {
                problems.push(format!(
                    "{}: nothing reaches {} any more, which `{}` named",
                    repo.name, root.id, root.from
                ));
            }
            // Staged content of a registration is rescued before it is dropped, and before the
            // repack. If such an object is packed, its pack's time is renewed by the machine's
            // clock, which is long ago in the simulation.
            let touched = evening
                .deleted
                .iter()
                .any(|tree| tree.repo == number && !tree.admin.exists());
            for id in lost {
                if reached.contains(&id) {
                    let whose: Vec<&str> = roots
                        .iter()
                        .filter(|root| root.id == id)
                        .map(|root| root.from.as_str())
                        .collect();
                    problems.push(format!(
                        "{}: {id} is gone, and still reached {whose:?}",
                        repo.name
                    ));
                } else if self.first_seen[number][&id] + GRACE > sim.day
                    && !(touched && evening.packed[number].contains(&id))
                {
                    problems.push(format!(
                        "{}: {id} is gone, made on day {}, within the grace",
                        repo.name, self.first_seen[number][&id]
                    ));
                }
            }
        }
    }

    /// Whether a root may be gone.
    fn may_go(
        sim: &Sim,
        root: &Root,
        now: &BTreeSet<Root>,
        evening: &Evening,
        repo: usize,
    ) -> bool {
        if root.from.starts_with("refs/treewarden/rescue/") {
            let taken = root
                .from
                .rsplit('/')
                .next()
                .and_then(|time| time.get(..16))
                .unwrap_or_default();
            let taken = NaiveDateTime::parse_from_str(taken, "%Y%m%dT%H%M%SZ")
                .map_or(DateTime::<Utc>::MAX_UTC, |time| time.and_utc());
            let directory = &root.from[..=root.from.rfind('/').unwrap()];
            let superseded = now
                .iter()
                .any(|other| other.from.starts_with(directory) && other.from > root.from);
            // A killed run left it, and the tree is still there, unchanged. The next run's rescue
            // replaces it, or it is dropped if somebody works there again.
            let is_its = |tree: &Expected| {
                tree.repo == repo
                    && *directory == format!("refs/treewarden/rescue/{}/", base(&tree.admin))
            };
            let stands = |tree: &Expected| {
                is_its(tree) && tree.active < taken.timestamp() && tree.stands_at(&tree.path)
            };
            return taken.timestamp() + i64::from(RESCUE_KEEP) * DAY <= sim.now()
                || superseded
                || evening.trees.iter().any(stands);
        }
        if root.from.starts_with("refs/treewarden/") {
            return true;
        }
        let stash = root.from == "logs/refs/stash";
        if root
            .when
            .is_some_and(|when| !stash && when < sim.now() - REFLOGS * DAY)
        {
            return true;
        }
        // Git regenerates cached trees. The rest of an index is no work if nothing is staged, and
        // goes with a clean tree or a deleted one.
        let of = |tree: &&Expected| {
            tree.repo == repo
                && root
                    .from
                    .starts_with(&format!("worktrees/{}/index, ", base(&tree.admin)))
        };
        let gone = |tree: &&Expected| !tree.path.exists();
        let cached = root.from.ends_with("cached trees");
        evening
            .trees
            .iter()
            .filter(gone)
            .find(of)
            .is_some_and(|tree| cached || tree.unclean(sim).is_none())
            || evening
                .deleted
                .iter()
                .find(of)
                .is_some_and(|tree| cached || !tree.holds_staged(&tree.committed(sim)))
    }

    /// Checks that only crates were evicted that nobody used for a day and no lock file names in a
    /// tree, a checkout or the default branch.
    fn cached(&mut self, sim: &Sim, evening: &Evening, problems: &mut Vec<String>) {
        let gone: Vec<_> = evening
            .crates
            .iter()
            .filter(|(file, _)| !file.exists())
            .collect();
        self.evicted += gone.len();
        if gone.is_empty() {
            return;
        }
        let checkouts = sim.repos.iter().map(|repo| repo.path.clone());
        let places = checkouts.chain(sim.registered().into_keys());
        let locks = places.filter_map(|place| fs::read_to_string(place.join("Cargo.lock")).ok());
        let default = sim.repos.iter().filter_map(|repo| {
            sim.git(&repo.path, &["show", "origin/main:Cargo.lock"])
                .ok()
        });
        // A lock file with a conflict doesn't count.
        let named: Vec<String> = locks
            .chain(default)
            .filter(|lock| !lock.contains("<<<<<<<"))
            .collect();
        for (file, used) in gone {
            let name = base(file).replace("-1.0.0.crate", "");
            if sim.now() - used < DAY {
                problems.push(format!(
                    "{name} was evicted on the day on which it was fetched"
                ));
            }
            if named
                .iter()
                .any(|lock| lock.contains(&format!("\"{name}\"")))
            {
                problems.push(format!("{name} was evicted, and a lock file names it"));
            }
        }
    }

    /// Checks that git finds no damage, and that each tree and its registration name each other.
    fn sound(sim: &Sim, problems: &mut Vec<String>) {
        for repo in &sim.repos {
            if let Err(why) = sim.git(
                &repo.path,
                &["fsck", "--full", "--no-dangling", "--no-progress"],
            ) {
                problems.push(format!("{}: git fsck says: {why}", repo.name));
            }
        }
        for place in below_roots(sim) {
            if !sim.strays.contains(&place) && base(&place) != SUBMODULE && !leads_back(&place) {
                problems.push(format!(
                    "{}: its `.git` leads to a registration that is not its own",
                    sim.short(&place)
                ));
            }
        }
    }

    /// Checks that a run's leftovers are gone some nights later.
    fn leftovers(&mut self, sim: &Sim, problems: &mut Vec<String>) {
        let state = sim.world.at(".treewarden");
        let mut left = children(&state.join("trash"));
        left.extend(children(&state).into_iter().filter(|place| {
            ["kept-", "making-"]
                .iter()
                .any(|start| base(place).starts_with(start))
        }));
        left.extend(children(&sim.world.beside("scratch")));
        for repo in &sim.repos {
            let walk = walkdir::WalkDir::new(repo.git_dir()).into_iter().flatten();
            let ours = |path: &Path| {
                path.to_string_lossy().contains("refs/treewarden/")
                    && !path.to_string_lossy().contains("/rescue/")
            };
            let odd = walk
                .filter(|entry| entry.file_type().is_file())
                .map(walkdir::DirEntry::into_path);
            left.extend(odd.filter(|path| {
                path.extension().is_some_and(|end| end == "lock")
                    || ours(path)
                    || base(path).starts_with("tmp_")
            }));
        }
        self.leftovers = left
            .into_iter()
            .map(|place| {
                (
                    place.clone(),
                    self.leftovers.get(&place).copied().unwrap_or_default() + 1,
                )
            })
            .collect();
        for (place, nights) in self
            .leftovers
            .iter()
            .filter(|(_, nights)| **nights > NIGHTS)
        {
            problems.push(format!(
                "{} has been left for {nights} nights",
                place.display()
            ));
        }
    }

    /// Checks that nothing waits for ever.
    fn late(sim: &Sim, problems: &mut Vec<String>) {
        for tree in &sim.trees {
            let held = IN_PROGRESS
                .iter()
                .chain(&["locked"])
                .any(|name| tree.admin.join(name).exists());
            // A split index can't be rescued, so such a tree is kept, and reported, while it has
            // staged content.
            let held = held
                || children(&tree.admin)
                    .iter()
                    .any(|file| base(file).starts_with("sharedindex."));
            if tree.deleted.is_some_and(|day| day + LATE < sim.day)
                && tree.is_registered()
                && !held
                && !tree.path.exists()
            {
                problems.push(format!(
                    "{} was deleted on day {:?}, and is still registered",
                    sim.short(&tree.path),
                    tree.deleted
                ));
            }
        }
    }
}

fn base(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn children(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

fn leads_to(tree: &Path, admin: &Path) -> bool {
    fs::read_to_string(tree.join(".git"))
        .is_ok_and(|text| text.trim_end() == format!("gitdir: {}", admin.display()))
}

fn leads_back(tree: &Path) -> bool {
    let text = fs::read_to_string(tree.join(".git")).unwrap_or_default();
    let admin = PathBuf::from(text.trim_end().strip_prefix("gitdir: ").unwrap_or_default());
    fs::read_to_string(admin.join("gitdir"))
        .is_ok_and(|back| Path::new(back.trim_end()) == tree.join(".git"))
}

/// Returns every directory with a `.git` file in the places for worktrees.
fn below_roots(sim: &Sim) -> Vec<PathBuf> {
    let nested = sim
        .repos
        .iter()
        .map(|repo| repo.path.join(".claude/worktrees"));
    let tops: Vec<PathBuf> = std::iter::once(sim.world.at("worktrees"))
        .chain(nested)
        .collect();
    let two = tops
        .iter()
        .flat_map(|top| children(top))
        .flat_map(|one| children(&one).into_iter().chain([one]));
    two.filter(|place| place.join(".git").is_file()).collect()
}

/// Whether the registration of a tree that is now gone named it.
fn of_gone(root: &Root, trees: &[Expected], repo: usize) -> bool {
    let gone = trees
        .iter()
        .filter(|tree| tree.repo == repo && !tree.stands_at(&tree.path));
    let deleted = |admin: &str| {
        trees
            .iter()
            .all(|tree| tree.repo != repo || base(&tree.admin) != admin)
    };
    let admin = root
        .from
        .strip_prefix("worktrees/")
        .and_then(|rest| rest.split('/').next());
    admin.is_some_and(|admin| {
        deleted(admin) || gone.into_iter().any(|tree| base(&tree.admin) == admin)
    })
}

/// Returns all objects in the vault that these reach.
fn closure(sim: &Sim, vault: &Path, ids: &BTreeSet<Oid>) -> BTreeSet<Oid> {
    let known = record::objects(vault);
    let input: Vec<String> = ids
        .iter()
        .filter(|id| known.contains(id))
        .map(Oid::to_string)
        .collect();
    let list = sim.git_with(
        vault,
        &["rev-list", "--objects", "--no-object-names", "--stdin"],
        input.join("\n").as_bytes(),
    );
    String::from_utf8_lossy(&list.unwrap_or_default())
        .lines()
        .filter_map(|line| Oid::from_str(line).ok())
        .collect()
}

/// Returns how a restored tree differs from the original; tools' files may be missing.
pub(super) fn differs(
    tree: &Expected,
    back: &Path,
    admin: &Path,
    roots: &BTreeSet<Root>,
) -> Vec<String> {
    let found = record::files(back, &BTreeSet::new());
    let mut odd = Vec::new();
    let paths: BTreeSet<&PathBuf> = tree.files.keys().chain(found.keys()).collect();
    for path in paths {
        let tools =
            tree.tools.contains(path) || tree.tools.iter().any(|tool| tool.starts_with(path));
        match (tree.files.get(path), found.get(path)) {
            (Some(_), None) if tools => {}
            (before, now) if before == now => {}
            (before, now) => odd.push(format!(
                "`{}`: {before:?}, brought back {now:?}",
                path.display()
            )),
        }
    }
    if record::head(admin, roots) != tree.head {
        odd.push(format!("HEAD was {:?}", tree.head));
    }
    if record::index(&admin.join("index")).entries != tree.index {
        odd.push("the index is another".to_owned());
    }
    odd
}
