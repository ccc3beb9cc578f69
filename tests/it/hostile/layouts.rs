//! Git dirs elsewhere: what an agent may write into the `.git` file by which its repo is found, and
//! worktrees that stand in a git dir or around it.

use super::super::support::{fifo, remove, write};
use super::{Case, FINE, evil::Evil, refused};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Nothing of the repo can be read, so nothing is decided.
const FAILED: &str = "Failed";
/// The landed tree stays. What was moved into it is young, and so is the other tree.
const UNKNOWN: &str = "Maintained unknown keep";

/// Returns all cases of this file.
pub(super) fn cases() -> Vec<Case> {
    files()
        .into_iter()
        .chain(to_others())
        .chain(directories())
        .chain(trees())
        .collect()
}

/// Moves the git dir to `to`, and leads both trees there.
fn moved(evil: &Evil<'_>, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::rename(evil.git_dir(""), to).unwrap();
    for tree in [&evil.landed, &evil.dirty] {
        let admin = to.join("worktrees").join(tree.path.file_name().unwrap());
        write(
            &tree.path.join(".git"),
            format!("gitdir: {}\n", admin.display()),
        );
    }
}

/// Moves what is in the git dir into the enrolled path, which becomes a bare repo.
fn hub(evil: &Evil<'_>) -> PathBuf {
    let aside = evil.repo.path.with_extension("aside");
    moved(evil, &aside);
    remove(&evil.repo.path);
    moved_again(evil, &aside, &evil.repo.path);
    evil.repo.path.clone()
}

fn moved_again(evil: &Evil<'_>, from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
    for tree in [&evil.landed, &evil.dirty] {
        let admin = to.join("worktrees").join(tree.path.file_name().unwrap());
        write(
            &tree.path.join(".git"),
            format!("gitdir: {}\n", admin.display()),
        );
    }
}

/// Moves the git dir to `away`, and lets `.git` say something else.
fn says(name: &str, row: &'static str, words: &str, text: &'static str) -> Case {
    Case::new(name, row, words, move |evil| {
        moved(evil, &evil.repo.path.join("away"));
        write(&evil.repo.path.join(".git"), evil.fill(text));
    })
}

/// `.git` leads to what belongs to others.
fn to_others() -> Vec<Case> {
    vec![
        says(
            "leads-to-an-enrolled-repo",
            refused(),
            "they are one repo",
            "gitdir: ../acme__honest/.git\n",
        ),
        says(
            "leads-to-an-enrolled-tree",
            refused(),
            "this is a worktree",
            "gitdir: ../acme__honest/.git/worktrees/landed\n",
        ),
        says(
            "leads-above-an-enrolled-repo",
            refused(),
            "they are one repo",
            "gitdir: ../acme__honest\n",
        ),
        says(
            "leads-to-a-tenant",
            refused(),
            "enroll `acme__victim` instead",
            "gitdir: {victim}\n",
        ),
        says(
            "leads-to-a-tenants-tree",
            refused(),
            "this is a worktree",
            "gitdir: {victim}worktrees/landed\n",
        ),
        says(
            "leads-to-the-state",
            refused(),
            "for something else",
            "gitdir: ../.treewarden\n",
        ),
        says(
            "leads-into-the-state",
            refused(),
            "for something else",
            "gitdir: ../.treewarden/locks\n",
        ),
        says(
            "leads-to-a-cache",
            refused(),
            "for something else",
            "gitdir: ../caches/models/llm\n",
        ),
    ]
}

/// `.git` leads home, nowhere or outside.
fn files() -> Vec<Case> {
    let outside = "outside the volume";
    vec![
        says("leads-home", FINE, "", "gitdir: ./away\n"),
        says("leads-home-by-climbing", FINE, "", "gitdir: x/../away"),
        says("leads-outside", refused(), outside, "gitdir: {outside}\n"),
        says(
            "leads-climbing",
            refused(),
            outside,
            "gitdir: ../../outside\n",
        ),
        says("leads-to-root", refused(), outside, "gitdir: /\n"),
        says("leads-to-the-volume", refused(), outside, "gitdir: ..\n"),
        says(
            "leads-to-itself",
            refused(),
            "is no directory",
            "gitdir: .git\n",
        ),
        says(
            "leads-to-its-checkout",
            refused(),
            "is missing",
            "gitdir: .\n",
        ),
        says("leads-nowhere", refused(), "is missing", "gitdir: ./none\n"),
        says("leads-to-nothing", refused(), "names no git dir", "\n"),
        says(
            "leads-without-a-key",
            refused(),
            "names no git dir",
            "./away\n",
        ),
        says(
            "leads-on-two-lines",
            refused(),
            "is missing",
            "gitdir: ./away\n/etc\n",
        ),
        says(
            "leads-with-nul",
            FAILED,
            "failed to read",
            "gitdir: ./away\u{0}/x\n",
        ),
        says(
            "leads-to-a-terminal",
            refused(),
            "is missing",
            "gitdir: ./\u{1b}[2J\u{202e}\n",
        ),
        Case::new("leads-at-length", FAILED, "failed to read", |evil| {
            moved(evil, &evil.repo.path.join("away"));
            let text = format!("gitdir: ./{}away\n", "./".repeat(1 << 20));
            write(&evil.repo.path.join(".git"), text);
        }),
    ]
}

/// The `.git` file is as it should be, and what it names is not.
fn directories() -> Vec<Case> {
    let names = |name: &str, row: &'static str, words: &str, make: fn(&Evil<'_>, &Path)| {
        Case::new(name, row, words, move |evil| {
            moved(evil, &evil.repo.path.join("away"));
            write(&evil.repo.path.join(".git"), "gitdir: ./named\n");
            make(evil, &evil.repo.path.join("named"));
        })
    };
    vec![
        names(
            "named-is-a-link",
            refused(),
            "is no directory",
            |_, named| {
                symlink("away", named).unwrap();
            },
        ),
        names(
            "named-is-the-tenants",
            refused(),
            "is no directory",
            |evil, named| symlink(evil.victim(""), named).unwrap(),
        ),
        names(
            "named-is-a-fifo",
            refused(),
            "is no directory",
            |_, named| {
                fifo(named);
            },
        ),
        names(
            "named-is-a-chain",
            refused(),
            "is no directory",
            |_, named| {
                write(named, "gitdir: ./away\n");
            },
        ),
        names(
            "named-is-a-long-chain",
            refused(),
            "is missing",
            |_, named| write(&named.join(".git"), "gitdir: ../away\n"),
        ),
        Case::new("named-through-a-link", FAILED, "symbolic link", |evil| {
            moved(evil, &evil.repo.path.join("away"));
            symlink(".", evil.repo.path.join("way")).unwrap();
            write(&evil.repo.path.join(".git"), "gitdir: ./way/away\n");
        }),
        Case::new(
            "says-it-is-the-tenants",
            refused(),
            "core.worktree",
            |evil| {
                let away = evil.repo.world.at("git-dirs").join(evil.repo.directory());
                evil.repo
                    .git(&["config", "core.worktree", "../../acme__victim"]);
                moved(evil, &away);
                let text = format!("gitdir: {}\n", away.display());
                write(&evil.repo.path.join(".git"), text);
            },
        ),
        Case::new("bare-is-a-link", refused(), "no git checkout", |evil| {
            moved(evil, &evil.repo.path.join("away"));
            symlink(evil.victim(""), evil.repo.path.join(".bare")).unwrap();
        }),
        Case::new("bare-is-well", FINE, "", |evil| {
            moved(evil, &evil.repo.path.join(".bare"));
        }),
    ]
}

/// Worktrees that are registered in a git dir, or around it.
fn trees() -> Vec<Case> {
    vec![
        Case::new("hub-is-well", FINE, "", |evil| drop(hub(evil))),
        Case::new(
            "registers-the-hubs-objects",
            "Maintained keep reap",
            "for something else",
            |evil| {
                let hub = hub(evil);
                write(
                    &hub.join("worktrees/landed/gitdir"),
                    format!("{}\n", hub.join("objects/.git").display()),
                );
                write(
                    &hub.join("objects/.git"),
                    format!("gitdir: {}\n", hub.join("worktrees/landed").display()),
                );
            },
        ),
        Case::new(
            "stands-around-its-git-dir",
            UNKNOWN,
            "for something else",
            |evil| {
                let within = evil.landed.path.join("git-dir");
                moved(evil, &within);
                write(
                    &evil.repo.path.join(".git"),
                    format!("gitdir: {}\n", within.display()),
                );
            },
        ),
    ]
}
