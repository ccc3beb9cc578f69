//! A repo that lends its objects (`git clone --shared`) is never repacked in full: what nothing reaches there may be a borrower's.

use super::support::repo::Repo;
use super::support::{World, age, git, remove, write};
use treewarden::report::GcAction;

#[test]
fn a_lender_keeps_what_only_its_borrower_reaches() {
    let world = World::new();
    let lender = world.repo("acme/lender");
    lender.set("gc: {strategy: git-gc}");
    lender.git(&["checkout", "-q", "-b", "topic"]);
    lender.commit(60.0, "topic.ts", "topic\n");
    world.enrol("acme/borrower", "");
    git(&world.root, 60.0, &["clone", "-q", "--shared", "--template=", "acme__lender", "acme__borrower"]);
    let borrower = super::support::repo::Repo::there(&world, "acme/borrower");
    lender.git(&["checkout", "-q", "main"]);
    lender.git(&["branch", "-q", "-D", "topic"]);
    lender.git(&["reflog", "expire", "--expire=now", "--all"]);
    for entry in
        walkdir::WalkDir::new(lender.git_dir("objects")).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file())
    {
        age(entry.path(), 60.0);
    }

    let report = world.night();

    let gc = |name: &str| report.repos.iter().find(|repo| repo.name == name).map(|repo| (repo.gc.action, repo.gc.reason.clone())).unwrap();
    assert_eq!(gc("acme/lender").0, GcAction::Incremental, "{:?}", gc("acme/lender"));
    assert!(gc("acme/lender").1.contains("borrows"), "{:?}", gc("acme/lender"));
    assert_eq!(borrower.fsck(), "");
}

#[test]
fn whoever_can_not_be_asked_may_be_a_borrower() {
    // Gone with its mount, without objects, or not to be read: what it borrows is anybody's guess.
    let breaks: [fn(&Repo<'_>); 3] = [
        |repo| remove(&repo.path),
        |repo| remove(&repo.git_dir("objects")),
        |repo| std::fs::create_dir(repo.git_dir("objects/info/alternates")).unwrap(),
    ];
    for break_it in breaks {
        let world = World::new();
        let lender = world.repo("acme/lender");
        lender.set("gc: {strategy: git-gc}");
        let other = world.repo("acme/other");
        write(&other.git_dir("objects/info/note"), "");
        let action = |code| world.pass(code, &["run"]).repos.into_iter().find(|repo| repo.name == "acme/lender").unwrap().gc;
        assert_eq!(action(0).action, GcAction::Full);
        break_it(&other);
        let gc = action(1);
        assert_eq!(gc.action, GcAction::Incremental, "{gc:?}");
        assert!(gc.reason.contains("acme/other"), "{gc:?}");
    }
}
