//! Nights on a file server that behaves as NFS does, and fails as NFS fails.

#![expect(clippy::disallowed_methods, reason = "cp brings the volume back as it was, and other clients delete")]

use super::support::fleet::Fleet;
use super::support::fuse::{Call, Fault, Manners, Mounted};
use super::support::repo::Repo;
use super::support::snapshot::snapshot;
use super::support::{World, age, age_all, remove, same, until, write};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use treewarden::report::RunReport;

/// The error of a call that must fail.
fn error<T>(done: std::io::Result<T>) -> Option<Errno> {
    done.err().and_then(|error| Errno::from_io_error(&error))
}

#[test]
#[ignore = "needs FUSE"]
fn the_server_behaves_as_nfs_does() {
    let world = World::unprepared();
    let server = Mounted::under(&world, Manners::NFS);
    let folder = world.at("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "text").unwrap();
    let mut open = fs::File::open(folder.join("file")).unwrap();
    fs::remove_file(folder.join("file")).unwrap();
    let names = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    let silly = names().pop().unwrap();
    assert!(silly.starts_with(".nfs") && silly.len() == 28, "{silly}");
    assert_eq!(error(fs::remove_file(folder.join(&silly))), Some(Errno::BUSY));
    assert_eq!(error(fs::remove_dir(&folder)), Some(Errno::NOTEMPTY));
    assert_eq!(std::io::read_to_string(&mut open).unwrap(), "text");
    drop(open);
    until("the silly name is gone", || names().is_empty());

    fs::write(folder.join("other"), "text").unwrap();
    let open = fs::File::open(folder.join("other")).unwrap();
    fs::remove_file(server.behind("folder/other")).unwrap();
    assert_eq!(error(open.metadata()), Some(Errno::STALE));
    assert!(!folder.join("other").exists());
    drop(open);
    fs::remove_dir(&folder).unwrap();

    let reads = |server: &Mounted| server.calls()[&Call::Opendir];
    let before = reads(&server);
    server.set(Fault::outage().on(&[Call::Opendir]).after(1).times(2));
    assert!(fs::read_dir(&world.root).is_ok());
    assert_eq!(error(fs::read_dir(&world.root)), Some(Errno::IO));
    assert_eq!(error(fs::metadata(&world.root)), Some(Errno::IO));
    assert!(fs::read_dir(&world.root).is_ok());
    assert_eq!((reads(&server) - before, server.heal(), server.failed()), (3, 2, 0));
    server.resize(1 << 30);
    let level = rustix::fs::statvfs(&world.root).unwrap();
    assert_eq!(level.f_blocks * level.f_frsize, 1 << 30);
    server.delay(Duration::from_millis(20));
    let began = std::time::Instant::now();
    fs::metadata(&world.root).unwrap();
    assert!(began.elapsed() > Duration::from_millis(20));
}

/// Everything that a night may change, told without the time of day.
fn state(world: &World, repos: &[&str]) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    for (path, standing) in snapshot(&world.root) {
        let ours = path.starts_with(".treewarden") || path.components().any(|part| part.as_os_str() == ".git");
        if !ours {
            state.insert(path.display().to_string(), format!("{} {:o} {}", standing.kind, standing.mode, standing.content));
        }
    }
    for name in repos {
        let repo = Repo::there(world, name);
        let mut tell = |what: &str, told: String| state.insert(format!("{name} {what}"), told);
        tell("registered", format!("{:?}", repo.registered()));
        tell("fsck", repo.fsck());
        for (name, commit) in repo.refs("refs") {
            match name.strip_prefix("refs/treewarden/rescue/").and_then(|rescue| rescue.split('/').next()) {
                Some(tree) => tell(&format!("rescue of {tree}"), repo.git(&["rev-parse", &format!("{commit}^{{tree}}")])),
                None => tell(&name, commit),
            };
        }
    }
    state.insert("in the trash".into(), fs::read_dir(world.at(".treewarden/trash")).unwrap().count().to_string());
    state
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
#[ignore = "needs FUSE"]
fn a_night_on_the_file_server_equals_one_on_the_local_disk() {
    let Fleet { world, fates } = Fleet::new();
    copy(&world.root, &world.beside("before"));
    let bring_back = || {
        fs::remove_dir_all(&world.root).unwrap();
        copy(&world.beside("before"), &world.root);
    };
    bring_back();
    let local = world.night();
    let names: Vec<&str> = local.repos.iter().map(|repo| repo.name.as_str()).collect();
    let after = state(&world, &names);
    bring_back();
    let server = Mounted::under(&world, Manners { cache: Duration::from_secs(1), ..Manners::NFS });

    let report = world.night();

    same("fates", &world.fates(&report), &fates);
    let rows = |report: &RunReport| {
        let told = report.repos.iter().map(|repo| format!("{:?} {:?} {:?}", repo.outcome, repo.prune.dropped, repo.gc.action));
        names.iter().map(ToString::to_string).zip(told).collect()
    };
    same("what the report says of repos", &rows(&report), &rows(&local));
    same("the volume after the night", &state(&world, &names), &after);
    assert!(server.calls()[&Call::Unlink] > 500, "the server was not asked: {:?}", server.calls());
}

/// What a night on a small volume has to do: prune, repack, rescue, reap and evict, in two repos and a cache.
struct Small {
    world: World,
}

impl Small {
    fn new() -> Self {
        let world = World::new();
        for name in ["acme/a", "acme/b"] {
            let repo = world.repo(name);
            repo.tree("landed").age(2.0);
            let dirty = repo.tree("dirty");
            dirty.write(".env", "only here\n").write("README.md", "half done\n");
            dirty.write("staged.ts", "staged\n").git(&["add", "staged.ts"]);
            dirty.write("staged.ts", "and changed\n").age(31.0);
            repo.detached("lonely").commit("lonely.ts", "lonely\n").age(31.0);
            repo.tree("fresh");
            let gone = repo.tree("gone");
            remove(&gone.path);
            gone.age_admin(10.0);
            repo.git(&["repack", "-q", "-d"]);
            repo.commit(60.0, "more.ts", "more\n");
            repo.git(&["repack", "-q", "-d"]);
            age_all(&repo.git_dir("objects/pack"), 20.0);
        }
        for number in 0..4_u8 {
            write(&world.at(format!("caches/models/{number}/data")), vec![number; 1 << 20]);
        }
        world.set("caches", "{kind: folder, name: models, path: caches/models}");
        // Eviction goes on to nine tenths of the budget: two units must go.
        world.set("eviction", &format!("budget: {}, min_age: 30d", (world.standing() - (3 << 19)) * 10 / 9));
        fs::rename(&world.root, world.beside("before")).unwrap();
        Self { world }
    }

    /// The volume as it was built, on the file server.
    fn mounted(&self, manners: Manners) -> Mounted {
        let Self { world } = self;
        [&world.root, &world.beside("backing")].into_iter().filter(|folder| folder.exists()).for_each(|folder| remove(folder));
        copy(&world.beside("before"), &world.root);
        // A copy reads, and reading is use.
        (0..4_u8).for_each(|number| age_all(&world.at(format!("caches/models/{number}")), f64::from(40 * number)));
        Mounted::under(world, manners)
    }

    /// Each unsaved file, in its tree or in its rescue.
    fn work(&self) -> BTreeMap<String, String> {
        let mut work = BTreeMap::new();
        for name in ["acme/a", "acme/b"] {
            let repo = Repo::there(&self.world, name);
            let rescues = repo.refs("refs/treewarden/rescue/dirty");
            for file in [".env", "README.md", "staged.ts"] {
                let place = self.world.at(format!("worktrees/{}/dirty/{file}", repo.folder()));
                let rescued = || rescues.keys().map(|rescue| repo.git(&["show", &format!("{rescue}:{file}")])).next();
                let text = fs::read_to_string(place).ok().or_else(rescued).unwrap_or_default();
                work.insert(format!("{name} {file}"), text.trim().to_owned());
            }
        }
        work
    }
}

const REPOS: [&str; 2] = ["acme/a", "acme/b"];

/// A day goes by, and what a dead git left is old.
fn a_day_later(server: &Mounted) {
    let files = walkdir::WalkDir::new(&server.backing).into_iter().map(|entry| entry.unwrap().into_path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "lock")).for_each(|path| age(&path, 1.0));
}

#[test]
#[ignore = "needs FUSE"]
fn a_server_that_vanishes_in_the_night_and_returns_costs_nothing_but_time() {
    let small = Small::new();
    let world = &small.world;
    let manners = Manners { cache: Duration::from_secs(1), ..Manners::NFS };
    let server = small.mounted(manners);
    let unsaved = small.work();
    let begin = server.calls();
    world.night();
    let end = server.calls();
    let undisturbed = state(world, &REPOS);
    drop(server);
    let count = |kinds: &[Call]| kinds.iter().map(|kind| end[kind] - begin[kind]).sum::<u64>() as u32;
    eprintln!("{:?}", end);
    let points: u32 = std::env::var("POINTS").map_or(4, |p| p.parse().unwrap());
    let which: String = std::env::var("WHICH").unwrap_or("ABCD".into());
    for (name, kinds) in [('A', CHANGES), ('B', CHANGES), ('C', &Call::ALL[..]), ('D', &Call::ALL[..]), ('E', LOOKS), ('F', LOOKS)] {
        if !which.contains(name) {
            continue;
        }
        let total = count(kinds);
        for point in 0..points {
            let after = (total * point + total / 2) / points;
            let server = small.mounted(manners);
            let fault = match name {
                'A' | 'D' | 'E' => Fault::outage(),
                'B' => Fault::outage().times(100),
                _ => Fault::of(Errno::IO).times(1),
            };
            server.set(fault.on(kinds).after(after));
            let began = std::time::Instant::now();
            let ran = world.treewarden(&["run", "--format", "json"]);
            let took = began.elapsed();
            let failed = server.heal();
            let check = || {
                assert!([0, 1, 3, 4].contains(&ran.code) && !ran.err.contains("panicked"), "{} {}", ran.code, ran.err);
                assert!(failed == 0 || ran.code != 0 || name == 'C' || name == 'F', "{failed} calls failed unseen");
                same("work", &small.work(), &unsaved);
                a_day_later(&server);
                let again = world.night();
                assert_eq!(again.failures, [""; 0]);
                same("state", &state(world, &REPOS), &undisturbed);
                same("work after", &small.work(), &unsaved);
            };
            let result = catch_unwind(std::panic::AssertUnwindSafe(check));
            eprintln!(
                "{name} {after}/{total}: code {} failed {failed} took {took:?} {}",
                ran.code,
                if result.is_ok() { "ok" } else { "BAD" }
            );
            if result.is_err() || std::env::var("V").is_ok() {
                eprintln!("{}", ran.troubles());
                eprintln!("{}", ran.err);
            }
        }
    }
}

const CHANGES: &[Call] = &[
    Call::Setattr,
    Call::Mkdir,
    Call::Unlink,
    Call::Rmdir,
    Call::Symlink,
    Call::Rename,
    Call::Link,
    Call::Create,
    Call::Write,
    Call::Fsync,
    Call::Fsyncdir,
];
const LOOKS: &[Call] = &[Call::Open, Call::Read, Call::Opendir, Call::Readdir, Call::Readlink];
