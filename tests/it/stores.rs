//! A run keeps what `git gc` would keep: `git gc` runs on a copy of the repo, the run on the repo,
//! and git must say the same of both.

use super::support::repo::Repo;
use super::support::{Ran, World, age_all, git, remove, try_git, write};
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use treewarden::report::GcAction;

/// This machine's versions of git, each in a directory of its own: the one on the path, and another
/// if there is one.
pub(super) fn gits(world: &World) -> Vec<(String, PathBuf)> {
    let mut gits: Vec<(String, PathBuf)> = Vec::new();
    for (number, git) in ["git", "/usr/bin/git", "/usr/local/bin/git"]
        .iter()
        .enumerate()
    {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|directory| directory.join(git))
            .find(|git| git.exists());
        let Some(real) = found.and_then(|git| git.canonicalize().ok()) else {
            continue;
        };
        let directory = world.beside(format!("git-{number}"));
        std::fs::create_dir_all(&directory).unwrap();
        symlink(&real, directory.join("git")).unwrap();
        let version = world.program(real.to_str().unwrap(), &["version"]).out;
        if gits.iter().all(|(known, _)| *known != version) {
            gits.push((version, directory));
        }
    }
    gits
}

/// Runs the program with this git first on the path.
fn run_with(world: &World, git: &Path) -> Ran {
    let path = format!("{}:{}", git.display(), std::env::var("PATH").unwrap());
    world
        .start_as(&[("PATH", &path)], &["run", "--format", "json"])
        .end()
}

fn objects(directory: &Path) -> BTreeSet<String> {
    let list = git(
        directory,
        0.0,
        &[
            "cat-file",
            "--batch-all-objects",
            "--batch-check=%(objectname)",
        ],
    );
    list.lines().map(ToOwned::to_owned).collect()
}

/// Copies the repo and runs `git gc` there, with our grace for reflogs: git's default is 30 days
/// for entries that nothing else reaches.
fn judged(repo: &Repo<'_>) -> PathBuf {
    let copy = repo.world.beside(format!("judge-{}", repo.directory()));
    let copied = repo.world.program(
        "cp",
        &["-a", repo.path.to_str().unwrap(), copy.to_str().unwrap()],
    );
    assert_eq!(copied.code, 0);
    git(
        &copy,
        0.0,
        &[
            "-c",
            "gc.reflogExpire=90.days",
            "-c",
            "gc.reflogExpireUnreachable=90.days",
            "gc",
            "-q",
        ],
    );
    copy
}

/// Git's answers about a repo.
fn told(directory: &Path) -> Vec<(Option<i32>, String, String)> {
    let says: [&[&str]; 5] = [
        &["stash", "list"],
        &["reflog", "show", "--all"],
        &["fsck", "--full", "--no-dangling", "--no-progress"],
        &["log", "--all", "--format=%H"],
        &["status", "--porcelain"],
    ];
    says.iter()
        .map(|words| try_git(directory, 0.0, words))
        .collect()
}

/// Checks that the repo has every object of its collected copy, and that git says the same of both.
#[track_caller]
fn no_less(repo: &Repo<'_>, copy: &Path) {
    let lost: Vec<String> = objects(copy)
        .difference(&objects(&repo.path))
        .cloned()
        .collect();
    assert_eq!(lost, [""; 0], "lost, and `git gc` keeps them");
    assert_eq!(told(&repo.path), told(copy));
}

/// Packs everything twice, and makes the store look old.
fn aged(repo: &Repo<'_>, days: f64) {
    for name in ["a", "b"] {
        repo.git(&["repack", "-q", "-d"]);
        repo.commit(50.0, name, name);
    }
    repo.git(&["repack", "-q", "-d"]);
    age_all(&repo.git_dir("objects"), days);
}

#[test]
fn a_stash_below_the_top_stays() {
    let world = World::new();
    for (number, (version, git)) in gits(&world).iter().enumerate() {
        let shop = world.repo(&format!("acme/shop-{number}"));
        for text in ["1\n", "2\n"] {
            write(&shop.path.join("README.md"), text);
            shop.git(&["stash", "-q"]);
        }
        aged(&shop, 20.0);
        let copy = judged(&shop);
        let ran = run_with(&world, git);
        assert_eq!(ran.code, 0, "{version}: {ran:?}");
        let gc = ran
            .report()
            .repos
            .into_iter()
            .find(|repo| repo.name == shop.name)
            .unwrap()
            .gc;
        assert_eq!(
            (gc.action, gc.after.packs, gc.after.loose_objects),
            (GcAction::Full, 1, 0),
            "{version}"
        );
        no_less(&shop, &copy);
    }
}

#[test]
fn whatever_the_files_of_a_repo_name_stays() {
    for strategy in ["auto", "git-gc"] {
        let world = World::new();
        let shop = world.repo("acme/shop");
        shop.set(&format!("gc: {{strategy: {strategy}}}"));
        let lonely =
            |repo: &Path, text: &str| git(repo, 60.0, &["commit-tree", "-m", text, "HEAD^{tree}"]);
        // Each of these is kept alive by one place alone; git itself knows these places.
        let mut kept = vec![];
        shop.commit(60.0, "reset.ts", "1\n");
        kept.push(shop.git(&["rev-parse", "HEAD"]));
        shop.git(&["reset", "-q", "--hard", "HEAD~1"]);
        shop.git(&["checkout", "-q", "--detach"]);
        shop.commit(60.0, "detached.ts", "1\n");
        kept.push(shop.git(&["rev-parse", "HEAD"]));
        shop.git(&["checkout", "-q", "main"]);
        let tree = shop.detached("tree");
        tree.commit("detached.ts", "2\n");
        kept.push(tree.git(&["rev-parse", "HEAD"]));
        tree.git(&["checkout", "-q", "HEAD~1"]);
        for name in [
            "refs/notes/x",
            "refs/replace/1111111111111111111111111111111111111111",
            "refs/t3/x",
            "refs/bisect/bad",
        ] {
            let commit = lonely(&shop.path, name);
            shop.git(&["update-ref", name, &commit]);
            kept.push(commit);
        }
        write(&shop.path.join("staged.ts"), "staged\n");
        shop.git(&["add", "staged.ts"]);
        kept.push(shop.git(&["rev-parse", ":staged.ts"]));
        tree.write("split.ts", "in a shared index\n")
            .git(&["add", "split.ts"]);
        tree.git(&["update-index", "--split-index"]);
        kept.push(tree.git(&["rev-parse", ":split.ts"]));
        let grafted = lonely(&shop.path, "grafted");
        let head = shop.git(&["rev-parse", "HEAD"]);
        write(&shop.git_dir("info/grafts"), format!("{head} {grafted}\n"));
        kept.push(grafted);
        // Git ignores these places, but an interrupted operation needs them.
        let ours: Vec<String> = (0..6)
            .map(|number| lonely(&shop.path, &format!("ours {number}")))
            .collect();
        write(&shop.git_dir("ORIG_HEAD"), format!("{}\n", ours[0]));
        write(
            &shop.git_dir("rebase-merge/autostash"),
            format!("{}\n", ours[1]),
        );
        write(
            &tree.admin.join("MERGE_AUTOSTASH"),
            format!("{}\n", ours[2]),
        );
        write(
            &tree.admin.join("sequencer/todo"),
            format!("pick {} x\n", ours[3]),
        );
        write(
            &tree.admin.join("refs/worktree/x"),
            format!("{}\n", ours[4]),
        );
        write(&shop.git_dir("AGENTS_HEAD"), format!("{}\n", ours[5]));
        aged(&shop, 20.0);
        remove(&shop.git_dir("rebase-merge"));
        write(
            &shop.git_dir("rebase-merge/autostash"),
            format!("{}\n", ours[1]),
        );

        let copy = judged(&shop);
        let gc = world.night().repos.remove(0).gc;
        assert_eq!(gc.action, GcAction::Full, "{gc:?}");
        let all = objects(&shop.path);
        let lost: Vec<&String> = kept
            .iter()
            .chain(&ours)
            .filter(|id| !all.contains(*id))
            .collect();
        assert_eq!(lost, [""; 0], "{strategy}");
        no_less(&shop, &copy);
        assert_eq!(
            shop.refs("refs/treewarden"),
            [].into(),
            "nothing of ours is left among the agents' refs"
        );
    }
}

#[test]
fn a_config_may_ask_for_a_longer_grace() {
    let world = World::new();
    let dead = |settings: &[(&str, &str)], name: &str| {
        let repo = world.repo(name);
        for (key, value) in settings {
            repo.git(&["config", key, value]);
        }
        repo.commit(95.0, "gone.ts", name);
        let commit = repo.git(&["rev-parse", "HEAD"]);
        git(&repo.path, 94.0, &["reset", "-q", "--hard", "HEAD~1"]);
        remove(&repo.git_dir("ORIG_HEAD"));
        // Makes a full repack due, with objects older than the default grace.
        aged(&repo, 20.0);
        (repo, commit)
    };
    let cases: [(&[(&str, &str)], bool); 6] = [
        (&[], false),
        (
            &[
                ("gc.pruneExpire", "now"),
                ("gc.reflogExpireUnreachable", "now"),
            ],
            false,
        ),
        (&[("gc.pruneExpire", "30.days.ago")], true),
        (&[("gc.pruneExpire", "never")], true),
        (
            &[
                ("gc.reflogExpire", "never"),
                ("gc.reflogExpireUnreachable", "never"),
            ],
            true,
        ),
        (
            &[
                ("gc.refs/heads/*.reflogExpire", "never"),
                ("gc.refs/heads/*.reflogExpireUnreachable", "200 days"),
                ("gc.refs/heads/main.reflogExpire", "1 day"),
            ],
            true,
        ),
    ];
    let repos: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(n, (settings, _))| dead(settings, &format!("acme/r{n}")))
        .collect();
    world.night();
    for ((settings, stays), (repo, commit)) in cases.iter().zip(repos) {
        assert_eq!(
            objects(&repo.path).contains(&commit),
            *stays,
            "{settings:?}"
        );
        assert_eq!(repo.fsck(), "", "{settings:?}");
    }
}

/// As a crash or a script leaves it. Git doesn't count such a line, and expiring the reflog would
/// drop it.
#[test]
fn a_reflog_s_last_line_without_an_end_stays() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for days in [200.0, 150.0] {
        shop.commit(days, "old.ts", &format!("{days}\n"));
    }
    aged(&shop, 60.0);
    let lonely = shop.git(&["commit-tree", "-m", "lonely", "HEAD^{tree}"]);
    let (log, head) = (shop.git_dir("logs/HEAD"), shop.git(&["rev-parse", "HEAD"]));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let text = std::fs::read_to_string(&log).unwrap();
    write(
        &log,
        format!("{text}{head} {lonely} A <a@b> {now} +0000\tlast"),
    );
    let report = world.pass(0, &["run"]);
    assert_eq!(
        report.repos[0].gc.action,
        GcAction::Full,
        "{:?}",
        report.repos[0]
    );
    let left = std::fs::read_to_string(&log).unwrap();
    assert!(
        left.ends_with("\tlast\n") && left.lines().count() < text.lines().count() + 1,
        "{left}"
    );
    assert_eq!(shop.git(&["reflog", "-1", "--format=%H"]), lonely);
}

#[test]
fn one_tree_with_a_broken_index_stops_nothing_but_the_dropping() {
    let world = World::new();
    for (number, (version, git)) in gits(&world).iter().enumerate() {
        let shop = world.repo(&format!("acme/shop-{number}"));
        let tree = shop.tree(&format!("broken-{number}"));
        let commit = shop.git(&["commit-tree", "-m", "nobody's", "HEAD^{tree}"]);
        aged(&shop, 20.0);
        write(&tree.admin.join("index"), "DIRC nonsense");
        let ran = run_with(&world, git);
        let repo = ran
            .report()
            .repos
            .into_iter()
            .find(|repo| repo.name == shop.name)
            .unwrap();
        assert_eq!(ran.code, 1, "{version}: {ran:?}");
        let failures = repo.failures.join("\n");
        assert!(
            repo.failures.len() == 1
                && failures.contains(tree.path.to_str().unwrap())
                && failures.contains("git reset"),
            "{failures}"
        );
        assert_eq!(
            (
                repo.gc.action,
                repo.gc.after.packs,
                repo.gc.after.loose_objects
            ),
            (GcAction::Incremental, 1, 0),
            "{version}: {:?}",
            repo.gc
        );
        assert!(objects(&shop.path).contains(&commit));
        // After the repair, the objects are dropped.
        remove(&tree.admin.join("index"));
        tree.git(&["reset", "-q"]);
        age_all(&shop.git_dir("objects"), 20.0);
        shop.commit(60.0, "more.ts", "1\n");
        shop.git(&["repack", "-q", "-d"]);
        age_all(&shop.git_dir("objects"), 20.0);
        assert_eq!(run_with(&world, git).code, 0, "{version}");
        assert!(!objects(&shop.path).contains(&commit));
        assert_eq!(shop.fsck(), "");
    }
}

#[test]
fn packs_in_a_geometric_row_are_no_failure() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for many in [150, 36, 9] {
        for number in 0..many {
            write(
                &shop.path.join(format!("{many}/{number}.ts")),
                format!("{many} {number}\n"),
            );
        }
        shop.commit(60.0, "x.ts", &many.to_string());
        shop.git(&["repack", "-q", "-d"]);
    }
    for _ in 0..2 {
        let gc = world.night().repos.remove(0).gc;
        assert_eq!(
            (gc.action, gc.before.packs, gc.after.packs),
            (GcAction::Incremental, 3, 3),
            "{gc:?}"
        );
    }
    assert_eq!(shop.fsck(), "");
}

/// Creates a clone without blobs, some of which were fetched since.
fn partial<'a>(world: &'a World, name: &str, git_of: &Path) -> Repo<'a> {
    let of = world.repo(&format!("{name}-of"));
    for number in 0..6 {
        of.commit(60.0, "a.ts", &format!("{number}\n"));
    }
    of.push();
    let origin = world.beside(format!("origins/{}.git", of.directory()));
    for key in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
        git(&origin, 0.0, &["config", key, "true"]);
    }
    world.enrol(name, "");
    let url = format!("file://{}", origin.display());
    let directory = world.at(name.replace('/', "__"));
    let program = git_of.join("git");
    let cloned = world.program(
        program.to_str().unwrap(),
        &[
            "-c",
            "protocol.file.allow=always",
            "clone",
            "-q",
            "--template=",
            "--filter=blob:none",
            &url,
            directory.to_str().unwrap(),
        ],
    );
    assert_eq!(cloned.code, 0, "{cloned:?}");
    let repo = Repo::there(world, name);
    for number in 1..5 {
        repo.git(&["cat-file", "-p", &format!("HEAD~{number}:a.ts")]);
    }
    repo.commit(60.0, "mine.ts", "mine\n");
    repo
}

#[test]
fn promised_objects_stay_promised() {
    let world = World::new();
    for (number, (version, git_of)) in gits(&world).iter().enumerate() {
        for (kind, days) in [("in-part", 0.0), ("in-full", 20.0)] {
            let repo = partial(&world, &format!("acme/{kind}-{number}"), git_of);
            repo.git(&["gc", "-q"]);
            for number in 0..3 {
                repo.commit(60.0, "mine.ts", &format!("{number}\n"));
                repo.git(&["repack", "-q", "-d"]);
            }
            age_all(&repo.git_dir("objects"), days);
            if number == 0 {
                // An older git writes this name.
                repo.git(&["config", "core.repositoryFormatVersion", "1"]);
                repo.git(&["config", "extensions.partialClone", "origin"]);
            }
            repo.commit(60.0, "loose.ts", "loose\n");
            let before = told(&repo.path);
            let copy = judged(&repo);
            let ran = run_with(&world, git_of);
            assert_eq!(ran.code, 0, "{version} {kind}: {ran:?}");
            let row = ran
                .report()
                .repos
                .into_iter()
                .find(|row| row.name == repo.name)
                .unwrap();
            assert_eq!(
                row.gc.action,
                if days > 0.0 {
                    GcAction::Full
                } else {
                    GcAction::Incremental
                },
                "{version} {kind}: {row:?}"
            );
            assert_eq!(row.gc.after.loose_objects, 0, "{version} {kind}: {row:?}");
            assert_eq!(told(&repo.path), before, "{version} {kind}");
            no_less(&repo, &copy);
            for words in [&["--local"][..], &["--no-local"]] {
                let to = world.beside(format!("clone-{kind}-{number}{}", words[0]));
                let from = format!("file://{}", repo.path.display());
                let from = if words[0] == "--local" {
                    repo.path.to_str().unwrap()
                } else {
                    &from
                };
                let clone = [
                    &["clone", "-q", "--template="],
                    words,
                    &[from, to.to_str().unwrap()],
                ]
                .concat();
                let (code, _, err) = try_git(&world.root, 0.0, &clone);
                let (of_copy, ..) = {
                    let to = world.beside(format!("clone-of-copy-{kind}-{number}{}", words[0]));
                    let from = if words[0] == "--local" {
                        copy.display().to_string()
                    } else {
                        format!("file://{}", copy.display())
                    };
                    try_git(
                        &world.root,
                        0.0,
                        &[
                            &["clone", "-q", "--template="],
                            words,
                            &[&from, to.to_str().unwrap()],
                        ]
                        .concat(),
                    )
                };
                assert_eq!(code, of_copy, "{version} {kind} {words:?}: {err}");
            }
        }
    }
}

#[test]
fn a_young_object_keeps_what_it_names() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let blob = {
        write(
            &world.beside("blob"),
            "only in a tree that nobody committed yet\n",
        );
        shop.git(&[
            "hash-object",
            "-w",
            "--no-filters",
            world.beside("blob").to_str().unwrap(),
        ])
    };
    aged(&shop, 20.0);
    let index = world.beside("index");
    let path = index.to_str().unwrap();
    world.program("git", &["-C", shop.path.to_str().unwrap(), "version"]);
    let tree = {
        let script = format!(
            "GIT_INDEX_FILE={path} git update-index --add --cacheinfo 100644,{blob},a && GIT_INDEX_FILE={path} git write-tree"
        );
        shop.git(&["-c", &format!("alias.tree=!{script}"), "tree"])
    };
    let copy = judged(&shop);
    assert_eq!(world.night().repos[0].gc.action, GcAction::Full);
    assert!(objects(&shop.path).contains(&blob) && objects(&shop.path).contains(&tree));
    no_less(&shop, &copy);
}
