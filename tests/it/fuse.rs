//! Nights on a file server that behaves as NFS does, and fails as NFS fails.

#![expect(clippy::disallowed_methods, reason = "cp brings the volume back as it was, and other clients delete")]

use super::support::fleet::Fleet;
use super::support::fuse::{Call, Fault, Manners, Mounted};
use super::support::repo::Repo;
use super::support::snapshot::snapshot;
use super::support::{World, same, until};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
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

/// Everything that a night may change and that is told without the time of day.
fn state(world: &World, report: &RunReport) -> BTreeMap<String, String> {
    let mut state = world.fates(report);
    for (path, standing) in snapshot(&world.root) {
        let ours = path.starts_with(".treewarden") || path.components().any(|part| part.as_os_str() == ".git");
        if !ours {
            state.insert(path.display().to_string(), format!("{} {:o} {}", standing.kind, standing.mode, standing.content));
        }
    }
    for row in &report.repos {
        let repo = Repo::there(world, &row.name);
        let mut tell = |what: &str, told: String| state.insert(format!("{} {what}", row.name), told);
        tell("outcome", format!("{:?} {:?} {:?}", row.outcome, row.prune.dropped, row.gc.action));
        tell("registered", format!("{:?}", repo.registered()));
        tell("fsck", repo.fsck());
        for (name, commit) in repo.refs("refs") {
            match name.strip_prefix("refs/treewarden/rescue/").and_then(|rescue| rescue.split('/').next()) {
                Some(tree) => tell(&format!("rescue of {tree}"), repo.git(&["rev-parse", &format!("{commit}^{{tree}}")])),
                None => tell(&name, commit),
            };
        }
    }
    state.insert("trash".into(), fs::read_dir(world.at(".treewarden/trash")).unwrap().count().to_string());
    state.insert("failures".into(), format!("{:?}", report.failures));
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
    let local = state(&world, &world.night());
    bring_back();
    let server = Mounted::under(&world, Manners::NFS);

    let began = std::time::Instant::now();
    let report = world.night();
    eprintln!("{:?} {:?}", began.elapsed(), server.calls());

    same("fates", &world.fates(&report), &fates);
    same("the state after a night", &state(&world, &report), &local);
}
