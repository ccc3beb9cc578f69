//! What `treewarden report` says about what fills the volume, and about a later time.

use super::support::{World, git, made, write};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use treewarden::report::usage::Part;
use treewarden::report::{RepoOutcome, RunReport};

/// Bytes and inodes below `path`, as `du` counts them, without the paths in `without` and without
/// files with several links.
fn du(path: &Path, without: &[&Path]) -> (u64, u64) {
    let entries = walkdir::WalkDir::new(path)
        .into_iter()
        .filter_entry(|entry| !without.contains(&entry.path()));
    let entries = entries
        .map(|entry| entry.unwrap().metadata().unwrap())
        .filter(|data| data.is_dir() || data.nlink() == 1);
    entries.fold((0, 0), |(bytes, inodes), data| {
        (bytes + data.blocks() * 512, inodes + 1)
    })
}

fn told(report: &RunReport) -> BTreeMap<String, (Part, Option<&str>, u64, u64, u64)> {
    let below = |path: &Path| {
        path.strip_prefix(&report.volume.root)
            .unwrap()
            .display()
            .to_string()
    };
    report
        .usage
        .iter()
        .map(|u| {
            (
                below(&u.path),
                (u.what, u.name.as_deref(), u.bytes, u.inodes, u.shared_bytes),
            )
        })
        .collect()
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
#[test]
fn every_part_of_the_volume_is_told_once() {
    let world = World::new();
    world.set(
        "caches",
        "{kind: npm, path: caches/npm}, {kind: folder, name: models, path: models}",
    );
    let shop = world.repo("acme/shop");
    let tree = shop.tree("fix");
    let inner = shop.tree_at("acme__shop/.claude/worktrees/inner", "inner");
    shop.tree_at("elsewhere/far", "far")
        .write("big", &"x".repeat(100_000));
    let busy = world.repo("acme/busy");
    let _held = world.hold("acme__busy");
    write(&world.at("caches/npm/content"), vec![7; 50_000]);
    fs::create_dir_all(tree.path.join("node_modules")).unwrap();
    fs::hard_link(
        world.at("caches/npm/content"),
        tree.path.join("node_modules/content"),
    )
    .unwrap();
    let target = inner.path.join("target");
    made::cargo(&target, "shop", &[7; 9_000]);
    write(&world.at("backups/old.tar"), vec![7; 300_000]);
    std::os::unix::fs::symlink("/etc", world.at("backups/etc")).unwrap();
    // A registration that points into a cache changes nothing.
    write(
        &busy.git_dir("worktrees/liar/gitdir"),
        format!("{}/.git\n", world.at("caches/npm").display()),
    );
    write(
        &world.at("caches/npm/.git"),
        format!("gitdir: {}\n", busy.git_dir("worktrees/liar").display()),
    );
    // A file with a link in each of two trees in the trash.
    write(&world.at(".treewarden/trash/one/0/big"), vec![7; 40_000]);
    fs::create_dir_all(world.at(".treewarden/trash/two/0")).unwrap();
    fs::hard_link(
        world.at(".treewarden/trash/one/0/big"),
        world.at(".treewarden/trash/two/0/big"),
    )
    .unwrap();

    let report = world.pass(0, &["report"]);
    let output = |path: &Path| {
        let of = report.usage.iter().find(|used| used.path == path);
        of.map(|used| used.output_bytes)
    };
    assert_eq!(output(&inner.path), Some(du(&target, &[]).0));
    assert_eq!(
        output(&shop.path),
        Some(0),
        "what is in a tree is not the checkout's"
    );
    let outcome = report
        .repos
        .iter()
        .find(|repo| repo.name == "acme/busy")
        .map(|repo| repo.outcome);
    assert_eq!(outcome, Some(RepoOutcome::Busy), "{report:#?}");
    let of = |what, name, path: &Path, without: &[&Path]| {
        let (bytes, inodes) = du(path, without);
        (
            world.below(path).to_string(),
            (what, name, bytes, inodes, 0),
        )
    };
    let linked = fs::metadata(world.at("caches/npm/content"))
        .unwrap()
        .blocks()
        * 512;
    let shared =
        |(path, (what, name, bytes, inodes, _))| (path, (what, name, bytes, inodes, linked));
    let big = fs::metadata(world.at(".treewarden/trash/one/0/big"))
        .unwrap()
        .blocks()
        * 512;
    let once_more = |(path, (what, name, bytes, inodes, shared))| {
        (path, (what, name, bytes + big, inodes + 1, shared))
    };
    let (shop_git, busy_git, far) = (
        shop.git_dir(""),
        busy.git_dir(""),
        world.at("elsewhere/far"),
    );
    let git = |path: &Path| path.components().collect::<std::path::PathBuf>();
    let (shop_git, busy_git) = (git(&shop_git), git(&busy_git));
    let npm = world.at("caches/npm");
    let expected: BTreeMap<_, _> = [
        of(Part::Store, Some("acme/shop"), &shop_git, &[]),
        of(
            Part::Checkout,
            Some("acme/shop"),
            &shop.path,
            &[&shop_git, &inner.path],
        ),
        shared(of(Part::Worktree, Some("acme/shop"), &tree.path, &[])),
        of(Part::Worktree, Some("acme/shop"), &inner.path, &[]),
        of(Part::Worktree, Some("acme/shop"), &far, &[]),
        of(Part::Store, Some("acme/busy"), &busy_git, &[]),
        of(Part::Checkout, Some("acme/busy"), &busy.path, &[&busy_git]),
        shared(of(Part::Cache, Some("npm"), &npm, &[])),
        once_more(of(Part::State, None, &world.at(".treewarden"), &[])),
        (String::new(), (Part::Shared, None, linked, 1, 0)),
        of(Part::Other, None, &world.at("backups"), &[]),
        of(Part::Other, None, &world.at("caches"), &[&npm]),
        of(Part::Other, None, &world.at("elsewhere"), &[&far]),
        of(Part::Other, None, &world.at("worktrees"), &[&tree.path]),
    ]
    .into();
    let mut found = told(&report);
    // Without upstreams and other things that the test's world keeps on the volume.
    found.retain(|path, (what, ..)| *what != Part::Other || expected.contains_key(path));
    assert_eq!(found, expected);
    let sizes: Vec<u64> = report.usage.iter().map(|used| used.bytes).collect();
    assert!(
        sizes.is_sorted_by(|a, b| a >= b),
        "biggest first: {sizes:?}"
    );

    // What emptying the trash would free: four directories and one file, which counts once.
    let (bytes, inodes) = du(&world.at(".treewarden/trash"), &[]);
    let trash = fs::metadata(world.at(".treewarden/trash"))
        .unwrap()
        .blocks()
        * 512;
    assert_eq!(
        (report.totals.freed_by_trash, inodes),
        (bytes + big - trash, 5)
    );
    assert_eq!(
        world.pass(0, &["run", "--dry-run"]).totals.freed_by_trash,
        report.totals.freed_by_trash
    );

    let text = world.treewarden(&["report"]).out;
    for words in [
        "What fills it:",
        "other  backups",
        "repo   acme/shop",
        "3 trees ",
        "links elsewhere",
        "elsewhere/far",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    // Neither a run nor a narrower report walks over everything.
    for asked in [
        &["run", "--dry-run"][..],
        &["report", "--repo", "acme/shop"],
        &["report", "--only", "gc"],
    ] {
        assert_eq!(world.pass(0, asked).usage, [], "{asked:?}");
    }
}

#[test]
fn a_report_tells_what_would_go_by_a_later_time() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.tree("landed").age(0.5);
    shop.tree("saved").commit("saved.ts", "saved\n").age(0.5);
    shop.tree("unsaved").write("notes", "mine\n").age(0.5);
    let goes = |asked: &[&str]| {
        let report = world.pass(0, asked);
        let goes = report.repos[0]
            .worktrees
            .iter()
            .filter(|tree| tree.bytes.is_some());
        goes.map(|tree| tree.path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(goes(&["report"]), [""; 0]);
    assert_eq!(goes(&["report", "--as-of", "1d"]), ["landed"]);
    assert_eq!(goes(&["report", "--as-of", "8d"]), ["landed", "saved"]);
    assert_eq!(
        goes(&["report", "--as-of", "2999-01-01"]),
        ["landed", "saved", "unsaved"]
    );
    let text = world
        .treewarden(&["report", "--as-of", "2999-01-01T03:00:00Z"])
        .out;
    assert!(
        text.contains("What would go by Tue 1 Jan 2999, 03:00 UTC if nobody works until then"),
        "{text}"
    );
    // Nothing was touched. A past time is refused, and so is a run with `--as-of`.
    assert_eq!(
        git(&shop.path, 0.0, &["worktree", "list"]).lines().count(),
        4
    );
    let refused = world.treewarden(&["report", "--as-of", "2001-01-01"]);
    assert!(
        refused.code == 2 && refused.err.contains("that time is past"),
        "{refused:?}"
    );
    assert_eq!(world.treewarden(&["run", "--as-of", "1d"]).code, 2);
}
