//! Proves the oracle: it catches a program that does its work and then some harm, and accepts one
//! that only does its work.
//!
//! Each harm is done to a copy of a volume on which agents worked for two weeks, after a correct
//! run. The simulation's own comparison must see it.

#![expect(clippy::disallowed_methods, reason = "it breaks repos")]

use super::super::support::remove;
use super::Size;
use super::days::{CRATES, Ended, Sim, Tree};
use super::oracle::{Expected, Oracle};
use super::record::{self, Entry};
use git2::Oid;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Something that a program must not do; `None` if there is nothing here to do it to.
type Harm = fn(&Sim) -> Option<String>;

const HARMS: [(&str, Harm); 25] = [
    ("drops a rescue", |sim| {
        on_rescue(sim, |sim, path, name| {
            sim.git(path, &["update-ref", "-d", name]).is_ok()
        })
    }),
    ("changes a byte in a rescue", |sim| on_rescue(sim, forge)),
    ("rescues another's work", |sim| {
        on_rescue(sim, |sim, path, name| {
            sim.git(path, &["update-ref", name, "HEAD"]).is_ok()
        })
    }),
    ("changes a byte in a tree", |sim| {
        on_file(sim, |file, _, bytes| {
            drop(fs::write(file, [bytes, b"x"].concat()));
        })
    }),
    ("changes a mode", |sim| {
        on_file(sim, |file, mode, _| {
            drop(fs::set_permissions(
                file,
                fs::Permissions::from_mode(mode ^ 0o11),
            ));
        })
    }),
    ("deletes a file that nobody tracks", |sim| {
        on_file(sim, |file, _, _| remove(file))
    }),
    ("deletes a file in a checkout", |sim| {
        told(&sim.repos[0].path.join(".gitignore"), remove)
    }),
    ("deletes a tree with work", |sim| {
        on_tree(sim, |tree| remove(&tree.path))
    }),
    ("deletes a tree with work, and its registration", |sim| {
        on_tree(sim, |tree| {
            remove(&tree.path);
            remove(&tree.admin);
        })
    }),
    ("drops the registration of a tree", |sim| {
        on_tree(sim, |tree| remove(&tree.admin))
    }),
    ("puts a tree elsewhere", |sim| {
        on_tree(sim, |tree| {
            fs::rename(&tree.path, tree.path.with_extension("moved")).unwrap();
        })
    }),
    ("deletes an index", |sim| {
        on_tree(sim, |tree| remove(&tree.admin.join("index")))
    }),
    ("detaches a HEAD", |sim| {
        on_tree(sim, |tree| {
            fs::write(tree.admin.join("HEAD"), "ref: refs/heads/other\n").unwrap();
        })
    }),
    ("swaps two trees' registrations", swap),
    ("deletes an object", |sim| {
        on_loose(sim, |root| !root.from.contains("index"))
    }),
    ("deletes what is staged", |sim| {
        on_loose(sim, |root| root.from.ends_with("index"))
    }),
    ("deletes a branch", |sim| {
        on_repo(sim, &["update-ref", "-d", "refs/heads/lonely"])
    }),
    ("drops a stash", |sim| {
        on_repo(sim, &["stash", "drop", "-q"])
    }),
    ("drops a line of a reflog", log_line),
    ("expires reflogs", |sim| {
        on_repo(
            sim,
            &[
                "reflog",
                "expire",
                "--expire=now",
                "--expire-unreachable=now",
                "--all",
            ],
        )
    }),
    ("drops all that nothing reaches", |sim| {
        on_repo(sim, &["gc", "-q", "--prune=now"])
    }),
    ("cuts a pack short", cut),
    ("evicts what a lock file names", evict),
    ("leaves a lock", |sim| {
        told(&sim.repos[0].git_dir().join("shallow.lock"), |place| {
            fs::write(place, "").unwrap();
        })
    }),
    ("leaves something in the state directory", |sim| {
        told(&sim.world.at(".treewarden/kept-for-ever"), |place| {
            fs::write(place, "").unwrap();
        })
    }),
];

#[expect(
    clippy::unnecessary_wraps,
    reason = "harms tell where they were done, or that they were not"
)]
fn told(place: &Path, harm: impl FnOnce(&Path)) -> Option<String> {
    harm(place);
    Some(place.display().to_string())
}

/// Returns the trees on disk, each with a file that only it has.
fn trees(sim: &Sim) -> impl Iterator<Item = (&Tree, PathBuf, u32, Vec<u8>)> {
    sim.trees
        .iter()
        .filter(|tree| tree.path.exists() && tree.admin.exists())
        .filter_map(|tree| {
            let found = record::files(&tree.path, &BTreeSet::new());
            found.into_iter().find_map(|(path, entry)| match entry {
                Entry::File(mode, bytes)
                    if path.starts_with("notes") || path.starts_with("ignored") =>
                {
                    Some((tree, tree.path.join(path), mode, bytes.to_vec()))
                }
                _ => None,
            })
        })
}

fn on_tree(sim: &Sim, harm: impl FnOnce(&Tree)) -> Option<String> {
    trees(sim).next().map(|(tree, ..)| {
        harm(tree);
        tree.path.display().to_string()
    })
}

fn on_file(sim: &Sim, harm: impl FnOnce(&Path, u32, &[u8])) -> Option<String> {
    trees(sim).next().map(|(_, file, mode, bytes)| {
        harm(&file, mode, &bytes);
        file.display().to_string()
    })
}

/// Runs git in the first repo in which it succeeds.
fn on_repo(sim: &Sim, arguments: &[&str]) -> Option<String> {
    sim.repos
        .iter()
        .find(|repo| sim.git(&repo.path, arguments).is_ok())
        .map(|repo| repo.name.clone())
}

fn on_rescue(sim: &Sim, harm: impl Fn(&Sim, &Path, &str) -> bool) -> Option<String> {
    sim.repos.iter().find_map(|repo| {
        let roots = record::roots(&repo.git_dir());
        let names = roots
            .iter()
            .map(|root| root.from.clone())
            .filter(|from| from.starts_with("refs/treewarden/rescue/"));
        names.into_iter().find(|name| harm(sim, &repo.path, name))
    })
}

/// Changes the content of one file in a rescue.
fn forge(_: &Sim, path: &Path, name: &str) -> bool {
    let repo = git2::Repository::open(path).unwrap();
    let commit = repo.find_reference(name).unwrap().peel_to_commit().unwrap();
    let tree = commit.tree().unwrap();
    let Some(entry) = tree.iter().find(|entry| entry.filemode() == 0o100_644) else {
        return false;
    };
    let mut builder = repo.treebuilder(Some(&tree)).unwrap();
    builder
        .insert(
            entry.name_bytes(),
            repo.blob(b"forged\n").unwrap(),
            0o100_644,
        )
        .unwrap();
    let tree = repo.find_tree(builder.write().unwrap()).unwrap();
    let parents: Vec<_> = commit.parents().collect();
    let parents: Vec<_> = parents.iter().collect();
    let forged = repo
        .commit(
            None,
            &commit.author(),
            &commit.committer(),
            commit.message().unwrap(),
            &tree,
            &parents,
        )
        .unwrap();
    repo.reference(name, forged, true, "").is_ok()
}

fn swap(sim: &Sim) -> Option<String> {
    let mut two = sim
        .trees
        .iter()
        .filter(|tree| tree.path.join(".git").exists());
    let (one, other) = (two.next()?, two.next()?);
    let [first, second] = [one, other].map(|tree| fs::read(tree.path.join(".git")).unwrap());
    fs::write(one.path.join(".git"), second).unwrap();
    told(&other.path, |place| {
        fs::write(place.join(".git"), first).unwrap();
    })
}

/// Deletes a loose object that a matching root names.
fn on_loose(sim: &Sim, so: impl Fn(&record::Root) -> bool) -> Option<String> {
    sim.repos.iter().find_map(|repo| {
        let place = |id: Oid| {
            repo.git_dir().join(format!(
                "objects/{}/{}",
                &id.to_string()[..2],
                &id.to_string()[2..]
            ))
        };
        let roots = record::roots(&repo.git_dir());
        let found = roots
            .iter()
            .filter(|root| so(root))
            .map(|root| place(root.id))
            .find(|place| place.exists())?;
        told(&found, remove)
    })
}

/// Drops the lines about the branch `lonely` from HEAD's reflog.
fn log_line(sim: &Sim) -> Option<String> {
    sim.repos.iter().find_map(|repo| {
        let log = repo.git_dir().join("logs/HEAD");
        let text = fs::read_to_string(&log).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("lonely"))
            .collect();
        (lines.len() < text.lines().count())
            .then(|| fs::write(&log, lines.join("\n") + "\n").unwrap())
            .map(|()| repo.name.clone())
    })
}

/// Evicts a crate that a checkout's lock file names.
fn evict(sim: &Sim) -> Option<String> {
    let locks = sim
        .repos
        .iter()
        .filter_map(|repo| fs::read_to_string(repo.path.join("Cargo.lock")).ok());
    let crates = locks.filter_map(|lock| {
        Some(
            lock.split("name = \"")
                .nth(1)?
                .split('"')
                .next()?
                .to_owned(),
        )
    });
    let file = |name: String| sim.world.at(CRATES).join(format!("{name}-1.0.0.crate"));
    crates
        .map(file)
        .find(|file| file.exists())
        .and_then(|file| told(&file, remove))
}

fn cut(sim: &Sim) -> Option<String> {
    sim.repos.iter().find_map(|repo| {
        let packs = fs::read_dir(repo.git_dir().join("objects/pack"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        let pack = packs
            .into_iter()
            .find(|path| path.extension().is_some_and(|end| end == "pack"))?;
        let bytes = fs::read(&pack).unwrap();
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
        told(&pack, |pack| {
            fs::write(pack, &bytes[..bytes.len() / 2]).unwrap();
        })
    })
}

/// Creates a volume on which agents have worked, with something for every harm.
fn grown(size: Size) -> (Sim, Oracle) {
    let (mut sim, mut oracle) = (Sim::new(7, size.repos), Oracle::default());
    for _night in 0..size.nights {
        sim.day += 1;
        sim.work(size.operations);
        sim.evening();
        assert_eq!(oracle.removed(&mut sim), [""; 0]);
        assert_eq!(
            a_night(&mut sim, &mut oracle, |_| ()),
            [""; 0],
            "{:#?}",
            sim.log
        );
    }
    // What the harms are done to: a branch of its own, a stash, reflog lines, a pack.
    sim.day += 1;
    for repo in 0..size.repos {
        let path = sim.repos[repo].path.clone();
        let _nothing = sim.git(&path, &["reset", "-q", "--hard"]);
        for (file, commands) in [
            (
                "lonely",
                &[
                    &["checkout", "-q", "-B", "lonely"][..],
                    &["add", "-A"],
                    &["commit", "-q", "-m", "lonely"],
                    &["checkout", "-q", "-"],
                ],
            ),
            (
                "stashed",
                &[
                    &["add", "-A"][..],
                    &["stash", "-q"],
                    &["gc", "-q"],
                    &["status"],
                ],
            ),
        ] {
            sim.write(&path.join(file), format!("{file} {repo}\n").as_bytes());
            for command in commands {
                sim.git(&path, command).unwrap();
            }
        }
    }
    sim.work(size.operations);
    sim.write(&sim.repos[0].path.join("staged"), b"staged\n");
    sim.git(&sim.repos[0].path, &["add", "staged"]).unwrap();
    sim.evening();
    assert_eq!(oracle.removed(&mut sim), [""; 0]);
    (sim, oracle)
}

/// Runs a night with some harm done in it; returns what the oracle finds.
fn a_night(sim: &mut Sim, oracle: &mut Oracle, harm: impl FnOnce(&Sim)) -> Vec<String> {
    let evening = oracle.look(sim);
    let ran = sim.program(&["run", "--format", "json"]);
    harm(sim);
    sim.sweep();
    let problems = oracle.compare(sim, &evening, &ran, Ended::Whole);
    sim.sweep();
    problems
}

#[test]
#[ignore = "needs a quarter of a minute"]
fn every_harm_is_caught() {
    let (mut sim, mut oracle) = grown(Size {
        repos: 2,
        nights: 9,
        operations: 24,
    });
    let (root, aside) = (sim.world.root.clone(), sim.world.beside("aside"));
    fs::rename(&root, &aside).unwrap();
    let mut unseen = Vec::new();
    for (name, harm) in
        std::iter::once(("does no harm", (|_| Some(String::new())) as Harm)).chain(HARMS)
    {
        assert_eq!(
            sim.world
                .program(
                    "cp",
                    &["-a", aside.to_str().unwrap(), root.to_str().unwrap()]
                )
                .code,
            0
        );
        let (mut seen, mut oracle, day) = (None, oracle.clone(), sim.day);
        // A leftover only counts after some nights.
        for _night in 0..5 {
            let mut done = None;
            let problems = a_night(&mut sim, &mut oracle, |sim| done = harm(sim));
            assert!(done.is_some(), "nothing here to which it {name}");
            seen = problems.into_iter().next();
            let takes_nights = name.contains("leaves") || name.contains("no harm");
            if seen.is_some() || !takes_nights {
                break;
            }
            sim.day += 1;
        }
        if std::env::var_os("TREEWARDEN_SIMULATION_LOG").is_some() {
            eprintln!("{name}: {seen:?}");
        }
        if seen.is_some() == (name == "does no harm") {
            unseen.push((name, seen));
        }
        sim.day = day;
        remove(&root);
    }
    assert_eq!(unseen, []);
    fs::rename(&aside, &root).unwrap();
    a_forged_rescue_is_caught_when_it_is_made(&mut sim, &mut oracle);
}

fn a_forged_rescue_is_caught_when_it_is_made(sim: &mut Sim, oracle: &mut Oracle) {
    let stands = |tree: &Tree| {
        Expected::of(
            sim,
            tree.repo,
            &tree.admin,
            &tree.path,
            &record::roots(&sim.repos[tree.repo].git_dir()),
        )
    };
    let free = trees(sim)
        .map(|(tree, ..)| (tree.repo, tree.path.clone(), stands(tree)))
        .find(|(.., stands)| stands.held.is_none());
    let (repo, path, expected) = free.expect("one with work that may go");
    let [git_dir, vault] = [sim.repos[repo].git_dir(), sim.repos[repo].vault.clone()];
    let before = record::roots(&git_dir);
    let ran = sim.program(&[
        "worktree",
        "remove",
        &sim.repos[repo].name,
        path.to_str().unwrap(),
        "--rescue",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let made = record::roots(&git_dir)
        .into_iter()
        .find(|root| root.from.starts_with("refs/treewarden/") && !before.contains(root));
    let made = made.expect("a rescue");
    for forged in [false, true] {
        if forged {
            assert!(forge(sim, &git_dir, &made.from));
        }
        record::keep(&git_dir, &vault);
        sim.removed.push(expected.clone());
        assert_eq!(oracle.removed(sim).is_empty(), !forged);
    }
}
