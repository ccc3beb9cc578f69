//! Where a repo's git dir is makes no difference: a run, the commands of agents and what git says
//! afterwards are those of a plain checkout. A git dir that isn't the repo's own is refused, with a
//! remedy that helps.

use super::enroll::{said, unenrolled};
use super::support::repo::{LAYOUTS, Layout, Repo, Tree};
use super::support::snapshot::snapshot;
use super::support::{World, age_all, git, remove, same, write};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use treewarden::plan::gc::GcAction;
use treewarden::report::usage::Part;
use treewarden::report::{Counts, RepoOutcome, RunReport, TreeOutcome};

const SHOP: &str = "acme/shop";

/// Creates a repo with something to do for each step of a run, then gives it its layout.
fn shop(world: &World, layout: Layout) -> Repo<'_> {
    let shop = world.repo(SHOP);
    shop.set("worktrees: {roots: ['<repo>/*']}");
    // Old unreachable objects, and enough packs for a full repack.
    shop.commit(70.0, "undone", "undone\n");
    shop.git(&["reset", "-q", "--hard", "HEAD~1"]);
    shop.git(&["reflog", "expire", "--expire=now", "--all"]);
    for number in 0..4 {
        shop.commit(60.0, &format!("file{number}"), "x\n");
        shop.git(&["repack", "-q", "-d"]);
    }
    shop.push();
    write(&shop.path.join("settings.log"), "as in the checkout\n");
    shop.tree("landed").age(31.0);
    shop.tree_at("acme__shop/within", "within").age(31.0);
    shop.tree("dirty").write("notes.txt", "mine\n").age(31.0);
    shop.tree("lonely").commit("new", "only here\n").age(8.0);
    shop.tree("busy").write("notes.txt", "mine\n");
    let locked = shop.tree("locked");
    shop.git(&["worktree", "lock", locked.path.to_str().unwrap()]);
    locked.age(99.0);
    let gone = shop.tree("gone");
    remove(&gone.path);
    gone.age(99.0);
    write(&shop.git_dir("packed-refs.lock"), "");
    age_all(&shop.git_dir("packed-refs.lock"), 2.0);
    age_all(&shop.git_dir("objects"), 20.0);
    shop.becomes(layout)
}

/// Returns what a report says about the repo, without its paths and times.
fn told(world: &World, shop: &Repo<'_>, report: &RunReport) -> String {
    let [row] = report.repos.as_slice() else {
        panic!("{report:?}");
    };
    let gc = |counts: &Counts| (counts.loose_objects, counts.packs);
    let text = format!(
        "{:?} {:?}\n{:#?}\n{:?}\n{:?} {:?} -> {:?}, {:?}",
        row.outcome,
        row.reason,
        world.fates(report),
        row.prune,
        row.gc.action,
        gc(&row.gc.before),
        gc(&row.gc.after),
        row.gc.stale_locks,
    );
    let git_dir = shop.git_dir("");
    let git_dir = git_dir.to_str().unwrap().trim_end_matches('/').to_owned();
    let root = format!("{}/", world.root.display());
    text.replace(&git_dir, "GIT_DIR").replace(&root, "")
}

/// Does a dry run, a run and a second one. Returns all that they say, and what git says then.
fn maintained(layout: Layout) -> String {
    let world = World::new();
    let shop = shop(&world, layout);
    let mut all = Vec::new();
    for arguments in [&["report"][..], &["run"], &["run"]] {
        all.push(told(&world, &shop, &world.pass(0, arguments)));
    }
    let listed = world.treewarden(&["worktree", "list", "--format", "json"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    let trees = listed["worktrees"].as_array().unwrap().iter();
    all.extend(trees.map(|tree| format!("{} {}", tree["verdict"], tree["branch"])));
    assert_eq!(shop.fsck(), "");
    let refs = shop.refs("refs");
    let rescues = |name: &str| name.starts_with("refs/treewarden/rescue/");
    all.extend(refs.keys().map(|name| {
        if rescues(name) {
            name.rsplit_once('/').unwrap().0.to_owned()
        } else {
            name.clone()
        }
    }));
    all.join("\n")
}

#[test]
fn a_run_does_the_same_wherever_the_git_dir_is() {
    let expected = maintained(Layout::Plain);
    assert!(expected.contains("Maintained"), "{expected}");
    for layout in LAYOUTS {
        pretty(&format!("{layout:?}"), &maintained(layout), &expected);
    }
}

fn pretty(what: &str, got: &str, expected: &str) {
    let lines = |text: &str| -> BTreeMap<usize, String> {
        text.lines().map(ToOwned::to_owned).enumerate().collect()
    };
    same(what, &lines(got), &lines(expected));
}

/// Clones the origin by git's own commands, as people do.
fn cloned(world: &World, layout: Layout) -> Repo<'_> {
    let (shop, origin) = unenrolled(world, SHOP, "ORIGIN");
    let shop = Repo { layout, ..shop };
    let (origin, git_dir) = (origin.display().to_string(), shop.git_dir(""));
    let git_dir = git_dir.to_str().unwrap().trim_end_matches('/');
    fs::create_dir_all(world.at("git-dirs")).unwrap();
    match layout {
        Layout::Plain => git(&world.root, 50.0, &["clone", "-q", &origin, "acme__shop"]),
        Layout::Separate => {
            let separate = ["clone", "-q", "--separate-git-dir", git_dir];
            git(
                &world.root,
                50.0,
                &[&separate[..], &[&origin, "acme__shop"]].concat(),
            )
        }
        _ => git(
            &world.root,
            50.0,
            &["clone", "-q", "--bare", &origin, git_dir],
        ),
    };
    if layout == Layout::BareWithFile {
        write(&shop.path.join(".git"), "gitdir: ./.bare\n");
    }
    shop
}

#[test]
fn every_command_works_wherever_the_git_dir_is() {
    for layout in LAYOUTS {
        let world = World::new();
        let shop = cloned(&world, layout);
        let asks = |arguments: &[&str], code, words: &[&str]| {
            let ran = world.treewarden(arguments);
            println!("{layout:?} {arguments:?}");
            said(&ran, code, words);
            ran
        };
        asks(&["check"], 0, &["repo acme/shop"]);
        asks(&["enroll"], 0, &[]);
        asks(&["enroll", SHOP], 0, &["is enrolled already"]);
        assert_eq!(shop.git(&["config", "gc.auto"]), "0");

        let place = shop.world.at("worktrees/acme__shop/fix");
        let path = place.display().to_string();
        let added = asks(&["worktree", "add", SHOP, "fix"], 0, &[]);
        assert_eq!(added.out, format!("{path}\n"));
        let clean = |tree: &Path| git(tree, 0.0, &["status", "--porcelain", "--ignored"]);
        assert_eq!(clean(&place), "");
        assert!(shop.registered().contains_key("worktrees/acme__shop/fix"));
        // In a bare repo nobody has its HEAD checked out.
        let main = ["worktree", "add", SHOP, "again", "--branch", "main"];
        if layout == Layout::Separate {
            asks(&main, 1, &["`main` is checked out at", "acme__shop`"]);
        } else {
            asks(&main, 0, &["worktrees/acme__shop/again"]);
            asks(&main, 1, &["in use"]);
        }

        let stands = ["--", "sh", "-c", "pwd; git rev-parse --is-inside-work-tree"];
        let within = ["exec", SHOP, "--worktree", "fix"];
        let ran = asks(&[&within[..], &stands].concat(), 0, &[]);
        assert_eq!(ran.out, format!("{path}\ntrue\n"));
        let ran = asks(&["exec", SHOP, "--", "pwd"], 0, &[]);
        assert_eq!(ran.out, format!("{}\n", shop.path.display()));
        let is_warned = ran.err.contains("nothing is checked out");
        assert_eq!(is_warned, layout != Layout::Separate, "{ran:?}");

        write(&place.join("notes.txt"), "mine\n");
        let remove = ["worktree", "remove", SHOP, "fix"];
        asks(&remove, 1, &["it holds unsaved work"]);
        asks(&[&remove[..], &["--rescue"]].concat(), 0, &["is rescued"]);
        assert!(!place.exists());
        let rescue = asks(&["rescue", "list", "--format", "json"], 0, &[]);
        let rescue: serde_json::Value = serde_json::from_str(&rescue.out).unwrap();
        let id = rescue["rescues"][0]["id"].as_str().unwrap();
        asks(&["rescue", "restore", id], 0, &[]);
        assert_eq!(
            fs::read_to_string(place.join("notes.txt")).unwrap(),
            "mine\n"
        );
        assert_eq!(clean(&place), "?? notes.txt");
        assert_eq!(shop.fsck(), "");

        let report = world.night();
        assert_eq!(report.repos[0].outcome, RepoOutcome::Maintained);
        let used = asks(&["report", "--format", "json"], 0, &[]).report().usage;
        let store = used.iter().find(|used| used.what == Part::Store).unwrap();
        let git_dir = shop.git_dir("");
        assert_eq!(store.path, git_dir.components().as_path());
    }
}

/// A bare clone has no `logs`, and a detached worktree makes none.
#[test]
fn work_is_rescued_in_a_bare_repo_that_has_no_reflogs_yet() {
    for layout in [Layout::Bare, Layout::Hub] {
        let world = World::new();
        let shop = cloned(&world, layout);
        let path = world.at("worktrees/acme__shop/fix");
        let text = path.to_str().unwrap();
        shop.git(&["worktree", "add", "-q", "--detach", text, "main"]);
        let tree = Tree::of(path);
        tree.write("notes.txt", "mine\n").age(31.0);
        assert!(!shop.git_dir("logs").exists());
        let report = world.night();
        assert_eq!(report.repos[0].worktrees[0].outcome, TreeOutcome::Reaped);
        assert_eq!(shop.refs("refs/treewarden/rescue").len(), 1);
        assert_eq!(shop.fsck(), "");
    }
}

/// What is wrong with a repo at `$V/acme__shop`, what a run says, and the remedy that it names, as
/// somebody follows it by hand: then the repo of the last name is maintained.
const WRONG: [(&str, &str, &str, &str); 11] = [
    (
        "mkdir $V/away; mv $V/acme__shop/.git $V/away/git; ln -s ../away/git $V/acme__shop/.git",
        "put a file in its place",
        "cd $V/acme__shop; to=$(readlink .git); rm .git; echo \"gitdir: $to\" >.git",
        "acme/shop",
    ),
    (
        "mv $V/acme__shop $V/acme__main; git -C $V/acme__main worktree add -q $V/acme__shop",
        "this is a worktree; name the main checkout",
        "",
        "acme/main",
    ),
    (
        "mv $V/acme__shop $V/acme__main; mkdir $V/acme__shop; echo gitdir: ../acme__main/.git >$V/acme__shop/.git",
        "enroll `acme__main` instead",
        "",
        "acme/main",
    ),
    (
        "rm -rf $V/acme__shop; git clone -q --bare $O $V/acme__main; mkdir $V/acme__shop; echo gitdir: ../acme__main >$V/acme__shop/.git",
        "enroll `acme__main` instead",
        "",
        "acme/main",
    ),
    (
        "mkdir $V/within; git init -q --separate-git-dir $V/within/git $V/acme__shop; rm -rf $V/within",
        "move the checkout away and enroll anew",
        "mv $V/acme__shop $V/away",
        "acme/shop",
    ),
    (
        "rm -rf $V/acme__shop/.git; mkdir -p $V/acme__shop/.git/refs",
        "move it away, then `treewarden enroll`",
        "mv $V/acme__shop $V/away",
        "acme/shop",
    ),
    (
        "rm -rf $V/acme__shop/.git",
        "move it away, then `treewarden enroll`",
        "mv $V/acme__shop $V/away",
        "acme/shop",
    ),
    (
        "rm -rf $V/acme__shop",
        "`treewarden enroll` clones it",
        "",
        "acme/shop",
    ),
    (
        "git -C $V/acme__shop config core.worktree $V/elsewhere",
        "unset it",
        "git --git-dir=$V/acme__shop/.git config --unset core.worktree",
        "acme/shop",
    ),
    (
        "git init -q --separate-git-dir $V/../git $V/acme__shop",
        "move the git dir onto the volume and name it there",
        "mv $V/../git $V/git; echo gitdir: ../git >$V/acme__shop/.git",
        "acme/shop",
    ),
    (
        "echo away >$V/away; rm -rf $V/acme__shop/.git; cp $V/away $V/acme__shop/.git",
        "move the checkout away and enroll anew",
        "mv $V/acme__shop $V/checkout",
        "acme/shop",
    ),
];

#[test]
fn each_remedy_leads_to_a_maintained_repo() {
    for (make, words, remedy, name) in WRONG {
        let world = World::new();
        let shop = world.repo(SHOP);
        let origin = world.beside("origins/acme__shop.git");
        let sh = |script: &str| {
            let names = format!("V={}; O={}", world.root.display(), origin.display());
            let ran = world.program("sh", &["-ec", &format!("{names}; {script}")]);
            assert_eq!(ran.code, 0, "{script}: {ran:?}");
        };
        shop.git(&["branch", "acme__shop"]);
        sh(make);
        let row = &world.pass(1, &["run"]).repos[0];
        let why = row.reason.clone().unwrap_or_default();
        assert!(
            row.outcome == RepoOutcome::Refused && why.contains(words),
            "{make}: {why}"
        );
        said(&world.treewarden(&["check"]), 3, &[words]);
        sh(remedy);
        if name != SHOP {
            world.forget(SHOP);
            world.enrol(name, "");
        } else if words.contains("enroll") {
            said(&world.treewarden(&["enroll", SHOP]), 0, &["enrolled"]);
        }
        let row = &world.night().repos[0];
        assert_eq!(
            (row.name.as_str(), row.outcome),
            (name, RepoOutcome::Maintained),
            "{make}"
        );
    }
}

#[test]
fn two_names_for_one_git_dir_are_refused_until_one_is_gone() {
    let world = World::new();
    let shop = world.repo(SHOP).becomes(Layout::Separate);
    let tree = shop.tree("fix");
    tree.age(99.0);
    world.enrol("acme/twin", "");
    write(
        &world.at("acme__twin/.git"),
        "gitdir: ../git-dirs/acme__shop\n",
    );
    let outcomes = |code| {
        let report = world.pass(code, &["run"]);
        let rows = report.repos.iter().map(|row| {
            let why = row.reason.clone().unwrap_or_default();
            let one = "they are one repo; take one of them out of the config";
            (row.name.clone(), row.outcome, why.contains(one))
        });
        rows.collect::<Vec<_>>()
    };
    let row = |name: &str, outcome, one| (name.to_owned(), outcome, one);
    let refused = RepoOutcome::Refused;
    assert_eq!(
        outcomes(1),
        [row(SHOP, refused, true), row("acme/twin", refused, true)]
    );
    // Not even a run of one of them forgets the other.
    let one = world.pass(1, &["run", "--repo", SHOP]);
    assert_eq!(one.repos[0].outcome, refused);
    for command in [
        &["worktree", "add", SHOP, "new"][..],
        &["worktree", "remove", SHOP, "fix"],
        &["exec", SHOP, "--worktree", "fix", "--", "true"],
        &["enroll", SHOP],
    ] {
        let ran = world.treewarden(command);
        assert!(ran.code != 0 && ran.err.contains("are one repo"), "{ran:?}");
    }
    assert!(tree.path.exists());
    // The git dir's own word decides: whoever may write it says whose it is.
    shop.git(&["config", "core.worktree", "../../acme__shop"]);
    let maintained = RepoOutcome::Maintained;
    assert_eq!(
        outcomes(1),
        [
            row(SHOP, maintained, false),
            row("acme/twin", refused, false)
        ]
    );
    shop.git(&["config", "--unset", "core.worktree"]);
    world.forget("acme/twin");
    assert_eq!(outcomes(0), [row(SHOP, maintained, false)]);
}

#[test]
fn a_git_dir_elsewhere_keeps_what_others_borrow_from_it() {
    for layout in LAYOUTS {
        let world = World::new();
        let shop = world.repo(SHOP);
        shop.commit(70.0, "lent", "only the borrower has it\n");
        let lent = shop.git(&["rev-parse", "HEAD"]);
        let shop = shop.becomes(layout);
        let lender = shop.git_dir("objects").display().to_string();
        let borrower = world.at("elsewhere/borrower");
        fs::create_dir_all(&borrower).unwrap();
        git(&borrower, 50.0, &["init", "-q", "--template=", "."]);
        write(
            &borrower.join(".git/objects/info/alternates"),
            format!("{lender}\n"),
        );
        git(&borrower, 50.0, &["update-ref", "refs/heads/main", &lent]);
        shop.git(&["update-ref", "refs/heads/main", "HEAD~1"]);
        shop.git(&["reflog", "expire", "--expire=now", "--all"]);
        shop.git(&["repack", "-q", "-a", "-d"]);
        age_all(&shop.git_dir("objects"), 99.0);
        world.set("defaults", "gc: {strategy: git-gc}");
        let report = world.night();
        assert_eq!(report.repos[0].outcome, RepoOutcome::Maintained);
        let why = &report.repos[0].gc.reason;
        assert!(why.contains("elsewhere/borrower"), "{layout:?}: {why}");
        let kept = git(&borrower, 0.0, &["cat-file", "-t", &lent]);
        assert_eq!(kept, "commit", "{layout:?}");
    }
}

/// Git-annex replaces a tree's `.git` file by a link, and puts one into its registration.
#[test]
#[ignore = "needs git-annex"]
fn a_git_annex_repo_is_maintained_and_its_trees_stay() {
    let world = World::new();
    let shop = world.repo(SHOP);
    let annex =
        |place: &Path, arguments: &[&str]| git(place, 60.0, &[&["annex"], arguments].concat());
    annex(&shop.path, &["init", "test"]);
    write(&shop.path.join("large"), "x".repeat(100_000));
    write(&shop.path.join("unlocked"), "y".repeat(100_000));
    annex(&shop.path, &["add", "large", "unlocked"]);
    annex(&shop.path, &["unlock", "unlocked"]);
    shop.git(&["commit", "-q", "-m", "Large files"]);
    shop.git(&["push", "-q", "origin", "main", "git-annex"]);
    let tree = shop.tree("linked");
    annex(&tree.path, &["info", "--fast"]);
    assert!(tree.path.join(".git").is_symlink() && tree.admin.join("annex").is_symlink());
    assert_eq!(fs::read(tree.path.join("large")).unwrap().len(), 100_000);
    tree.age(99.0);
    world.set("defaults", "gc: {strategy: git-gc}");
    let before = [snapshot(&shop.git_dir("annex")), snapshot(&tree.path)];
    let report = world.night();
    let row = &report.repos[0];
    assert_eq!(
        (row.outcome, row.gc.action),
        (RepoOutcome::Maintained, GcAction::Full),
        "{row:?}"
    );
    let why = row.worktrees[0].reasons.join("; ");
    assert!(why.contains("git-annex"), "{why}");
    for rescue in [&[][..], &["--rescue"]] {
        let command = [&["worktree", "remove", SHOP, "linked"][..], rescue].concat();
        said(&world.treewarden(&command), 1, &["git-annex"]);
    }
    let after = [snapshot(&shop.git_dir("annex")), snapshot(&tree.path)];
    for (after, before) in after.iter().zip(&before) {
        same("what is git-annex's", after, before);
    }
    annex(&shop.path, &["fsck", "--quiet"]);
    annex(&tree.path, &["fsck", "--quiet"]);
    assert_eq!(shop.fsck(), "");
    // The remedy: then it is like any other tree, and the annex still has all of it.
    let annexed = snapshot(&shop.git_dir("annex"));
    remove(&tree.path.join(".git"));
    let text = format!("gitdir: {}\n", tree.admin.display());
    write(&tree.path.join(".git"), text);
    let command = ["worktree", "remove", SHOP, "linked", "--rescue"];
    said(&world.treewarden(&command), 0, &["its work is rescued"]);
    assert!(!tree.path.exists() && !tree.admin.exists());
    same(
        "what is git-annex's",
        &snapshot(&shop.git_dir("annex")),
        &annexed,
    );
    assert_eq!(world.night().repos[0].outcome, RepoOutcome::Maintained);
    annex(&shop.path, &["fsck", "--quiet"]);
}
