//! Each place that names an object is read, and each unreadable one is reported. What git does is
//! tested in `tests/it`.

use super::*;
use std::fs;
use std::path::PathBuf;

struct Place {
    _top: tempfile::TempDir,
    git_dir: VolumePath,
}

impl Place {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("repo/.git/refs")).unwrap();
        let git_dir = VolumePath::new(&top.path().into(), Path::new("repo/.git")).unwrap();
        Self { _top: top, git_dir }
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.git_dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

fn of(number: u8) -> String {
    format!("{number:02x}").repeat(20)
}

#[test]
fn every_place_that_names_an_object_is_read() {
    let place = Place::new();
    let files: [(&str, String); 18] = [
        (
            "packed-refs",
            format!(
                "# pack-refs with: peeled fully-peeled sorted \n{} refs/tags/v1\n^{}\n",
                of(1),
                of(2)
            ),
        ),
        ("refs/heads/main", of(3) + "\n"),
        ("refs/replace/x", of(4)),
        ("worktrees/a/refs/bisect/bad", of(5) + "\n"),
        (
            "logs/HEAD",
            format!(
                "{} {} A <a@b> 1 +0000\tcommit: {}\nnonsense\n",
                of(6),
                of(7),
                of(99)
            ),
        ),
        (
            "logs/refs/stash",
            format!("{} {} A <a@b> 1 +0000\t\n", of(0), of(8)),
        ),
        (
            "worktrees/a/logs/HEAD",
            format!("{} {} A <a@b> 1 +0000", of(9), of(10)),
        ),
        ("HEAD", of(11) + "\n"),
        ("worktrees/a/HEAD", of(12)),
        (
            "FETCH_HEAD",
            format!("{}\tnot-for-merge\tbranch\n{}\t\n", of(13), of(14)),
        ),
        ("SOME_TOOLS-STATE", of(15)),
        ("worktrees/a/MERGE_AUTOSTASH", of(16) + "\n"),
        (
            "rebase-merge/git-rebase-todo",
            format!("pick {} # message\n", of(17)),
        ),
        ("worktrees/a/rebase-apply/patch/deep", of(18)),
        ("sequencer/todo", of(19)),
        ("info/grafts", format!("{} {}\n", of(20), of(21))),
        ("NOTES_MERGE_WORKTREE/x", format!("{}\n", of(23))),
        (
            "worktrees/a/BISECT_LOG",
            format!("git bisect bad {}\n", of(22)),
        ),
    ];
    for (name, text) in &files {
        place.write(name, text);
    }
    // These name no object, or are nobody's work.
    for (name, text) in [
        (
            "refs/remotes/origin/HEAD",
            "ref: refs/remotes/origin/main\n".to_owned(),
        ),
        ("refs/heads/main.lock", String::new()),
        ("config", of(90)),
        ("hooks/HEAD", of(91)),
        ("COMMIT_EDITMSG", of(92) + "0"),
        ("index", String::new()),
    ] {
        place.write(name, text);
    }
    let roots = read(&place.git_dir, &Stop::never());
    assert_eq!(roots.unread, [""; 0]);
    assert_eq!(
        roots.seen.iter().map(|id| id[0]).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert_eq!(
        roots.hidden.iter().map(|id| id[0]).collect::<Vec<_>>(),
        (5..=23).collect::<Vec<_>>()
    );
}

#[test]
fn a_packed_ref_that_is_loose_as_well_names_nothing() {
    let place = Place::new();
    let lines = [
        (1, "refs/heads/main"),
        (2, "refs/heads/main2"),
        (3, "refs/stash"),
        (4, "refs/tags/v1"),
        (6, "refs/tags/v2"),
    ];
    let lines: Vec<String> = lines
        .map(|(number, name)| format!("{} {name}\n^{}\n", of(number), of(number + 10)))
        .into();
    place.write("packed-refs", lines.concat());
    place.write("refs/heads/main", of(7));
    place.write("refs/tags/v1", "ref: refs/heads/main\n");
    // An unfinished write is no ref.
    place.write("refs/stash.lock", of(8));
    let roots = read(&place.git_dir, &Stop::never());
    assert_eq!(roots.unread, [""; 0]);
    assert_eq!(
        roots.seen.iter().map(|id| id[0]).collect::<Vec<_>>(),
        [2, 3, 6, 7, 12, 13, 16]
    );
}

#[test]
fn what_can_not_be_read_is_told() {
    let cases: [(&str, &[u8]); 8] = [
        ("packed-refs", b"garbage\n"),
        ("packed-refs", b"\0\0\0\0\0\0"),
        ("refs/heads/main", b""),
        ("refs/heads/main", b"\0\0\0"),
        ("worktrees/a/refs/worktree/x", b"zz"),
        ("index", b"DIRC"),
        ("worktrees/a/index", b"DIRC\0\0\0\x02\0\0\0\x01"),
        ("refs/heads/long", &[b'a'; 5000]),
    ];
    for (name, text) in cases {
        let place = Place::new();
        place.write(name, text);
        let roots = read(&place.git_dir, &Stop::never());
        assert!(
            roots.unread.len() == 1 && roots.unread[0].contains(name),
            "{name}: {:?}",
            roots.unread
        );
    }
    let place = Place::new();
    (0..20).for_each(|number| drop(place.write(&format!("refs/heads/{number}"), "")));
    let unread = read(&place.git_dir, &Stop::never()).unread;
    assert!(
        unread.len() == 6 && unread[5].contains("15 more"),
        "{unread:?}"
    );
    let place = Place::new();
    fs::create_dir_all(place.git_dir.path().join("worktrees/a/HEAD")).unwrap();
    assert!(read(&place.git_dir, &Stop::never()).unread[0].contains("worktrees/a/HEAD"));
    let place = Place::new();
    let link = place.git_dir.path().join("ORIG_HEAD");
    std::os::unix::fs::symlink("HEAD", &link).unwrap();
    assert!(
        read(&place.git_dir, &Stop::never()).unread[0].contains("ORIG_HEAD"),
        "a link is never followed"
    );
}

#[test]
fn an_index_rests_on_a_shared_one_that_must_be_there() {
    let place = Place::new();
    (0..20).for_each(|number| drop(place.write(&format!("refs/heads/{number}"), "")));
    let unread = read(&place.git_dir, &Stop::never()).unread;
    assert!(
        unread.len() == 6 && unread[5].contains("15 more"),
        "{unread:?}"
    );
    let place = Place::new();
    fs::create_dir_all(place.git_dir.path().join("worktrees/a/HEAD")).unwrap();
    assert!(read(&place.git_dir, &Stop::never()).unread[0].contains("worktrees/a/HEAD"));
    let place = Place::new();
    let link = [
        &b"DIRC\0\0\0\x02\0\0\0\0link\0\0\0\x14"[..],
        &[7; 20],
        &[0; 20],
    ]
    .concat();
    place.write("index", &link);
    assert!(
        read(&place.git_dir, &Stop::never()).unread[0].contains(&format!("sharedindex.{}", of(7)))
    );
    let entry = [
        vec![0; 24],
        0o100_644_u32.to_be_bytes().to_vec(),
        vec![0; 12],
        vec![5; 20],
        vec![0, 1],
        b"a\0".to_vec(),
    ]
    .concat();
    place.write(
        &format!("sharedindex.{}", of(7)),
        [&b"DIRC\0\0\0\x02\0\0\0\x01"[..], &entry, &[0; 20]].concat(),
    );
    let roots = read(&place.git_dir, &Stop::never());
    assert_eq!(
        (roots.unread.len(), roots.seen.len(), roots.hidden.len()),
        (0, 0, 1)
    );
}

#[test]
fn ids_are_what_they_say() {
    assert_eq!(id(of(0xab).as_bytes()).map(|id| hex(&id)), Some(of(0xab)));
    for text in ["", "ab", &"g".repeat(40), &"a".repeat(41)] {
        assert_eq!(id(text.as_bytes()), None);
    }
}
