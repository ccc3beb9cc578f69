//! The world of the sweeps: a small volume on which one run does everything that a run can do,
//! restored for each point.
//!
//! It knows the result of an undisturbed run, and which work must survive any other. Six days pass
//! between two runs, so that what a crashed one left is old enough to be cleared. Each copy equals
//! the first in everything but time.

use super::repo::{Layout, Repo};
use super::snapshot;
use super::tracer::{Act, Traced};
use super::{World, age, age_all, git, remove, try_git, write};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Seconds between one run and the next: longer than any leftover is kept, and than a full repack
/// counts as recent.
const BETWEEN: i64 = 6 * 86_400;
const REPOS: [&str; 2] = ["acme/shop", "acme/tools"];

/// The world before any run, and as one and two undisturbed runs leave it.
pub(crate) struct Sweep {
    pub(crate) world: World,
    work: Work,
    untouched: BTreeMap<String, String>,
    one_night: BTreeMap<String, String>,
    two_nights: BTreeMap<String, String>,
}

/// What must never be lost.
#[derive(Default)]
struct Work {
    /// For each repo.
    commits: BTreeMap<&'static str, BTreeSet<String>>,
    /// Files that exist nowhere else: repo, path below the root, content, blob.
    files: Vec<(&'static str, String, String, String)>,
    /// What only an index names: repo, index file, blob.
    staged: Vec<(&'static str, PathBuf, String)>,
}

impl Sweep {
    pub(crate) fn new() -> Self {
        let world = World::unprepared();
        world.set_variable("TREEWARDEN_TEST_TOUCHED", "again".to_owned());
        assert_eq!(
            world
                .treewarden(&["init", world.root.to_str().unwrap()])
                .code,
            0
        );
        let nothing = BTreeMap::new;
        let mut sweep = Self {
            world,
            work: Work::default(),
            untouched: nothing(),
            one_night: nothing(),
            two_nights: nothing(),
        };
        sweep.furnish();
        sweep.work = sweep.all_work();
        sweep.expired();
        copy(&sweep.world.root, &sweep.world.beside("before"));
        sweep.bring_back();
        sweep.untouched = sweep.state();
        let first = sweep.world.pass(0, &["run"]);
        assert_eq!(
            (
                first.totals.reaped,
                first.totals.rescued,
                first.totals.evicted
            ),
            (6, 2, 12),
            "{first:#?}"
        );
        assert_eq!(first.repos[0].rescues.expired.len(), 1, "{first:#?}");
        sweep.one_night = sweep.state();
        sweep.a_week_passes();
        assert_eq!(sweep.world.pass(0, &["run"]).totals.reaped, 0);
        sweep.two_nights = sweep.state();
        assert_eq!(sweep.lost(), [""; 0]);
        sweep
    }

    /// Creates work of every kind that a run does.
    fn furnish(&self) {
        self.world
            .set("run", "repos_in_parallel: 1, io_threads: 1, deadline: 30s");
        self.full();
        self.incremental();
        self.caches();
        // What an earlier run left.
        write(&self.world.at(".treewarden/trash/left/0/file"), "rubbish");
        symlink("/etc", self.world.at(".treewarden/trash/left/0/link")).unwrap();
        fs::set_permissions(
            self.world.at(".treewarden/trash/left/0"),
            fs::Permissions::from_mode(0o500),
        )
        .unwrap();
    }

    /// Creates a repo with several old packs, and trees of every class.
    fn full(&self) {
        let shop = self.world.repo(REPOS[0]);
        for n in 0..2 {
            shop.commit(60.0, "manifest.json", &format!("{n}\n"));
            shop.git(&["repack", "-q", "-d"]);
        }
        shop.push();
        age_all(&shop.git_dir("objects/pack"), 7.0);
        shop.tree("landed").age(2.0);
        shop.tree("saved").commit("saved.ts", "saved\n").age(8.0);
        let dirty = shop.tree("dirty");
        dirty
            .write(".env", "only here\n")
            .write("README.md", "half done\n")
            .write("staged.ts", "staged\n");
        dirty.git(&["add", "staged.ts"]);
        dirty
            .write("staged.ts", "and changed again\n")
            .write("bin/run", "#!/bin/sh\n");
        fs::set_permissions(
            dirty.path.join("bin/run"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        symlink("../README.md", dirty.path.join("bin/link")).unwrap();
        dirty.age(31.0);
        shop.detached("lonely")
            .commit("lonely.ts", "lonely\n")
            .age(31.0);
        let gone = shop.detached("gone");
        gone.commit("gone.ts", "gone\n");
        remove(&gone.path);
        gone.age_admin(10.0);
        // A tree known to be missing, one not yet known to be, and one that was found again.
        let absent = shop.tree("absent");
        shop.git(&["worktree", "lock", absent.path.to_str().unwrap()]);
        remove(&absent.path);
        absent.age_admin(10.0);
        let found = shop.tree("fresh");
        for (tree, days) in [(&gone, 5.0), (&found, 4.0)] {
            write(&tree.admin.join("treewarden-missing"), "");
            age(&tree.admin.join("treewarden-missing"), days);
        }
        let locked = shop.tree("locked");
        locked.write("notes.txt", "mine\n").age(99.0);
        shop.git(&["worktree", "lock", locked.path.to_str().unwrap()]);
        locked.age_admin(99.0);
        found.write("new.ts", "new\n").write(
            "node_modules/.package-lock.json",
            &super::made::npm(&["big"]),
        );
        found.write("node_modules/big/package.json", "{}");
        write(
            &found.path.join("node_modules/big/index.js"),
            vec![b'x'; 3 << 20],
        );
        found.age(3.0);
        // Stashes are kept for good, even if older than any reflog entry is kept.
        for days in [200.0, 100.0, 60.0] {
            write(
                &shop.path.join("README.md"),
                format!("put aside {days} days ago\n"),
            );
            git(&shop.path, days, &["stash", "-q"]);
        }
        write(
            &shop.path.join("README.md"),
            "the main checkout is in use\n",
        );
        // What crashed gits left.
        for (leftover, days) in [
            ("index.lock", 2.0),
            ("worktrees/saved/index.lock", 2.0),
            ("objects/pack/tmp_pack_dead", 3.0),
            ("refs/heads/x.lock", 2.0),
        ] {
            write(&shop.git_dir(leftover), "");
            age(&shop.git_dir(leftover), days);
        }
    }

    /// Creates a rescue that is older than rescues are kept, and no longer counts as work. Its one
    /// parent has a manifest, like that of a real one.
    fn expired(&self) {
        let shop = Repo::there(&self.world, REPOS[0]);
        let commit = shop.git(&["commit-tree", "-m", "Rescue", "-p", "HEAD", "HEAD^{tree}"]);
        let time = shop.git(&[
            "show",
            "-s",
            "--format=%cd",
            "--date=format:%Y%m%dT%H%M%SZ",
            &commit,
        ]);
        shop.git(&[
            "update-ref",
            &format!("refs/treewarden/rescue/long-gone/{time}"),
            &commit,
        ]);
    }

    /// Creates a repo with more packs than it needs, all of them new.
    fn incremental(&self) {
        let tools = self.world.repo(REPOS[1]);
        for n in 0..3 {
            tools.commit(60.0, "packed.ts", &format!("{n}\n"));
            tools.git(&["repack", "-q", "-d"]);
        }
        tools.push();
        age_all(&tools.git_dir("objects/pack"), 1.0);
        tools.commit(60.0, "loose.ts", "1\n");
        tools.tree("landed").age(2.0);
        tools.tree("squashed").commit("loose.ts", "1\n").age(9.0);
        // Trees in the trash go back wherever the git dir is.
        tools.becomes(Layout::BareWithFile);
    }

    /// Creates units of every kind and shape to be evicted, and one that stays. The last to be
    /// evicted is the largest, so that it alone determines how far an eviction goes.
    fn caches(&self) {
        let at = |path: &str| self.world.at("caches").join(path);
        for (number, integrity) in ["AAGq", "AQGq", "AgGq"].iter().enumerate() {
            write(
                &at(&format!(
                    "npm/_cacache/content-v2/sha512/{number:02x}/01/aa"
                )),
                vec![b'n'; 20 << 10],
            );
            let line = format!(
                "0\t{{\"key\": \"pacote:tarball:unit@{number}.0.0\", \"integrity\": \"sha512-{integrity}\"}}\n"
            );
            write(
                &at(&format!("npm/_cacache/index-v5/{number:02x}/5d/aa")),
                &line,
            );
            write(
                &at(&format!("npm/_cacache/index-v5/{number:02x}/5d/bb")),
                &line,
            );
        }
        write(
            &at("cargo/registry/cache/index/itoa-1.0.0.crate"),
            vec![b'c'; 20 << 10],
        );
        write(&at("cargo/registry/src/index/itoa-1.0.0/.cargo-ok"), "ok");
        write(
            &at("cargo/registry/src/index/itoa-1.0.0/src/lib.rs"),
            "// lib",
        );
        write(&at("cargo/git/db/x-1/FETCH_HEAD"), "");
        write(&at("cargo/git/checkouts/x-1/one/.cargo-ok"), "");
        write(&at("cargo/git/checkouts/x-1/two/.cargo-ok"), "");
        let hash = "c871039579d83b60ae15cb8ea580e9d925d278687e922c78b15a218e";
        write(&at(&format!("pip/http-v2/c/8/7/1/0/{hash}")), "metadata");
        write(
            &at(&format!("pip/http-v2/c/8/7/1/0/{hash}.body")),
            vec![b'p'; 20 << 10],
        );
        write(
            &at("pip/wheels/7f/18/6b/d405/toml-0.10.2-py3-none-any.whl"),
            "wheel",
        );
        write(&at(&format!("go-build/ab/{}-a", "ab".repeat(32))), "action");
        write(
            &at(&format!("go-build/ab/{}-d", "ab".repeat(32))),
            vec![b'g'; 20 << 10],
        );
        write(&at("models/old/deep/er/data"), vec![b'm'; 20 << 10]);
        symlink("data", at("models/old/deep/er/link")).unwrap();
        write(&at("models/young/data"), vec![b'm'; 2 << 20]);
        for (kind, path) in [
            ("npm", "npm"),
            ("cargo", "cargo"),
            ("pip", "pip"),
            ("go-build", "go-build"),
        ] {
            self.world
                .set("caches", &format!("{{kind: {kind}, path: caches/{path}}}"));
        }
        self.world.set(
            "caches",
            "{kind: folder, name: models, path: caches/models, min_age: 30d}, {kind: build-output}",
        );
        // Half of the largest unit must go.
        let low = self.world.standing() - (2 << 20);
        self.world
            .set("eviction", &format!("budget: {}B", low * 10 / 9));
    }

    /// Restores the volume as it was.
    pub(crate) fn bring_back(&self) {
        copy(&self.world.beside("before"), &self.world.root);
        // Copying reads the files, and reading is use.
        age_all(&self.world.at("caches"), 90.0);
        age_all(&self.world.at("caches/models/young"), 2.0);
        let scratch = self.world.beside("scratch");
        remove(&scratch);
        fs::create_dir(scratch).unwrap();
    }

    /// Makes everything on the volume older by the time between two runs.
    pub(crate) fn a_week_passes(&self) {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
        let earlier = |seconds, nanos| Timespec {
            tv_sec: seconds - BETWEEN,
            tv_nsec: nanos,
        };
        for entry in walkdir::WalkDir::new(&self.world.root)
            .contents_first(true)
            .into_iter()
            .map(Result::unwrap)
        {
            let data = entry.metadata().unwrap();
            let times = Timestamps {
                last_access: earlier(data.atime(), data.atime_nsec()),
                last_modification: earlier(data.mtime(), data.mtime_nsec()),
            };
            utimensat(CWD, entry.path(), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
    }

    /// Makes a run under the tracer.
    pub(crate) fn night(&self, act: Act<'_>) -> Traced {
        self.world.trace(&["run", "--format", "json"], act)
    }

    /// Makes an undisturbed run, and returns what is wrong after it. After a `faulty` one small
    /// things may differ: other cache units were evicted instead of those that could not be read.
    pub(crate) fn recover(&self, faulty: bool) -> Vec<String> {
        self.a_week_passes();
        let ran = self.world.treewarden(&["run", "--format", "json"]);
        let mut wrong: Vec<String> = Vec::new();
        if ran.code != 0 {
            wrong.push(format!(
                "the next run ended with {}: {}{}",
                ran.code,
                ran.troubles(),
                ran.err
            ));
        }
        wrong.extend(self.lost());
        wrong.extend(difference(&self.state(), &self.two_nights, &|key| {
            !faulty || !is_small(key)
        }));
        wrong
    }

    /// Returns how the volume differs from the result of an undisturbed run, except for small
    /// things and git's temporary files.
    pub(crate) fn unlike_one_night(&self) -> Option<String> {
        difference(&self.state(), &self.one_night, &|key| {
            !is_small(key) && !key.starts_with("left behind: ")
        })
    }

    /// Returns how it differs from the volume before any run.
    pub(crate) fn unlike_untouched(&self) -> Option<String> {
        let mut state = self.state();
        // A run that was refused the lock has created its file.
        state.retain(|path, _| {
            !path.starts_with(".treewarden/locks/") || self.untouched.contains_key(path)
        });
        difference(&state, &self.untouched, &|_| true)
    }

    fn repos(&self) -> impl Iterator<Item = (&'static str, Repo<'_>)> {
        REPOS
            .into_iter()
            .map(|name| (name, Repo::there(&self.world, name)))
    }

    fn all_work(&self) -> Work {
        let mut work = Work::default();
        for (name, repo) in self.repos() {
            work.commits.insert(name, reachable(&repo, false).unwrap());
        }
        let shop = Repo::there(&self.world, REPOS[0]);
        let trees = "worktrees/acme__shop";
        for file in [
            format!("{trees}/dirty/.env"),
            format!("{trees}/dirty/README.md"),
            format!("{trees}/dirty/staged.ts"),
            format!("{trees}/dirty/bin/run"),
            format!("{trees}/locked/notes.txt"),
            format!("{trees}/fresh/new.ts"),
            "acme__shop/README.md".to_owned(),
        ] {
            let path = self.world.at(&file);
            let blob = shop.git(&["hash-object", "--no-filters", path.to_str().unwrap()]);
            work.files
                .push((REPOS[0], file, fs::read_to_string(&path).unwrap(), blob));
        }
        let staged = shop.git(&[
            "-C",
            self.world.at(format!("{trees}/dirty")).to_str().unwrap(),
            "rev-parse",
            ":staged.ts",
        ]);
        work.staged
            .push((REPOS[0], shop.git_dir("worktrees/dirty/index"), staged));
        work
    }

    /// Describes what is lost of the work.
    pub(crate) fn lost(&self) -> Vec<String> {
        let mut lost = Vec::new();
        for (name, repo) in self.repos() {
            let objects = match reachable(&repo, true) {
                Ok(objects) => objects,
                Err(error) => {
                    lost.push(format!("{name}: {error}"));
                    continue;
                }
            };
            lost.extend(
                self.work.commits[name]
                    .difference(&objects)
                    .map(|commit| format!("{name}: commit {commit}")),
            );
            let gone = |path: &Path, content: &str| {
                fs::read_to_string(path)
                    .ok()
                    .is_none_or(|text| text != content)
            };
            let files = self
                .work
                .files
                .iter()
                .filter(|(repo, path, content, blob)| {
                    *repo == name && gone(&self.world.at(path), content) && !objects.contains(blob)
                });
            lost.extend(files.map(|(_, path, ..)| format!("{name}: {path}")));
            let staged = self.work.staged.iter().filter(|(repo, index, blob)| {
                *repo == name && !index.exists() && !objects.contains(blob)
            });
            lost.extend(staged.map(|(_, _, blob)| format!("{name}: staged {blob}")));
            lost.extend(
                Some(repo.fsck())
                    .filter(|fsck| !fsck.is_empty())
                    .map(|fsck| format!("{name}: {fsck}")),
            );
        }
        lost.extend(self.broken_caches());
        lost
    }

    /// Returns what would make a tool fail: a pointer without its target.
    fn broken_caches(&self) -> Vec<String> {
        let at = |path: &str| self.world.at("caches").join(path);
        let mut broken = Vec::new();
        let mut points_to = |pointer: String, target: String| {
            if at(&pointer).exists() && !at(&target).exists() {
                broken.push(format!("{pointer} is there, and {target} is gone"));
            }
        };
        for number in 0..3 {
            for bucket in ["aa", "bb"] {
                let content = format!("npm/_cacache/content-v2/sha512/{number:02x}/01/aa");
                points_to(
                    format!("npm/_cacache/index-v5/{number:02x}/5d/{bucket}"),
                    content,
                );
            }
        }
        points_to(
            "cargo/registry/src/index/itoa-1.0.0/.cargo-ok".to_owned(),
            "cargo/registry/src/index/itoa-1.0.0/src/lib.rs".to_owned(),
        );
        let http = "pip/http-v2/c/8/7/1/0/c871039579d83b60ae15cb8ea580e9d925d278687e922c78b15a218e";
        points_to(http.to_owned(), format!("{http}.body"));
        broken
    }

    /// Returns everything that must be the same after a run, whatever came before it. Packs are
    /// reported by their number, rescues without their time.
    fn state(&self) -> BTreeMap<String, String> {
        let mut state = BTreeMap::new();
        let apart = |path: &Path| {
            let below: PathBuf = path
                .iter()
                .skip_while(|part| ![".git", ".bare"].iter().any(|git| *part == OsStr::new(git)))
                .skip(1)
                .collect();
            let of_git = ["objects", "refs", "packed-refs", "logs/refs/treewarden"]
                .iter()
                .any(|name| below.starts_with(name));
            // Locks are listed among what is left behind.
            let lock =
                !below.as_os_str().is_empty() && below.extension() == Some(OsStr::new("lock"));
            of_git || lock || path.ends_with(".treewarden/journal.jsonl")
        };
        let entries = walkdir::WalkDir::new(&self.world.root)
            .into_iter()
            .filter_entry(|entry| !apart(entry.path()));
        for entry in entries.map(Result::unwrap) {
            let data = entry.metadata().unwrap();
            let what = match () {
                // Git rewrites some lines with or without a trailing blank.
                () if data.is_file() && entry.path().iter().any(|part| part == "logs") => {
                    format!(
                        "{} lines",
                        snapshot::read(entry.path()).split(|b| *b == b'\n').count()
                    )
                }
                // Only the crashed run knew when work last happened in a tree that it reaped. The
                // next run doesn't see that tree any more.
                () if entry.path().ends_with(".treewarden/ledger.json") => {
                    without_last_work(&snapshot::read(entry.path()))
                }
                () if data.is_file() => format!(
                    "{:o} {:?}",
                    data.mode(),
                    short(&snapshot::read(entry.path()))
                ),
                () if data.is_symlink() => {
                    format!("link to {}", fs::read_link(entry.path()).unwrap().display())
                }
                () => format!("{:o}", data.mode()),
            };
            state.insert(self.world.below(entry.path()).to_string(), what);
        }
        for (name, repo) in self.repos() {
            for (path, what) in repo.registered() {
                state.insert(format!("{name}: tree {path}"), what);
            }
            for (reference, commit) in repo.refs("refs") {
                match reference.strip_prefix("refs/treewarden/") {
                    Some(ours) => {
                        let tree = repo.git(&["rev-parse", &format!("{commit}^{{tree}}")]);
                        state.insert(
                            format!(
                                "{name}: {}",
                                ours.rsplit_once('/').map_or(ours, |(of, _)| of)
                            ),
                            tree,
                        )
                    }
                    None => state.insert(format!("{name}: {reference}"), commit),
                };
            }
            state.extend(self.store(name, &repo));
        }
        state
    }

    /// Returns the number of packs, and what a git that ends normally would not leave behind. Cruft
    /// packs are not counted, because a crashed run may have written objects that nothing reaches;
    /// nor are packs without an index.
    fn store(&self, name: &str, repo: &Repo<'_>) -> Vec<(String, String)> {
        let files = walkdir::WalkDir::new(repo.git_dir(""))
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().is_file());
        let files: Vec<PathBuf> = files.map(walkdir::DirEntry::into_path).collect();
        let is_pack = |path: &&PathBuf| {
            path.extension() == Some(OsStr::new("idx")) && !path.with_extension("mtimes").exists()
        };
        let packs = (
            format!("{name}: packs"),
            files.iter().filter(is_pack).count().to_string(),
        );
        let left = |path: &&PathBuf| {
            let file = path.file_name().unwrap().to_string_lossy();
            let temporary = ["tmp", ".tmp", "streamed", "bitmap-ref-tips", "packs_"]
                .iter()
                .any(|begin| file.starts_with(begin));
            temporary || file.ends_with(".lock") || file.ends_with(".new")
        };
        let left = files.iter().filter(left).map(|path| {
            (
                format!("left behind: {}", self.world.below(path)),
                String::new(),
            )
        });
        let counts = repo.git(&["count-objects", "-v"]);
        let garbage = counts
            .lines()
            .find(|line| line.starts_with("garbage:") && *line != "garbage: 0");
        let garbage = garbage.map(|many| (format!("left behind: {name}"), many.to_owned()));
        left.chain(garbage).chain([packs]).collect()
    }
}

/// Runs `check` on each item, in one world per processor, and returns all that is wrong. A tracer
/// and what it traces are faster on one processor: they never run at the same time.
pub(crate) fn sweep<T: Sync>(
    items: &[T],
    check: impl Fn(&Sweep, &T) -> Vec<String> + Sync,
) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let began = Instant::now();
    let work = |processor| {
        let mut only = CpuSet::new();
        only.set(processor).unwrap();
        // If that is forbidden, the sweep is merely slower.
        let _pinned = sched_setaffinity(Pid::from_raw(0), &only);
        let sweep = Sweep::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else {
                return;
            };
            let found = check(&sweep, item);
            if !found.is_empty() {
                eprintln!("{}", found.join("\n"));
                wrong.lock().unwrap().extend(found);
            }
            if number % 100 == 99 {
                eprintln!(
                    "{} of {} points, {} s",
                    number + 1,
                    items.len(),
                    began.elapsed().as_secs()
                );
            }
        }
    };
    let processors = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(4);
    std::thread::scope(|scope| {
        (0..processors).for_each(|processor| drop(scope.spawn(move || work(processor))));
    });
    wrong.into_inner().unwrap()
}

/// Asserts that nothing went wrong, and that nearly all of the `chosen` points were met.
#[track_caller]
pub(crate) fn all_well(wrong: &[String], missed: usize, chosen: usize) {
    assert!(
        wrong.is_empty(),
        "{} things went wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(missed * 50 <= chosen, "{missed} of {chosen} were never met");
}

/// Returns about `size` items spread over all of them, or, if `TREEWARDEN_SWEEP` says so, `all` of
/// them or the part `I/N`. `TREEWARDEN_POINT` selects those with this text in their `name`.
pub(crate) fn sample<T>(items: Vec<T>, size: usize, name: impl Fn(&T) -> String) -> Vec<T> {
    let asked = |variable| std::env::var(variable).unwrap_or_default();
    let part = asked("TREEWARDEN_POINT");
    let is_asked = |item: &T| part.is_empty() || name(item).contains(&part);
    let items: Vec<T> = items.into_iter().filter(is_asked).collect();
    let asked = asked("TREEWARDEN_SWEEP");
    let (first, step) = match asked.split_once('/') {
        Some((part, parts)) => (part.parse::<usize>().unwrap() - 1, parts.parse().unwrap()),
        None if asked == "all" => (0, 1),
        None => (0, (items.len() / size).max(1)),
    };
    items.into_iter().skip(first).step_by(step).collect()
}

fn without_last_work(ledger: &[u8]) -> String {
    let mut ledger: serde_json::Value = serde_json::from_slice(ledger).unwrap();
    for repo in ledger["repos"].as_object_mut().unwrap().values_mut() {
        let repo = repo.as_object_mut().unwrap();
        repo.retain(|key, _| key != "at" && key != "worked");
    }
    ledger.to_string()
}

fn short(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
    format!("{} bytes: {text}", bytes.len())
}

/// Returns whether a difference doesn't matter: regenerable files, a shield, which a full repack
/// removes, and how often a tree was rescued.
fn is_small(key: &str) -> bool {
    key.starts_with("caches/")
        || key.contains("/node_modules")
        || key.ends_with(": shield")
        || key.contains(": rescue/")
}

/// Returns what differs, in one line.
fn difference(
    found: &BTreeMap<String, String>,
    expected: &BTreeMap<String, String>,
    matters: &dyn Fn(&str) -> bool,
) -> Option<String> {
    let keys: BTreeSet<&String> = found
        .keys()
        .chain(expected.keys())
        .filter(|key| matters(key))
        .collect();
    let odd = keys
        .into_iter()
        .filter(|key| found.get(*key) != expected.get(*key));
    let odd: Vec<String> = odd
        .map(|key| {
            format!(
                "{key}: expected {:?}, found {:?}",
                expected.get(key),
                found.get(key)
            )
        })
        .collect();
    let more = if odd.len() > 3 {
        format!("; and {} more", odd.len() - 3)
    } else {
        String::new()
    };
    (!odd.is_empty()).then(|| odd[..odd.len().min(3)].join("; ") + &more)
}

/// Returns every object that refs, worktrees and reflogs reach, or the commits among them.
fn reachable(repo: &Repo<'_>, objects: bool) -> Result<BTreeSet<String>, String> {
    let mut words = vec!["rev-list", "--all", "--reflog"];
    words.extend(objects.then_some("--objects"));
    let (code, out, err) = try_git(&repo.path, 0.0, &words);
    let ids = out
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(ToOwned::to_owned)
        .collect();
    if code == Some(0) { Ok(ids) } else { Err(err) }
}

fn copy(from: &Path, to: &Path) {
    let gone = Command::new("rm").arg("-rf").arg(to).status().unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()
        .unwrap();
    assert!(gone.success() && copied.success());
}
