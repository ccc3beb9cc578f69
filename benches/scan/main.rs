//! Measures what a volume contains, side by side with `du`, `pdu`, `dua` and `gdu`: on the local
//! disk, warm, and on a slow file server.
//!
//! `cargo bench --bench scan`. `SCAN_ENTRIES` (300000) are on the local disk, `SCAN_REMOTE_ENTRIES`
//! (20000) on the server, which takes `SCAN_DELAY` (500) µs per call; `SCAN_ROUNDS` (7) and
//! `SCAN_REMOTE_ROUNDS` (3); `BENCH_FOLDER` is where the trees are created, `BENCH_THREADS` how
//! many threads ours has; `BENCH_BEFORE` is an earlier build of this bench, which is timed, too. If
//! ours disagrees with `du`, that is an error. It must never leave a mount behind.

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
use other::{asked, calls, is_there, ourselves, run, setting};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use treewarden::fs::stop::Stop;
use treewarden::survey::size;

/// What a contestant measures, and the server below it.
struct World {
    root: PathBuf,
    server: Option<Mounted>,
}

fn main() {
    if let Some(root) = asked("measure") {
        return measure(&root.into());
    }
    let pdu = is_there("pdu", "cargo install parallel-disk-usage");
    let dua = is_there("dua", "cargo install dua-cli");
    let gdu = is_there("gdu", "apt-get install gdu");
    let before = std::env::var("BENCH_BEFORE").ok();
    let others = |remote: bool| {
        let mut others: Vec<(&str, &str, &[&str])> = vec![("du", "du", &["-s"])];
        others.extend(
            before
                .as_deref()
                .map(|before| ("treewarden before", before, &["measure"][..])),
        );
        others.extend(pdu.then_some(("pdu", "pdu", &["--max-depth=1"][..])));
        others.extend((pdu && remote).then_some((
            "pdu, 32 threads",
            "pdu",
            &["--max-depth=1", "--threads=32"][..],
        )));
        others.extend(dua.then_some(("dua", "dua", &["aggregate"][..])));
        others.extend((dua && remote).then_some((
            "dua, 32 threads",
            "dua",
            &["--threads=32", "aggregate"][..],
        )));
        others.extend(gdu.then_some(("gdu", "gdu", &["--non-interactive", "--no-progress"][..])));
        others
    };

    let top = other::directory();
    let root = top.path().join("local");
    tree::make(&root, setting("SCAN_ENTRIES", 300_000)).expect("room for the tree");
    same_as_du(&root);
    let title = format!("{} entries on the local disk, warm", entries(&root));
    contest(
        &title,
        setting("SCAN_ROUNDS", 7),
        |_| World {
            root: root.clone(),
            server: None,
        },
        ways(&others(false), &mut BTreeMap::new()),
    );

    let mountpoint = top.path().join("server");
    std::fs::create_dir(&mountpoint).expect("room for a folder");
    let (remote, delay) = (
        setting("SCAN_REMOTE_ENTRIES", 20_000),
        setting("SCAN_DELAY", 500),
    );
    let settings = [
        (
            "attributes cached, at first cold, as on NFS",
            Duration::from_mins(1),
            remote,
        ),
        // Some contestants take minutes here.
        ("nothing cached", Duration::ZERO, remote / 10),
    ];
    for (caches, cache, count) in settings {
        let backing = top.path().join(format!("backing-{count}"));
        tree::make(&backing, count).expect("room for the tree");
        let serve = |_: &str| {
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
        let mut asked = BTreeMap::new();
        let title = format!(
            "{} entries on a server, {delay} µs a call, {caches}",
            entries(&backing)
        );
        contest(
            &title,
            setting("SCAN_REMOTE_ROUNDS", 3),
            serve,
            ways(&others(true), &mut asked),
        );
        println!();
        for (name, calls) in &asked {
            println!("{name:18} {calls}");
        }
    }
}

/// Returns our way first, and then the others.
fn ways<'a>(
    others: &[(&'a str, &'a str, &'a [&'a str])],
    asked: &'a mut BTreeMap<String, String>,
) -> Vec<Way<'a, World>> {
    let asked = std::rc::Rc::new(std::cell::RefCell::new(asked));
    let tell = move |name: &str, world: &World| {
        if let Some(server) = &world.server {
            asked
                .borrow_mut()
                .insert(name.to_owned(), calls(server.calls()).to_string());
        }
    };
    let told = tell.clone();
    let ours = Way::new("treewarden", move |world: &mut World| {
        ourselves("measure", &world.root);
        told("treewarden", world);
    });
    let others = others.iter().map(|&(name, program, arguments)| {
        let tell = tell.clone();
        Way::new(name, move |world: &mut World| {
            run(program, arguments, &world.root);
            tell(name, world);
        })
    });
    std::iter::once(ours).chain(others).collect()
}

/// Measures as a run does.
fn measure(root: &Arc<Path>) {
    let (size, problems) = other::io_pool()
        .install(|| size::standing(root, &Stop::never()))
        .expect("the root can be listed");
    assert_eq!(problems, Vec::<String>::new());
    println!("{}", size.bytes);
}

/// Checks that the sum is that of `du`, except for the root's own blocks.
fn same_as_du(root: &Path) {
    use std::os::unix::fs::MetadataExt;
    let du: u64 = run("du", &["-s", "--block-size=1"], root)
        .split_whitespace()
        .next()
        .and_then(|sum| sum.parse().ok())
        .expect("a sum");
    let ours: u64 = ourselves("measure", root).trim().parse().expect("a sum");
    let own = root.metadata().expect("it stands").blocks() * 512;
    assert_eq!(ours + own, du, "du says something else");
}

fn entries(root: &Path) -> usize {
    walkdir::WalkDir::new(root).min_depth(1).into_iter().count()
}
