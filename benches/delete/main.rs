//! Deletes a tree, side by side with `rm -rf` and `find -delete`: on the local disk, and on a slow
//! file server.
//!
//! `cargo bench --bench delete`. `DELETE_ENTRIES` (100000) are on the local disk,
//! `DELETE_REMOTE_ENTRIES` (10000) on the server, whose calls take `DELETE_DELAY` (500) µs;
//! `DELETE_ROUNDS` (5) and `DELETE_REMOTE_ROUNDS` (3); `DELETE_FILES` (1000000) are deleted once
//! more by each, all in one directory and as a chain of 20,000 directories, and ours reports its
//! memory; `BENCH_FOLDER` is where the trees are created, `BENCH_THREADS` how many threads ours
//! has. Whatever is left is an error. It must never delete anything that it did not create.

#[path = "../common/mod.rs"]
mod common;
#[path = "../../tests/it/support/fuse/mod.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "the tests' server, of which this bench needs little"
)]
mod fuse;
#[path = "../common/other.rs"]
mod other;
#[path = "../common/tree.rs"]
mod tree;

use common::{Way, contest};
use fuse::{Manners, Mounted};
use other::{asked, calls, ourselves, run, setting};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use treewarden::apply::trash::Trash;
use treewarden::fs::stop::Stop;
use treewarden::fs::volume_path::VolumePath;

/// A trash entry of the volume, as at the end of a run.
const BIN: &str = ".treewarden/trash/bin";

/// The contestants; the first is ours.
const WAYS: [(&str, &str, &[&str]); 3] = [
    ("treewarden", "", &[]),
    ("rm -rf", "rm", &["-rf"]),
    ("find -delete", "find", &["-delete"]),
];

/// A volume, and the server below it.
struct World {
    root: PathBuf,
    server: Option<Mounted>,
}

fn main() {
    if let Some(root) = asked("empty") {
        return empty(&root.into());
    }
    let top = other::directory();
    let root = top.path().join("local");
    let entries = setting("DELETE_ENTRIES", 100_000);
    let local = |make: &dyn Fn(&Path) -> io::Result<()>| {
        fresh(&root, make);
        World {
            root: root.clone(),
            server: None,
        }
    };
    let none = RefCell::default();
    let title = format!("about {entries} entries on the local disk");
    contest(
        &title,
        setting("DELETE_ROUNDS", 5),
        |_| local(&|bin| tree::make(bin, entries)),
        ways(&none),
    );

    let files = setting("DELETE_FILES", 1_000_000);
    contest(
        &format!("{files} files in one folder of the local disk"),
        1,
        |_| local(&|bin| tree::wide(bin, files)),
        ways(&none),
    );
    let chain = |bin: &Path| tree::deep(bin, 20_000, files / 20_000);
    contest(
        &format!("{files} files in a chain of 20000 folders of the local disk"),
        1,
        |_| local(&chain),
        ways(&none),
    );

    let (backing, mountpoint) = (top.path().join("backing"), top.path().join("server"));
    fs::create_dir(&mountpoint).expect("room for a folder");
    let (remote, delay) = (
        setting("DELETE_REMOTE_ENTRIES", 10_000),
        setting("DELETE_DELAY", 500),
    );
    let settings = [
        (
            "attributes cached, at first cold, as on NFS",
            Duration::from_mins(1),
            remote,
        ),
        ("nothing cached", Duration::ZERO, remote / 5),
    ];
    for (caches, cache, entries) in settings {
        let serve = |_: &str| {
            fresh(&backing, &|bin| tree::make(bin, entries));
            let server = Mounted::mount(
                &backing,
                &mountpoint,
                Manners {
                    cache,
                    ..Manners::LOCAL
                },
            );
            server.delay(Duration::from_micros(delay));
            World {
                root: mountpoint.clone(),
                server: Some(server),
            }
        };
        let asked = RefCell::default();
        let title = format!("about {entries} entries on a server, {delay} µs a call, {caches}");
        contest(
            &title,
            setting("DELETE_REMOTE_ROUNDS", 3),
            serve,
            ways(&asked),
        );
        println!();
        for (name, calls) in &*asked.borrow() {
            println!("{name:14} {calls}");
        }
    }
}

/// Creates a volume with a tree in its trash.
#[expect(
    clippy::disallowed_methods,
    reason = "what the bench made it clears away"
)]
fn fresh(root: &Path, make: &dyn Fn(&Path) -> io::Result<()>) {
    let gone = fs::remove_dir_all(root);
    assert!(gone.is_ok() || !root.exists(), "{gone:?}");
    fs::create_dir_all(root.join(BIN))
        .and_then(|()| make(&root.join(BIN)))
        .expect("room for the tree");
}

fn ways<'a>(asked: &'a RefCell<BTreeMap<&'static str, String>>) -> Vec<Way<'a, World>> {
    let way =
        |(name, program, arguments): (&'static str, &'static str, &'static [&'static str])| {
            Way::new(name, move |world: &mut World| {
                let bin = world.root.join(BIN);
                match (program, arguments) {
                    ("", _) => print!("{}", ourselves("empty", &world.root)),
                    // `find` wants its path first.
                    ("find", [action]) => drop(run(
                        "find",
                        &[bin.to_str().expect("text")],
                        Path::new(action),
                    )),
                    _ => drop(run(program, arguments, &bin)),
                }
                assert!(!bin.exists(), "{name} left something");
                if let Some(server) = &world.server {
                    asked
                        .borrow_mut()
                        .insert(name, calls(server.calls()).to_string());
                }
            })
        };
    WAYS.map(way).into()
}

/// Empties the trash as a run does.
fn empty(root: &Arc<Path>) {
    let state = VolumePath::new(root, Path::new(".treewarden")).expect("it is inside");
    let trash = Trash::of(&state).expect("the trash is there");
    let emptied = other::io_pool()
        .install(|| trash.empty(&Stop::never()))
        .expect("the trash can be read");
    assert_eq!(emptied.left, Vec::<String>::new());
    if emptied.freed.inodes > 500_000 {
        println!(
            "\ntreewarden took {:.1} MiB of memory for {} inodes",
            other::peak_memory(),
            emptied.freed.inodes
        );
    }
}
