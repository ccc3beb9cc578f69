//! Repacks side by side stay below the memory that they were given, whatever stands in the repos.
//!
//! What git processes hold is sampled, all together, while they work. Only those of this test count: they are known by the settings in their
//! environment.

use super::support::repo::Repo;
use super::support::{World, write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use treewarden::apply::gc::gc;
use treewarden::inside::Inside;
use treewarden::lock::LockedRepo;
use treewarden::plan::gc::{Gc, GcAction, Step};
use treewarden::plan::share::Share;
use treewarden::shadow::Shadow;
use treewarden::stop::Stop;

const REPOS: [&str; 2] = ["acme/one", "acme/two"];
/// Bytes: of each large file, and of the limit.
const LARGE: usize = 24 << 20;
const LIMIT: u64 = 256 << 20;

/// Versions of one large file, each another one by a little: what git likes to find deltas for.
fn grow(world: &World, name: &str) {
    let repo = world.repo(name);
    let mut dice = fastrand::Rng::with_seed(5);
    let mut bytes = vec![0; LARGE];
    dice.fill(&mut bytes);
    for _ in 0..6 {
        dice.fill(&mut bytes[..1 << 20]);
        write(&repo.path.join("model.bin"), &bytes);
        repo.git(&["-c", "core.looseCompression=0", "add", "model.bin"]);
        repo.git(&["commit", "-q", "-m", "model"]);
    }
}

/// Bytes that git processes with this setting hold.
fn held(setting: &str) -> u64 {
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let ours = processes.filter(|process| {
        let told = |file: &str| std::fs::read(process.join(file)).unwrap_or_default();
        let said = |text: Vec<u8>| text.windows(setting.len()).any(|part| part == setting.as_bytes());
        said(told("cmdline")) || said(told("environ"))
    });
    let resident = |process: std::path::PathBuf| {
        let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|line| line.trim().strip_suffix("kB"));
        line.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0) << 10
    };
    ours.map(resident).sum()
}

#[test]
#[ignore = "needs half a minute and a gigabyte of disk"]
fn repacks_side_by_side_stay_below_the_memory_limit() {
    let world = World::new();
    for name in REPOS {
        grow(&world, name);
    }
    let share = Share::of(1, Some(LIMIT), REPOS.len());
    let setting = share.settings().into_iter().find(|setting| setting.contains("bigFileThreshold")).unwrap();
    // The settings stand on git's own command line and, for what it starts, in the environment.
    let setting = setting.split_once('=').unwrap().1.to_owned();
    let root: Arc<Path> = world.root.canonicalize().unwrap().into();
    let done = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(held(&setting));
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let repacks: Vec<_> = REPOS.iter().map(|name| scope.spawn(|| repack(&world, &root, name, share))).collect();
        let repacked: Vec<_> = repacks.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        for repacked in repacked {
            repacked.unwrap();
        }
        sampler.join().unwrap()
    });
    println!("most memory held: {} MiB of {} MiB", most >> 20, LIMIT >> 20);
    assert!(most > 4 << 20, "nothing was sampled");
    assert!(most < LIMIT, "{} MiB", most >> 20);
    for name in REPOS {
        let repo = Repo::there(&world, name);
        assert_eq!(repo.fsck(), "");
        assert!(repo.git(&["count-objects"]).starts_with("0 "));
    }
}

fn repack(world: &World, root: &Arc<Path>, name: &str, share: Share) {
    let place = Inside::new(root, &Repo::there(world, name).path.canonicalize().unwrap()).unwrap();
    let (stop, now) = (Stop::never(), treewarden::run::now());
    let lock = LockedRepo::take(&world.at(".treewarden/locks"), name, &place, "run", now).unwrap();
    let shadow = Shadow::of(&place, &stop).unwrap();
    let plan = Gc { action: GcAction::Full, steps: vec![Step::Geometric, Step::PackRefs, Step::Full], ..Gc::none("test") };
    gc(&lock, &shadow, &plan, share, &stop, now).unwrap();
}
