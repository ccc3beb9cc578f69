//! Borrowed objects are never dropped: borrowers are searched for on the whole volume, and in doubt
//! all unreachable objects are kept.

use super::support::repo::Repo;
use super::support::snapshot::snapshot;
use super::support::{World, age_all, git, remove, try_git, write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use treewarden::report::{self, GcAction, RepoOutcome};

/// A repo with a branch that others borrow from and that is then deleted: nothing in the lender
/// reaches its commit any more.
struct Lender<'a> {
    repo: Repo<'a>,
    commit: String,
}

impl<'a> Lender<'a> {
    fn new(world: &'a World, name: &str) -> Self {
        let repo = world.repo(name);
        repo.set("gc: {strategy: git-gc}");
        repo.git(&["checkout", "-q", "-b", "topic"]);
        repo.commit(60.0, "topic.ts", &format!("topic of {name}\n"));
        let commit = repo.git(&["rev-parse", "HEAD"]);
        repo.git(&["checkout", "-q", "main"]);
        Self { repo, commit }
    }

    /// Deletes the branch and its reflogs, and ages all objects: only a borrower needs them now.
    fn forget(&self) {
        self.repo.git(&["branch", "-q", "-D", "topic"]);
        self.repo
            .git(&["reflog", "expire", "--expire=now", "--all"]);
        age_all(&self.repo.git_dir("objects"), 60.0);
    }

    fn has_it(&self) -> bool {
        try_git(
            &self.repo.path,
            0.0,
            &["cat-file", "-e", &format!("{}^{{tree}}", self.commit)],
        )
        .0 == Some(0)
    }

    fn gc(&self, report: &report::RunReport) -> report::Gc {
        report
            .repos
            .iter()
            .find(|repo| repo.name == self.repo.name)
            .unwrap()
            .gc
            .clone()
    }
}

fn shared(world: &World, from: &Path, to: &str, more: &[&str]) -> PathBuf {
    let to = world.at(to);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    let arguments = ["clone", "-q", "--shared", "--template=", "-b", "topic"];
    git(
        &world.root,
        60.0,
        &[
            &arguments,
            more,
            &[from.to_str().unwrap(), to.to_str().unwrap()],
        ]
        .concat(),
    );
    to
}

/// Replaces the content of a store's alternates.
fn lend(git_dir: &Path, lines: &str) {
    write(&git_dir.join("objects/info/alternates"), lines);
}

/// A way to borrow. Returns the directory in which git must always find the commit, and the path
/// that the report must name.
type Borrow = fn(&World, &Lender<'_>) -> (PathBuf, &'static str);

const WAYS: [(&str, Borrow); 12] = [
    ("enrolled", |world, lender| {
        world.enrol("acme/borrower", "");
        (
            shared(world, &lender.repo.path, "acme__borrower", &[]),
            "acme__borrower/.git",
        )
    }),
    ("by nobody's leave", |world, lender| {
        (
            shared(world, &lender.repo.path, "people/jo/copy", &[]),
            "people/jo/copy/.git",
        )
    }),
    ("with a reference", |world, lender| {
        let to = world.at("people/with-reference");
        let [from, origin] = [lender.repo.path.clone(), lender.repo.path.clone()]
            .map(|path| path.to_str().unwrap().to_owned());
        git(
            &world.root,
            60.0,
            &[
                "clone",
                "-q",
                "--reference",
                &from,
                "-b",
                "topic",
                "--template=",
                &origin,
                to.to_str().unwrap(),
            ],
        );
        (to, "people/with-reference/.git")
    }),
    ("a lender's lender", |world, lender| {
        let mirror = shared(world, &lender.repo.path, "mirrors/one.git", &["--bare"]);
        (
            shared(world, &mirror, "people/of-a-mirror", &[]),
            "mirrors/one.git",
        )
    }),
    ("a lender's lender outside", |world, lender| {
        let mirror = world.beside("mirror.git");
        git(
            &world.root,
            60.0,
            &[
                "clone",
                "-q",
                "--shared",
                "--bare",
                lender.repo.path.to_str().unwrap(),
                mirror.to_str().unwrap(),
            ],
        );
        (
            shared(world, &mirror, "people/of-a-far-mirror", &[]),
            "people/of-a-far-mirror/.git",
        )
    }),
    ("by a relative line", |world, lender| {
        let to = shared(world, &lender.repo.path, "people/relative", &[]);
        lend(
            &to.join(".git"),
            &format!(
                "# ours\n\n../../../../{}/.git/objects\n",
                lender.repo.directory()
            ),
        );
        (to, "people/relative/.git")
    }),
    ("by way of a link", |world, lender| {
        symlink(&world.root, world.beside("alias")).unwrap();
        let to = shared(world, &lender.repo.path, "people/linked", &[]);
        lend(
            &to.join(".git"),
            &format!(
                "{}/.git/../.git/objects/\n",
                world
                    .beside("alias")
                    .join(lender.repo.directory())
                    .display()
            ),
        );
        (to, "people/linked/.git")
    }),
    ("in a tree's installed packages", |world, lender| {
        let tree = lender.repo.tree("works");
        let to = shared(world, &lender.repo.path, "worktrees/in-packages", &[]);
        let inner = tree.path.join("node_modules/patched");
        std::fs::create_dir_all(inner.parent().unwrap()).unwrap();
        std::fs::rename(to, &inner).unwrap();
        (inner, "node_modules/patched/.git")
    }),
    ("as a submodule", |world, lender| {
        let outer = world.at("people/outer");
        git(&world.root, 60.0, &["init", "-q", outer.to_str().unwrap()]);
        let from = lender.repo.path.to_str().unwrap();
        git(
            &outer,
            60.0,
            &[
                "submodule",
                "--quiet",
                "add",
                "-b",
                "topic",
                "--reference",
                from,
                from,
                "sub",
            ],
        );
        (outer.join("sub"), "people/outer/.git/modules/sub")
    }),
    (
        "by a directory of objects that is a link",
        |world, lender| {
            // As git-new-workdir creates it: with a HEAD and an index of its own.
            let to = shared(world, &lender.repo.path, "people/workdir", &[]);
            remove(&to.join(".git/objects"));
            symlink(lender.repo.git_dir("objects"), to.join(".git/objects")).unwrap();
            (to, "people/workdir/.git")
        },
    ),
    (
        "as a worktree that is registered nowhere",
        |world, lender| {
            let tree = lender.repo.tree_at("people/lost", "lost");
            tree.git(&["checkout", "-q", "--detach", "topic"]);
            let admin = world.at("people/lost-admin");
            std::fs::rename(&tree.admin, &admin).unwrap();
            write(
                &admin.join("commondir"),
                format!("{}\n", lender.repo.git_dir("").display()),
            );
            write(
                &tree.path.join(".git"),
                format!("gitdir: {}\n", admin.display()),
            );
            (tree.path, "people/lost-admin")
        },
    ),
    ("in our own trash", |world, lender| {
        let to = shared(world, &lender.repo.path, "people/was-here", &[]);
        let bin = world.at(".treewarden/trash/kept-of-another-night/0");
        std::fs::create_dir_all(bin.parent().unwrap()).unwrap();
        std::fs::rename(to, &bin).unwrap();
        (bin, ".treewarden/trash/kept-of-another-night/0/.git")
    }),
];

#[test]
fn whoever_borrows_and_however_keeps_what_it_borrows() {
    for (way, borrow) in WAYS {
        let world = World::new();
        let [lender, other] = ["acme/lender", "acme/other"].map(|name| Lender::new(&world, name));
        let (borrower, named) = borrow(&world, &lender);
        lender.forget();
        other.forget();

        let report = world.night();

        let gc = lender.gc(&report);
        assert_eq!(gc.action, GcAction::Full, "{way}: {gc:?}");
        assert!(gc.reason.contains(named), "{way}: {gc:?}");
        assert!(lender.has_it(), "{way}");
        if borrower.exists() {
            let (_, out, err) = try_git(
                &borrower,
                0.0,
                &["fsck", "--full", "--no-dangling", "--no-progress"],
            );
            assert!(
                !format!("{out}{err}").contains("missing"),
                "{way}: {out}{err}"
            );
            assert_eq!(
                try_git(&borrower, 0.0, &["log", "-1", "--format=%H"]).1,
                lender.commit,
                "{way}: HEAD is the borrowed commit"
            );
        }
        // Nobody borrows from the other lender, which is repacked as usual.
        assert_eq!(
            (other.gc(&report).action, other.has_it()),
            (GcAction::Full, false),
            "{way}: {:?}",
            other.gc(&report)
        );
    }
}

#[test]
fn where_nobody_can_tell_who_borrows_nothing_is_dropped_and_all_is_repacked() {
    type Break = fn(&World, &Repo<'_>);
    let breaks: [(&str, Break); 5] = [
        // Missing with its mount, or without objects: nobody knows what it borrows.
        ("acme/other", |_, other| remove(&other.path)),
        ("acme/other", |_, other| remove(&other.git_dir("objects"))),
        // An unreadable list doesn't count as empty.
        ("people/odd/info/alternates", |world, _| {
            std::fs::create_dir_all(world.at("people/odd/info")).unwrap();
            super::support::fifo(&world.at("people/odd/info/alternates"));
        }),
        ("people/odd/info/alternates", |world, _| {
            write(&world.at("people/odd/info/alternates"), vec![b'/'; 2 << 20]);
        }),
        ("people/odd/info/alternates", |world, _| {
            std::fs::create_dir_all(world.at("people/odd/info")).unwrap();
            symlink("../../list", world.at("people/odd/info/alternates")).unwrap();
        }),
    ];
    for (named, break_it) in breaks {
        let world = World::new();
        let [lender, calm] = ["acme/lender", "acme/calm"].map(|name| Lender::new(&world, name));
        let other = world.repo("acme/other");
        write(&other.git_dir("objects/info/note"), "");
        lender.forget();
        calm.forget();
        break_it(&world, &other);
        let report = world.treewarden(&["run", "--format", "json"]).report();
        for repo in [&lender, &calm] {
            let gc = repo.gc(&report);
            assert_eq!(
                (gc.action, gc.after.packs, gc.after.loose_objects),
                (GcAction::Full, 1, 0),
                "{named}: {gc:?}"
            );
            assert!(
                gc.reason.contains(named) && repo.has_it(),
                "{named}: {gc:?}"
            );
        }
    }
}

#[test]
fn a_repo_that_borrows_by_a_relative_line_is_maintained() {
    let world = World::new();
    let lender = world.repo("acme/lender");
    world.enrol("acme/borrower", "");
    let mirror = world.at("mirrors/one.git");
    git(
        &world.root,
        60.0,
        &[
            "clone",
            "-q",
            "--shared",
            "--bare",
            "acme__lender",
            mirror.to_str().unwrap(),
        ],
    );
    git(
        &world.root,
        60.0,
        &[
            "clone",
            "-q",
            "--shared",
            "--template=",
            mirror.to_str().unwrap(),
            "acme__borrower",
        ],
    );
    let borrower = Repo::there(&world, "acme/borrower");
    lend(&borrower.git_dir(""), "../../../mirrors/one.git/objects\n");
    lend(&mirror, "../../../acme__lender/.git/objects\n");
    let tree = borrower.tree("dirty");
    tree.write("new.ts", "only here\n").age(99.0);
    borrower.commit(60.0, "own.ts", "1\n");
    assert_eq!(borrower.fsck(), "");

    let report = world.night();
    assert_eq!(report.totals.rescued, 1);
    assert_eq!(
        (borrower.fsck(), lender.fsck()),
        (String::new(), String::new())
    );
    // A path out of the volume is refused.
    lend(&borrower.git_dir(""), "../../../../mirror/objects\n");
    let report = world.pass(1, &["run", "--repo", "acme/borrower"]);
    assert!(
        report.repos[0]
            .reason
            .as_ref()
            .unwrap()
            .contains("outside the volume"),
        "{:?}",
        report.repos[0]
    );
}

#[test]
fn where_nothing_is_to_be_dropped_nobody_looks_who_borrows() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.git(&["repack", "-q", "-a", "-d"]);
    super::support::fifo(&world.at("alternates"));
    std::fs::create_dir_all(world.at("info")).unwrap();
    std::fs::rename(world.at("alternates"), world.at("info/alternates")).unwrap();
    let gc = world.night().repos.remove(0).gc;
    assert_eq!(
        (gc.action, gc.reason.as_str()),
        (GcAction::None, "nothing to gain")
    );
}

/// Anybody may write such a list, even without a repo: a thousand lines, each naming the directory
/// itself by another path, followed six levels deep.
#[test]
fn a_list_that_names_itself_a_thousand_times_holds_up_nobody() {
    let world = World::new();
    let lender = Lender::new(&world, "acme/shop");
    lender.forget();
    let line = format!("/proc/self/root{}\n", world.at("x/loop").display());
    write(&world.at("x/loop/info/alternates"), line.repeat(1000));
    let began = std::time::Instant::now();
    world.night();
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

/// Git would take the store's own objects for a lender's, and a repack would drop them all. Others
/// are repacked in full.
#[test]
fn a_store_that_borrows_from_itself_is_left_alone() {
    let world = World::new();
    let free = Lender::new(&world, "acme/free");
    free.forget();
    let repos = ["acme/alone", "acme/one", "acme/other"].map(|name| world.repo(name));
    for repo in &repos {
        for number in 0..4 {
            repo.commit(60.0, &format!("{number}.ts"), "x\n");
            repo.git(&["repack", "-q", "-d"]);
        }
        age_all(&repo.git_dir("objects"), 30.0);
    }
    let [alone, one, other] = &repos;
    for (borrower, lender) in [(alone, alone), (one, other), (other, one)] {
        let line = format!("{}\n", lender.git_dir("objects").display());
        lend(&borrower.git_dir(""), &line);
    }
    let stores = || {
        repos
            .each_ref()
            .map(|repo| snapshot(&repo.git_dir("objects")))
    };
    let before = stores();
    let report = world.pass(1, &["run"]);
    for row in report.repos.iter().filter(|row| row.name != "acme/free") {
        let why = row.reason.as_deref().unwrap_or_default();
        assert!(
            matches!(row.outcome, RepoOutcome::Refused) && why.contains("leads back"),
            "{row:#?}"
        );
    }
    assert!(stores() == before, "a store has changed");
    assert!(!free.has_it(), "{:#?}", free.gc(&report));
    for repo in &repos {
        assert_eq!(repo.fsck(), "");
    }
}
