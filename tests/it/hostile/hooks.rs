//! Hooks in every form, attributes and filters in every place, and `info/`, replacements, grafts
//! and a shallow file that change a history.
//!
//! None of it may run, and none may hide work.

use super::super::support::{fifo, git, write};
use super::{Case, FINE, evil::Evil};
use std::fs;
use std::os::unix::fs::symlink;

const EVERYTHING: &str =
    "* filter=evil diff=evil merge=evil ident export-subst text=auto eol=crlf\n";
const FILTERS: &[&str] = &[
    "filter.evil.clean={}",
    "filter.evil.smudge={}",
    "filter.evil.required=true",
    "diff.evil.textconv={}",
    "merge.evil.driver={}",
];

/// Returns all cases of this file.
pub(super) fn cases() -> Vec<Case> {
    [hooks(), attributes(), histories()]
        .into_iter()
        .flatten()
        .collect()
}

fn hooks() -> Vec<Case> {
    vec![
        Case::new("hooks", FINE, "", |evil| {
            evil.fill_with_hooks(&evil.git_dir("hooks"));
        })
        .sings("pack-refs --all"),
        Case::new("hooks-a-link", FINE, "", |evil| {
            evil.link("hooks", evil.hooks());
        })
        .sings("pack-refs --all"),
        Case::new("hooks-are-links", FINE, "", |evil| {
            evil.clear("hooks/x");
            for name in super::evil::HOOKS {
                symlink(&evil.canary, evil.git_dir("hooks").join(name)).unwrap();
            }
        })
        .sings("pack-refs --all"),
        Case::new("hooks-fifos", FINE, "", |evil| {
            evil.clear("hooks/x");
            for name in super::evil::HOOKS {
                fifo(&evil.git_dir("hooks").join(name));
            }
        }),
        Case::new("hooks-in-admin", "Maintained keep keep", "", |evil| {
            for directory in [
                "worktrees/landed/hooks",
                "worktrees/dirty/hooks",
                "objects/hooks",
                "refs/heads/hooks/x",
            ] {
                evil.fill_with_hooks(&evil.git_dir(directory));
            }
            // These hooks would count as broken refs.
            super::super::support::remove(&evil.git_dir("refs/heads/hooks"));
        }),
        Case::new("hooks-in-the-tree", FINE, "", |evil| {
            for tree in [&evil.repo.path, &evil.dirty.path] {
                evil.fill_with_hooks(&tree.join("hooks"));
                evil.fill_with_hooks(&tree.join(".husky"));
            }
            evil.configure(&evil.git_dir("config"), &["core.hooksPath=hooks"]);
        })
        .sings("pack-refs --all"),
        Case::new(
            "hooks-among-refs",
            "Failed",
            "names neither an object nor a ref",
            |evil| {
                evil.fill_with_hooks(&evil.git_dir("refs/heads/hooks"));
            },
        ),
        // The socket of git's file system monitor, to which nobody listens.
        Case::new("monitor-socket", FINE, "", |evil| {
            drop(
                std::os::unix::net::UnixListener::bind(
                    evil.git_dir("worktrees/dirty/fsmonitor--daemon.ipc"),
                )
                .unwrap(),
            );
            evil.configure(&evil.git_dir("config"), &["core.fsmonitor=true"]);
        }),
        // Programs with git's names, where a careless search would find them.
        Case::new("git-in-the-tree", FINE, "", |evil| {
            for tree in [
                &evil.repo.path,
                &evil.dirty.path,
                &evil.repo.path.join(".git"),
            ] {
                for name in [
                    "git",
                    "git-repack",
                    "git-pack-objects",
                    "git-cat-file",
                    "false",
                    "sh",
                ] {
                    fs::copy(&evil.canary, tree.join(name)).unwrap();
                }
            }
        }),
    ]
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
fn attributes() -> Vec<Case> {
    let filters = |evil: &Evil<'_>| evil.configure(&evil.git_dir("config"), FILTERS);
    vec![
        Case::new("attributes-committed", FINE, "", move |evil| {
            evil.dirty.commit(".gitattributes", EVERYTHING);
            evil.dirty
                .write("README.md", "edited\n")
                .write("new.ts", super::WORK);
            filters(evil);
            write(&evil.repo.path.join(".gitattributes"), EVERYTHING);
        })
        .sings("add -A"),
        Case::new("attributes-recode", FINE, "", |evil| {
            write(
                &evil.git_dir("info/attributes"),
                "* working-tree-encoding=UTF-16 eol=crlf ident\n",
            );
            evil.dirty
                .write(
                    ".gitattributes",
                    "* working-tree-encoding=UTF-16 eol=crlf ident\n",
                )
                .write("ident.c", "$Id$\n");
        }),
        Case::new("attributes-untracked", FINE, "", move |evil| {
            evil.dirty
                .write(".gitattributes", EVERYTHING)
                .write("deep/.gitattributes", EVERYTHING)
                .write("deep/file", "x\n");
            filters(evil);
        }),
        Case::new(
            "attributes-in-info",
            "Maintained reap keep",
            "",
            move |evil| {
                for place in ["info/attributes", "worktrees/dirty/info/attributes"] {
                    write(&evil.git_dir(place), EVERYTHING);
                }
                filters(evil);
            },
        )
        .sings("add -A"),
        Case::new("attributes-a-fifo", FINE, "", |evil| {
            evil.fifo("info/attributes");
        }),
        Case::new("attributes-a-link", FINE, "", |evil| {
            symlink(
                evil.outside().join("fifo"),
                evil.dirty.path.join(".gitattributes"),
            )
            .unwrap();
            symlink("/dev/zero", evil.dirty.path.join(".gitignore.more")).unwrap();
            evil.link("info/attributes", "/dev/zero");
        }),
        Case::new(
            "attributes-fifo-in-the-tree",
            "Maintained reap keep",
            "neither file, link nor directory",
            |evil| {
                fifo(&evil.dirty.path.join(".gitattributes"));
            },
        ),
        Case::new("lfs", FINE, "", |evil| {
            evil.dirty.write(
                ".gitattributes",
                "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            );
            evil.dirty.write(
                "model.bin",
                "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            );
            evil.configure(
                &evil.git_dir("config"),
                &[
                    "filter.lfs.process={}",
                    "filter.lfs.clean={}",
                    "lfs.url=https://nowhere",
                ],
            );
        }),
        Case::new("all-is-ignored", FINE, "", |evil| {
            write(&evil.git_dir("info/exclude"), "*\n!.gitignore\n");
            evil.dirty
                .write(".gitignore", "*\n")
                .write("deep/.env", "SECRET=1\n");
        }),
        Case::new("exclude-a-fifo", FINE, "", |evil| evil.fifo("info/exclude")),
        Case::new("exclude-a-link", FINE, "", |evil| {
            evil.link("info/exclude", "/dev/zero");
        }),
        Case::new("sparse-a-fifo", FINE, "", |evil| {
            evil.configure(&evil.git_dir("config"), &["core.sparseCheckout=true"]);
            evil.fifo("info/sparse-checkout");
        }),
        Case::new("sparse-hides-work", FINE, "", |evil| {
            write(
                &evil.git_dir("worktrees/dirty/info/sparse-checkout"),
                "/nothing\n",
            );
            evil.dirty
                .git(&["update-index", "--skip-worktree", "README.md"]);
            evil.dirty
                .git(&["update-index", "--assume-unchanged", "mine.ts"]);
            evil.dirty.write("mine.ts", "hidden\n");
        }),
        Case::new(
            "info-a-link",
            "Maintained reap reap!",
            "info/grafts",
            |evil| evil.link("info", evil.victim("info")),
        ),
    ]
}

/// Changes that show git another history than the real one.
#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
fn histories() -> Vec<Case> {
    vec![
        Case::new("grafts", FINE, "", |evil| {
            let head = evil.repo.git(&["rev-parse", "HEAD"]);
            write(&evil.git_dir("info/grafts"), format!("{head}\n"));
        }),
        Case::new("replaced", FINE, "", |evil| {
            let [mine, main] = ["dirty", "main"].map(|name| evil.repo.git(&["rev-parse", name]));
            evil.repo
                .git(&["update-ref", &format!("refs/replace/{mine}"), &main]);
            evil.repo
                .git(&["update-ref", &format!("refs/replace/{main}"), &mine]);
        }),
        // Git ignores what a shallow file cuts off; a repack that believed it would drop the
        // history.
        Case::new("shallow", FINE, "", |evil| {
            write(
                &evil.git_dir("shallow"),
                evil.repo.git(&["rev-parse", "HEAD"]) + "\n",
            );
        }),
        Case::new("shallow-garbage", "Failed", "invalid graft", |evil| {
            write(&evil.git_dir("shallow"), "garbage\n");
        }),
        Case::new(
            "shallow-blob",
            "Maintained reap reap!",
            "not a blob",
            |evil| {
                write(
                    &evil.git_dir("shallow"),
                    evil.repo.git(&["rev-parse", "HEAD:README.md"]) + "\n",
                );
            },
        ),
        Case::new("landed-by-decree", FINE, "", |evil| {
            evil.repo
                .git(&["update-ref", "refs/remotes/origin/main", "refs/heads/dirty"]);
        }),
        Case::new("rescues-forged", FINE, "", |evil| {
            let blob = evil.repo.git(&["rev-parse", "HEAD:README.md"]);
            let tree = evil.repo.git(&["rev-parse", "HEAD^{tree}"]);
            evil.repo.git(&["tag", "-a", "-m", "one", "one", &blob]);
            evil.repo.git(&["tag", "-a", "-m", "two", "two", "one"]);
            let tag = evil.repo.git(&["rev-parse", "two"]);
            for (name, id) in [("blob", &blob), ("tree", &tree), ("tag", &tag)] {
                for prefix in ["rescue/dirty", "rescue/x", "shield", "odd"] {
                    evil.repo.git(&[
                        "update-ref",
                        &format!("refs/treewarden/{prefix}/{name}"),
                        id,
                    ]);
                }
            }
        }),
        Case::new(
            "rescue-name-taken",
            "Maintained reap failed",
            "failed to write the rescue",
            |evil| {
                evil.repo
                    .git(&["update-ref", "refs/treewarden/rescue/dirty", "HEAD"]);
            },
        ),
        Case::new("shield-forged", FINE, "", |evil| {
            evil.repo.git(&[
                "symbolic-ref",
                "refs/treewarden/shield/main",
                "refs/heads/main",
            ]);
            evil.repo.git(&[
                "symbolic-ref",
                "refs/treewarden/shield/nowhere",
                "refs/heads/nowhere",
            ]);
            evil.repo.git(&[
                "symbolic-ref",
                "refs/treewarden/rescue/x/circle",
                "refs/treewarden/rescue/x/circle",
            ]);
        }),
        Case::new(
            "shield-broken",
            "Maintained reap reap!",
            "which names nothing",
            |evil| {
                write(&evil.git_dir("refs/treewarden/shield/bad"), "garbage\n");
            },
        ),
        Case::new("symbolic-circle", FINE, "", |evil| {
            write(&evil.git_dir("refs/heads/a"), "ref: refs/heads/b\n");
            write(&evil.git_dir("refs/heads/b"), "ref: refs/heads/a\n");
        }),
        Case::new("head-climbs", FINE, "", |evil| {
            write(
                &evil.git_dir("HEAD"),
                "ref: refs/../../../acme__victim/.git/refs/heads/main\n",
            );
        }),
        Case::new(
            "branch-climbs",
            "Maintained unknown reap",
            "is not valid",
            |evil| {
                write(
                    &evil.git_dir("worktrees/landed/HEAD"),
                    "ref: refs/heads/../../../acme__victim/.git/refs/heads/main\n",
                );
            },
        ),
        Case::new("ref-climbs", FINE, "", |evil| {
            write(
                &evil.git_dir("refs/heads/astray"),
                "ref: ../acme__victim/.git/refs/heads/main\n",
            );
        }),
        Case::new(
            "packed-refs-climb",
            "Maintained reap reap!",
            "dangerous",
            |evil| {
                let id = evil.repo.git(&["rev-parse", "HEAD"]);
                write(
                    &evil.git_dir("packed-refs"),
                    format!(
                        "# pack-refs with: peeled fully-peeled sorted \n{id} refs/heads/../../../../acme__victim/x\n"
                    ),
                );
            },
        ),
        Case::new(
            "no-such-head",
            "Maintained reap unknown!",
            "not found",
            |evil| {
                write(&evil.git_dir("HEAD"), "ref: refs/heads/nowhere\n");
                write(
                    &evil.git_dir("worktrees/dirty/HEAD"),
                    format!("{}\n", "1".repeat(40)),
                );
            },
        ),
        Case::new(
            "nested-repo",
            "Maintained reap keep",
            "nested repo",
            |evil| {
                let inner = evil.dirty.path.join("node_modules/inner");
                fs::create_dir_all(&inner).unwrap();
                git(&inner, 60.0, &["init", "-q"]);
                evil.fill_with_hooks(&inner.join(".git/hooks"));
                evil.configure(&inner.join(".git/config"), &["core.fsmonitor={}"]);
            },
        ),
    ]
}
