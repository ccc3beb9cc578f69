//! The verdict sees what git doesn't: one table of trees, each in a state in which something is
//! easily lost, and its fate.
//!
//! The everyday states are in the fleet (`support/fleet.rs`); these are the unusual ones. If an
//! unsaved tree is reaped, its rescue must be complete. A tree that stays must be untouched, and no
//! commit that a row names may be lost, whatever happens to the tree.

use super::support::made::npm;
use super::support::repo::{LAYOUTS, Layout, Repo, Tree};
use super::support::snapshot::snapshot;
use super::support::{World, age_all, fifo, git, git_bytes, remove, same, try_git, write};
use rayon::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use treewarden::report::{RunReport, TreeOutcome};

const DIRTY: &str = "reap unsaved uncommitted work";
const LONELY: &str = "reap unsaved unsaved commits";
const MERGED: &str = "reap landed merged";
const SAVED: &str = "reap saved saved on its branch";
const BLOCKED: &str = "keep landed can't be rescued";
const BLOCKED_DIRTY: &str = "keep unsaved can't be rescued";
const UNDER_WAY: &str = "keep in progress";
const UNKNOWN: &str = "unknown";

/// A row's tree under construction; in the end it looks idle for 99 days.
struct At<'a> {
    repo: &'a Repo<'a>,
    tree: &'a Tree,
    lonely: RefCell<Vec<String>>,
}

/// Does to a fresh tree what the row's name says.
type Make = fn(&At<'_>);
/// A row's name, its fate, and how to make it.
type Row = (&'static str, &'static str, Make);

/// A repo of the table, how it is prepared, and its trees.
struct Group {
    name: &'static str,
    prepare: fn(&Repo<'_>),
    rows: &'static [Row],
}

impl At<'_> {
    fn git(&self, arguments: &[&str]) -> String {
        self.tree.git(arguments)
    }

    fn write(&self, file: &str, text: &str) -> &Self {
        self.tree.write(file, text);
        self
    }

    fn path(&self, file: &str) -> PathBuf {
        self.tree.path.join(file)
    }

    /// Creates a commit on top of HEAD that nothing names yet. It must survive the tree.
    fn lonely(&self, message: &str) -> String {
        let commit = self.git(&["commit-tree", "-p", "HEAD", "-m", message, "HEAD^{tree}"]);
        self.must_live(&commit);
        commit
    }

    fn must_live(&self, commit: &str) {
        self.lonely.borrow_mut().push(commit.to_owned());
    }

    /// Writes a commit that nothing else names into a file of the admin directory.
    fn only_in(&self, file: &str) {
        let commit = self.lonely(file);
        write(&self.tree.admin.join(file), commit + "\n");
    }
}

fn nothing(_: &Repo<'_>) {}

/// Files that flags, ignore rules and settings hide from `git status`, or that it shows and people
/// forget.
const FILES: Group = Group {
    name: "files",
    prepare: |repo| {
        write(&repo.git_dir("info/exclude"), "*\n");
        write(&repo.world.beside("excludes"), "*.secret\n");
        repo.git(&[
            "config",
            "core.excludesFile",
            repo.world.beside("excludes").to_str().unwrap(),
        ]);
        repo.git(&["config", "status.showUntrackedFiles", "no"]);
        write(&repo.path.join("folder/file.ts"), "in a folder\n");
        symlink("README.md", repo.path.join("link")).unwrap();
        repo.git(&["add", "-f", "folder", "link"]);
        repo.git(&["commit", "-q", "-m", "More"]);
        repo.push();
    },
    rows: &[
        ("clean", MERGED, |_| {}),
        ("excluded-by-a-star", DIRTY, |at| {
            at.write("new.ts", "only here\n");
            assert_eq!(at.git(&["status", "--porcelain", "-uall"]), "");
        }),
        ("excluded-by-the-user", DIRTY, |at| {
            at.write("keys.secret", "only here\n");
        }),
        ("assumed-and-gone", DIRTY, |at| {
            at.git(&["update-index", "--assume-unchanged", "README.md"]);
            remove(&at.path("README.md"));
        }),
        ("skipped-and-another-mode", DIRTY, |at| {
            at.git(&["update-index", "--skip-worktree", "README.md"]);
            fs::set_permissions(at.path("README.md"), fs::Permissions::from_mode(0o755)).unwrap();
        }),
        ("skipped-and-staged", DIRTY, |at| {
            at.write("README.md", "staged\n").git(&["add", "README.md"]);
            at.git(&["update-index", "--skip-worktree", "README.md"]);
            remove(&at.path("README.md"));
        }),
        ("staged-then-deleted", DIRTY, |at| {
            at.write("new.ts", "only in the index\n")
                .git(&["add", "-f", "new.ts"]);
            remove(&at.path("new.ts"));
        }),
        ("staged-then-as-before", DIRTY, |at| {
            at.write("README.md", "only in the index\n")
                .git(&["add", "README.md"]);
            at.write("README.md", "# A repo\n");
        }),
        ("staged-mode", DIRTY, |at| {
            at.git(&["update-index", "--chmod=+x", "README.md"]);
        }),
        ("to-be-added", DIRTY, |at| {
            at.write("new.ts", "new\n")
                .git(&["add", "-f", "-N", "new.ts"]);
        }),
        ("to-be-added-and-gone", DIRTY, |at| {
            at.write("new.ts", "new\n")
                .git(&["add", "-f", "-N", "new.ts"]);
            remove(&at.path("new.ts"));
        }),
        ("removed-from-the-index", DIRTY, |at| {
            at.git(&["rm", "-q", "--cached", "README.md"]);
        }),
        ("same-size-and-time", DIRTY, |at| {
            let before = fs::metadata(at.path("README.md"))
                .unwrap()
                .modified()
                .unwrap();
            at.write("README.md", "# a REPO\n");
            fs::File::options()
                .write(true)
                .open(at.path("README.md"))
                .unwrap()
                .set_modified(before)
                .unwrap();
        }),
        ("through-a-hard-link", DIRTY, |at| {
            let other = at.repo.world.beside("other-link");
            fs::hard_link(at.path("README.md"), &other).unwrap();
            write(&other, "# a REPO\n");
        }),
        ("hard-linked", MERGED, |at| {
            fs::hard_link(
                at.path("README.md"),
                at.repo.world.beside("link-to-a-clean-file"),
            )
            .unwrap();
        }),
        ("link-for-file", DIRTY, |at| {
            remove(&at.path("README.md"));
            symlink("# A repo", at.path("README.md")).unwrap();
        }),
        ("file-for-link", DIRTY, |at| {
            remove(&at.path("link"));
            at.write("link", "README.md");
        }),
        ("folder-for-file", DIRTY, |at| {
            remove(&at.path("README.md"));
            at.write("README.md/notes", "mine\n");
        }),
        ("file-for-folder", DIRTY, |at| {
            remove(&at.path("folder"));
            at.write("folder", "mine\n");
        }),
        ("link-for-folder", DIRTY, |at| {
            fs::rename(at.path("folder"), at.path("elsewhere")).unwrap();
            symlink("elsewhere", at.path("folder")).unwrap();
        }),
        ("other-case", DIRTY, |at| {
            at.write("readme.md", "mine\n");
        }),
        ("other-spelling", DIRTY, |at| {
            // An ä as one character and as two.
            at.write("b\u{e4}r", "one\n").write("ba\u{308}r", "two\n");
        }),
        ("dot-git-in-capitals", BLOCKED, |at| {
            at.write("sub/.GIT/config", "a repo for other systems\n");
        }),
        ("only-empty-folders", MERGED, |at| {
            fs::create_dir_all(at.path("hollow/inner")).unwrap();
        }),
        ("not-a-git-mode", MERGED, |at| {
            fs::set_permissions(at.path("README.md"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("among-ignored-files", DIRTY, |at| {
            at.write(".claude/notes.md", "what I learned\n")
                .write("ignored/.env", "KEY=only-here\n");
            write(
                &at.path("ignored/app.sqlite"),
                [b"SQLite format 3\0".as_slice(), &[0, 255, 7]].concat(),
            );
        }),
        ("socket", BLOCKED, |at| {
            drop(std::os::unix::net::UnixListener::bind(at.path("s")).unwrap());
        }),
        ("pipe", BLOCKED, |at| fifo(&at.path("ignored.log"))),
    ],
};

/// Files that attributes change on their way to the index and back.
const FILTERS: Group = Group {
    name: "filters",
    prepare: |repo| {
        let lines = "*.crlf text eol=crlf\n*.id ident\n*.wide working-tree-encoding=UTF-16LE-BOM\n*.up filter=up\n*.cut filter=cut\n";
        write(&repo.path.join(".gitattributes"), lines);
        for (file, text) in [
            ("a.crlf", "one\ntwo\n"),
            ("a.id", "$Id$\n"),
            ("a.up", "shout\n"),
            ("a.cut", "kept\n"),
        ] {
            write(&repo.path.join(file), text);
        }
        write(
            &repo.path.join("a.wide"),
            "\u{feff}wide\n"
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<u8>>(),
        );
        repo.git(&["config", "filter.up.clean", "tr A-Z a-z"]);
        repo.git(&["config", "filter.up.smudge", "tr a-z A-Z"]);
        repo.git(&["config", "filter.cut.clean", "head -n 1"]);
        repo.commit(60.0, "b.ts", "1\n");
        repo.push();
    },
    rows: &[
        // `$Id$` and other encodings can't be compared here, so such files count as work.
        ("as-checked-out", DIRTY, |at| {
            assert_eq!(fs::read(at.path("a.crlf")).unwrap(), b"one\r\ntwo\r\n");
            at.git(&["update-index", "--refresh"]);
        }),
        ("what-a-filter-drops", DIRTY, |at| {
            at.write("a.cut", "kept\nmeasured for a week\n")
                .git(&["add", "a.cut"]);
            assert_eq!(at.git(&["status", "--porcelain"]), "");
        }),
    ],
};

/// Changed line endings alone are no work.
const ENDINGS: Group = Group {
    name: "endings",
    prepare: |repo| {
        write(&repo.path.join(".gitattributes"), "*.crlf text eol=crlf\n");
        repo.commit(60.0, "a.crlf", "one\ntwo\n");
        repo.push();
    },
    rows: &[
        ("as-checked-out", MERGED, |at| {
            assert_eq!(fs::read(at.path("a.crlf")).unwrap(), b"one\r\ntwo\r\n");
        }),
        ("as-checked-out-in-a-copy", MERGED, |_| {}),
        ("mixed-in-a-copy", DIRTY, |at| {
            at.write("a.crlf", "one\ntwo\r\n").git(&["add", "a.crlf"]);
        }),
        ("converted-in-a-copy", DIRTY, |at| {
            at.write("README.md", "# A repo\r\n");
        }),
        ("mixed", DIRTY, |at| {
            at.write("a.crlf", "one\ntwo\r\n").git(&["add", "a.crlf"]);
            assert_eq!(at.git(&["status", "--porcelain"]), "");
        }),
        ("converted", DIRTY, |at| {
            at.write("README.md", "# A repo\r\n");
        }),
    ],
};

/// Copies like `cp -a`.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &to),
            kind if kind.is_symlink() => {
                symlink(fs::read_link(entry.path()).unwrap(), &to).unwrap();
            }
            _ => drop(fs::copy(entry.path(), &to).unwrap()),
        }
    }
}

/// Makes the index match no file, as in a copy of the volume.
fn no_index_vouches(tree: &Tree, beside: &Path) {
    copy(&tree.path, beside);
    for entry in fs::read_dir(beside)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_name() != ".git")
    {
        let there = tree.path.join(entry.file_name());
        remove(&there);
        fs::rename(entry.path(), &there).unwrap();
    }
    age_all(&tree.path, 100.0);
}

/// Checked out as on Windows: every text has other line endings than its blob.
const AUTOCRLF: Group = Group {
    name: "autocrlf",
    prepare: |repo| {
        repo.git(&["config", "core.autocrlf", "true"]);
        write(&repo.path.join(".gitattributes"), "*.sh eol=lf\n");
        write(&repo.path.join("a.sh"), "one\ntwo\n");
        write(&repo.path.join("a.bin"), b"one\n\0\n");
        repo.commit(60.0, "a.txt", "one\ntwo\n");
        repo.push();
    },
    rows: &[
        ("as-checked-out", MERGED, |at| {
            assert_eq!(fs::read(at.path("a.txt")).unwrap(), b"one\r\ntwo\r\n");
            assert_eq!(fs::read(at.path("a.sh")).unwrap(), b"one\ntwo\n");
        }),
        ("in-a-copy", MERGED, |_| {}),
        ("edited-in-a-copy", DIRTY, |at| {
            at.write("a.txt", "one\r\nTWO\r\n");
        }),
        ("script-converted-in-a-copy", DIRTY, |at| {
            at.write("a.sh", "one\r\ntwo\r\n");
        }),
        ("binary-converted-in-a-copy", DIRTY, |at| {
            at.write("a.bin", "one\r\n\0\r\n");
        }),
    ],
};

/// Sparse checkouts: files that they leave out, and files that they ignore.
const SPARSE: Group = Group {
    name: "sparse",
    prepare: |repo| {
        for file in ["docs/a.md", "src/b.ts", "src/deep/c.ts"] {
            write(&repo.path.join(file), "1\n");
        }
        repo.commit(60.0, "d.ts", "1\n");
        repo.push();
        repo.git(&["config", "extensions.worktreeConfig", "true"]);
    },
    rows: &[
        ("cone", MERGED, |at| {
            at.git(&["sparse-checkout", "set", "--cone", "docs"]);
            assert!(!at.path("src").exists());
        }),
        ("written-outside-the-cone", DIRTY, |at| {
            at.git(&["sparse-checkout", "set", "--cone", "docs"]);
            at.write("src/new.ts", "only here\n");
        }),
        ("edited-outside-the-cone", DIRTY, |at| {
            at.git(&["sparse-checkout", "set", "--cone", "docs"]);
            at.write("src/b.ts", "edited\n");
        }),
        ("staged-outside-the-cone", DIRTY, |at| {
            at.write("src/b.ts", "staged\n").git(&["add", "src/b.ts"]);
            at.git(&["update-index", "--skip-worktree", "src/b.ts"]);
            remove(&at.path("src/b.ts"));
        }),
        ("sparse-index", MERGED, |at| {
            at.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "docs"]);
            assert!(
                at.git(&["ls-files", "--sparse"]).contains("src/\n")
                    || at.git(&["ls-files", "--sparse"]).ends_with("src/")
            );
        }),
        ("sparse-index-written-outside-the-cone", DIRTY, |at| {
            at.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "docs"]);
            at.write("src/b.ts", "edited\n")
                .write("docs/new.md", "new\n");
        }),
        ("sparse-index-of-another-commit", DIRTY, |at| {
            at.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "docs"]);
            let commit = at.git(&[
                "commit-tree",
                "-m",
                "Without src",
                &at.git(&["rev-parse", "HEAD:docs"]),
            ]);
            at.git(&["reset", "-q", "--soft", &commit]);
        }),
    ],
};

/// What git writes into an index besides its entries.
const INDEXES: Group = Group {
    name: "indexes",
    prepare: nothing,
    rows: &[
        ("version-4", MERGED, |at| {
            at.git(&["update-index", "--index-version", "4"]);
        }),
        ("version-4-dirty", DIRTY, |at| {
            at.git(&["update-index", "--index-version", "4"]);
            at.write("README.md", "edited\n");
        }),
        ("no-checksum", MERGED, |at| {
            at.git(&[
                "-c",
                "index.skipHash=true",
                "update-index",
                "--force-write-index",
            ]);
        }),
        ("untracked-cache", DIRTY, |at| {
            at.git(&["update-index", "--force-untracked-cache"]);
            at.git(&["status"]);
            at.write("ignored/new.ts", "new\n");
        }),
        ("fsmonitor", DIRTY, |at| {
            at.git(&["-c", "core.fsmonitor=true", "update-index", "--fsmonitor"]);
            at.git(&["update-index", "--fsmonitor-valid", "README.md"]);
            at.write("README.md", "edited\n");
        }),
        ("many-threads", MERGED, |at| {
            at.git(&[
                "-c",
                "index.threads=4",
                "-c",
                "core.preloadIndex=true",
                "update-index",
                "--force-write-index",
            ]);
        }),
        ("split", MERGED, |at| {
            at.git(&["update-index", "--split-index"]);
        }),
        ("split-and-written", BLOCKED_DIRTY, |at| {
            at.git(&["update-index", "--split-index"]);
            at.write("new.ts", "new\n");
        }),
        ("split-and-staged", BLOCKED_DIRTY, |at| {
            at.write("a.ts", "1\n")
                .write("b.ts", "1\n")
                .git(&["add", "-A"]);
            at.git(&["update-index", "--split-index"]);
            at.write("a.ts", "2\n")
                .write("c.ts", "1\n")
                .git(&["add", "a.ts", "c.ts"]);
            at.git(&["rm", "-q", "-f", "b.ts"]);
        }),
        ("split-and-back", MERGED, |at| {
            at.git(&[
                "-c",
                "splitIndex.maxPercentChange=100",
                "update-index",
                "--split-index",
            ]);
            at.write("README.md", "other\n").git(&[
                "-c",
                "splitIndex.maxPercentChange=100",
                "add",
                "README.md",
            ]);
            at.git(&[
                "-c",
                "splitIndex.maxPercentChange=100",
                "checkout",
                "-q",
                "HEAD",
                "README.md",
            ]);
        }),
        ("none", DIRTY, |at| remove(&at.tree.admin.join("index"))),
    ],
};

/// Commits that only the tree keeps alive, and commits that something else does.
const COMMITS: Group = Group {
    name: "commits",
    prepare: nothing,
    rows: &[
        ("orig-head", LONELY, |at| at.only_in("ORIG_HEAD")),
        ("rebase-head", LONELY, |at| at.only_in("REBASE_HEAD")),
        ("autostash", LONELY, |at| at.only_in("MERGE_AUTOSTASH")),
        ("bisect-head", LONELY, |at| at.only_in("BISECT_HEAD")),
        ("fetch-head", LONELY, |at| {
            let other = at.repo.world.beside("other-clone");
            git(
                &at.repo.world.root,
                60.0,
                &[
                    "clone",
                    "-q",
                    "--no-hardlinks",
                    at.repo.path.to_str().unwrap(),
                    other.to_str().unwrap(),
                ],
            );
            git(
                &other,
                60.0,
                &["commit", "-q", "--allow-empty", "-m", "Fetched by URL"],
            );
            at.git(&["fetch", "-q", other.to_str().unwrap(), "HEAD"]);
            at.must_live(&at.git(&["rev-parse", "FETCH_HEAD"]));
        }),
        ("worktree-ref", LONELY, |at| {
            let commit = at.lonely("Under a private ref");
            at.git(&["update-ref", "refs/worktree/mine/deep", &commit]);
        }),
        ("bisect-ref", LONELY, |at| {
            let commit = at.lonely("Left by a bisect");
            at.git(&["update-ref", "refs/bisect/bad", &commit]);
        }),
        ("rewritten-ref", LONELY, |at| {
            let commit = at.lonely("Left by a rebase");
            at.git(&["update-ref", "refs/rewritten/onto", &commit]);
        }),
        ("private-log", LONELY, |at| {
            let commit = at.lonely("Once under a private ref");
            at.git(&[
                "update-ref",
                "--create-reflog",
                "refs/worktree/mine",
                &commit,
            ]);
            at.git(&["update-ref", "refs/worktree/mine", "HEAD"]);
        }),
        ("private-blob", UNKNOWN, |at| {
            write(&at.repo.world.beside("blob"), "a note\n");
            let blob = at.git(&[
                "hash-object",
                "-w",
                at.repo.world.beside("blob").to_str().unwrap(),
            ]);
            at.git(&["update-ref", "refs/worktree/note", &blob]);
        }),
        ("private-tag", UNKNOWN, |at| {
            at.git(&["tag", "-a", "-m", "Why it matters", "for-a-moment"]);
            at.git(&[
                "update-ref",
                "refs/worktree/tag",
                &at.git(&["rev-parse", "for-a-moment"]),
            ]);
            at.git(&["tag", "-d", "for-a-moment"]);
        }),
        ("deleted-branch", LONELY, |at| {
            at.git(&["checkout", "-q", "-b", "for-an-hour"]);
            at.tree.commit("a.ts", "1\n");
            at.must_live(&at.git(&["rev-parse", "HEAD"]));
            at.git(&["checkout", "-q", "deleted-branch"]);
            at.git(&["branch", "-q", "-D", "for-an-hour"]);
        }),
        ("amended", MERGED, |at| {
            // The branch's own reflog has it, for as long as reflogs are kept.
            at.tree
                .commit("a.ts", "1\n")
                .git(&["reset", "-q", "--hard", "HEAD~1"]);
        }),
        ("stash", LONELY, |at| {
            at.write("README.md", "put aside\n").git(&["stash", "-q"]);
        }),
        ("stash-detached", LONELY, |at| {
            at.git(&["checkout", "-q", "--detach"]);
            at.git(&["commit", "-q", "--allow-empty", "-m", "On no branch"]);
            at.git(&["branch", "-f", "stash-detached", "HEAD"]);
            at.write("README.md", "put aside\n").git(&["stash", "-q"]);
        }),
        ("only-a-stash-reaches", LONELY, |at| {
            at.git(&["checkout", "-q", "--detach"]);
            at.tree.commit("b.ts", "1\n");
            at.must_live(&at.git(&["rev-parse", "HEAD"]));
            at.write("README.md", "put aside\n").git(&["stash", "-q"]);
            at.git(&["checkout", "-q", "only-a-stash-reaches"]);
        }),
        ("tagged", SAVED, |at| {
            at.git(&["checkout", "-q", "--detach"]);
            at.tree.commit("c.ts", "1\n").git(&["tag", "v1"]);
            at.must_live(&at.git(&["rev-parse", "HEAD"]));
        }),
        ("on-a-remote", SAVED, |at| {
            at.git(&["checkout", "-q", "--detach"]);
            at.tree.commit("d.ts", "1\n").git(&[
                "push",
                "-q",
                "origin",
                "HEAD:refs/heads/elsewhere",
            ]);
            at.must_live(&at.git(&["rev-parse", "HEAD"]));
        }),
        // The ref stays in the repo, even if nobody fetches it any more.
        ("on-a-remote-that-is-gone", SAVED, |at| {
            at.git(&["checkout", "-q", "--detach"]);
            at.tree
                .commit("e.ts", "1\n")
                .git(&["update-ref", "refs/remotes/gone/main", "HEAD"]);
            at.must_live(&at.git(&["rev-parse", "HEAD"]));
        }),
        ("noted", SAVED, |at| {
            at.git(&["checkout", "-q", "--detach"]);
            at.tree
                .commit("f.ts", "1\n")
                .git(&["update-ref", "refs/notes/mine", "HEAD"]);
            at.must_live(&at.git(&["rev-parse", "HEAD"]));
        }),
        // Abbreviates like the upstream's branch, but exists only in this repo.
        ("branch-named-as-a-remotes", SAVED, |at| {
            at.tree
                .commit("g.ts", "1\n")
                .git(&["branch", "origin/main"]);
        }),
        ("tag-named-as-a-remotes", SAVED, |at| {
            at.tree.commit("h.ts", "1\n").git(&["tag", "origin/main"]);
        }),
        // HEAD names a ref that is no branch, and that expires.
        ("on-a-rescue", LONELY, |at| {
            at.git(&["checkout", "-q", "--detach"]);
            at.tree.commit("j.ts", "1\n").git(&[
                "update-ref",
                "refs/treewarden/rescue/y/20200101T000000Z",
                "HEAD",
            ]);
            at.must_live(&at.git(&["rev-parse", "HEAD"]));
            at.git(&[
                "symbolic-ref",
                "HEAD",
                "refs/treewarden/rescue/y/20200101T000000Z",
            ]);
        }),
        ("rescued-before", LONELY, |at| {
            at.git(&["checkout", "-q", "--detach"]);
            at.tree.commit("i.ts", "1\n").git(&[
                "update-ref",
                "refs/treewarden/rescue/x/20200101T000000Z",
                "HEAD",
            ]);
            at.must_live(&at.git(&["rev-parse", "HEAD"]));
        }),
    ],
};

/// Repos and worktrees within a tree, with commits of their own.
const NESTED: Group = Group {
    name: "nested",
    prepare: |repo| {
        write(&repo.path.join("Cargo.toml"), "[package]\n");
        repo.commit(60.0, "lib.rs", "\n");
        repo.push();
    },
    rows: &[
        ("untracked", BLOCKED, |at| {
            git(&at.tree.path, 60.0, &["init", "-q", "inner"]);
        }),
        ("ignored", BLOCKED, |at| {
            git(&at.tree.path, 60.0, &["init", "-q", "ignored/deep/inner"]);
        }),
        ("with-a-git-file", BLOCKED, |at| {
            git(
                &at.tree.path,
                60.0,
                &[
                    "init",
                    "-q",
                    "--separate-git-dir",
                    at.repo.world.beside("apart.git").to_str().unwrap(),
                    "ignored/inner",
                ],
            );
        }),
        ("with-a-git-link", BLOCKED, |at| {
            fs::create_dir_all(at.path("ignored/inner")).unwrap();
            symlink("/nowhere", at.path("ignored/inner/.git")).unwrap();
        }),
        ("bare", DIRTY, |at| {
            git(
                &at.tree.path,
                60.0,
                &[
                    "clone",
                    "-q",
                    "--bare",
                    "--no-hardlinks",
                    "--template=",
                    at.repo.path.to_str().unwrap(),
                    "ignored/bare.git",
                ],
            );
        }),
        ("worktree-of-another-repo", BLOCKED_DIRTY, |at| {
            let other = Repo::clone(at.repo.world, "acme/not-enrolled");
            other.git(&[
                "worktree",
                "add",
                "-q",
                "--detach",
                at.path("ignored/theirs").to_str().unwrap(),
            ]);
        }),
        ("copy-of-a-worktree", DIRTY, |at| {
            let other = Repo::clone(at.repo.world, "acme/not-enrolled-either");
            let theirs = at.repo.world.at("elsewhere/theirs");
            other.git(&[
                "worktree",
                "add",
                "-q",
                "--detach",
                theirs.to_str().unwrap(),
            ]);
            copy(&theirs, &at.path("ignored/copy"));
        }),
        ("copy-of-itself", DIRTY, |at| {
            at.write("new.ts", "new\n");
            copy(&at.tree.path, &at.repo.world.beside("a-copy"));
            fs::rename(at.repo.world.beside("a-copy"), at.path("copy")).unwrap();
        }),
        ("moved-here", BLOCKED_DIRTY, |at| {
            let other = Repo::clone(at.repo.world, "acme/not-enrolled-at-all");
            let theirs = at.repo.world.at("elsewhere/moved");
            other.git(&[
                "worktree",
                "add",
                "-q",
                "--detach",
                theirs.to_str().unwrap(),
            ]);
            fs::create_dir_all(at.path("ignored")).unwrap();
            fs::rename(&theirs, at.path("ignored/moved")).unwrap();
        }),
        ("jj-workspace", BLOCKED, |at| {
            at.write(".jj/repo/store/type", "git")
                .write(".jj/working_copy/type", "local")
                .write(".jj/.gitignore", "/*\n");
        }),
        ("jj-by-name-alone", DIRTY, |at| {
            at.write(".jj/notes.md", "mine\n");
        }),
        ("in-node-modules", BLOCKED, |at| {
            at.write("node_modules/.package-lock.json", &npm(&["left-pad"]));
            git(
                &at.tree.path,
                60.0,
                &["init", "-q", "node_modules/left-pad"],
            );
        }),
        ("deep-in-node-modules", BLOCKED, |at| {
            at.write("node_modules/.package-lock.json", &npm(&["a"]))
                .write("node_modules/a/package.json", "{}");
            git(
                &at.tree.path,
                60.0,
                &["init", "-q", "node_modules/a/node_modules/b"],
            );
        }),
        ("bare-in-node-modules", BLOCKED, |at| {
            at.write("node_modules/.package-lock.json", &npm(&["a"]))
                .write("node_modules/a/package.json", "{}");
            git(
                &at.tree.path,
                60.0,
                &[
                    "init",
                    "-q",
                    "--bare",
                    "--template=",
                    "node_modules/a/node_modules/b",
                ],
            );
        }),
        ("in-target", BLOCKED, |at| {
            at.write(
                "target/CACHEDIR.TAG",
                "Signature: 8a477f597d28d172789f06886806bc55",
            );
            git(
                &at.tree.path,
                60.0,
                &["init", "-q", "target/debug/build/x/out/checkout"],
            );
        }),
        ("in-venv-src", BLOCKED, |at| {
            at.write(".venv/pyvenv.cfg", "home = /usr/bin\n")
                .write(".gitignore", ".venv/\n");
            at.git(&["checkout", "-q", ".gitignore"]);
            git(&at.tree.path, 60.0, &["init", "-q", ".venv/src/pkg"]);
        }),
        ("in-site-packages", BLOCKED, |at| {
            at.write(".venv/pyvenv.cfg", "home = /usr/bin\n");
            git(
                &at.tree.path,
                60.0,
                &["init", "-q", ".venv/lib/python3.11/site-packages/pkg"],
            );
        }),
        ("worktree-in-node-modules", BLOCKED, |at| {
            at.write("node_modules/.package-lock.json", &npm(&["a"]))
                .write("node_modules/a/package.json", "{}");
            let other = at.repo.world.beside("somewhere-else");
            git(
                &at.repo.world.root,
                60.0,
                &[
                    "clone",
                    "-q",
                    "--no-hardlinks",
                    at.repo.path.to_str().unwrap(),
                    other.to_str().unwrap(),
                ],
            );
            git(
                &other,
                60.0,
                &[
                    "worktree",
                    "add",
                    "-q",
                    "--detach",
                    at.path("node_modules/a/lib/wt").to_str().unwrap(),
                ],
            );
        }),
    ],
};

/// Submodules, with their repos in the admin directory.
const SUBMODULES: Group = Group {
    name: "submodules",
    prepare: |repo| {
        let origin = Repo::clone(repo.world, "acme/library");
        remove(&origin.path);
        let origin = repo.world.beside("origins/acme__library.git");
        repo.git(&[
            "submodule",
            "--quiet",
            "add",
            origin.to_str().unwrap(),
            "sub",
        ]);
        repo.git(&["commit", "-q", "-m", "A submodule"]);
        repo.push();
    },
    rows: &[
        ("never-filled", MERGED, |_| {}),
        ("folder-gone", MERGED, |at| remove(&at.path("sub"))),
        ("filled", MERGED, |at| {
            at.git(&["submodule", "--quiet", "update", "--init"]);
        }),
        ("on-its-branch", MERGED, |at| {
            at.git(&["submodule", "--quiet", "update", "--init"]);
            git(&at.path("sub"), 60.0, &["checkout", "-q", "main"]);
        }),
        ("filled-and-written-beside", DIRTY, |at| {
            at.git(&["submodule", "--quiet", "update", "--init"]);
            at.write("new.ts", "new\n");
        }),
        ("committed-on-a-branch", BLOCKED, |at| {
            at.git(&["submodule", "--quiet", "update", "--init"]);
            let sub = at.path("sub");
            git(
                &sub,
                60.0,
                &[
                    "branch",
                    "-q",
                    "mine",
                    &git(
                        &sub,
                        60.0,
                        &["commit-tree", "-m", "Only here", "HEAD^{tree}"],
                    ),
                ],
            );
        }),
        ("stashed-in-it", BLOCKED, |at| {
            at.git(&["submodule", "--quiet", "update", "--init"]);
            fs::write(at.path("sub/README.md"), "put aside\n").unwrap();
            git(&at.path("sub"), 60.0, &["stash", "-q"]);
        }),
        ("reset-in-it", BLOCKED, |at| {
            at.git(&["submodule", "--quiet", "update", "--init"]);
            let sub = at.path("sub");
            git(
                &sub,
                60.0,
                &["commit", "-q", "--allow-empty", "-m", "Only in the reflog"],
            );
            git(&sub, 60.0, &["reset", "-q", "--hard", "HEAD~1"]);
        }),
        ("ignored-in-it", BLOCKED_DIRTY, |at| {
            at.git(&["submodule", "--quiet", "update", "--init"]);
            at.write("sub/.env", "KEY=only-here\n");
        }),
        ("hook-in-it", BLOCKED, |at| {
            at.git(&["submodule", "--quiet", "update", "--init"]);
            write(&at.tree.admin.join("modules/sub/notes.md"), "mine\n");
        }),
        ("unpushed", BLOCKED_DIRTY, |at| {
            at.git(&["submodule", "--quiet", "update", "--init"]);
            git(
                &at.path("sub"),
                60.0,
                &["commit", "-q", "--allow-empty", "-m", "Only here"],
            );
            at.git(&["add", "sub"]);
        }),
        ("dirty", BLOCKED_DIRTY, |at| {
            at.git(&["submodule", "--quiet", "update", "--init"]);
            at.write("sub/README.md", "edited\n");
        }),
        ("emptied", MERGED, |at| {
            at.git(&["submodule", "--quiet", "update", "--init"]);
            at.git(&["submodule", "--quiet", "deinit", "-f", "sub"]);
        }),
        ("file-in-its-place", BLOCKED_DIRTY, |at| {
            remove(&at.path("sub"));
            at.write("sub", "mine\n");
        }),
        ("emptied-with-a-commit", BLOCKED, |at| {
            at.git(&["submodule", "--quiet", "update", "--init"]);
            let sub = at.path("sub");
            let commit = ["commit", "-q", "--allow-empty", "-m", "Only here"];
            git(&sub, 60.0, &commit);
            git(&sub, 60.0, &["branch", "-q", "mine"]);
            at.git(&["submodule", "--quiet", "deinit", "-f", "sub"]);
        }),
        ("emptied-in-another-format", BLOCKED, |at| {
            let (sub, repo) = (at.path("sub"), at.tree.admin.join("modules/other"));
            fs::create_dir_all(repo.parent().unwrap()).unwrap();
            let separate = format!("--separate-git-dir={}", repo.display());
            let init = ["init", "-q", "--template=", "--object-format=sha256"];
            git(&sub, 60.0, &[&init[..], &[&separate, "."]].concat());
            let commit = ["commit", "-q", "--allow-empty", "-m", "Only here"];
            git(&sub, 60.0, &commit);
            remove(&sub.join(".git"));
            remove(&repo.join("index"));
        }),
        ("cloned-by-hand", BLOCKED, |at| {
            git(
                &at.tree.path,
                60.0,
                &[
                    "clone",
                    "-q",
                    "--no-hardlinks",
                    at.repo
                        .world
                        .beside("origins/acme__library.git")
                        .to_str()
                        .unwrap(),
                    "sub",
                ],
            );
        }),
        // All of it came from its remote, and is still there.
        ("absorbed", MERGED, |at| {
            git(
                &at.tree.path,
                60.0,
                &[
                    "clone",
                    "-q",
                    "--no-hardlinks",
                    at.repo
                        .world
                        .beside("origins/acme__library.git")
                        .to_str()
                        .unwrap(),
                    "sub",
                ],
            );
            at.git(&["submodule", "--quiet", "absorbgitdirs"]);
        }),
        ("files-without-a-repo", BLOCKED_DIRTY, |at| {
            at.write("sub/notes.md", "mine\n");
        }),
        ("staged-pointer", DIRTY, |at| {
            at.git(&[
                "update-index",
                "--cacheinfo",
                &format!("160000,{},sub", "1".repeat(40)),
            ]);
        }),
    ],
};

/// Large files by pointer: their content is in the repo's `lfs/objects`, or only in the tree.
const LFS: Group = Group {
    name: "lfs",
    prepare: |repo| {
        // Git-lfs's filter in a few lines of shell, which for some files doesn't finish.
        let store = "d=$(git rev-parse --path-format=absolute --git-common-dir)/lfs; mkdir -p $d; t=$(mktemp -p $d); cat > $t; \
                     o=$(sha256sum < $t | cut -c -64); s=$(stat -c %s $t); \
                     p=$d/objects/$(echo $o | cut -c -2)/$(echo $o | cut -c 3-4); mkdir -p $p; \
                     case $(cat $t) in *'not stored') ;; *'cut short') echo cut > $p/$o;; *) mv $t $p/$o;; esac; \
                     printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:%s\\nsize %s\\n' $o $s";
        repo.git(&["config", "filter.lfs.clean", store]);
        write(&repo.path.join(".gitattributes"), "*.bin filter=lfs\n");
        repo.commit(60.0, "big.bin", "a very large file indeed\n");
        repo.push();
        assert!(
            repo.git(&["show", "HEAD:big.bin"])
                .starts_with("version https://git-lfs")
        );
    },
    rows: &[
        // With `GIT_LFS_SKIP_SMUDGE=1`, or without git-lfs.
        ("pointer", MERGED, |at| {
            assert!(
                fs::read_to_string(at.path("big.bin"))
                    .unwrap()
                    .starts_with("version https")
            );
        }),
        ("content", MERGED, |at| {
            at.write("big.bin", "a very large file indeed\n")
                .git(&["add", "big.bin"]);
            assert_eq!(at.git(&["status", "--porcelain"]), "");
        }),
        ("content-in-a-copy", MERGED, |at| {
            at.write("big.bin", "a very large file indeed\n")
                .git(&["add", "big.bin"]);
        }),
        ("edited-in-a-copy", DIRTY, |at| {
            at.write("big.bin", "a very large file INDEED\n");
        }),
        ("committed-and-not-stored-in-a-copy", DIRTY, |at| {
            at.tree.commit("lost.bin", "a large file, not stored\n");
        }),
        ("edited", DIRTY, |at| {
            at.write("big.bin", "a very large file INDEED\n");
        }),
        ("staged", DIRTY, |at| {
            at.write("big.bin", "another very large file\n")
                .git(&["add", "big.bin"]);
        }),
        ("committed", SAVED, |at| {
            at.tree.commit("own.bin", "a large file of mine\n");
        }),
        ("committed-and-not-stored", DIRTY, |at| {
            at.tree.commit("lost.bin", "a large file, not stored\n");
        }),
        ("committed-and-stored-in-part", DIRTY, |at| {
            at.tree.commit("cut.bin", "a large file, cut short\n");
        }),
    ],
};

/// Operations of git that are under way.
const UNDER_WAYS: Group = Group {
    name: "under-way",
    prepare: |repo| {
        for n in 1..=3 {
            repo.commit(60.0, "README.md", &format!("{n}\n"));
        }
        repo.git(&["branch", "others"]);
        repo.git(&["reset", "-q", "--hard", "origin/main"]);
    },
    rows: &[
        ("several-picks", UNDER_WAY, |at| {
            at.tree.commit("README.md", "mine\n");
            stops(at, &["cherry-pick", "others~2", "others~1"]);
            at.write("README.md", "1\n").git(&["add", "README.md"]);
            at.git(&["commit", "-q", "-m", "The first"]);
            assert!(
                at.tree.admin.join("sequencer").exists()
                    && !at.tree.admin.join("CHERRY_PICK_HEAD").exists()
            );
        }),
        ("rebase-by-am", UNDER_WAY, |at| {
            at.tree.commit("README.md", "mine\n");
            stops(at, &["rebase", "--apply", "others"]);
            assert!(at.tree.admin.join("rebase-apply").exists());
        }),
        ("rebase-to-edit", UNDER_WAY, |at| {
            at.tree.commit("a.ts", "1\n");
            at.git(&[
                "-c",
                "sequence.editor=sed -i s/^pick/edit/",
                "rebase",
                "-q",
                "-i",
                "HEAD~1",
            ]);
            assert_eq!(at.git(&["status", "--porcelain"]), "");
        }),
        ("merge-not-committed", UNDER_WAY, |at| {
            at.tree.commit("a.ts", "1\n");
            at.git(&["merge", "-q", "--no-commit", "others"]);
        }),
        ("merge-of-a-dirty-tree", UNDER_WAY, |at| {
            at.tree.commit("README.md", "mine\n");
            at.write("package.json", "{\"put\": \"aside\"}\n");
            stops(at, &["merge", "--autostash", "others"]);
            at.must_live(&at.git(&["rev-parse", "MERGE_AUTOSTASH"]));
        }),
        ("merge-of-notes", UNDER_WAY, |at| {
            at.git(&["notes", "--ref", "mine", "add", "-m", "mine"]);
            at.git(&["notes", "--ref", "theirs", "add", "-m", "theirs"]);
            stops(at, &["notes", "--ref", "mine", "merge", "theirs"]);
            assert!(at.tree.admin.join("NOTES_MERGE_WORKTREE").exists());
        }),
        ("head-being-written", UNDER_WAY, |at| {
            write(&at.tree.admin.join("HEAD.lock"), "");
        }),
        ("unmerged-only", BLOCKED_DIRTY, |at| {
            at.tree.commit("README.md", "mine\n");
            stops(at, &["merge", "others"]);
            remove(&at.tree.admin.join("MERGE_HEAD"));
        }),
        ("squashed-not-committed", DIRTY, |at| {
            at.git(&["merge", "-q", "--squash", "others"]);
        }),
    ],
};

/// Runs a git command that must stop half-way.
fn stops(at: &At<'_>, command: &[&str]) {
    let (code, _, said) = try_git(&at.tree.path, 60.0, command);
    assert_ne!(code, Some(0), "{command:?} was to stop half-way: {said}");
}

/// Directories that look as if a tool made them.
const MADE_AGAIN: Group = Group {
    name: "made-again",
    prepare: |repo| {
        write(&repo.path.join("Cargo.toml"), "[package]\n");
        write(&repo.path.join("web/package.json"), "{}\n");
        write(
            &repo.path.join(".gitignore"),
            "node_modules/\ntarget/\n.venv/\nbuild/\ndist/\n",
        );
        repo.commit(60.0, "lib.rs", "\n");
        repo.push();
    },
    rows: &[
        ("packages", MERGED, |at| {
            at.write("node_modules/.package-lock.json", &npm(&["@acme/ui"]))
                .write("node_modules/@acme/ui/package.json", "{}");
            at.write("web/node_modules/.package-lock.json", &npm(&["react"]));
            at.write("web/node_modules/react/package.json", "{}")
                .write("web/node_modules/react/index.js", "x");
            symlink("../web", at.path("node_modules/web")).unwrap();
        }),
        ("own-file-among-packages", DIRTY, |at| {
            at.write("node_modules/.package-lock.json", "{}")
                .write("node_modules/patch.js", "mine\n");
        }),
        ("own-folder-among-packages", DIRTY, |at| {
            at.write("node_modules/.package-lock.json", "{}")
                .write("node_modules/mine/package.json", "{}");
            at.write("node_modules/mine/index.js", "mine\n");
        }),
        ("own-folder-in-a-scope", DIRTY, |at| {
            at.write("node_modules/.package-lock.json", "{}")
                .write("node_modules/@acme/mine/index.js", "mine\n");
        }),
        ("virtual-environment", MERGED, |at| {
            at.write(".venv/pyvenv.cfg", "home = /usr/bin\n")
                .write(".venv/bin/python", "x")
                .write(".venv/.gitignore", "*\n");
            at.write(".venv/lib/python3.11/site-packages/six.py", "x");
            at.write(
                ".venv/lib/python3.11/site-packages/six-1.dist-info/RECORD",
                "six.py,,\nsix-1.dist-info/RECORD,,\n",
            );
        }),
        ("own-file-in-venv", DIRTY, |at| {
            at.write(".venv/pyvenv.cfg", "home = /usr/bin\n")
                .write(".venv/train.py", "mine\n");
        }),
        ("own-folder-in-venv", DIRTY, |at| {
            at.write(".venv/pyvenv.cfg", "home = /usr/bin\n")
                .write(".venv/data/measured.csv", "mine\n");
        }),
        ("target-without-cargo", DIRTY, |at| {
            at.write(
                "web/target/CACHEDIR.TAG",
                "Signature: 8a477f597d28d172789f06886806bc55",
            )
            .write("web/target/shop.db", "mine\n");
        }),
        ("own-file-in-target", DIRTY, |at| {
            at.write(
                "target/CACHEDIR.TAG",
                "Signature: 8a477f597d28d172789f06886806bc55",
            )
            .write("target/notes.md", "mine\n");
        }),
        ("build", DIRTY, |at| {
            at.write("build/app", "x").write("dist/index.js", "x");
        }),
        ("dist-tracked", DIRTY, |at| {
            at.write("dist/index.js", "1\n").git(&["add", "-f", "dist"]);
            at.git(&["commit", "-q", "-m", "A release"]);
            at.write("dist/index.js", "2\n");
        }),
        ("tracked-among-packages", DIRTY, |at| {
            at.write("node_modules/.package-lock.json", "{}")
                .write("node_modules/a/package.json", "{}");
            at.git(&["add", "-f", "node_modules/a"]);
            at.git(&["commit", "-q", "-m", "A package of ours"]);
            at.write("node_modules/a/package.json", "edited\n");
        }),
    ],
};

const GROUPS: &[Group] = &[
    FILES, FILTERS, ENDINGS, AUTOCRLF, SPARSE, INDEXES, COMMITS, NESTED, SUBMODULES, LFS,
    UNDER_WAYS, MADE_AGAIN,
];

/// Returns mode and blob of every file and link.
fn standing(top: &Path) -> BTreeMap<PathBuf, (String, String)> {
    // A submodule that can be fetched again is no work.
    let fetched = |entry: &walkdir::DirEntry| {
        fs::read_to_string(entry.path().join(".git")).is_ok_and(|to| to.contains("/modules/"))
    };
    let entries = walkdir::WalkDir::new(top)
        .into_iter()
        .filter_entry(|entry| !fetched(entry));
    let entries = entries
        .map(Result::unwrap)
        .filter(|entry| !entry.file_type().is_dir());
    let below = |entry: &walkdir::DirEntry| entry.path().strip_prefix(top).unwrap().to_owned();
    // The `.git` file of a copied worktree is another tree's.
    let files = entries.filter(|entry| entry.file_name() != ".git");
    let blob = |bytes: &[u8]| {
        git2::Oid::hash_object(git2::ObjectType::Blob, bytes)
            .unwrap()
            .to_string()
    };
    files
        .map(|entry| {
            let told = if entry.file_type().is_symlink() {
                (
                    "120000",
                    blob(fs::read_link(entry.path()).unwrap().as_os_str().as_bytes()),
                )
            } else {
                let exec = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
                (
                    if exec { "100755" } else { "100644" },
                    blob(&fs::read(entry.path()).unwrap()),
                )
            };
            (below(&entry), (told.0.to_owned(), told.1))
        })
        .collect()
}

/// Returns the same for a commit, read by the real git.
fn stored(repo: &Repo<'_>, commit: &str) -> BTreeMap<PathBuf, (String, String)> {
    let list = git_bytes(&repo.stand(), &["ls-tree", "-r", "-z", commit]);
    let entries = list
        .split(|&byte| byte == 0)
        .filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let tab = entry.iter().position(|&byte| byte == b'\t').unwrap();
            let words: Vec<&str> = std::str::from_utf8(&entry[..tab])
                .unwrap()
                .split(' ')
                .collect();
            (
                std::ffi::OsStr::from_bytes(&entry[tab + 1..]).into(),
                (words[0].to_owned(), words[2].to_owned()),
            )
        })
        .collect()
}

/// Removes tools' own records, which no rescue contains.
fn somebodys(
    mut files: BTreeMap<PathBuf, (String, String)>,
) -> BTreeMap<PathBuf, (String, String)> {
    let notes = [
        "node_modules/.package-lock.json",
        ".venv/pyvenv.cfg",
        "target/CACHEDIR.TAG",
    ];
    // If git tracks a part of `node_modules`, all of it is rescued.
    if !files.contains_key(Path::new("node_modules/a/package.json")) {
        files.retain(|path, _| !notes.iter().any(|note| path == Path::new(note)));
    }
    files
}

/// A row's tree as it was before the run.
struct Before {
    tree: Tree,
    fate: &'static str,
    name: String,
    lonely: Vec<String>,
    files: BTreeMap<PathBuf, (String, String)>,
    index: Option<Vec<u8>>,
    staged: Vec<String>,
    all: BTreeMap<PathBuf, super::support::snapshot::Standing>,
}

/// Creates the rows' trees, and then gives the repo its layout.
fn build<'a>(
    repo: Repo<'a>,
    layout: Layout,
    group: &Group,
    chosen: &impl Fn(&str) -> bool,
) -> (Repo<'a>, Vec<Before>) {
    (group.prepare)(&repo);
    let build = |&(name, fate, make): &Row| {
        let tree = repo.tree(name);
        let at = At {
            repo: &repo,
            tree: &tree,
            lonely: RefCell::default(),
        };
        make(&at);
        // As after a last `git status`: the index matches every file that git considers unchanged.
        age_all(&tree.path, 100.0);
        try_git(&tree.path, 0.0, &["update-index", "-q", "--refresh"]);
        if name.ends_with("in-a-copy") {
            no_index_vouches(&tree, &repo.world.beside(format!("{}-{name}", group.name)));
        }
        tree.age_admin(99.0);
        let lonely = at.lonely.take();
        let readable = fate.starts_with("reap unsaved");
        let (_, listed, _) = try_git(&tree.path, 0.0, &["ls-files", "-s"]);
        Before {
            fate,
            name: name.to_owned(),
            lonely,
            files: if readable {
                somebodys(standing(&tree.path))
            } else {
                BTreeMap::new()
            },
            index: fs::read(tree.admin.join("index")).ok(),
            staged: listed
                .lines()
                .filter(|line| !line.starts_with("160000"))
                .filter_map(|line| line.split(' ').nth(1))
                .map(str::to_owned)
                .collect(),
            all: BTreeMap::new(),
            tree,
        }
    };
    let rows = group.rows.iter().filter(|row| chosen(row.0));
    let mut trees: Vec<Before> = rows.map(build).collect();
    let repo = repo.becomes(layout);
    for before in &mut trees {
        let admin = before.tree.admin.file_name().unwrap().to_owned();
        before.tree.admin = repo.git_dir("worktrees").join(admin);
        before.all = snapshot(&before.tree.path);
    }
    (repo, trees)
}

/// The parts in which a layout's rows are tried; `cargo test` plays the first.
const PARTS: usize = 3;

impl Layout {
    /// Returns whether the table tries a row with this layout, too, in one of the `chosen` parts:
    /// one row in four is enough to see that the layout makes no difference.
    fn tries(self, row: &str, chosen: fn(usize) -> bool) -> bool {
        // In a hub nothing is checked out that the submodule's files are copies of.
        if self == Self::Hub && row == "hook-in-it" {
            return false;
        }
        let sum = row.bytes().map(usize::from).sum::<usize>();
        let layout = LAYOUTS.iter().position(|layout| *layout == self);
        layout == Some(sum % LAYOUTS.len()) && chosen(sum / LAYOUTS.len() % PARTS)
    }
}

/// Checks that nothing of the tree is lost, whatever its fate, even after the owner's gc.
fn nothing_is_lost(repo: &Repo<'_>, report: &RunReport, before: &Before) {
    let what = format!("{} {}", repo.name, before.name);
    let row = report
        .worktrees()
        .find(|row| row.path == before.tree.path)
        .unwrap();
    let ends = |commit: &str, at: &str| {
        try_git(
            &repo.stand(),
            0.0,
            &["merge-base", "--is-ancestor", commit, at],
        )
        .0 == Some(0)
    };
    if row.outcome != TreeOutcome::Reaped {
        return same(&what, &snapshot(&before.tree.path), &before.all);
    }
    assert!(
        !before.tree.path.exists() && !before.tree.admin.exists(),
        "{what}"
    );
    let Some(rescue) = &row.rescue_ref else {
        let refs = repo.refs("refs");
        return assert!(
            before
                .lonely
                .iter()
                .all(|commit| refs.values().any(|tip| ends(commit, tip))),
            "{what}: a commit is lost"
        );
    };
    same(&what, &stored(repo, rescue), &before.files);
    if let Some(index) = &before.index {
        assert!(
            git_bytes(
                &repo.stand(),
                &["cat-file", "blob", &format!("{rescue}^2:index")]
            ) == *index,
            "{what}: the index is another one"
        );
    }
    let held = git(
        &repo.stand(),
        0.0,
        &["rev-list", "--objects", "--no-object-names", rescue],
    );
    let lost: Vec<&String> = before
        .staged
        .iter()
        .filter(|blob| !held.contains(*blob))
        .collect();
    assert!(lost.is_empty(), "{what}: staged content is lost: {lost:?}");
    for commit in &before.lonely {
        assert!(ends(commit, rescue), "{what}: {commit} is not held");
    }
}

/// Checks that `worktree remove` refuses a tree that a run keeps at any age.
fn no_command_removes(world: &World, repo: &Repo<'_>, before: &Before) {
    for rescue in [&[][..], &["--rescue"]] {
        let ran =
            world.treewarden(&[&["worktree", "remove", &repo.name, &before.name], rescue].concat());
        assert_eq!(ran.code, 1, "{} {}: {ran:?}", repo.name, before.name);
    }
}

/// How many rows of the table there are for each that is explained at once; CI explains all.
const EXPLAINED: usize = 12;

/// Checks that `explain` says of one row in `step` what a run says.
fn explained(world: &World, dry: &RunReport, step: usize) {
    let rows: Vec<_> = dry.worktrees().step_by(step).collect();
    rows.par_iter().for_each(|row| {
        super::explain::agrees(world, row);
    });
}

#[test]
#[ignore = "needs half a minute"]
fn every_row_of_the_table_is_explained() {
    let world = World::new();
    let _built = rows_of(&world, Layout::Plain, |_| true);
    explained(&world, &world.pass(0, &["report"]), 1);
}

#[test]
fn every_row_of_the_table() {
    let world = World::new();
    let repos = rows_of(&world, Layout::Plain, |_| true);
    let report = fates_are_as_the_table_says(&world, &repos);
    let why = |name: &str| {
        report
            .worktrees()
            .find(|row| row.path.ends_with(name))
            .unwrap()
            .reasons
            .concat()
    };
    let remedy = "git update-index --no-split-index";
    assert!(
        why("split-and-written").contains(remedy),
        "{}",
        why("split-and-written")
    );
}

/// Some rows in repos of all other layouts.
#[test]
fn the_table_holds_wherever_the_git_dir_is() {
    the_table_holds(|number| number == 0);
}

#[test]
#[ignore = "needs half a minute"]
fn the_table_holds_for_more_rows_wherever_the_git_dir_is() {
    the_table_holds(|number| number != 0);
}

/// Plays the parts of the rows that are `chosen` by their number, up to [`PARTS`].
fn the_table_holds(chosen: fn(usize) -> bool) {
    for layout in LAYOUTS {
        println!("{layout:?}");
        let world = World::new();
        let tries = |row: &str| layout.tries(row, chosen);
        fates_are_as_the_table_says(&world, &rows_of(&world, layout, tries));
    }
}

/// Creates a repo with this layout for each group that has rows to be tried.
fn rows_of(
    world: &World,
    layout: Layout,
    tries: impl Fn(&str) -> bool + Sync,
) -> Vec<(Repo<'_>, Vec<Before>)> {
    let has_rows = |group: &&Group| group.rows.iter().any(|row| tries(row.0));
    let groups: Vec<&Group> = GROUPS.iter().filter(has_rows).collect();
    let repos: Vec<Repo<'_>> = groups
        .iter()
        .map(|group| world.repo(&format!("acme/{}", group.name)))
        .collect();
    world.set("run", "max_reaped: 500");
    repos
        .into_par_iter()
        .zip(groups)
        .map(|(repo, group)| build(repo, layout, group, &tries))
        .collect()
}

/// Does a dry run, a run and removals by command, and checks what became of each tree.
fn fates_are_as_the_table_says(world: &World, repos: &[(Repo<'_>, Vec<Before>)]) -> RunReport {
    let expected = repos.iter().flat_map(|(repo, trees)| {
        trees.iter().map(|before| {
            (
                format!("{} {}", repo.name, world.below(&before.tree.path)),
                before.fate.to_owned(),
            )
        })
    });
    let expected: BTreeMap<String, String> = expected.collect();
    let dry = world.pass(0, &["report"]);
    same("what a dry run says", &world.fates(&dry), &expected);
    explained(world, &dry, EXPLAINED);
    let report = world.night();
    same("fates", &world.fates(&report), &expected);
    repos.par_iter().for_each(|(repo, trees)| {
        for before in trees
            .iter()
            .filter(|before| !before.fate.starts_with("reap"))
        {
            no_command_removes(world, repo, before);
        }
    });
    repos.par_iter().for_each(|(repo, trees)| {
        // The lock would make this test's own git commands fail.
        trees
            .iter()
            .map(|before| before.tree.admin.join("HEAD.lock"))
            .filter(|lock| lock.exists())
            .for_each(|lock| remove(&lock));
        git(
            &repo.stand(),
            0.0,
            &[
                "reflog",
                "expire",
                "--expire=now",
                "--expire-unreachable=now",
                "--all",
            ],
        );
        git(&repo.stand(), 0.0, &["gc", "-q", "--prune=now"]);
        for before in trees {
            nothing_is_lost(repo, &report, before);
        }
    });
    report
}
