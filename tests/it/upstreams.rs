//! Where work lands: the default branch is found with a remote of any name, beside a fork's stale
//! `origin`, and if `origin/HEAD` names a missing branch. If there is none, that is reported.

use super::support::repo::Repo;
use super::support::{World, map, same};

/// Checks the fate of a tree with a commit that only this remote branch has.
fn lands(world: &World, repo: &Repo<'_>, expected: &str) {
    let tree = repo.tree("fix");
    tree.commit("fix.ts", "1\n").age(3.0);
    let head = tree.git(&["rev-parse", "HEAD"]);
    let (remote, fate) = expected.split_once(' ').unwrap();
    if remote != "-" {
        repo.git(&["update-ref", &format!("refs/remotes/{remote}"), &head]);
    }
    let place = format!("{} worktrees/{}/fix", repo.name, repo.directory());
    let fates = world.fates(&world.pass(0, &["report", "--repo", &repo.name]));
    same(&repo.name, &fates, &map(&[(&place, fate)]));
}

#[test]
fn the_default_branch_is_found_whatever_the_remote_is_called() {
    const LANDED: &str = "reap landed merged";
    let world = World::new();
    let renamed = world.repo("acme/renamed");
    renamed.git(&["remote", "rename", "origin", "github"]);
    renamed.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    lands_without_origin(&world, &renamed, &format!("github/main {LANDED}"));
    // A fork with an outdated `origin`, the agent's own.
    let fork = world.repo("acme/fork");
    fork.git(&["update-ref", "refs/remotes/upstream/main", "HEAD"]);
    lands(&world, &fork, &format!("upstream/main {LANDED}"));
    // The other way round: for the fork's owner, a push to the fork's default branch counts as
    // merged.
    let own = world.repo("acme/own");
    own.git(&["update-ref", "refs/remotes/upstream/main", "HEAD"]);
    lands(&world, &own, &format!("origin/main {LANDED}"));
    // The default branch was renamed, and this clone doesn't know it.
    let dangling = world.repo("acme/dangling");
    dangling.git(&[
        "symbolic-ref",
        "refs/remotes/origin/HEAD",
        "refs/remotes/origin/gone",
    ]);
    lands(&world, &dangling, &format!("origin/main {LANDED}"));
    let trunk = world.repo("acme/trunk");
    trunk.git(&[
        "symbolic-ref",
        "refs/remotes/origin/HEAD",
        "refs/remotes/origin/trunk",
    ]);
    lands(&world, &trunk, &format!("origin/trunk {LANDED}"));
    // No other branch counts as a default.
    let other = world.repo("acme/other");
    lands(&world, &other, "origin/feature keep saved recent");
}

/// Checks the same if `origin/main`, where the tree starts, must not count.
fn lands_without_origin(world: &World, repo: &Repo<'_>, expected: &str) {
    let tree = repo.tree("fix");
    repo.git(&["update-ref", "-d", "refs/remotes/origin/main"]);
    tree.commit("fix.ts", "1\n").age(3.0);
    let head = tree.git(&["rev-parse", "HEAD"]);
    let (remote, fate) = expected.split_once(' ').unwrap();
    repo.git(&["update-ref", &format!("refs/remotes/{remote}"), &head]);
    let place = format!("{} worktrees/{}/fix", repo.name, repo.directory());
    same(
        &repo.name,
        &world.fates(&world.pass(0, &["report", "--repo", &repo.name])),
        &map(&[(&place, fate)]),
    );
}

#[test]
fn where_there_is_none_check_and_report_say_so() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("fix");
    tree.commit("fix.ts", "1\n").age(8.0);
    shop.git(&["update-ref", "-d", "refs/remotes/origin/main"]);
    for remote in ["alice", "bob"] {
        shop.git(&["update-ref", &format!("refs/remotes/{remote}/main"), "HEAD"]);
    }
    let said = "no default branch is known, so no worktree counts as landed: run `git remote set-head REMOTE --auto` in the checkout";
    let check = world.treewarden(&["check"]);
    assert!(check.out.contains(said), "{check:?}");
    let report = world.pass(0, &["report"]);
    let row = report.worktrees().next().unwrap();
    assert_eq!(
        row.reasons,
        ["clean, and its commits are on a branch that stays", said]
    );
}
