//! The state directory's files, damaged in every way in which a crash, a full disk or a person can
//! damage them.
//!
//! What is complete is read, what isn't is reported, and nothing else is touched. The config and
//! the repos have tests of their own.

use super::report::nights;
use super::support::{World, age, fifo, map, remove, same, temporary, until, write};
use chrono::DateTime;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use treewarden::apply::reserved_space;
use treewarden::apply::trash::taken_from;
use treewarden::config::policy::Volume;
use treewarden::facts::volume::Usage;
use treewarden::fs::volume_path::VolumePath;
use treewarden::lock::{Holder, LockError, LockedRepo, peek};
use treewarden::report::journal;
use treewarden::report::{RepoOutcome, RunReport, UnitOutcome};
use treewarden::state::volume::{VolumeError, prove};

type Put = fn(&Path, &Path);

/// Things in place of a file, none of which may be read, written through or waited for.
const NO_FILES: [(&str, Put); 5] = [
    ("link", |path, victim| symlink(victim, path).unwrap()),
    ("loose link", |path, _| symlink("nowhere", path).unwrap()),
    ("hard link", |path, victim| {
        fs::hard_link(victim, path).unwrap();
    }),
    ("FIFO", |path, _| fifo(path)),
    ("folder", |path, _| fs::create_dir(path).unwrap()),
];

/// Returns the volume, as the config would describe it.
fn volume(world: &World) -> Volume {
    let root: Arc<Path> = world.root.as_path().into();
    Volume {
        state: VolumePath::new(&root, Path::new(".treewarden")).unwrap(),
        root,
    }
}

#[test]
fn a_sentinel_that_is_not_whole_or_not_known_is_refused() {
    let world = World::new();
    let volume = volume(&world);
    let sentinel = world.at(".treewarden/volume.json");
    let whole = fs::read(&sentinel).unwrap();
    prove(&volume).unwrap();
    for cut in 0..whole.len() {
        write(&sentinel, &whole[..cut]);
        assert!(
            matches!(prove(&volume), Err(VolumeError::Unreadable { .. })),
            "cut at {cut}"
        );
    }
    let text = String::from_utf8(whole.clone()).unwrap();
    let nulls = [&whole[..], &[0; 4096]].concat();
    let large = [&whole[..], &vec![b' '; 65 << 10]].concat();
    for (what, text) in [
        ("NULs at its end", &nulls[..]),
        ("NULs alone", &[0; 168]),
        ("too large", &large),
        ("two of them", &[&whole[..], &whole].concat()),
        (
            "another type",
            text.replace("\"id\": \"", "\"id\": [\"")
                .replace("\",\n  \"root", "\"],\n  \"root")
                .as_bytes(),
        ),
        ("no schema", text.replace("schema", "scheme").as_bytes()),
    ] {
        write(&sentinel, text);
        assert!(
            matches!(prove(&volume), Err(VolumeError::Unreadable { .. })),
            "{what}"
        );
    }
    // A later schema may look entirely different.
    for text in [
        text.replace("volume/1", "volume/2"),
        "{\"schema\": \"treewarden.volume/3\\u001b[2J\", \"roots\": []}".to_owned(),
    ] {
        write(&sentinel, &text);
        world.repo("acme/shop").tree("landed").age(2.0);
        let ran = world.treewarden(&["run"]);
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(
            ran.out.contains("this treewarden knows") && !ran.out.contains('\x1b'),
            "{ran:?}"
        );
        assert!(world.at("worktrees/acme__shop/landed").exists());
        remove(&world.at("acme__shop"));
        remove(&world.at("worktrees"));
        remove(&world.beside("origins"));
    }
    write(&sentinel, "precious");
    for (what, put) in NO_FILES
        .into_iter()
        .filter(|(what, _)| *what != "hard link")
    {
        let (place, elsewhere) = (
            world.at(".treewarden/volume.json"),
            world.beside("elsewhere"),
        );
        write(&elsewhere, &whole);
        remove(&place);
        put(&place, &elsewhere);
        assert!(prove(&volume).is_err(), "{what}");
        let ran = world.treewarden(&["init", world.root.to_str().unwrap()]);
        assert!(
            ran.code == 3 && ran.err.contains("prepared already"),
            "{what}: {ran:?}"
        );
    }
    remove(&sentinel);
    write(&sentinel, &whole);
    prove(&volume).unwrap();
}

/// Returns three runs for the journal.
fn three() -> Vec<RunReport> {
    let mut nights = vec![nights::refused(), nights::refused(), nights::refused()];
    nights
        .iter_mut()
        .zip(["first", "second", "third"])
        .for_each(|(night, id)| id.clone_into(&mut night.run.id));
    nights
}

fn told(file: &VolumePath) -> (Vec<String>, u64) {
    let past = journal::read(file).unwrap();
    (
        past.runs.into_iter().map(|run| run.run.id).collect(),
        past.skipped,
    )
}

/// Returns a journal's path, in an otherwise empty state directory.
pub(super) fn a_journal() -> (tempfile::TempDir, VolumePath) {
    let top = temporary();
    fs::create_dir(top.path().join("state")).unwrap();
    let state = VolumePath::new(&top.path().into(), Path::new("state")).unwrap();
    (top, journal::file(&state))
}

#[test]
fn a_journal_cut_anywhere_keeps_what_is_whole_and_takes_the_next_night() {
    let (_directory, file) = a_journal();
    let lines: Vec<String> = three().iter().map(journal::line).collect();
    let whole = lines.concat();
    let ends: Vec<usize> = (1..=3)
        .map(|count| lines[..count].concat().len() + count)
        .collect();
    let text = lines
        .iter()
        .map(|line| format!("{line}\n"))
        .collect::<Vec<_>>()
        .concat();
    assert_eq!(whole.len() + 3, text.len());
    let mut next = nights::refused();
    "next".clone_into(&mut next.run.id);
    for cut in 0..=text.len() {
        // A line that lacks only its line end is complete, too.
        let count = ends.iter().filter(|end| **end - 1 <= cut).count();
        let torn = u64::from(cut > 0 && !ends.iter().any(|end| [*end, *end - 1].contains(&cut)));
        let mut expected: Vec<String> = ["first", "second", "third"][..count]
            .iter()
            .map(|id| (*id).to_owned())
            .collect();
        for tail in [0, 512] {
            write(
                &file.path(),
                [&text.as_bytes()[..cut], &vec![0; tail]].concat(),
            );
            let after_end = tail > 0 && (cut == 0 || ends.contains(&cut));
            // NULs directly behind a line without its line end spoil it.
            let spoilt = tail > 0 && ends.iter().any(|end| end - 1 == cut);
            let (kept, skipped) = (
                count - usize::from(spoilt),
                torn.max(u64::from(after_end || spoilt)),
            );
            assert_eq!(
                told(&file),
                (expected[..kept].to_vec(), skipped),
                "cut at {cut}, {tail} NULs"
            );
            if cut % 50 == 0 || ends.iter().any(|end| end.abs_diff(cut) < 2) {
                journal::append(&file, &next).unwrap();
                let now = [&expected[..kept], &["next".to_owned()]].concat();
                assert_eq!(
                    told(&file),
                    (now, skipped),
                    "after a night, cut at {cut}, {tail} NULs"
                );
            }
        }
        expected.clear();
    }
}

#[test]
fn a_journal_of_odd_lines_tells_the_others() {
    let (_directory, file) = a_journal();
    let [first, second, third] = [0, 1, 2].map(|number| journal::line(&three()[number]));
    let later = second.replace("treewarden.report/1", "treewarden.report/2");
    let odd: Vec<(&str, Vec<u8>, u64)> = vec![
        ("a later schema", later.into_bytes(), 1),
        (
            "another type",
            second.replace("\"id\":\"second\"", "\"id\":2").into_bytes(),
            1,
        ),
        (
            "a huge number",
            second
                .replace("\"total_bytes\":0", "\"total_bytes\":1e99")
                .into_bytes(),
            1,
        ),
        ("no JSON", b"\xff\xfe garbage".to_vec(), 1),
        ("nested too deep", b"[".repeat(100_000), 1),
        ("a long line", vec![b'x'; 65 << 20], 1),
        ("empty lines", b"\n \n".to_vec(), 0),
        ("the first again", first.clone().into_bytes(), 0),
    ];
    for (what, line, skipped) in odd {
        write(
            &file.path(),
            [
                first.as_bytes(),
                b"\n",
                &line,
                b"\n",
                third.as_bytes(),
                b"\n",
            ]
            .concat(),
        );
        assert_eq!(
            told(&file),
            (vec!["first".to_owned(), "third".to_owned()], skipped),
            "{what}"
        );
    }
}

#[test]
fn no_journal_grows_for_ever_and_none_is_too_long_to_read() {
    let (directory, file) = a_journal();
    // A sparse terabyte, as somebody's mistake may leave it.
    fs::File::create(file.path())
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert_eq!(told(&file).0, Vec::<String>::new());
    let mut night = three().remove(0);
    journal::append(&file, &night).unwrap();
    assert_eq!(told(&file), (vec!["first".to_owned()], 0));
    let unit = |number: u64| treewarden::report::Unit {
        cache: "npm".into(),
        kind: "npm".to_owned(),
        unit: format!("{number:0>8000}"),
        bytes: 1,
        inodes: 1,
        last_used: DateTime::UNIX_EPOCH,
        last_used_from: treewarden::facts::cache::UsedFrom::WriteTime,
        named_by: None,
        in_use: false,
        outcome: UnitOutcome::Evicted,
    };
    night.eviction.units = (0..600).map(unit).collect();
    "night N".clone_into(&mut night.run.id);
    let line = journal::line(&night);
    let (mut longest, mut length) = (0, file.path().metadata().unwrap().len());
    let mut appended = 0;
    for number in 0..30 {
        // A journal that is far from full just grows by the line, which is written here because
        // turning five megabytes into JSON thirty times takes half a minute.
        if length < 56 << 20 {
            let line = line.replacen("night N", &format!("night {number}"), 1) + "\n";
            let mut journal = fs::File::options().append(true).open(file.path()).unwrap();
            std::io::Write::write_all(&mut journal, line.as_bytes()).unwrap();
        } else {
            night.run.id = format!("night {number}");
            journal::append(&file, &night).unwrap();
            appended += 1;
        }
        length = file.path().metadata().unwrap().len();
        longest = longest.max(length);
    }
    assert!(appended >= 5 && longest > 64 << 20, "{appended} appended");
    let (ids, skipped) = told(&file);
    assert!(longest < 80 << 20 && skipped == 0, "{longest} bytes");
    let kept: Vec<String> = (30 - ids.len()..30)
        .map(|number| format!("night {number}"))
        .collect();
    assert!(ids == kept && ids.len() >= 4, "{ids:?}");
    assert_eq!(
        fs::read_dir(directory.path().join("state"))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn what_is_no_file_of_its_own_is_not_written_through() {
    for (what, put) in NO_FILES {
        let world = World::new();
        for name in ["acme/shop", "acme/other"] {
            world.repo(name).tree("landed").age(2.0);
        }
        let victim = world.at("victim");
        write(&victim, "precious\n");
        for place in ["journal.jsonl", "locks/acme__shop.lock"] {
            put(&world.at(".treewarden").join(place), &victim);
        }
        let report = world.pass(1, &["run"]);
        let outcomes = report
            .repos
            .iter()
            .map(|repo| (repo.name.clone(), format!("{:?}", repo.outcome)))
            .collect();
        same(
            what,
            &outcomes,
            &map(&[("acme/other", "Maintained"), ("acme/shop", "Failed")]),
        );
        assert!(
            report.failures.len() == 1 && report.failures[0].contains("failed to append to `"),
            "{what}: {:?}",
            report.failures
        );
        assert_eq!(fs::read(&victim).unwrap(), b"precious\n", "{what}");
        assert!(
            !world.at(".treewarden/nowhere").exists()
                && !world.at(".treewarden/locks/nowhere").exists(),
            "{what}"
        );
        assert!(
            world.at("worktrees/acme__shop/landed").exists()
                && !world.at("worktrees/acme__other/landed").exists(),
            "{what}"
        );
        let ran = world.treewarden(&["history"]);
        let told = if what == "loose link" || what == "link" {
            "ymbolic link"
        } else {
            ""
        };
        assert!(
            ran.code == 3 && ran.err.contains("failed to read `") && ran.err.contains(told),
            "{what}: {ran:?}"
        );
    }
}

/// Returns the holder of a lock according to the file's text.
fn named(text: &[u8]) -> Option<String> {
    let top = temporary();
    let root: Arc<Path> = top.path().into();
    let locks = VolumePath::new(&root, Path::new("locks")).unwrap();
    fs::create_dir(locks.path()).unwrap();
    let file = locks.path().join("acme__shop.lock");
    fs::write(&file, text).unwrap();
    let open = fs::File::options().write(true).open(&file).unwrap();
    rustix::fs::flock(&open, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let holder = peek(&locks, "acme/shop").unwrap().unwrap_err();
    let take = || {
        LockedRepo::take(
            &locks,
            "acme/shop",
            &VolumePath::new(&root, Path::new("shop")).unwrap(),
            "run",
            DateTime::UNIX_EPOCH,
        )
    };
    assert!(matches!(take(), Err(LockError::Busy(again)) if again == holder));
    assert_eq!(fs::read(&file).unwrap(), text, "asking leaves no trace");
    drop(open);
    // The file's text decides nothing. A child that another test has just forked has the descriptor,
    // too, until it executes its program.
    let mut taken = None;
    until("the lock is free", || {
        taken = taken.take().or_else(|| take().ok());
        taken.is_some()
    });
    let lock = taken.unwrap();
    let record = Holder::read(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        (&*record.schema, record.pid),
        ("treewarden.lock/1", std::process::id())
    );
    drop(lock);
    assert_eq!(fs::read(&file).unwrap(), b"");
    holder.map(|holder| holder.holder)
}

#[test]
fn a_lock_s_record_only_informs_however_damaged_it_is() {
    let agent = br#"{"holder": "pod-7", "pid": 12, "purpose": "exec", "since": "2026-05-01T03:04:05Z", "token": "t"}"#;
    let pod = Some("pod-7".to_owned());
    assert_eq!(named(agent), pod);
    // As if it left no name: the kernel may know who it is.
    let kernels = named(b"");
    assert_ne!(kernels, pod);
    // Asking for a lock that is held takes a while, so that only some of the cuts are met there.
    for cut in 1..agent.len() {
        assert_eq!(Holder::read(&agent[..cut]), None, "cut at {cut}");
        if cut % 10 == 0 || cut + 1 == agent.len() {
            assert_eq!(named(&agent[..cut]), kernels, "cut at {cut}");
        }
    }
    let text = std::str::from_utf8(agent).unwrap();
    let table: [(&str, Vec<u8>, Option<String>); 7] = [
        ("a line end", [agent, &b"\n"[..]].concat(), pod.clone()),
        (
            "a later schema",
            text.replace('{', "{\"schema\": \"treewarden.lock/9\", \"more\": [1], ")
                .into_bytes(),
            pod,
        ),
        (
            "NULs behind",
            [agent, &[0; 64][..]].concat(),
            kernels.clone(),
        ),
        ("NULs alone", vec![0; 4096], kernels.clone()),
        (
            "another type",
            text.replace("12", "\"12\"").into_bytes(),
            kernels.clone(),
        ),
        ("garbage", b"\xff\xfe\x00".to_vec(), kernels.clone()),
        ("huge", vec![b'{'; 1 << 20], kernels.clone()),
    ];
    for (what, text, expected) in table {
        assert_eq!(named(&text), expected, "{what}");
    }
}

#[test]
fn what_is_no_note_proves_nothing_and_the_trash_is_emptied_all_the_same() {
    let world = World::new();
    let state = volume(&world).state;
    let shop = world.repo("acme/shop");
    shop.tree("stays");
    let (stays, outside) = (
        world.at("worktrees/acme__shop/stays"),
        world.beside("outside"),
    );
    write(&outside.join("precious"), "precious");
    let bin = |name: &str| world.at(".treewarden/trash").join(name);
    let admin = shop.git_dir("worktrees/stays");
    std::thread::sleep(std::time::Duration::from_millis(20));
    let whole = format!(
        r#"{{"schema":"treewarden.taken/1","from":"{}","admin":"{}"}}"#,
        stays.display(),
        admin.display()
    );
    write(&bin("whole").join("note.json"), &whole);
    fs::rename(&stays, bin("whole").join("0")).unwrap();
    let expected: HashSet<VolumePath> = [VolumePath::new(state.root(), &stays).unwrap()].into();
    assert_eq!(taken_from(&state), expected);
    fs::rename(bin("whole").join("0"), &stays).unwrap();
    assert_eq!(taken_from(&state), HashSet::new(), "nothing was taken");
    remove(&bin("whole"));
    let note = format!(
        r#"{{"schema":"treewarden.taken/1","from":"{}"}}"#,
        stays.display()
    );
    for cut in 0..note.len() {
        write(&bin("cut").join("note.json"), &note[..cut]);
        assert_eq!(taken_from(&state), HashSet::new(), "cut at {cut}");
    }
    for (name, text) in [
        ("later", note.replace("taken/1", "taken/2")),
        (
            "outside",
            note.replace(stays.to_str().unwrap(), outside.to_str().unwrap()),
        ),
        ("climbs", note.replace("stays", "../../..")),
        ("type", note.replace("\"from\":", "\"from\":1,\"x\":")),
        ("nulls", format!("{note}\0\0\0")),
        ("large", format!("{note}{}", " ".repeat(65 << 10))),
    ] {
        write(&bin(name).join("note.json"), text);
    }
    for (what, put) in NO_FILES {
        fs::create_dir(bin(what)).unwrap();
        put(
            &bin(what).join("note.json"),
            &outside.join("precious").canonicalize().unwrap_or_default(),
        );
        // The trash entry itself is no directory, too.
        let no_bin = bin(&format!("no bin but a {what}"));
        put(&no_bin, &outside.join("precious"));
    }
    symlink(&outside, bin("link to a directory")).unwrap();
    assert_eq!(taken_from(&state), HashSet::new());
    world.night();
    assert_eq!(
        fs::read_dir(world.at(".treewarden/trash")).unwrap().count(),
        0
    );
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");
    assert!(stays.exists());
}

#[test]
fn what_can_not_be_read_in_the_trash_is_told_and_hinders_no_repo() {
    let world = World::new();
    for name in ["acme/shop", "acme/other"] {
        world.repo(name).tree("landed").age(2.0);
    }
    write(&world.at("file"), "");
    let odd = world.at(".treewarden/trash/odd/note.json");
    let note = format!(
        r#"{{"schema":"treewarden.taken/1","from":"{}","admin":"{}"}}"#,
        world.at("worktrees/acme__shop/landed").display(),
        world.at("file/admin").display()
    );
    write(&odd, note);
    let report = world.pass(1, &["run"]);
    let outcomes = report
        .repos
        .iter()
        .map(|repo| (repo.name.clone(), format!("{:?}", repo.outcome)))
        .collect();
    same(
        "outcomes",
        &outcomes,
        &map(&[("acme/other", "Maintained"), ("acme/shop", "Maintained")]),
    );
    assert!(
        report.failures.len() == 1 && report.failures[0].contains("trash/odd`: "),
        "{:?}",
        report.failures
    );
    for name in ["acme__shop", "acme__other"] {
        let landed = world.at(format!("worktrees/{name}/landed"));
        assert!(!landed.exists(), "{name}");
    }
    assert!(odd.exists());
}

#[test]
fn ballast_that_was_cut_short_is_made_whole_and_a_link_is_not_filled() {
    let world = World::new();
    let state = volume(&world).state;
    let room = Usage {
        total_bytes: 1 << 40,
        free_bytes: 1 << 39,
        ..Usage::default()
    };
    let files = || -> BTreeMap<PathBuf, u64> {
        let entries = fs::read_dir(world.at(".treewarden/ballast"))
            .unwrap()
            .map(|entry| entry.unwrap());
        entries
            .map(|entry| (entry.path(), entry.metadata().unwrap().len()))
            .collect()
    };
    reserved_space::take_on(&state, &room).unwrap();
    let whole = files();
    assert_eq!(whole.values().sum::<u64>(), 4 << 20);
    whole.keys().skip(3).for_each(|file| remove(file));
    reserved_space::take_on(&state, &room).unwrap();
    same("ballast", &files(), &whole);
    let elsewhere = world.beside("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    remove(&world.at(".treewarden/ballast"));
    symlink(&elsewhere, world.at(".treewarden/ballast")).unwrap();
    assert!(reserved_space::take_on(&state, &room).is_err());
    world.night();
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn a_pipe_gets_the_report_and_stays_a_pipe() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.tree("landed").age(2.0);
    age(&shop.path, 1.0);
    let pipe = world.beside("pipe");
    fifo(&pipe);
    let script = format!(
        "cat {pipe} & {} run --format json --output {pipe} && wait && test -p {pipe}",
        env!("CARGO_BIN_EXE_treewarden"),
        pipe = pipe.display()
    );
    let ran = world.program("bash", &["-c", &script]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.report().repos[0].outcome, RepoOutcome::Maintained);
}
