//! Redirections: links, FIFOs and directories where files belong, and files that name what belongs
//! to others.
//!
//! First a table of places times kinds: what `.git/PLACE` becomes, and the row that must follow.
//! Then what agents write into the files by which git finds its way: `gitdir`, `commondir`,
//! `alternates` and a tree's own `.git`.

use super::super::support::repo::Tree;
use super::super::support::{age_all, fifo, remove, write};
use super::{Case, FINE, evil::Evil, refused};
use std::fs;
use std::os::unix::fs::symlink;

type Kind = fn(&Evil<'_>, &str);

/// What an agent puts in a place: the first five make git wait or lead it astray, the last is a
/// file in place of a directory, or the reverse.
const KINDS: [(&str, Kind); 6] = [
    ("tenant", |evil, place| evil.link(place, evil.victim(place))),
    ("outside", |evil, place| {
        evil.link(place, evil.outside().join("precious"));
    }),
    ("zero", |evil, place| evil.link(place, "/dev/zero")),
    ("circle", |evil, place| {
        evil.link(place, evil.git_dir(place).file_name().unwrap());
    }),
    ("fifo", |evil, place| evil.fifo(place)),
    ("turned", |evil, place| {
        let was_file = evil
            .git_dir(place)
            .symlink_metadata()
            .is_ok_and(|data| data.is_file());
        evil.clear(place);
        let place = evil.git_dir(place);
        write(&if was_file { place.join("x") } else { place }, "x\n");
    }),
];

const UNKNOWN: &str = "Maintained unknown reap";
/// The place can't be read, so nothing is dropped.
const UNREAD: &str = "Maintained reap reap!";
/// Its tree counts as unregistered, so it is kept.
const DANGLING: &str = "Maintained keep reap";

/// Each place, its row if it leads astray, and its row if it is of the wrong type.
const PLACES: [(&str, &str, &str); 44] = [
    ("objects", "Refused", "Refused"),
    ("objects/pack", "Refused", "Refused"),
    ("objects/info", "Refused", "Refused"),
    // Whether the run writes an object there is chance: see `crowded`.
    ("objects/aa", "Refused", ""),
    ("refs", "Refused", "Refused"),
    ("refs/heads", "Refused", "Failed"),
    ("refs/heads/main", "Refused", "Failed"),
    ("refs/treewarden", "Refused", "Failed"),
    ("refs/treewarden/rescue", "Refused", "Failed"),
    ("logs", "Refused", "Refused"),
    ("logs/HEAD", "Refused", FINE),
    ("logs/refs", "Refused", "Failed"),
    ("worktrees", "Refused", "Refused"),
    ("worktrees/landed", "Refused", "Failed"),
    (
        "worktrees/landed/HEAD",
        "Refused",
        "Maintained unknown reap!",
    ),
    ("worktrees/landed/gitdir", "Refused", "Maintained keep reap"),
    ("worktrees/landed/commondir", "Refused", "Failed"),
    (
        "worktrees/landed/index",
        "Refused",
        "Maintained unknown reap!",
    ),
    ("worktrees/landed/logs", "Refused", UNKNOWN),
    ("worktrees/landed/refs", "Refused", "Maintained reap reap!"),
    ("worktrees/landed/locked", "Refused", "Maintained keep reap"),
    ("HEAD", "Refused", "Refused"),
    ("packed-refs", "Refused", "Failed"),
    ("shallow", "Refused", "Failed"),
    ("config", "Refused", "Refused"),
    ("index", "Refused", "Refused"),
    ("gc.pid", FINE, FINE),
    ("ORIG_HEAD", UNREAD, UNREAD),
    ("FETCH_HEAD", UNREAD, UNREAD),
    ("MERGE_HEAD", UNREAD, UNREAD),
    ("CHERRY_PICK_HEAD", UNREAD, UNREAD),
    ("REBASE_HEAD", UNREAD, UNREAD),
    ("description", FINE, FINE),
    ("config.worktree", FINE, FINE),
    ("modules", FINE, FINE),
    ("objects/info/alternates", "Refused", FINE),
    ("objects/info/packs", "Refused", FINE),
    ("objects/info/commit-graph", "Refused", FINE),
    ("objects/info/commit-graphs", "Refused", "Failed"),
    ("objects/pack/multi-pack-index", "Refused", FINE),
    ("objects/maintenance.lock", "Refused", FINE),
    // A link keeps git from writing there; an old file counts as a crashed git's, and is removed.
    (
        "packed-refs.lock",
        "Maintained reap reap!",
        "Maintained reap reap!",
    ),
    ("index.lock", FINE, FINE),
    ("HEAD.lock", FINE, FINE),
];

/// Returns all cases of this file.
pub(super) fn cases() -> Vec<Case> {
    let places = PLACES.iter().flat_map(|&(place, astray, turned)| {
        // Two kinds are enough for places that the run doesn't read.
        let kinds = KINDS.into_iter().filter(move |(kind, _)| {
            ![FINE, UNREAD].contains(&astray) || ["zero", "fifo"].contains(kind)
        });
        let kinds = kinds.filter(move |(kind, _)| *kind != "turned" || !turned.is_empty());
        kinds.map(move |(kind, make)| {
            let name = format!("{kind}-{}", place.replace(['/', '.'], "-").to_lowercase());
            let row = if kind == "turned" { turned } else { astray };
            Case::new(&name, row, "", move |evil| make(evil, place))
        })
    });
    places
        .chain([crowded()])
        .chain(checkouts())
        .chain(borrowers())
        .chain(registrations())
        .chain(trees())
        .collect()
}

/// Puts a file in place of every directory that git would create for a loose object.
fn crowded() -> Case {
    Case::new(
        "turned-objects-all",
        "Maintained reap failed!",
        "",
        |evil| {
            for place in (0..=u8::MAX)
                .map(|byte| evil.git_dir(format!("objects/{byte:02x}")))
                .filter(|place| !place.exists())
            {
                write(&place, "x\n");
            }
        },
    )
}

/// Cases in which the checkout itself is something else.
fn checkouts() -> Vec<Case> {
    let moved = |evil: &Evil<'_>| {
        let away = evil.repo.path.join("away");
        fs::rename(evil.git_dir(""), &away).unwrap();
        away
    };
    vec![
        Case::new("git-is-a-link", refused(), "is a link", move |evil| {
            symlink(moved(evil), evil.git_dir("").components().as_path()).unwrap();
        }),
        Case::new("git-is-the-tenants", refused(), "is a link", move |evil| {
            moved(evil);
            symlink(
                evil.victim("").components().as_path(),
                evil.repo.path.join(".git"),
            )
            .unwrap();
        }),
        Case::new(
            "git-is-a-file",
            refused(),
            "enroll `acme__victim` instead",
            move |evil| {
                moved(evil);
                write(
                    &evil.repo.path.join(".git"),
                    format!("gitdir: {}\n", evil.victim("").display()),
                );
            },
        ),
        Case::new(
            "git-is-a-fifo",
            refused(),
            "neither a directory nor a file",
            move |evil| {
                moved(evil);
                fifo(&evil.repo.path.join(".git"));
            },
        ),
        Case::new(
            "commondir-in-main",
            refused(),
            "leads to another repo",
            |evil| {
                write(&evil.git_dir("commondir"), "../../acme__victim/.git\n");
            },
        ),
        Case::new("gitdir-in-main", FINE, "", |evil| {
            write(&evil.git_dir("gitdir"), "/\n");
        }),
        Case::new("head-is-no-line", FINE, "", |evil| {
            write(
                &evil.git_dir("HEAD"),
                "ref: refs/heads/main\nref: refs/heads/other\n\u{1b}[2J",
            );
        }),
    ]
}

/// Objects borrowed from a forbidden place.
#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
fn borrowers() -> Vec<Case> {
    let borrow = |name: &str, row: &'static str, words: &str, text: &'static str| {
        Case::new(name, row, words, move |evil| {
            write(&evil.git_dir("objects/info/alternates"), evil.fill(text));
        })
    };
    vec![
        borrow(
            "borrows-outside",
            refused(),
            "outside the volume",
            "{outside}\n",
        ),
        borrow("borrows-root", refused(), "outside the volume", "/\n"),
        borrow(
            "borrows-relative",
            FINE,
            "",
            "../../../acme__lender/.git/objects\n",
        ),
        borrow(
            "borrows-relative-outside",
            refused(),
            "outside the volume",
            "../../../../outside\n",
        ),
        borrow(
            "borrows-relative-with-nul",
            refused(),
            "outside the volume",
            "../../../acme__victim/.git/objects\u{0}/../../../../acme__lender/.git/objects\n",
        ),
        borrow(
            "borrows-climbing",
            refused(),
            "outside the volume",
            "{victim}../../../outside\n",
        ),
        borrow(
            "borrows-quoted",
            refused(),
            "outside the volume",
            "\"{outside}\"\n",
        ),
        borrow("borrows-nothing", FINE, "", "{victim}nowhere\n"),
        borrow(
            "borrows-a-file",
            "Failed",
            "Not a directory",
            "{victim}HEAD\n",
        ),
        borrow(
            "borrows-after-a-comment",
            refused(),
            "outside the volume",
            "# all is well\n{outside}\n",
        ),
        borrow(
            "borrows-with-nul",
            refused(),
            "",
            "{victim}objects\u{0}/../../../outside\n",
        ),
        // This is just what `git clone --shared` writes.
        borrow("borrows-from-a-tenant", FINE, "", "{lender}objects\n"),
        Case::new("borrows-itself", refused(), "leads back", |evil| {
            write(
                &evil.git_dir("objects/info/alternates"),
                format!("{}\n", evil.git_dir("objects").display()),
            );
        }),
        Case::new("borrows-by-a-link", "Failed", "symbolic links", |evil| {
            symlink(evil.outside(), evil.repo.path.join("way")).unwrap();
            write(
                &evil.git_dir("objects/info/alternates"),
                format!("{}\n", evil.repo.path.join("way").display()),
            );
        }),
        Case::new(
            "borrows-in-a-chain",
            refused(),
            "outside the volume",
            |evil| {
                let [one, two] = ["one", "two"].map(|name| evil.repo.path.join(name));
                write(
                    &evil.git_dir("objects/info/alternates"),
                    format!("{}\n", one.display()),
                );
                write(&one.join("info/alternates"), format!("{}\n", two.display()));
                write(
                    &two.join("info/alternates"),
                    format!("{}\n", evil.outside().display()),
                );
            },
        ),
        Case::new("borrows-in-a-circle", FINE, "", |evil| {
            let [one, two] = ["one", "two"].map(|name| evil.repo.path.join(name));
            write(
                &evil.git_dir("objects/info/alternates"),
                format!("{}\n", one.display()),
            );
            write(&one.join("info/alternates"), format!("{}\n", two.display()));
            write(&two.join("info/alternates"), format!("{}\n", one.display()));
        }),
        Case::new("borrows-fifos", "Failed", "not a regular file", |evil| {
            let store = evil.repo.path.join("store");
            write(
                &evil.git_dir("objects/info/alternates"),
                format!("{}\n", store.display()),
            );
            for name in ["info", "pack"] {
                fs::create_dir_all(store.join(name)).unwrap();
            }
            for name in [
                "info/alternates",
                "pack/multi-pack-index",
                "info/commit-graph",
            ] {
                fifo(&store.join(name));
            }
            for ending in ["pack", "idx", "rev"] {
                fifo(&store.join(format!("pack/pack-{}.{ending}", "1".repeat(40))));
            }
        }),
        // libgit2 ends a line at a carriage return; git doesn't.
        Case::new(
            "borrows-two-in-one",
            refused(),
            "outside the volume",
            |evil| {
                let store = evil.git_dir("store");
                fs::create_dir_all(store.join("info")).unwrap();
                fs::create_dir_all(store.join("pack")).unwrap();
                for name in ["info/alternates", "pack/multi-pack-index"] {
                    fifo(&store.join(name));
                }
                write(
                    &evil.git_dir("objects/info/alternates"),
                    format!(
                        "{}\r{}\n",
                        evil.victim("objects").display(),
                        store.display()
                    ),
                );
            },
        ),
        Case::new("http-alternates", FINE, "", |evil| {
            write(
                &evil.git_dir("objects/info/http-alternates"),
                "https://nowhere/\n",
            );
        }),
    ]
}

/// Registrations that name what belongs to others. Nothing is deleted or dropped because of them.
#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
fn registrations() -> Vec<Case> {
    let names = |name: &str, row: &'static str, words: &str, text: &'static str| {
        Case::new(name, row, words, move |evil| {
            write(&evil.git_dir("worktrees/landed/gitdir"), evil.fill(text));
        })
    };
    let common = |name: &str, row: &'static str, words: &str, text: &'static str| {
        Case::new(name, row, words, move |evil| {
            write(&evil.git_dir("worktrees/landed/commondir"), evil.fill(text));
        })
    };
    vec![
        names(
            "registers-the-tenants-tree",
            DANGLING,
            "outside the volume",
            "{victim}../../worktrees/acme__victim/landed/.git\n",
        ),
        names(
            "registers-the-tenants-checkout",
            DANGLING,
            "`.git` file is gone",
            "{victim}.git\n",
        ),
        names("registers-root", DANGLING, "outside the volume", "/.git\n"),
        names(
            "registers-etc",
            DANGLING,
            "outside the volume",
            "/etc/.git\n",
        ),
        names(
            "registers-outside",
            DANGLING,
            "outside the volume",
            "{outside}/.git\n",
        ),
        names(
            "registers-nothing",
            DANGLING,
            "no path to a .git file",
            "\n",
        ),
        names(
            "registers-by-climbing",
            DANGLING,
            "not a regular file",
            "../../../../acme__victim/.git\n",
        ),
        names(
            "registers-with-nul",
            DANGLING,
            "failed to look",
            "{victim}\u{0}/.git\n",
        ),
        names(
            "registers-two-lines",
            DANGLING,
            "gone from the disk",
            "{victim}.git\n/.git\n",
        ),
        Case::new("registers-the-state", DANGLING, "something else", |evil| {
            write(
                &evil.git_dir("worktrees/landed/gitdir"),
                format!(
                    "{}\n",
                    evil.repo.world.at(".treewarden/trash/.git").display()
                ),
            );
        }),
        Case::new("registers-a-cache", DANGLING, "something else", |evil| {
            write(
                &evil.git_dir("worktrees/landed/gitdir"),
                format!(
                    "{}\n",
                    evil.repo.world.at("caches/models/llm/.git").display()
                ),
            );
        }),
        Case::new(
            "registers-the-volume",
            DANGLING,
            "outside the volume",
            |evil| {
                write(
                    &evil.git_dir("worktrees/landed/gitdir"),
                    format!("{}\n", evil.repo.world.at(".git").display()),
                );
            },
        ),
        Case::new(
            "registers-its-checkout",
            DANGLING,
            "something else",
            |evil| {
                write(
                    &evil.git_dir("worktrees/landed/gitdir"),
                    format!("{}\n", evil.git_dir("").components().as_path().display()),
                );
            },
        ),
        Case::new("registers-itself", DANGLING, "something else", |evil| {
            write(
                &evil.landed.admin.join("gitdir"),
                format!("{}\n", evil.landed.admin.join(".git").display()),
            );
            write(
                &evil.landed.admin.join(".git"),
                format!("gitdir: {}\n", evil.landed.admin.display()),
            );
        }),
        Case::new("registers-by-a-link", DANGLING, "symbolic link", |evil| {
            symlink(
                evil.repo.world.at("worktrees/acme__victim"),
                evil.repo.path.join("way"),
            )
            .unwrap();
            write(
                &evil.landed.admin.join("gitdir"),
                format!("{}\n", evil.repo.path.join("way/landed/.git").display()),
            );
        }),
        Case::new(
            "registers-missing-by-a-link",
            DANGLING,
            "symbolic link",
            |evil| {
                symlink(
                    evil.repo.world.at("worktrees/acme__victim"),
                    evil.repo.path.join("way"),
                )
                .unwrap();
                write(
                    &evil.landed.admin.join("gitdir"),
                    format!("{}\n", evil.repo.path.join("way/none/.git").display()),
                );
            },
        ),
        Case::new(
            "registers-twice",
            "Maintained reap+unknown reap",
            "not back here",
            |evil| {
                fs::create_dir(evil.git_dir("worktrees/again")).unwrap();
                for name in ["HEAD", "gitdir", "commondir", "index"] {
                    fs::copy(
                        evil.landed.admin.join(name),
                        evil.git_dir("worktrees/again").join(name),
                    )
                    .unwrap();
                }
                Tree {
                    path: evil.landed.path.clone(),
                    admin: evil.git_dir("worktrees/again"),
                }
                .age_admin(2.0);
            },
        ),
        Case::new("registers-objects", DANGLING, "something else", |evil| {
            // The repo's own store, disguised as a tree.
            write(
                &evil.landed.admin.join("gitdir"),
                format!("{}\n", evil.git_dir("objects/.git").display()),
            );
            write(
                &evil.git_dir("objects/.git"),
                format!("gitdir: {}\n", evil.landed.admin.display()),
            );
            evil.landed.age_admin(99.0);
            age_all(&evil.git_dir("objects"), 99.0);
        }),
        common(
            "common-with-the-tenant",
            refused(),
            "leads to another repo",
            "{victim}\n",
        ),
        common(
            "common-with-root",
            refused(),
            "leads to another repo",
            "/\n",
        ),
        common(
            "common-outside",
            refused(),
            "leads to another repo",
            "{outside}\n",
        ),
        common("common-nowhere", refused(), "leads to another repo", ""),
        Case::new(
            "common-with-a-fifo",
            refused(),
            "leads to another repo",
            |evil| {
                let common = evil.git_dir("common");
                write(&common.join("objects/x"), "");
                write(
                    &evil.landed.admin.join("commondir"),
                    format!("{}\n", common.display()),
                );
                fs::create_dir_all(common.join("refs/heads")).unwrap();
                for name in ["packed-refs", "refs/heads/landed", "HEAD", "config"] {
                    fifo(&common.join(name));
                }
            },
        ),
    ]
}

/// Trees that contradict their registration.
fn trees() -> Vec<Case> {
    let leads = |name: &str, text: &'static str| {
        Case::new(name, UNKNOWN, "not back here", move |evil| {
            write(&evil.landed.path.join(".git"), evil.fill(text));
        })
    };
    vec![
        leads(
            "tree-leads-to-the-tenant",
            "gitdir: {victim}/worktrees/landed\n",
        ),
        leads("tree-leads-outside", "gitdir: {outside}\n"),
        leads("tree-leads-to-a-command", "gitdir: $({})\n"),
        Case::new("tree-git-a-link", UNKNOWN, "not back here", |evil| {
            let file = evil.landed.path.join(".git");
            fs::rename(&file, evil.landed.path.join("real")).unwrap();
            symlink("real", file).unwrap();
        }),
        Case::new("tree-git-a-fifo", UNKNOWN, "not a regular file", |evil| {
            remove(&evil.landed.path.join(".git"));
            fifo(&evil.landed.path.join(".git"));
        }),
        Case::new("tree-git-a-folder", UNKNOWN, "not a regular file", |evil| {
            remove(&evil.landed.path.join(".git"));
            write(
                &evil.landed.path.join(".git/HEAD"),
                "ref: refs/heads/main\n",
            );
        }),
        Case::new("tree-a-link", UNKNOWN, "not a directory", |evil| {
            remove(&evil.landed.path);
            symlink(
                evil.repo.world.at("worktrees/acme__victim/landed"),
                &evil.landed.path,
            )
            .unwrap();
        }),
        Case::new(
            "trees-folder-a-link",
            "Maintained unknown unknown",
            "symbolic link",
            |evil| {
                let directory = evil.landed.path.parent().unwrap();
                remove(directory);
                symlink(evil.repo.world.at("worktrees/acme__victim"), directory).unwrap();
            },
        ),
        Case::new("tree-full-of-links", FINE, "", |evil| {
            for (name, target) in [
                ("victim", evil.victim("")),
                ("outside", evil.outside()),
                ("root", "/".into()),
                ("up", "..".into()),
                ("me", ".".into()),
            ] {
                symlink(&target, evil.dirty.path.join(name)).unwrap();
                fs::create_dir_all(evil.dirty.path.join("deep/down")).unwrap();
                symlink(&target, evil.dirty.path.join("deep/down").join(name)).unwrap();
                // Tools' directories aren't rescued; what their links lead to stays untouched.
                fs::create_dir_all(evil.dirty.path.join("node_modules/.bin")).unwrap();
                symlink(&target, evil.dirty.path.join("node_modules").join(name)).unwrap();
            }
        }),
        Case::new("tree-linked-hard", FINE, "", |evil| {
            fs::hard_link(
                evil.dirty.path.join("new.ts"),
                evil.repo.path.join("new-elsewhere.ts"),
            )
            .unwrap();
        }),
        Case::new("made-again-a-link", FINE, "", |evil| {
            write(&evil.dirty.path.join("package.json"), "{}\n");
            for name in ["node_modules", "target", ".venv"] {
                symlink(evil.repo.world.at("caches"), evil.dirty.path.join(name)).unwrap();
            }
        }),
        Case::new(
            "made-again-holds-work",
            "Maintained reap reap",
            "",
            |evil| {
                write(&evil.dirty.path.join("node_modules/.bin/x"), "");
                fifo(&evil.dirty.path.join("node_modules/fifo"));
                symlink(
                    "/dev/zero",
                    evil.dirty.path.join("node_modules/.package-lock.json"),
                )
                .unwrap();
            },
        ),
    ]
}
