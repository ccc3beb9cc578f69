//! Repos in formats that treewarden can't maintain: each is refused by name, with what would help,
//! and nothing in it is touched. `docs/design/formats.md#what-is-refused` lists them.

use super::stores::gits;
use super::support::repo::Repo;
use super::support::snapshot::snapshot;
use super::support::{World, age_all, git, remove, same, try_git, write};
use treewarden::report::RepoOutcome;

/// Initializes a repo in this format, with two commits, a worktree, and a rebase's leftovers;
/// `false` if git doesn't have the format.
fn filled(world: &World, name: &str, format: &str) -> bool {
    let repo = Repo::there(world, name);
    let (code, ..) = try_git(
        &world.root,
        90.0,
        &["init", "-q", "--template=", format, &repo.directory()],
    );
    if code != Some(0) {
        return false;
    }
    world.enrol(name, "");
    repo.commit(80.0, "a", "one\n");
    repo.commit(70.0, "a", "two\n");
    let tree = world.at(format!("worktrees/{}/stale", repo.directory()));
    repo.git(&["worktree", "add", "-q", tree.to_str().unwrap()]);
    repo.git(&["reset", "-q", "--hard", "HEAD~1"]);
    age_all(&repo.path, 60.0);
    age_all(&tree, 60.0);
    true
}

/// Returns the version of a git: major and minor.
fn version(version: &str) -> (u32, u32) {
    let words = version.trim().strip_prefix("git version ").unwrap();
    let numbers: Vec<u32> = words.splitn(3, '.').map_while(|n| n.parse().ok()).collect();
    (numbers[0], numbers[1])
}

#[test]
fn a_repo_in_a_format_that_is_not_maintained_is_refused_by_name_and_not_touched() {
    let world = World::new();
    world.repo("acme/shop").tree("landed").age(2.0);
    assert!(filled(&world, "acme/sha256", "--object-format=sha256"));
    // Git 2.45 has it. An older one leaves the config to be written by hand.
    if !filled(&world, "acme/reftable", "--ref-format=reftable") {
        let repo = world.repo("acme/reftable");
        repo.git(&["config", "core.repositoryFormatVersion", "1"]);
        repo.git(&["config", "extensions.refStorage", "reftable"]);
    }
    let directories = ["acme__sha256", "acme__reftable"];
    let places = directories
        .map(|name| [name.to_owned(), format!("worktrees/{name}")])
        .concat();
    let held = || places.iter().map(|place| snapshot(&world.at(place)));
    let before: Vec<_> = held().collect();
    for (version_line, directory) in gits(&world) {
        let found = version(&version_line);
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
        let start = |typed: &[&str]| world.start_as(&[("PATH", &path)], typed).end();
        let ran = start(&["run", "--format", "json"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let told = |name: &str| {
            let report = ran.report();
            let row = report.repos.into_iter().find(|row| row.name == name);
            let row = row.unwrap();
            assert_eq!(row.outcome, RepoOutcome::Refused, "{name}");
            row.reason.unwrap()
        };
        let (sha256, reftable) = (told("acme/sha256"), told("acme/reftable"));
        let starts = |reason: &str, words: &str| assert!(reason.contains(words), "{reason}");
        starts(
            &sha256,
            "sets extensions.objectformat = sha256: the repo has SHA-256 objects; libgit2 1.",
        );
        let too_old = format!(
            "they need git 2.45 or newer, and this is git {}.{}; ",
            found.0, found.1
        );
        starts(
            &reftable,
            &format!(
                "sets extensions.refstorage = reftable: the repo has reftables; {}libgit2 1.",
                if found < (2, 45) { &too_old } else { "" }
            ),
        );
        starts(&reftable, "`git refs migrate --ref-format=files`");
        let check = start(&["check", "--format", "json"]);
        assert_eq!(check.code, 3, "{check:?}");
        let check: serde_json::Value = serde_json::from_str(&check.out).unwrap();
        let rows = check["checks"].as_array().unwrap();
        let row = |what: &str| {
            let row = rows.iter().find(|row| row["what"] == what);
            row.unwrap()["message"].as_str().unwrap().to_owned()
        };
        assert_eq!(row("repo acme/sha256"), sha256);
        assert_eq!(row("repo acme/reftable"), reftable);
        let has = if found < (2, 45) {
            "reftables (need git 2.45 or newer)".to_owned()
        } else {
            format!("reftables (git {}.{} has them)", found.0, found.1)
        };
        let formats = row("formats");
        starts(&formats, "SHA-1 objects and refs in files; not SHA-256");
        starts(&formats, &has);
    }
    for (place, (after, before)) in places.iter().zip(held().zip(before)) {
        same(place, &after, &before);
    }
}

/// `git refs migrate` sets the config last. A killed one leaves a repo whose config speaks of files,
/// and whose files have no refs. It is not called damaged: enrolling it anew would lose its refs.
#[test]
fn a_conversion_that_was_killed_loses_nothing() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.commit(70.0, "mine", "only here\n");
    let commit = shop.git(&["rev-parse", "HEAD"]);
    shop.git(&["commit", "-q", "--amend", "-m", "Reworded"]);
    for name in ["refs", "logs", "packed-refs", "ORIG_HEAD", "index"] {
        let path = shop.git_dir(name);
        if path.exists() {
            remove(&path);
        }
    }
    write(&shop.git_dir("HEAD"), "ref: refs/heads/.invalid\n");
    write(
        &shop.git_dir("refs/heads"),
        "this repository uses the reftable format\n",
    );
    write(&shop.git_dir("reftable/tables.list"), "");
    age_all(&shop.path, 60.0);
    let before = snapshot(&shop.path);
    for _ in 0..2 {
        let report = world.pass(1, &["run"]);
        let row = &report.repos[0];
        let reason = row.reason.clone().unwrap_or_default();
        assert!(
            row.outcome == RepoOutcome::Refused
                && reason.contains("says that the refs are in reftables"),
            "{row:?}"
        );
    }
    same("the repo", &snapshot(&shop.path), &before);
    assert!(shop.path.join(object(&commit)).exists());
}

/// Returns the path of a loose object, below the checkout.
fn object(id: &str) -> String {
    format!(".git/objects/{}/{}", &id[..2], &id[2..])
}

#[test]
fn an_origin_in_another_format_is_not_cloned() {
    let world = World::new();
    let origin = world.beside("sha256.git");
    let arguments = [
        "init",
        "-q",
        "--bare",
        "--template=",
        "--object-format=sha256",
    ];
    git(
        &world.root,
        90.0,
        &[&arguments[..], &[origin.to_str().unwrap()]].concat(),
    );
    let filled = world.beside("filled");
    git(
        &world.root,
        90.0,
        &[
            "clone",
            "-q",
            origin.to_str().unwrap(),
            filled.to_str().unwrap(),
        ],
    );
    git(
        &filled,
        90.0,
        &["commit", "-q", "--allow-empty", "-m", "One"],
    );
    git(&filled, 90.0, &["push", "-q", "origin", "HEAD"]);
    world.enrol(
        "acme/sha256",
        &format!("url: 'file://{}'", origin.display()),
    );
    // The lock of the enrollment stays.
    let standing = || {
        let mut standing = snapshot(&world.root);
        standing.retain(|path, _| !path.starts_with(".treewarden"));
        standing
    };
    let before = standing();
    let ran = world.treewarden(&["enroll", "acme/sha256"]);
    assert!(
        ran.code == 1
            && ran
                .err
                .contains("; it has SHA-256 objects, which treewarden does not"),
        "{ran:?}"
    );
    same("the volume", &standing(), &before);
}

#[test]
#[ignore = "needs git 2.46 or newer, for `git refs migrate`"]
fn a_repo_that_is_converted_between_two_runs_and_back_loses_nothing() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("stale");
    write(&tree.path.join("new.ts"), "only here\n");
    tree.age(60.0);
    shop.commit(70.0, "mine", "only here\n");
    assert_eq!(world.night().totals.reaped, 1);
    // Git 2.47 converts no repo with reflogs.
    remove(&shop.git_dir("logs"));
    shop.git(&["config", "core.logAllRefUpdates", "false"]);
    let refs = shop.refs("refs");
    assert!(refs.keys().any(|name| name.starts_with("refs/treewarden/")));
    shop.git(&["refs", "migrate", "--ref-format=reftable"]);
    age_all(&shop.path, 60.0);
    let before = snapshot(&shop.path);
    for _ in 0..2 {
        let report = world.pass(1, &["run"]);
        assert_eq!(report.repos[0].outcome, RepoOutcome::Refused);
    }
    same("the converted repo", &snapshot(&shop.path), &before);
    assert_eq!(shop.refs("refs"), refs);
    shop.git(&["refs", "migrate", "--ref-format=files"]);
    let report = world.night();
    assert_eq!(report.repos[0].outcome, RepoOutcome::Maintained);
    assert_eq!((shop.refs("refs"), shop.fsck()), (refs, String::new()));
}
