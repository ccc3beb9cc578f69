//! A whole run over a fleet with trees in every class: every fate, and nothing else touched.

use super::support::fleet::Fleet;
use super::support::repo::Repo;
use super::support::snapshot::{Standing, snapshot};
use super::support::{World, map, same, write};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use treewarden::report::{RepoOutcome, RunReport, TreeOutcome};

/// Returns what a run must not touch for any reason: everything except git dirs, the state
/// directory and the trees that the report says were reaped.
fn untouchable(
    world: &World,
    gone: &BTreeSet<PathBuf>,
    seen: BTreeMap<PathBuf, Standing>,
) -> BTreeMap<PathBuf, Standing> {
    let in_git = |path: &Path| {
        path.components()
            .nth(1)
            .is_some_and(|part| part.as_os_str() == ".git")
    };
    let keep = |path: &Path| {
        !in_git(path)
            && !path.starts_with(".treewarden")
            && !gone.iter().any(|tree| path.starts_with(tree))
    };
    let mut kept: BTreeMap<_, _> = seen.into_iter().filter(|(path, _)| keep(path)).collect();
    // Removing a tree changes its directory's times.
    for above in gone
        .iter()
        .filter_map(|tree| tree.parent())
        .map(Path::to_owned)
        .chain([PathBuf::new()])
    {
        if let Some(directory) = kept.get_mut(&above) {
            (directory.mtime, directory.ctime) = (0, 0);
        }
    }
    assert!(
        kept.len() > 100,
        "{}: next to nothing is compared",
        world.root.display()
    );
    kept
}

fn reaped(world: &World, report: &RunReport) -> BTreeSet<PathBuf> {
    let gone = report
        .worktrees()
        .filter(|tree| tree.outcome == TreeOutcome::Reaped);
    gone.map(|tree| tree.path.strip_prefix(&world.root).unwrap().to_owned())
        .collect()
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
#[test]
fn every_tree_has_its_fate_and_nothing_else_is_touched() {
    let Fleet { world, mut fates } = Fleet::new();
    let quiet = world.repo("acme/quiet");
    write(
        &quiet.path.join("README.md"),
        "the main checkout is in use\n",
    );
    let probed = world.repo("acme/probed");
    probed.set("busy_probe: [sh, -c, 'exit 0']");
    probed.tree("old").age(99.0);
    fates.insert(
        "acme/probed worktrees/acme__probed/old".into(),
        "keep busy".into(),
    );
    let crypt = world.repo("acme/crypt");
    crypt.git(&["config", "filter.git-crypt.smudge", "git-crypt smudge"]);
    crypt.tree("old").age(99.0);

    let names = [
        "landed",
        "fresh",
        "saved",
        "unsaved",
        "commits",
        "held",
        "odd",
        "strays",
        "made_again",
        "never",
        "quiet",
        "probed",
        "crypt",
    ];
    let repos: Vec<Repo<'_>> = names
        .iter()
        .map(|name| Repo::there(&world, &format!("acme/{name}")))
        .collect();
    let (before, refs): (Vec<_>, Vec<_>) = repos
        .iter()
        .map(|repo| (repo.registered(), repo.refs("refs")))
        .unzip();
    let volume = snapshot(&world.root);

    let report = world.pass(1, &["run"]);

    same("fates", &world.fates(&report), &fates);
    let outcomes = report
        .repos
        .iter()
        .map(|repo| (repo.name.clone(), format!("{:?}", repo.outcome)))
        .collect();
    let mut expected: BTreeMap<_, _> = names
        .iter()
        .map(|name| (format!("acme/{name}"), "Maintained".to_owned()))
        .collect();
    expected.insert("acme/crypt".into(), "Refused".into());
    expected.insert("acme/probed".into(), "Busy".into());
    same("outcomes", &outcomes, &expected);
    let refusal = report
        .repos
        .iter()
        .find(|repo| repo.outcome == RepoOutcome::Refused)
        .unwrap()
        .reason
        .clone()
        .unwrap();
    assert!(
        refusal.contains("encrypted files must not be edited from a worktree"),
        "{refusal}"
    );

    let gone = reaped(&world, &report);
    let (then, now) = (
        untouchable(&world, &gone, volume),
        untouchable(&world, &gone, snapshot(&world.root)),
    );
    same("what no night may touch", &now, &then);
    for tree in &gone {
        assert!(!world.at(tree).exists(), "{} still stands", tree.display());
    }
    for ((repo, before), refs) in repos.iter().zip(before).zip(refs) {
        let dropped = repo.name == "acme/strays";
        let left = before
            .into_iter()
            .filter(|(path, _)| {
                !(gone.contains(Path::new(path)) || dropped && path.ends_with("gone-long-ago"))
            })
            .collect();
        same(
            &format!("{}: git worktree list", repo.name),
            &repo.registered(),
            &left,
        );
        let kept = repo
            .refs("refs")
            .into_iter()
            .filter(|(name, _)| !name.starts_with("refs/treewarden/"))
            .collect();
        same(&format!("{}: refs", repo.name), &kept, &refs);
        if repo.name != "acme/odd" {
            assert_eq!(repo.fsck(), "", "{}", repo.name);
        }
    }
    let rescued: BTreeMap<String, String> = repos
        .iter()
        .flat_map(|repo| repo.refs("refs/treewarden"))
        .collect();
    let told: BTreeSet<&str> = report
        .worktrees()
        .filter_map(|tree| tree.rescue_ref.as_deref())
        .collect();
    assert_eq!(
        rescued.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        told
    );
    assert_eq!(
        report.totals.rescued,
        fates
            .values()
            .filter(|fate| fate.starts_with("reap unsaved"))
            .count() as u64
    );
    assert_eq!(report.totals.reaped, gone.len() as u64);
    let dropped: Vec<_> = report
        .repos
        .iter()
        .flat_map(|repo| &repo.prune.dropped)
        .map(|path| world.below(path).to_string())
        .collect();
    assert_eq!(dropped, ["worktrees/acme__strays/gone-long-ago"]);
    let cleared: Vec<_> = report
        .repos
        .iter()
        .flat_map(|repo| &repo.gc.stale_locks)
        .map(|path| world.below(path).to_string())
        .collect();
    assert_eq!(cleared, ["acme__held/.git/worktrees/crashed/index.lock"]);
}

#[test]
fn a_second_night_finds_nothing_left_to_do() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.tree("landed").age(2.0);
    shop.tree("dirty").write("new.ts", "new\n").age(31.0);
    shop.tree("fresh");
    let first = world.night();
    assert_eq!(first.totals.reaped, 2);
    let settled = snapshot(&shop.path);
    let second = world.night();
    same(
        "fates",
        &world.fates(&second),
        &map(&[("acme/shop worktrees/acme__shop/fresh", "keep recent")]),
    );
    assert_eq!(
        (
            second.totals.reaped,
            second.totals.rescued,
            second.totals.freed_by_gc
        ),
        (0, 0, 0)
    );
    same("the repo", &snapshot(&shop.path), &settled);
    assert_eq!(
        std::fs::read_dir(world.at(".treewarden/trash"))
            .unwrap()
            .count(),
        0,
        "the trash is empty"
    );
}

#[test]
fn too_many_trees_at_once_are_refused() {
    let world = World::new();
    world.set("run", "max_reaped: 2");
    let shop = world.repo("acme/shop");
    for name in ["a", "b", "c"] {
        shop.tree(name).age(2.0);
    }
    let before = shop.registered();
    let report = world.pass(1, &["run"]);
    let expected = ["a", "b", "c"].map(|name| {
        (
            format!("acme/shop worktrees/acme__shop/{name}"),
            "spared landed too many at once".to_owned(),
        )
    });
    same("fates", &world.fates(&report), &BTreeMap::from(expected));
    assert!(
        report.failures[0].contains("max_reaped"),
        "{:?}",
        report.failures
    );
    same("git worktree list", &shop.registered(), &before);
}
