//! Tests of `trash.rs`.

use super::*;
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

struct Free;
impl StillHeld for Free {
    fn still_held(&self) -> Result<(), LockError> {
        Ok(())
    }
}

fn volume() -> (tempfile::TempDir, Arc<Path>, Trash) {
    let top = tempfile::tempdir().unwrap();
    let root: Arc<Path> = top.path().into();
    fs::create_dir(top.path().join("state")).unwrap();
    let trash = Trash::of(&VolumePath::new(&root, Path::new("state")).unwrap()).unwrap();
    (top, root, trash)
}

/// Creates a worktree and its registration, as git does.
fn registered(root: &Arc<Path>) -> [VolumePath; 2] {
    registered_in(root, "repo/.git")
}

/// Creates a worktree and its registration in a git dir.
fn registered_in(root: &Arc<Path>, git_dir: &str) -> [VolumePath; 2] {
    let [tree, admin] = ["tree".to_owned(), format!("{git_dir}/worktrees/tree")]
        .map(|name| VolumePath::new(root, Path::new(&name)).unwrap());
    fs::create_dir_all(tree.path()).unwrap();
    fs::create_dir_all(admin.path()).unwrap();
    fs::write(
        tree.path().join(".git"),
        format!("gitdir: {}\n", admin.path().display()),
    )
    .unwrap();
    fs::write(
        admin.path().join("gitdir"),
        format!("{}/.git\n", tree.path().display()),
    )
    .unwrap();
    [tree, admin]
}

fn a_moment() {
    std::thread::sleep(Duration::from_millis(20));
}

fn forever() -> Stop {
    Stop::after(Duration::from_mins(10), Arc::default())
}

#[test]
fn links_are_deleted_and_never_followed_and_hard_links_count_once() {
    let (top, root, trash) = volume();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "x").unwrap();
    let tree = top.path().join("tree");
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    fs::write(tree.join("a/big"), vec![1; 1 << 20]).unwrap();
    fs::hard_link(tree.join("a/big"), tree.join("a/b/again")).unwrap();
    fs::write(top.path().join("stays"), vec![1; 1 << 20]).unwrap();
    fs::hard_link(top.path().join("stays"), tree.join("shared")).unwrap();
    std::os::unix::fs::symlink(outside.path(), tree.join("a/out")).unwrap();
    fs::set_permissions(
        tree.join("a/b"),
        std::os::unix::fs::PermissionsExt::from_mode(0o500),
    )
    .unwrap();

    let [tree, admin] = registered(&root);
    a_moment();
    let bin = trash.bin(Some((&tree, &admin, None))).unwrap();
    bin.take(&Free, &tree).unwrap();
    assert!(!tree.path().exists());
    let state = VolumePath::new(&root, Path::new("state")).unwrap();
    assert_eq!(taken_from(&state), HashSet::from([tree]));
    let emptied = bin.empty(&forever());
    assert_eq!(emptied.left, Vec::<String>::new());
    assert!(
        (1 << 20..1 << 21).contains(&emptied.freed.bytes),
        "{}",
        emptied.freed.bytes
    );
    assert_eq!(fs::read(outside.path().join("precious")).unwrap(), b"x");
    assert!(top.path().join("stays").exists());
    assert_eq!(
        fs::read_dir(top.path().join("state/trash"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn what_comes_back_never_replaces_anything() {
    let (top, root, trash) = volume();
    let [tree, admin] = registered(&root);
    fs::create_dir(top.path().join("tree/work")).unwrap();
    let bin = trash.bin(Some((&tree, &admin, None))).unwrap();
    let taken = bin.take(&Free, &tree).unwrap();
    bin.give_back(&taken, &tree).unwrap();
    assert!(top.path().join("tree/work").exists());
    rename(&tree, &taken).unwrap();
    fs::create_dir_all(top.path().join("tree/new")).unwrap();
    let Err(TrashError::Stranded { place, .. }) = bin.give_back(&taken, &tree) else {
        panic!("it replaced something")
    };
    assert_eq!(trash.empty(&forever()).unwrap().left.len(), 1);
    assert_eq!(
        trash.empty(&forever()).unwrap().left,
        Vec::<String>::new(),
        "told once"
    );
    assert!(place.path().join("work").exists() && top.path().join("tree/new").exists());
}

#[test]
fn a_tree_that_is_still_to_come_finds_its_bin() {
    let (top, root, trash) = volume();
    let [tree, admin] = registered(&root);
    fs::create_dir(tree.path().join("work")).unwrap();
    a_moment();
    let bin = trash.bin(Some((&tree, &admin, None))).unwrap();
    // Another shard, or a run beside an agent's command, empties the trash now.
    assert_eq!(trash.empty(&forever()).unwrap().left, Vec::<String>::new());
    let taken = bin.take(&Free, &tree).unwrap();
    assert_eq!(trash.empty(&forever()).unwrap().left.len(), 1);
    assert!(taken.path().join("work").exists());
    bin.take(&Free, &admin).unwrap();
    assert_eq!(trash.empty(&forever()).unwrap().left, Vec::<String>::new());
    assert_eq!(
        fs::read_dir(top.path().join("state/trash"))
            .unwrap()
            .count(),
        0
    );
}

/// If an entry is found before its note is written, no tree can be moved into it any more.
#[test]
fn nothing_gets_into_a_bin_that_is_being_deleted() {
    let (_top, root, trash) = volume();
    for number in 0..200 {
        let [tree, admin] = registered(&root);
        fs::write(tree.path().join("work"), "x").unwrap();
        let emptier = std::thread::spawn({
            let trash = Trash {
                place: trash.place.clone(),
            };
            move || {
                std::thread::sleep(Duration::from_micros(number * 3));
                trash.empty(&forever()).map(drop)
            }
        });
        let taken = trash
            .bin(Some((&tree, &admin, None)))
            .ok()
            .and_then(|bin| bin.take(&Free, &tree).ok());
        emptier.join().unwrap().unwrap();
        let bins = super::bins(&trash.place).unwrap();
        let stands: Vec<VolumePath> = std::iter::once(tree.clone())
            .chain(bins.into_iter().map(|bin| bin.join("0").unwrap()))
            .collect();
        let stands: Vec<&VolumePath> = stands
            .iter()
            .filter(|place| place.path().join("work").exists())
            .collect();
        assert_eq!(stands.len(), 1, "{number}: {taken:?}");
        for (part, place) in [stands[0], &admin].into_iter().enumerate() {
            fs::rename(
                place.path(),
                trash.place.path().join(format!("{number}-{part}")),
            )
            .unwrap();
        }
        trash.empty(&forever()).unwrap();
        for bin in fs::read_dir(trash.place.path()).unwrap() {
            fs::rename(
                bin.unwrap().path(),
                root.join(uuid::Uuid::new_v4().to_string()),
            )
            .unwrap();
        }
    }
}

#[test]
fn what_is_written_after_the_look_stays_and_is_told_once() {
    // If directories were lifted out of one another, their files would be reported at new places.
    let _enough = crate::fs::walk::testing::enough();
    let (_top, root, trash) = volume();
    let [tree, admin] = registered(&root);
    for name in ["old", "below/old", "shared"] {
        fs::create_dir_all(tree.path().join("below")).unwrap();
        fs::write(tree.path().join(name), "x").unwrap();
    }
    let elsewhere = root.join("elsewhere");
    fs::hard_link(tree.path().join("shared"), &elsewhere).unwrap();
    a_moment();
    let bin = trash.bin(Some((&tree, &admin, None))).unwrap();
    let taken = bin.take(&Free, &tree).unwrap();
    bin.take(&Free, &admin).unwrap();
    a_moment();
    // A new file with an old write time, and a file that was written again. A new link to a file
    // isn't a write to it.
    let new = taken.path().join("below/new");
    fs::write(&new, "new").unwrap();
    fs::File::open(&new)
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    fs::write(taken.path().join("old"), "more").unwrap();
    fs::hard_link(&elsewhere, root.join("again")).unwrap();
    let left = bin.empty(&forever()).left;
    assert!(
        left.len() == 2
            && left
                .iter()
                .all(|line| line.contains("was written while that was being removed")),
        "{left:?}"
    );
    assert!(!taken.path().join("below/old").exists() && !taken.path().join("shared").exists());
    for _ in 0..100 {
        assert_eq!(
            trash.empty(&forever()).unwrap().left,
            Vec::<String>::new(),
            "told once"
        );
        assert_eq!(
            [&new, &taken.path().join("old")].map(|path| fs::read_to_string(path).unwrap()),
            ["new", "more"]
        );
    }
    // One file is taken out by its owner; the other one is deleted after a month.
    fs::rename(&new, root.join("mine")).unwrap();
    let note = taken.path().parent().unwrap().join(note::GONE);
    fs::File::open(&note)
        .unwrap()
        .set_modified(SystemTime::now() - KEPT - Duration::from_mins(1))
        .unwrap();
    trash.empty(&forever()).unwrap();
    assert_eq!(fs::read_dir(trash.place.path()).unwrap().count(), 0);
}

fn socket(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Socket, Mode::RWXU, 0).unwrap();
}

/// An agent may put anything in the trash: a socket as a note, or a note that names a registration
/// below a file.
#[test]
fn what_can_not_be_read_hinders_nothing_else() {
    let (top, root, trash) = volume();
    let [tree, admin] = registered(&root);
    a_moment();
    let bin = trash.bin(Some((&tree, &admin, None))).unwrap();
    bin.take(&Free, &tree).unwrap();
    let odd = ["socket", "forged"].map(|name| trash.place.path().join(name));
    for place in &odd {
        fs::create_dir(place).unwrap();
    }
    socket(&odd[0].join("note.json"));
    fs::write(top.path().join("file"), "").unwrap();
    let note = format!(
        r#"{{"schema":"treewarden.taken/1","from":"{}","admin":"{}"}}"#,
        tree.path().display(),
        top.path().join("file/admin").display()
    );
    fs::write(odd[1].join("note.json"), note).unwrap();

    let [locks, repo] =
        ["state/locks", "repo"].map(|name| VolumePath::new(&root, Path::new(name)).unwrap());
    fs::create_dir(locks.path()).unwrap();
    let now = crate::fs::clock::now();
    let lock = LockedRepo::take(&locks, "acme/shop", &repo, "run", now).unwrap();
    let git_dir = VolumePath::new(&root, Path::new("repo/.git")).unwrap();
    let own = Own {
        git_dir: &git_dir,
        is_right: &|_| true,
    };
    trash.undo(&lock, &own, &forever()).unwrap();
    assert!(tree.path().exists());
    trash.bin(None).unwrap();
    for _ in 0..2 {
        let left = trash.empty(&forever()).unwrap().left;
        let message = |odd: &str| left.iter().any(|line| line.contains(odd));
        assert!(
            left.len() == 2 && message("trash/socket`") && message("trash/forged`"),
            "{left:?}"
        );
        assert_eq!(fs::read_dir(trash.place.path()).unwrap().count(), 2);
    }
}

#[test]
fn a_bin_that_can_not_be_read_is_left() {
    let (_top, _root, trash) = volume();
    let bin = trash.bin(None).unwrap();
    socket(&bin.place.path().join(note::GONE));
    assert_eq!(bin.empty(&forever()).left.len(), 1);
}

/// Only some of them are told, and none was counted as freed.
#[test]
fn any_number_of_files_that_somebody_has_open_frees_nothing() {
    let (top, root, trash) = volume();
    let cache = VolumePath::new(&root, Path::new("cache")).unwrap();
    fs::create_dir(cache.path()).unwrap();
    let bin = trash.entry_since_now(&cache).unwrap();
    let taken = bin.take(&Free, &cache).unwrap();
    a_moment();
    for number in 0..30 {
        fs::write(taken.path().join(format!(".nfs{number:024}")), "open").unwrap();
    }
    let emptied = bin.empty(&forever());
    assert_eq!((emptied.left.len(), emptied.freed), (20, Size::default()));
    assert!(!top.path().join("cache").exists());
}

#[test]
fn a_line_is_told_once_in_whatever_order_threads_come_to_it() {
    let (_top, _root, trash) = volume();
    let bin = trash.bin(None).unwrap();
    let message = |lines: &[&str]| {
        let lines = lines.iter().map(ToString::to_string).collect();
        tell_once(&bin.place, lines).left
    };
    assert_eq!(message(&["old", "two\nlines"]), ["old", "two\nlines"]);
    assert!(message(&["two\nlines", "old"]).is_empty());
    assert_eq!(message(&["new", "old"]), ["new"]);
    assert_eq!(message(&["two\nlines"]), ["two\nlines"], "it was gone");
}

#[test]
fn a_directory_that_nobody_may_write_to_can_be_taken() {
    // Root could always move it.
    let (top, root, trash) = volume();
    let module = top.path().join("module@v1");
    fs::create_dir(&module).unwrap();
    fs::write(module.join("go.mod"), "x").unwrap();
    fs::set_permissions(&module, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    let bin = trash.bin(None).unwrap();
    bin.take(
        &Free,
        &VolumePath::new(&root, Path::new("module@v1")).unwrap(),
    )
    .unwrap();
    assert_eq!(bin.empty(&forever()).left, Vec::<String>::new());
    assert!(!module.exists());
}

#[test]
fn depth_costs_nothing() {
    let (top, _, trash) = volume();
    let bin = trash.bin(None).unwrap();
    let mut fd = openat::dir(&bin.place).unwrap();
    for _ in 0..5000 {
        rustix::fs::mkdirat(&fd, "d", Mode::RWXU).unwrap();
        fd = rustix::fs::openat(&fd, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .unwrap();
    }
    drop(fd);
    let emptied = trash.empty(&forever()).unwrap();
    assert_eq!((emptied.left, emptied.freed.inodes), (Vec::new(), 5001));
    assert_eq!(
        fs::read_dir(top.path().join("state/trash"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_directory_with_more_names_than_are_held_in_memory_is_emptied() {
    let (top, _, trash) = volume();
    let bin = trash.bin(None).unwrap();
    let directory = bin.place.path().join("0");
    fs::create_dir(&directory).unwrap();
    for number in 0..33_500 {
        if number % 50 == 0 {
            fs::create_dir_all(directory.join(format!("{number}/below"))).unwrap();
        } else {
            drop(fs::File::create(directory.join(number.to_string())).unwrap());
        }
    }
    let emptied = trash.empty(&forever()).unwrap();
    assert_eq!(
        (emptied.left, emptied.freed.inodes),
        (Vec::new(), 33_500 + 670 + 2)
    );
    assert_eq!(
        fs::read_dir(top.path().join("state/trash"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn where_descriptors_are_scarce_directories_are_moved_up() {
    let (top, _, trash) = volume();
    let bin = trash.bin(None).unwrap();
    for number in 0..20 {
        fs::create_dir_all(bin.place.path().join(format!("{number}/a/b/c/d"))).unwrap();
        fs::write(bin.place.path().join(format!("{number}/a/b/file")), "x").unwrap();
    }
    let anchors = crate::fs::walk::testing::all_held();
    let emptied = trash.empty(&forever()).unwrap();
    drop(anchors);
    assert_eq!(
        (emptied.left, emptied.freed.inodes),
        (Vec::new(), 20 * 6 + 1)
    );
    assert_eq!(
        fs::read_dir(top.path().join("state/trash"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn cut_short_it_leaves_the_rest_for_the_next_night() {
    let (top, _, trash) = volume();
    let bin = trash.bin(None).unwrap();
    fs::write(bin.place.path().join("0"), "x").unwrap();
    let now = Stop::after(Duration::ZERO, Arc::default());
    assert!(!trash.empty(&now).unwrap().left.is_empty());
    assert!(bin.place.path().join("0").exists());
    assert!(trash.empty(&forever()).unwrap().left.is_empty());
    assert_eq!(
        fs::read_dir(top.path().join("state/trash"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn nothing_gets_from_one_root_into_the_trash_of_another() {
    let ((top, _, trash), (there, elsewhere, _trash)) = (volume(), volume());
    let unit = VolumePath::outside(&elsewhere, Path::new("unit")).unwrap();
    // A file of the same name is in both.
    for top in [there.path(), top.path()] {
        fs::write(top.join("unit"), "x").unwrap();
    }
    let bin = trash.bin(None).unwrap();
    let refused = bin.take(&Free, &unit).unwrap_err().to_string();
    assert!(refused.contains("on another file system"), "{refused}");
    assert!(there.path().join("unit").exists() && top.path().join("unit").exists());
}

#[test]
fn a_tree_goes_back_wherever_its_repos_git_dir_is() {
    for git_dir in ["repo/.git", "repo/.bare", "repo", "elsewhere/git"] {
        let (_top, root, trash) = volume();
        let [tree, admin] = registered_in(&root, git_dir);
        a_moment();
        let bin = trash.bin(Some((&tree, &admin, None))).unwrap();
        bin.take(&Free, &tree).unwrap();
        let at = |name: &str| VolumePath::new(&root, Path::new(name)).unwrap();
        fs::create_dir(at("state/locks").path()).unwrap();
        let now = crate::fs::clock::now();
        let lock =
            LockedRepo::take(&at("state/locks"), "acme/shop", &at("repo"), "run", now).unwrap();
        for (dir, back) in [("another/.git", false), (git_dir, true)] {
            let own = Own {
                git_dir: &at(dir),
                is_right: &|_| true,
            };
            trash.undo(&lock, &own, &forever()).unwrap();
            assert_eq!(tree.path().exists(), back, "{git_dir} by {dir}");
        }
    }
}
