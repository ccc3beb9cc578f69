//! A damaged repo is reported, by a run, a dry run and `check` alike, and left alone: nothing in it
//! is repacked, removed or cleared.

use super::support::repo::Repo;
use super::support::snapshot::snapshot;
use super::support::{World, age_all, git, map, remove, same, try_git, write};
use std::collections::BTreeMap;
use std::path::PathBuf;
use treewarden::report::{GcAction, RepoOutcome};

/// Damages a repo.
type Break = fn(&Repo<'_>);

fn packs(repo: &Repo<'_>, ending: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(repo.git_dir("objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    files.sort();
    files
}

/// Repacks everything into one pack, and returns it or its sibling with this ending.
fn packed(repo: &Repo<'_>, ending: &str) -> PathBuf {
    repo.git(&["repack", "-q", "-a", "-d"]);
    packs(repo, ending).remove(0)
}

fn loose(repo: &Repo<'_>, name: &str) -> PathBuf {
    let id = repo.git(&["rev-parse", name]);
    repo.git_dir(format!("objects/{}/{}", &id[..2], &id[2..]))
}

/// Replaces a file: git's objects are read-only.
fn write_anew(path: PathBuf, bytes: impl AsRef<[u8]>) {
    remove(&path);
    write(&path, bytes);
}

fn changed(path: PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    write_anew(path, bytes);
}

fn in_half(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() / 2);
}

/// Kinds of damage, each with words that the repo's row must contain.
const DAMAGED: &[(&str, Break, &str)] = &[
    (
        "pack-cut",
        |repo| changed(packed(repo, "pack"), in_half),
        ".pack` doesn't end as its index says",
    ),
    (
        "pack-without-its-last-byte",
        |repo| {
            changed(packed(repo, "pack"), |bytes| {
                bytes.truncate(bytes.len() - 1);
            });
        },
        ".pack` doesn't end as its index says",
    ),
    (
        "pack-empty",
        |repo| write_anew(packed(repo, "pack"), ""),
        ".pack` is no pack",
    ),
    (
        "pack-zeroed",
        |repo| changed(packed(repo, "pack"), |bytes| bytes.fill(0)),
        ".pack` is no pack",
    ),
    (
        "pack-gone",
        |repo| remove(&packed(repo, "pack")),
        ".pack` is gone",
    ),
    (
        "history-gone",
        |repo| {
            // The branch's last commit exists; its history is gone.
            let pack = packed(repo, "pack");
            repo.commit(60.0, "later.ts", "1\n");
            remove(&pack);
        },
        ".pack` is gone",
    ),
    (
        "index-gone",
        |repo| remove(&packed(repo, "idx")),
        "has no index: `git index-pack",
    ),
    (
        "index-cut",
        |repo| changed(packed(repo, "idx"), in_half),
        ".idx` is no index of a pack",
    ),
    (
        "index-empty",
        |repo| write_anew(packed(repo, "idx"), ""),
        ".idx` is no index of a pack",
    ),
    (
        "index-of-another",
        |repo| {
            packed(repo, "pack");
            repo.commit(60.0, "later.ts", "1\n");
            repo.git(&["repack", "-q", "-d"]);
            let [one, other] = [0, 1].map(|n| packs(repo, "idx").remove(n));
            remove(&one);
            std::fs::copy(other, one).unwrap();
        },
        ".pack` and its index hold",
    ),
    (
        "object-empty",
        |repo| write_anew(loose(repo, "HEAD^{tree}"), ""),
        "` is empty or cut short",
    ),
    (
        "objects-empty",
        |repo| {
            for entry in walkdir::WalkDir::new(repo.git_dir("objects"))
                .into_iter()
                .map(Result::unwrap)
            {
                if entry.file_type().is_file() {
                    write_anew(entry.into_path(), "");
                }
            }
        },
        "` is empty or cut short",
    ),
    (
        "object-cut",
        |repo| changed(loose(repo, "HEAD^{tree}"), in_half),
        "is corrupt",
    ),
    (
        "commit-gone",
        |repo| remove(&loose(repo, "HEAD")),
        "names the object",
    ),
    (
        "tree-gone",
        |repo| remove(&loose(repo, "HEAD^{tree}")),
        "the tree of",
    ),
    (
        "all-gone",
        |repo| {
            remove(&repo.git_dir("objects"));
            std::fs::create_dir(repo.git_dir("objects")).unwrap();
        },
        "names the object",
    ),
    (
        "packed-refs-garbage",
        |repo| write(&repo.git_dir("packed-refs"), "garbage\n"),
        "packed-refs` has a line that names no ref",
    ),
    (
        "packed-refs-empty",
        |repo| {
            repo.git(&["pack-refs", "--all"]);
            write(&repo.git_dir("packed-refs"), "");
        },
        "packed-refs` is empty",
    ),
    (
        "packed-refs-cut",
        |repo| {
            repo.git(&["pack-refs", "--all"]);
            changed(repo.git_dir("packed-refs"), |bytes| {
                bytes.truncate(bytes.len() - 3);
            });
        },
        "packed-refs` is cut short",
    ),
    (
        "branch-empty",
        |repo| write(&repo.git_dir("refs/heads/main"), ""),
        "refs/heads/main` names neither an object nor a ref",
    ),
    (
        "branch-zeroed",
        |repo| write(&repo.git_dir("refs/heads/main"), [0; 41]),
        "refs/heads/main` names neither an object nor a ref",
    ),
    (
        "branch-gone",
        |repo| remove(&repo.git_dir("refs/heads/main")),
        "HEAD` is on `refs/heads/main`, which is gone",
    ),
    (
        "other-branch-garbage",
        |repo| write(&repo.git_dir("refs/heads/bad"), "garbage\n"),
        "refs/heads/bad` names neither an object nor a ref",
    ),
    (
        "tag-of-nothing",
        |repo| {
            write(
                &repo.git_dir("refs/tags/bad"),
                "0123456789012345678901234567890123456789\n",
            );
        },
        "refs/tags/bad` names the object",
    ),
    (
        "detached-at-nothing",
        |repo| {
            write(
                &repo.git_dir("HEAD"),
                "0123456789012345678901234567890123456789\n",
            );
        },
        "HEAD` names the object",
    ),
];

#[test]
fn a_damaged_repo_is_told_and_let_be() {
    let world = World::new();
    world.repo("acme/fine").tree("landed").age(2.0);
    for (name, break_it, _) in DAMAGED {
        let repo = world.repo(&format!("acme/{name}"));
        repo.set("gc: {strategy: git-gc}");
        repo.tree("landed").age(2.0);
        repo.tree("dirty").write("new.ts", "only here\n").age(99.0);
        write(&repo.git_dir("index.lock"), "");
        age_all(&repo.git_dir("index.lock"), 1.0);
        remove(&repo.git_dir("index.lock"));
        break_it(&repo);
        write(&repo.git_dir("gc.pid"), "");
        age_all(&repo.git_dir(""), 2.0);
    }
    let before = snapshot(&world.root);
    let dry = world.pass(1, &["report"]);
    let check = world.treewarden(&["check"]);
    same(
        "after a report and a check",
        &snapshot(&world.root),
        &before,
    );
    let report = world.pass(1, &["run"]);

    let outcomes = |report: &treewarden::report::RunReport, well: RepoOutcome| {
        let told = |repo: &treewarden::report::Repo| {
            (
                repo.name.clone(),
                if repo.outcome == well {
                    "well".to_owned()
                } else {
                    format!("{:?}", repo.outcome)
                },
            )
        };
        report.repos.iter().map(told).collect::<BTreeMap<_, _>>()
    };
    let mut expected: BTreeMap<_, _> = DAMAGED
        .iter()
        .map(|(name, ..)| (format!("acme/{name}"), "Failed".to_owned()))
        .collect();
    expected.insert("acme/fine".to_owned(), "well".to_owned());
    same(
        "a dry run",
        &outcomes(&dry, RepoOutcome::Planned),
        &expected,
    );
    same(
        "a run",
        &outcomes(&report, RepoOutcome::Maintained),
        &expected,
    );
    let mut wordless = Vec::new();
    for (name, _, words) in DAMAGED {
        let row = report
            .repos
            .iter()
            .find(|repo| repo.name == format!("acme/{name}"))
            .unwrap();
        let why = row.reason.clone().unwrap_or_default();
        let remedied = why.starts_with("damaged: ")
            && why.ends_with("; run `git fsck`, restore or re-enroll it");
        let checked = check.out.lines().any(|line| {
            line.starts_with("!!")
                && line.contains(&format!("acme/{name} "))
                && line.contains(words)
        });
        if !remedied
            || !why.contains(words)
            || why.contains("class=")
            || row.gc.action != GcAction::None
            || !checked
        {
            wordless.push(format!("\n  {name}: {words}: {why}; checked: {checked}"));
        }
    }
    assert!(wordless.is_empty(), "{}\n{}", wordless.concat(), check.out);
    let touched = |path: &PathBuf| {
        path.starts_with(".treewarden")
            || path
                .components()
                .any(|part| part.as_os_str() == "acme__fine")
    };
    let rest = |seen: BTreeMap<PathBuf, _>| {
        seen.into_iter()
            .filter(|(path, _)| !touched(path))
            .collect::<BTreeMap<_, _>>()
    };
    same(
        "the damaged repos",
        &rest(snapshot(&world.root)),
        &rest(before),
    );
    assert_eq!(report.totals.reaped, 1);
    assert_eq!(report.alerts[0].name, "RunFailed");
}

/// Repos that look unusual but aren't damaged.
const WELL: &[(&str, Break)] = &[
    ("unborn", |repo| {
        remove(&repo.path);
        git(
            &repo.world.root,
            60.0,
            &["init", "-q", "--template=", &repo.directory()],
        );
    }),
    ("orphan", |repo| {
        drop(repo.git(&["checkout", "-q", "--orphan", "new"]));
    }),
    ("dangling-origin-head", |repo| {
        write(
            &repo.git_dir("refs/remotes/origin/HEAD"),
            "ref: refs/remotes/origin/gone\n",
        );
    }),
    ("locks", |repo| {
        write(&repo.git_dir("refs/heads/main.lock"), "");
    }),
    ("hidden", |repo| {
        write(&repo.git_dir("refs/heads/.nfs0001"), "");
    }),
    ("packed", |repo| drop(repo.git(&["gc", "-q"]))),
    ("stale-packed-ref", |repo| {
        // An entry in `packed-refs` that a loose ref overrides may name a missing object.
        repo.git(&["pack-refs", "--all"]);
        repo.commit(60.0, "later.ts", "1\n");
        changed(repo.git_dir("packed-refs"), |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            let line = text
                .lines()
                .find(|line| line.ends_with(" refs/heads/main"))
                .unwrap();
            *bytes = text
                .replace(
                    line,
                    "0123456789012345678901234567890123456789 refs/heads/main",
                )
                .into_bytes();
        });
    }),
    ("annotated", |repo| {
        repo.git(&["tag", "-a", "-m", "One", "v1"]);
        repo.git(&["pack-refs", "--all"]);
    }),
    ("shallow", |repo| {
        repo.moves_on("later.ts");
        let origin = format!(
            "file://{}",
            repo.world
                .beside(format!("origins/{}.git", repo.directory()))
                .display()
        );
        remove(&repo.path);
        git(
            &repo.world.root,
            60.0,
            &[
                "clone",
                "-q",
                "--depth=1",
                "--template=",
                &origin,
                &repo.directory(),
            ],
        );
    }),
    ("partial", |repo| {
        // A branch that nobody checked out has no tree objects here.
        repo.git(&["checkout", "-q", "-b", "other"]);
        repo.commit(60.0, "later.ts", "1\n");
        repo.git(&["push", "-q", "origin", "other"]);
        let origin = repo
            .world
            .beside(format!("origins/{}.git", repo.directory()));
        git(&origin, 60.0, &["config", "uploadpack.allowFilter", "true"]);
        remove(&repo.path);
        let from = format!("file://{}", origin.display());
        git(
            &repo.world.root,
            60.0,
            &[
                "clone",
                "-q",
                "--filter=tree:0",
                "--template=",
                &from,
                &repo.directory(),
            ],
        );
        repo.git(&["branch", "-q", "other", "origin/other"]);
        // As newer versions of git write it.
        try_git(
            &repo.path,
            60.0,
            &["config", "--unset", "extensions.partialClone"],
        );
    }),
    ("idx-of-an-old-pack", |repo| {
        // All objects that it lists are elsewhere.
        let idx = packed(repo, "idx");
        let kept = std::fs::read(&idx).unwrap();
        repo.commit(60.0, "later.ts", "1\n");
        repo.git(&["repack", "-q", "-a", "-d"]);
        write(&idx, kept);
    }),
    ("pack-that-a-kill-left", |repo| {
        // Git deletes an old pack's index first, and writes a new one's last. All objects in this
        // pack are also elsewhere.
        let pack = packed(repo, "pack");
        let kept = std::fs::read(&pack).unwrap();
        repo.commit(60.0, "later.ts", "1\n");
        repo.git(&["repack", "-q", "-a", "-d"]);
        write(&pack, kept);
    }),
    ("object-that-is-packed-too", |repo| {
        let object = loose(repo, "HEAD");
        packed(repo, "pack");
        write(&object, "");
    }),
];

#[test]
fn what_a_dead_git_leaves_is_no_damage() {
    let world = World::new();
    for (name, break_it) in WELL {
        let repo = world.repo(&format!("acme/{name}"));
        break_it(&repo);
        age_all(&repo.git_dir(""), 2.0);
    }
    let report = world.treewarden(&["run", "--format", "json"]).report();
    let told = |repo: &treewarden::report::Repo| {
        (
            repo.name.replace("acme/", ""),
            format!(
                "{:?} {}",
                repo.outcome,
                repo.reason.clone().unwrap_or_default()
            ),
        )
    };
    let expected: Vec<_> = WELL
        .iter()
        .map(|(name, _)| (*name, "Maintained "))
        .collect();
    same(
        "outcomes",
        &report.repos.iter().map(told).collect(),
        &map(&expected),
    );
    let there = |name: &str| Repo::there(&world, name);
    assert_eq!(
        packs(&there("acme/idx-of-an-old-pack"), "idx").len(),
        1,
        "cleared"
    );
    let indexed = there("acme/pack-that-a-kill-left");
    assert_eq!(
        (packs(&indexed, "idx").len(), indexed.fsck()),
        (packs(&indexed, "pack").len(), String::new()),
        "indexed"
    );
}

#[test]
fn a_repo_that_rests_is_seen_to_be_damaged() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.git(&["repack", "-q", "-a", "-d"]);
    age_all(&shop.git_dir(""), 1.0);
    std::thread::sleep(std::time::Duration::from_secs(3));
    world.night();
    assert!(world.night().repos[0].unchanged_since.is_some());
    // Truncates the pack in place, as a failing disk or a program that resets times would.
    let pack = packs(&shop, "pack").remove(0);
    std::fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&pack)
        .unwrap()
        .set_len(40)
        .unwrap();
    let report = world.pass(1, &["run"]);
    assert!(
        report.repos[0]
            .reason
            .as_ref()
            .unwrap()
            .starts_with("damaged: "),
        "{:?}",
        report.repos[0]
    );
    assert_eq!(world.pass(1, &["run"]).repos[0].unchanged_since, None);
}

/// libgit2 loops forever on a truncated object, and it also reads a submodule's store in a
/// registration.
#[test]
fn a_cut_object_in_a_submodules_store_keeps_the_tree_and_holds_up_nobody() {
    let world = World::new();
    let repo = world.repo("acme/shop");
    let tree = repo.tree("saved");
    tree.commit("saved.ts", "saved\n");
    let store = tree.admin.join("modules/sub");
    git(
        &world.root,
        60.0,
        &[
            "init",
            "-q",
            "--bare",
            "--template=",
            store.to_str().unwrap(),
        ],
    );
    let id = git(
        &store,
        60.0,
        &["commit-tree", "-m", "work", &git(&store, 60.0, &["mktree"])],
    );
    git(&store, 60.0, &["update-ref", "refs/heads/main", &id]);
    changed(
        store.join(format!("objects/{}/{}", &id[..2], &id[2..])),
        in_half,
    );
    tree.age(40.0);
    let began = std::time::Instant::now();
    let report = world.night();
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    let row = &report.repos[0]
        .worktrees
        .iter()
        .find(|row| row.path.ends_with("saved"))
        .unwrap();
    assert!(format!("{row:?}").contains("submodule sub"), "{row:?}");
    assert!(tree.path.exists());
}
