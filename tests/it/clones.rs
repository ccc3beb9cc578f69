//! Loose clones: one table of clones, each in a state in which something is easily lost, and its
//! fate. A clone that goes has left everything that its refs, reflogs, index and files had in the
//! enrolled checkout, read by the real git after the owner's gc. One that stays is untouched.

use super::support::at_work::{AtWork, SLEEP};
use super::support::repo::Repo;
use super::support::snapshot::{Standing, snapshot};
use super::support::{World, age, age_all, fifo, git, map, remove, same, try_git, write};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use treewarden::report::{RunReport, TreeKind, TreeOutcome};

const MERGED: &str = "reap landed merged";
const SAVED: &str = "reap saved saved on its branch";
const FRESH: &str = "reap fresh no commit yet";
const LONELY: &str = "reap unsaved unsaved commits";
const DIRTY: &str = "reap unsaved uncommitted work";
const BLOCKED: &str = "keep landed can't be rescued";
const BLOCKED_WORK: &str = "keep unsaved can't be rescued";
const UNDER_WAY: &str = "keep in progress";
const UNKNOWN: &str = "unknown";

/// A clone under construction; in the end it looks idle for 99 days.
struct At<'a> {
    shop: &'a Repo<'a>,
    path: PathBuf,
}

/// A row's name, its fate, options of `git clone`, and what is done to the clone.
type Row = (
    &'static str,
    &'static str,
    &'static [&'static str],
    fn(&At<'_>),
);

impl At<'_> {
    fn git(&self, arguments: &[&str]) -> String {
        git(&self.path, 60.0, arguments)
    }

    fn write(&self, file: &str, text: &str) -> &Self {
        write(&self.path.join(file), text);
        self
    }

    fn commit(&self, file: &str) -> String {
        self.write(file, &format!("{file} of {}\n", self.path.display()));
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", file]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Creates a commit that nothing names yet.
    fn lonely(&self) -> String {
        let message = self.path.to_str().unwrap();
        self.git(&["commit-tree", "-p", "HEAD", "-m", message, "HEAD^{tree}"])
    }
}

const ROWS: &[Row] = &[
    // Nothing that only it has.
    ("clean", MERGED, &[], |_| {}),
    ("behind", MERGED, &[], |at| {
        at.git(&["reset", "-q", "--hard", "HEAD~1"]);
    }),
    ("not-worked-in", FRESH, &[], |at| {
        let log = at.path.join(".git/logs/HEAD");
        let text = fs::read_to_string(&log).unwrap();
        write(&log, text.lines().next().unwrap().to_owned() + "\n");
    }),
    ("on-a-branch-of-the-checkout", SAVED, &[], |at| {
        at.git(&["checkout", "-q", "--detach"]);
        at.commit("saved.ts");
        at.git(&["checkout", "-q", "-b", "theirs"]);
        at.git(&["push", "-q", "origin", "theirs"]);
        at.shop.git(&["fetch", "-q", "origin"]);
    }),
    ("shallow", MERGED, &["--depth=1"], |_| {}),
    (
        "of-one-branch",
        MERGED,
        &["--single-branch", "--no-tags"],
        |_| {},
    ),
    ("partial", MERGED, &["--filter=blob:none"], |_| {}),
    ("without-checkout-config", MERGED, &[], |at| {
        at.git(&["config", "user.email", "me@example.com"]);
        at.git(&["config", "branch.main.rebase", "true"]);
    }),
    ("borrows-from-the-checkout", MERGED, &[], |at| {
        let objects = at.shop.git_dir("objects");
        write(
            &at.path.join(".git/objects/info/alternates"),
            objects.to_str().unwrap().to_owned() + "\n",
        );
    }),
    ("submodule-never-filled", MERGED, &[], |at| {
        fs::create_dir_all(at.path.join("hollow")).unwrap();
    }),
    ("copy-of-the-checkout's-file", MERGED, &[], |at| {
        at.write(".env", "KEY=value\n");
    }),
    ("same-hook-as-the-checkout", MERGED, &[], |at| {
        at.write(".git/hooks/pre-push", "#!/bin/sh\nexit 0\n");
    }),
    ("samples", MERGED, &[], |at| {
        at.write(".git/hooks/pre-push.sample", "#!/bin/sh\n");
        at.write(".git/info/exclude", "# git ls-files --others\n");
        at.write(".git/description", "Unnamed repository\n");
    }),
    ("stale-locks", MERGED, &[], |at| {
        at.write(".git/index.lock", "")
            .write(".git/config.lock", "");
    }),
    // Commits that only it has.
    ("unpushed", LONELY, &[], |at| {
        at.commit("mine.ts");
    }),
    ("unpushed-on-another-branch", LONELY, &[], |at| {
        at.git(&["checkout", "-q", "-b", "other"]);
        at.commit("mine.ts");
        at.git(&["checkout", "-q", "main"]);
    }),
    ("many-unpushed", LONELY, &[], |at| {
        for file in ["a/one.ts", "a/two.ts", "b/three.ts"] {
            at.commit(file);
        }
        at.git(&["rm", "-q", "a/two.ts"]);
        at.git(&["commit", "-q", "-m", "Less"]);
    }),
    ("packed-refs", LONELY, &[], |at| {
        at.git(&["checkout", "-q", "-b", "other"]);
        at.commit("mine.ts");
        at.git(&["checkout", "-q", "main"]);
        at.git(&["pack-refs", "--all"]);
        at.git(&["gc", "-q"]);
    }),
    ("detached", LONELY, &[], |at| {
        at.git(&["checkout", "-q", "--detach"]);
        at.commit("mine.ts");
    }),
    ("stashed", LONELY, &[], |at| {
        at.write("README.md", "stashed\n").git(&["stash", "-q"]);
    }),
    ("stashed-twice-with-untracked", LONELY, &[], |at| {
        at.write("README.md", "first\n").git(&["stash", "-q"]);
        at.write("new.ts", "second\n").git(&["stash", "-q", "-u"]);
    }),
    ("only-in-the-reflog", LONELY, &[], |at| {
        at.commit("mine.ts");
        at.git(&["reset", "-q", "--hard", "HEAD~1"]);
    }),
    ("only-in-a-branch's-reflog", LONELY, &[], |at| {
        at.git(&["branch", "other"]);
        let commit = at.lonely();
        at.git(&["update-ref", "-m", "on", "refs/heads/other", &commit]);
        at.git(&["update-ref", "-m", "off", "refs/heads/other", "HEAD"]);
    }),
    ("only-in-fetch-head", LONELY, &[], |at| {
        let commit = at.lonely();
        at.write(".git/FETCH_HEAD", &format!("{commit}\t\tbranch 'x' of y\n"));
    }),
    ("only-in-orig-head", LONELY, &[], |at| {
        let commit = at.lonely();
        at.write(".git/ORIG_HEAD", &format!("{commit}\n"));
    }),
    ("only-a-tag-names-it", LONELY, &[], |at| {
        let commit = at.lonely();
        at.git(&["update-ref", "refs/tags/mine", &commit]);
    }),
    ("only-a-remote-of-its-own", LONELY, &[], |at| {
        let commit = at.lonely();
        at.git(&["update-ref", "refs/remotes/fork/main", &commit]);
    }),
    ("notes", LONELY, &[], |at| {
        at.git(&["notes", "add", "-m", "a note"]);
    }),
    ("unpushed-from-shallow", LONELY, &["--depth=1"], |at| {
        at.commit("mine.ts");
    }),
    ("unpushed-and-borrowing", LONELY, &[], |at| {
        let objects = at.shop.git_dir("objects");
        write(
            &at.path.join(".git/objects/info/alternates"),
            objects.to_str().unwrap().to_owned() + "\n",
        );
        at.commit("mine.ts");
    }),
    // Files that only it has.
    ("modified", DIRTY, &[], |at| {
        at.write("README.md", "edited\n");
    }),
    ("untracked", DIRTY, &[], |at| {
        at.write("notes.md", "mine\n");
    }),
    ("ignored", DIRTY, &[], |at| {
        at.write("ignored/data.sqlite", "mine\n");
    }),
    ("assumed-unchanged", DIRTY, &[], |at| {
        at.git(&["update-index", "--assume-unchanged", "README.md"]);
        at.write("README.md", "edited\n");
    }),
    ("staged-then-as-before", DIRTY, &[], |at| {
        at.write("README.md", "only in the index\n");
        at.git(&["add", "README.md"]);
        at.write("README.md", "# A repo\n");
    }),
    ("staged-then-deleted", DIRTY, &[], |at| {
        at.write("new.ts", "only in the index\n")
            .git(&["add", "new.ts"]);
        remove(&at.path.join("new.ts"));
    }),
    ("all-of-it", DIRTY, &[], |at| {
        at.commit("mine.ts");
        at.write("README.md", "stashed\n").git(&["stash", "-q"]);
        at.write("new.ts", "staged\n").git(&["add", "new.ts"]);
        at.write("new.ts", "and edited\n")
            .write("notes.md", "mine\n");
    }),
    ("hook-of-its-own", DIRTY, &[], |at| {
        at.write(".git/hooks/pre-commit", "#!/bin/sh\nmake lint\n");
    }),
    ("excludes", DIRTY, &[], |at| {
        at.write(".git/info/exclude", "*.secret\n");
    }),
    ("file-among-git's", DIRTY, &[], |at| {
        at.write(".git/plan.md", "mine\n");
    }),
    ("remote-of-its-own", DIRTY, &[], |at| {
        at.git(&["config", "remote.fork.url", "git@host:me/shop.git"]);
    }),
    // What no rescue can contain.
    ("own-annotated-tag", BLOCKED, &[], |at| {
        at.git(&["tag", "-a", "-m", "mine", "mine"]);
    }),
    ("ref-to-a-blob", BLOCKED, &[], |at| {
        at.write("blob", "mine\n");
        let blob = at.git(&["hash-object", "-w", "blob"]);
        remove(&at.path.join("blob"));
        at.git(&["update-ref", "refs/mine/blob", &blob]);
    }),
    ("worktree-of-its-own", BLOCKED, &[], |at| {
        let tree = at.shop.world.at("elsewhere/tree");
        at.git(&["worktree", "add", "-q", "--detach", tree.to_str().unwrap()]);
    }),
    ("nested", BLOCKED, &[], |at| {
        git(&at.path, 60.0, &["init", "-q", "nested"]);
    }),
    ("fifo", BLOCKED, &[], |at| fifo(&at.path.join("pipe"))),
    ("large-file", BLOCKED, &[], |at| {
        let oid = "ab".repeat(32);
        at.write(&format!(".git/lfs/objects/ab/ab/{oid}"), "mine\n");
    }),
    ("annex", BLOCKED, &[], |at| {
        at.write(".git/annex/objects/x", "mine\n");
    }),
    ("submodule", BLOCKED, &[], |at| {
        let module = at.path.join(".git/modules/sub");
        fs::create_dir_all(&module).unwrap();
        git(&module, 60.0, &["init", "-q", "--bare", "."]);
        write(&module.join("ORIG_HEAD"), "12".repeat(20) + "\n");
        write(&module.join("description"), "mine\n");
        write(&module.join("mine"), "mine\n");
    }),
    ("lender", BLOCKED, &[], |at| lend(at)),
    ("lender-with-work", BLOCKED_WORK, &[], |at| {
        at.commit("mine.ts");
        lend(at);
    }),
    ("unmerged", BLOCKED_WORK, &[], |at| {
        at.git(&["checkout", "-q", "-b", "other"]);
        at.write("README.md", "theirs\n");
        at.git(&["commit", "-q", "-a", "-m", "Theirs"]);
        at.git(&["checkout", "-q", "main"]);
        at.write("README.md", "ours\n").git(&["stash", "-q"]);
        at.git(&["merge", "-q", "other"]);
        try_git(&at.path, 60.0, &["stash", "pop"]);
    }),
    // Somebody is at work, or says so.
    ("rebase", UNDER_WAY, &[], |at| {
        at.commit("mine.ts");
        at.git(&["checkout", "-q", "-b", "other", "HEAD~1"]);
        at.write("mine.ts", "theirs\n").git(&["add", "mine.ts"]);
        at.git(&["commit", "-q", "-m", "Theirs"]);
        try_git(&at.path, 60.0, &["rebase", "main"]);
    }),
    ("bisect", UNDER_WAY, &[], |at| {
        at.git(&["bisect", "start"]);
    }),
    ("locked", "keep locked", &[], |at| {
        at.write(".git/locked", "mine, until Friday\n");
    }),
    // What isn't as it should be.
    ("borrows-from-outside", UNKNOWN, &[], |at| {
        let objects = at.shop.world.beside("origins/acme__shop.git/objects");
        write(
            &at.path.join(".git/objects/info/alternates"),
            objects.to_str().unwrap().to_owned() + "\n",
        );
    }),
    ("other-format", UNKNOWN, &[], |at| {
        at.git(&["config", "core.repositoryformatversion", "1"]);
        at.git(&["config", "extensions.refStorage", "other"]);
    }),
    ("worktree-elsewhere", UNKNOWN, &[], |at| {
        at.git(&["config", "core.worktree", "../../elsewhere"]);
    }),
    ("linked-refs", UNKNOWN, &[], |at| {
        let (refs, there) = (at.path.join(".git/refs"), at.shop.world.beside("refs"));
        fs::rename(&refs, &there).unwrap();
        symlink(there, refs).unwrap();
    }),
    ("damaged", UNKNOWN, &[], |at| {
        at.git(&["update-ref", "--no-deref", "refs/heads/other", "HEAD"]);
        write(
            &at.path.join(".git/refs/heads/other"),
            "12".repeat(20) + "\n",
        );
    }),
    ("no-head", UNKNOWN, &[], |at| {
        remove(&at.path.join(".git/HEAD"));
    }),
    // The last, because later clones would have its branch as well.
    ("pushed-and-not-fetched", LONELY, &[], |at| {
        at.commit("pushed.ts");
        at.commit("pushed-too.ts");
        at.git(&["push", "-q", "origin", "HEAD:refs/heads/pushed"]);
    }),
    (
        "shallow-and-ahead",
        UNKNOWN,
        &["--depth=1", "-b", "pushed"],
        |_| {},
    ),
    ("pruned", MERGED, &[], |at| {
        at.git(&["update-ref", "-d", "refs/remotes/origin/pushed"]);
    }),
];

/// Makes another clone on the volume borrow from this one.
fn lend(at: &At<'_>) {
    let name = at.path.file_name().unwrap().to_str().unwrap();
    let borrower = at.shop.world.at(format!("borrowers/{name}"));
    let [from, to] = [&at.path, &borrower].map(|path| path.to_str().unwrap());
    fs::create_dir_all(borrower.parent().unwrap()).unwrap();
    git(
        &at.shop.world.root,
        60.0,
        &["clone", "-q", "--shared", from, to],
    );
}

/// Creates an enrolled checkout whose clones stand in `clones/`.
fn shop(world: &World) -> Repo<'_> {
    let shop = world.repo("acme/shop");
    shop.set("clones: ['clones/*']");
    git(
        &world.beside("origins/acme__shop.git"),
        0.0,
        &["config", "uploadpack.allowFilter", "true"],
    );
    shop.moves_on("second.ts");
    shop.git(&["tag", "-a", "-m", "A release", "v1"]);
    shop.git(&["push", "-q", "origin", "v1"]);
    write(&shop.path.join(".env"), "KEY=value\n");
    write(&shop.git_dir("hooks/pre-push"), "#!/bin/sh\nexit 0\n");
    shop
}

fn clone<'a>(shop: &'a Repo<'a>, name: &str, options: &[&str]) -> At<'a> {
    let path = shop.world.at(format!("clones/{name}"));
    let origin = shop.world.beside("origins/acme__shop.git");
    // A path would hard-link all objects, whatever the options say.
    let remote = format!("file://{}", origin.display());
    let arguments = [
        "clone",
        "-q",
        "--template=",
        &remote,
        path.to_str().unwrap(),
    ];
    git(
        &shop.world.root,
        60.0,
        &[&arguments[..2], options, &arguments[2..]].concat(),
    );
    let at = At { shop, path };
    at.git(&["config", "remote.origin.url", origin.to_str().unwrap()]);
    // As of a commit that landed since.
    let head = at.git(&["rev-parse", "HEAD"]);
    let mut log = fs::File::options()
        .append(true)
        .open(at.path.join(".git/logs/HEAD"))
        .unwrap();
    writeln!(
        log,
        "{head} {head} An Agent <a@example.com> 1500000000 +0000\tcommit: Landed since"
    )
    .unwrap();
    at
}

/// Makes a clone look idle for so many days, as after a last `git status`.
fn rest(path: &Path, days: f64) {
    age_all(path, days + 1.0);
    try_git(path, 0.0, &["update-index", "-q", "--refresh"]);
    let index = path.join(".git/index");
    if index.exists() {
        age(&index, days);
    }
    age(&path.join(".git"), days);
}

/// Returns every object that refs, reflogs and index of a clone reach, and the blob of every file.
fn objects(path: &Path) -> BTreeSet<String> {
    let (code, listed, _) = try_git(
        path,
        0.0,
        &[
            "rev-list",
            "--objects",
            "--no-object-names",
            "--missing=allow-any",
            "--all",
            "--reflog",
            "--indexed-objects",
        ],
    );
    assert_eq!(code, Some(0), "{}", path.display());
    let files = walkdir::WalkDir::new(path)
        .into_iter()
        .filter_entry(|entry| entry.file_name() != ".git")
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file());
    let blob = |bytes: Vec<u8>| git2::Oid::hash_object(git2::ObjectType::Blob, &bytes);
    let files = files.map(|file| blob(fs::read(file.path()).unwrap()).unwrap().to_string());
    listed.lines().map(str::to_owned).chain(files).collect()
}

struct Before {
    path: PathBuf,
    fate: &'static str,
    all: BTreeMap<PathBuf, Standing>,
    objects: BTreeSet<String>,
}

fn build(shop: &Repo<'_>, &(name, fate, options, make): &Row) -> Before {
    let at = clone(shop, name, options);
    make(&at);
    rest(&at.path, 99.0);
    let objects = match fate {
        UNKNOWN | UNDER_WAY => BTreeSet::new(),
        _ => objects(&at.path),
    };
    Before {
        fate,
        all: snapshot(&at.path),
        objects,
        path: at.path,
    }
}

/// Checks that a clone is untouched, or that all it had is in the checkout.
fn nothing_is_lost(shop: &Repo<'_>, report: &RunReport, before: &Before) {
    let row = report.worktrees().find(|row| row.path == before.path);
    let row = row.unwrap();
    assert_eq!(row.kind, Some(TreeKind::Clone), "{row:?}");
    if row.outcome != TreeOutcome::Reaped {
        return same(
            before.path.to_str().unwrap(),
            &snapshot(&before.path),
            &before.all,
        );
    }
    assert!(!before.path.exists(), "{row:?}");
    assert_eq!(
        row.rescue_ref.is_some(),
        before.fate.contains("unsaved"),
        "{row:?}"
    );
    let is_lost = |id: &&String| try_git(&shop.path, 0.0, &["cat-file", "-e", id]).0 != Some(0);
    let lost: Vec<&String> = before.objects.iter().filter(is_lost).collect();
    // A copy of the checkout's own file is in no store.
    let copies = [b"KEY=value\n"].map(|text| {
        git2::Oid::hash_object(git2::ObjectType::Blob, text)
            .unwrap()
            .to_string()
    });
    let lost: Vec<&String> = lost.into_iter().filter(|id| !copies.contains(id)).collect();
    assert!(lost.is_empty(), "{}: lost {lost:?}", before.path.display());
}

fn gc(shop: &Repo<'_>) {
    let now = [
        "reflog",
        "expire",
        "--expire=now",
        "--expire-unreachable=now",
        "--all",
    ];
    git(&shop.path, 0.0, &now);
    git(&shop.path, 0.0, &["gc", "-q", "--prune=now"]);
}

#[test]
fn every_row_of_the_table() {
    let world = World::new();
    world.set("run", "max_reaped: 500");
    let shop = shop(&world);
    let clones: Vec<Before> = ROWS.iter().map(|row| build(&shop, row)).collect();
    // No clones of this repo, or none that the config names.
    let other = world.repo("acme/other");
    for (from, to) in [
        ("acme__other", "clones/of-another"),
        ("acme__shop", "elsewhere/clone"),
    ] {
        let origin = world.beside(format!("origins/{from}.git"));
        git(
            &world.root,
            60.0,
            &["clone", "-q", origin.to_str().unwrap(), to],
        );
        rest(&world.at(to), 99.0);
    }
    symlink(world.at("elsewhere/clone"), world.at("clones/a-link")).unwrap();
    write(&world.at("clones/no-repo/file"), "mine\n");
    let expected: BTreeMap<String, String> = clones
        .iter()
        .map(|clone| {
            let path = world.below(&clone.path);
            (format!("acme/shop {path}"), clone.fate.to_owned())
        })
        .collect();
    let dry = world.pass(0, &["report"]);
    same("what a dry run says", &world.fates(&dry), &expected);
    let report = world.night();
    same("fates", &world.fates(&report), &expected);
    gc(&shop);
    for clone in &clones {
        nothing_is_lost(&shop, &report, clone);
    }
    assert_eq!(shop.fsck(), "");
    for there in [
        "clones/of-another",
        "elsewhere/clone",
        "clones/a-link",
        "clones/no-repo/file",
    ] {
        assert!(world.at(there).exists(), "{there}");
    }
    drop(other);
}

fn row<'a>(report: &'a RunReport, path: &Path) -> &'a treewarden::report::Worktree {
    report.worktrees().find(|row| row.path == path).unwrap()
}

#[test]
fn a_rescued_clone_comes_back_as_a_worktree() {
    let world = World::new();
    let shop = shop(&world);
    let at = clone(&shop, "task", &[]);
    at.git(&["checkout", "-q", "-b", "topic"]);
    let commit = at.commit("mine.ts");
    at.write("README.md", "stashed\n").git(&["stash", "-q"]);
    let stash = at.git(&["rev-parse", "stash"]);
    at.write("new.ts", "staged\n").git(&["add", "new.ts"]);
    at.write("new.ts", "and edited\n")
        .write("notes.md", "mine\n");
    let files = |top: &Path| -> BTreeMap<PathBuf, u64> {
        let all = snapshot(top).into_iter();
        all.filter(|(path, there)| there.kind == "file" && !path.starts_with(".git"))
            .map(|(path, there)| (path, there.content))
            .collect()
    };
    let (before, status) = (files(&at.path), at.git(&["status", "--porcelain"]));
    rest(&at.path, 99.0);
    let report = world.night();
    let row = row(&report, &at.path);
    let rescue = row.rescue_ref.clone();
    let rescue = rescue.unwrap_or_else(|| panic!("{row:?}"));
    assert!(
        rescue.starts_with("refs/treewarden/rescue/task/"),
        "{rescue}"
    );
    gc(&shop);
    let listed = world.treewarden(&["rescue", "list"]);
    assert!(listed.out.contains("task      topic"), "{listed:?}");
    let names = shop.git(&["show", &format!("{rescue}^2:registration/clone-refs")]);
    assert_eq!(
        names,
        format!("{commit} refs/heads/topic\n{stash} refs/stash")
    );
    let to = world.at("worktrees/acme__shop/back");
    let arguments = ["rescue", "restore", &rescue, "--to", to.to_str().unwrap()];
    let ran = world.treewarden(&arguments);
    assert_eq!(ran.code, 0, "{ran:?}");
    same("files", &files(&to), &before);
    assert_eq!(git(&to, 0.0, &["status", "--porcelain"]), status);
    for id in [&commit, &stash] {
        shop.git(&["cat-file", "-e", &format!("{id}^{{tree}}")]);
    }
}

#[test]
fn ages_and_locks_are_those_of_worktrees() {
    let world = World::new();
    let shop = shop(&world);
    for (name, days) in [
        ("young", 0.5),
        ("day-old", 2.0),
        ("work", 20.0),
        ("spared", 99.0),
        ("large", 99.0),
    ] {
        let at = clone(&shop, name, &[]);
        match name {
            "work" => drop(at.write("notes.md", "mine\n").path.clone()),
            // The commits need more room than a rescue may take, and the files none.
            "large" => {
                let noise: String = (0_u64..9000).map(|n| (n * n % 89).to_string()).collect();
                at.write("noise.txt", &noise).git(&["add", "noise.txt"]);
                at.git(&["commit", "-q", "-m", "Noise"]);
                at.git(&["rm", "-q", "noise.txt"]);
                at.git(&["commit", "-q", "-m", "No noise"]);
            }
            _ => {}
        }
        rest(&at.path, days);
    }
    let busy = clone(&shop, "busy", &[]);
    rest(&busy.path, 99.0);
    let at_work = AtWork::new(&busy.path.join(".git/refs"), None, SLEEP);
    shop.set("clones: ['clones/*'], worktrees: {keep: [clones/spared], rescue_max: 8KiB}");
    let fates = |held: bool| {
        let _lock = held.then(|| world.hold("acme__shop"));
        world.fates(&world.night())
    };
    assert_eq!(fates(true), BTreeMap::new());
    let expected = [
        ("acme/shop clones/busy", "keep in use"),
        ("acme/shop clones/day-old", MERGED),
        ("acme/shop clones/large", BLOCKED_WORK),
        ("acme/shop clones/spared", "keep landed kept by config"),
        ("acme/shop clones/work", "keep unsaved recent"),
        ("acme/shop clones/young", "keep recent"),
    ];
    same("fates", &fates(false), &map(&expected));
    drop(at_work);
    world.set("run", "max_reaped: 1");
    for name in ["one", "two"] {
        rest(&clone(&shop, name, &[]).path, 99.0);
    }
    // The clone is no longer in use, and three are more than may go at once.
    let report = world.pass(1, &["run"]);
    assert!(
        report.failures[0].contains("3 trees would go"),
        "{:?}",
        report.failures
    );
    assert!(busy.path.exists());
}

#[test]
fn work_that_begins_after_the_survey_brings_the_clone_back() {
    let world = World::new();
    let shop = shop(&world);
    let [branch, file] = ["branch", "file"].map(|name| clone(&shop, name, &[]));
    for at in [&branch, &file] {
        rest(&at.path, 99.0);
    }
    // The probe is asked after the survey of the trees; the second time just before they go.
    let script = world.beside("probe");
    let head = branch.lonely();
    write(
        &script,
        format!(
            "cd '{}' || exit 1\n\
             test -e asked && {{ echo {head} > '{}/.git/refs/heads/new'; echo x > '{}/new.md'; }}\n\
             touch asked\nexit 1\n",
            world.beside("").display(),
            branch.path.display(),
            file.path.display(),
        ),
    );
    shop.set(&format!(
        "clones: ['clones/*'], busy_probe: [sh, '{}']",
        script.display()
    ));
    let report = world.night();
    for (at, new) in [(&branch, ".git/refs/heads/new"), (&file, "new.md")] {
        assert!(at.path.join(new).exists(), "{:?}", row(&report, &at.path));
        assert_eq!(row(&report, &at.path).because.as_str(), "busy");
    }
    assert_eq!(
        fs::read_dir(world.at(".treewarden/trash")).unwrap().count(),
        0
    );
}

#[test]
fn a_clone_that_a_killed_run_took_goes_back() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    let shop = shop(&world);
    let at = clone(&shop, "work", &[]);
    rest(&at.path, 0.1);
    let git_dir = at.path.join(".git");
    let inode = |path: &Path| path.metadata().unwrap().ino();
    let note = |number: u64| {
        serde_json::json!({
            "schema": "treewarden.taken/1",
            "from": at.path,
            "admin": git_dir,
            "clone_of": shop.git_dir(""),
            "registration": {
                "folder": inode(&git_dir),
                "gitdir": inode(&git_dir.join("objects")) + number,
                "changed": [0, 0],
            },
        })
    };
    // Noted, and not taken yet; then taken.
    write(
        &world.at(".treewarden/trash/one/note.json"),
        note(0).to_string(),
    );
    world.night();
    assert!(at.path.exists() && !world.at(".treewarden/trash/one").exists());
    let before = snapshot(&at.path);
    for (name, number) in [("two", 0), ("three", 1)] {
        let bin = world.at(format!(".treewarden/trash/{name}"));
        write(&bin.join("note.json"), note(number).to_string());
        fs::rename(&at.path, bin.join("0")).unwrap();
        let ran = world.treewarden(&["run"]);
        if number == 0 {
            assert_eq!(ran.code, 0, "{ran:?}");
            let times = |all: BTreeMap<PathBuf, Standing>| -> BTreeMap<PathBuf, Standing> {
                let same = |there| Standing { ctime: 0, ..there };
                all.into_iter()
                    .map(|(path, there)| (path, same(there)))
                    .collect()
            };
            same("back", &times(snapshot(&at.path)), &times(before.clone()));
        } else {
            // The note isn't about this clone.
            assert_eq!((ran.code, at.path.exists()), (1, false), "{ran:?}");
            assert!(bin.join("0/.git/HEAD").exists());
        }
    }
}

#[test]
fn a_checkout_that_may_lack_objects_lets_no_clone_go() {
    let world = World::new();
    let shop = shop(&world);
    let at = clone(&shop, "clean", &[]);
    rest(&at.path, 99.0);
    let why = || {
        let report = world.night();
        row(&report, &at.path).reasons[0].clone()
    };
    write(
        &shop.git_dir("shallow"),
        shop.git(&["rev-parse", "HEAD"]) + "\n",
    );
    assert!(why().contains("git fetch --unshallow"), "{}", why());
    remove(&shop.git_dir("shallow"));
    shop.git(&["config", "remote.origin.promisor", "true"]);
    assert!(why().contains("is a partial clone"), "{}", why());
    shop.git(&["config", "--unset", "remote.origin.promisor"]);
    world.night();
    assert!(!at.path.exists());
}

#[test]
fn nothing_that_a_clone_names_is_run() {
    let world = World::new();
    let shop = shop(&world);
    let at = clone(&shop, "hostile", &[]);
    at.commit("mine.ts");
    at.write("notes.md", "mine\n");
    let marker = world.beside("marker");
    let touch = format!("touch {}", marker.display());
    rest(&at.path, 99.0);
    let config = fs::read_to_string(at.path.join(".git/config")).unwrap();
    write(
        &at.path.join(".git/config"),
        format!(
            "{config}[core]\n\tfsmonitor = {touch}\n\tsshCommand = {touch}\n\thooksPath = hooks\n\
             [filter \"x\"]\n\tclean = {touch}\n\tsmudge = {touch}\n\
             [uploadpack]\n\tpackObjectsHook = {touch}\n"
        ),
    );
    write(&at.path.join(".gitattributes"), "* filter=x\n");
    for hook in [
        "post-checkout",
        "reference-transaction",
        "pre-auto-gc",
        "post-index-change",
    ] {
        let path = at.path.join(".git/hooks").join(hook);
        write(&path, format!("#!/bin/sh\n{touch}\n"));
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    age_all(&at.path, 99.0);
    let report = world.night();
    assert!(row(&report, &at.path).rescue_ref.is_some(), "{report:?}");
    assert!(!at.path.exists() && !marker.exists());
}

#[test]
fn a_clone_is_explained() {
    let world = World::new();
    let shop = shop(&world);
    for (name, says) in [
        ("clean", "merged: HEAD is in the default branch"),
        (
            "unpushed",
            "the enrolled checkout doesn't have 1 commit of it",
        ),
    ] {
        let at = clone(&shop, name, &[]);
        if name == "unpushed" {
            at.commit("mine.ts");
        }
        rest(&at.path, 99.0);
        let ran = world.treewarden(&["explain", at.path.join(".git").to_str().unwrap()]);
        let said = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("a loose clone of acme/shop"), "{ran:?}");
        assert!(ran.code == 0 && said.contains(says), "{ran:?}");
        assert_eq!(said.contains("mine.ts"), name == "unpushed", "{ran:?}");
    }
}
