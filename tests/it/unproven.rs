//! What was proven, and is another thing a moment later: nothing that is read after the proof may
//! grow without bound.

use super::support::{World, fifo, remove, write};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};
use treewarden::fs::stop::Stop;
use treewarden::fs::volume_path::VolumePath;
use treewarden::git::shadow::Shadow;
use treewarden::git::shadow::layout::Layout;

/// The size in bytes of a file that nobody reads in a day.
const ENDLESS: u64 = 15 << 40;

fn shadow(world: &World, directory: &str, stop: &Stop) -> Shadow {
    let place = VolumePath::new(&world.root.clone().into(), directory.as_ref()).unwrap();
    Shadow::of(&Layout::plain(&place), stop).unwrap()
}

fn grow(file: &Path) {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(file);
    file.unwrap().set_len(ENDLESS).unwrap();
}

#[test]
fn packed_refs_that_grew_are_not_copied() {
    let world = World::new();
    let repo = world.repo("acme/shop");
    repo.git(&["pack-refs", "--all"]);
    let stop = Stop::after(Duration::from_mins(1), std::sync::Arc::default());
    let shadow = shadow(&world, "acme__shop", &stop);
    assert!(shadow.rooted(std::iter::empty(), false).is_ok());
    grow(&repo.git_dir("packed-refs"));
    let error = shadow.rooted(std::iter::empty(), false).err().unwrap();
    assert!(error.to_string().contains("larger than any"), "{error}");
}

#[test]
fn shared_indexes_are_linked_only_as_many_as_git_has_and_only_files() {
    let world = World::new();
    let repo = world.repo("acme/shop");
    repo.git(&["update-index", "--split-index"]);
    let stop = Stop::after(Duration::from_mins(1), std::sync::Arc::default());
    let shadow = shadow(&world, "acme__shop", &stop);
    let at = |name: String| repo.git_dir(format!("sharedindex.{name}"));
    // No index names one of these.
    (0..1000).for_each(|number| write(&at(number.to_string()), ""));
    shadow.with_shared_indexes().unwrap();
    let odd = at("a".repeat(40));
    fifo(&odd);
    let error = shadow.with_shared_indexes().unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
    remove(&odd);
    grow(&odd);
    let error = shadow.with_shared_indexes().unwrap_err();
    assert!(error.to_string().contains("larger than any"), "{error}");
    remove(&odd);
    (0..100).for_each(|number| write(&at(format!("{number:040x}")), ""));
    let error = shadow.with_shared_indexes().unwrap_err();
    assert!(error.to_string().contains("more than 64"), "{error}");
}

#[test]
fn a_file_is_not_hashed_whose_size_is_already_another() {
    let world = World::new();
    let repo = world.repo("acme/shop");
    let tree = repo.tree("work");
    tree.write("work.txt", "only here\n").age(31.0);
    world.night();
    let listed = world.treewarden(&["rescue", "list", "--format", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    let id = listed["rescues"][0]["commit"].as_str().unwrap()[..10].to_owned();
    assert_eq!(world.treewarden(&["rescue", "restore", &id]).code, 0);
    grow(&tree.path.join("work.txt"));
    let began = Instant::now();
    let mut running = world.start(&["rescue", "restore", &id, "work.txt"]);
    while running.runs() && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let hangs = running.runs();
    running.signal(rustix::process::Signal::KILL);
    let ran = running.end();
    assert!(
        !hangs && ran.code == 1 && ran.err.contains("work.txt"),
        "{ran:?}"
    );
}
