//! Every file of a real git dir, replaced in turn by every kind of file that it must not be.
//!
//! Nobody has to know which files git and libgit2 open: this judge finds what the lists of the
//! other files forgot. Each file is within reach, by a ref that names it, if a ref can.

use super::super::support::write;
use super::{Case, evil::Evil};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

type Kind = (&'static str, fn(&Evil<'_>, &Path));

/// What stands in the file's place.
const KINDS: [Kind; 5] = [
    ("fifo", |_, place| super::fifo(place)),
    ("endless", |_, place| {
        File::create(place).unwrap().set_len(15 << 40).unwrap();
    }),
    ("linked", |evil, place| {
        symlink(evil.outside().join("fifo"), place).unwrap();
    }),
    ("directory", |_, place| write(&place.join("x"), "x\n")),
    // A socket's path is short, so it is made elsewhere.
    ("socket", |_, place| {
        let near = tempfile::tempdir_in("/tmp").unwrap();
        let _closed = UnixListener::bind(near.path().join("s")).unwrap();
        if fs::rename(near.path().join("s"), place).is_err() {
            let _elsewhere = UnixListener::bind(place);
        }
    }),
];

/// Refs that git keeps beside `HEAD`.
const SPECIAL: [&str; 8] = [
    "ORIG_HEAD",
    "FETCH_HEAD",
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "REBASE_HEAD",
    "BISECT_HEAD",
    "AUTO_MERGE",
];

/// Fills a git dir with all that git keeps in one.
fn fill(evil: &Evil<'_>) {
    let git = |arguments: &[&str]| evil.repo.git(arguments);
    let head = git(&["rev-parse", "HEAD"]);
    git(&["tag", "packed"]);
    git(&["pack-refs", "--all"]);
    git(&["branch", "loose"]);
    git(&["commit-graph", "write", "--reachable"]);
    git(&["multi-pack-index", "write"]);
    git(&["update-index", "--split-index"]);
    for name in SPECIAL {
        write(&evil.git_dir(name), format!("{head}\n"));
        // Only one of the trees is in the middle of something, and kept unread.
        write(&evil.dirty.admin.join(name), format!("{head}\n"));
        let line = format!("{head} {head} A <a@b> 1700000000 +0000\tx\n");
        write(&evil.git_dir(format!("logs/{name}")), line);
        let by = format!("refs/remotes/origin/by-{}", name.to_lowercase());
        write(&evil.git_dir(by), format!("ref: {name}\n"));
    }
    write(
        &evil.git_dir("refs/remotes/origin/HEAD"),
        "ref: FETCH_HEAD\n",
    );
    for (name, text) in [
        ("gc.pid", "1 here\n"),
        ("gc.log", "x\n"),
        ("config.worktree", "[core]\n"),
        ("info/attributes", "* text\n"),
        ("info/grafts", ""),
        ("info/sparse-checkout", "/*\n"),
        ("info/refs", ""),
        ("objects/info/packs", ""),
        ("objects/info/alternates", ""),
        ("objects/info/http-alternates", ""),
        ("objects/info/commit-graphs/commit-graph-chain", ""),
        ("objects/pack/pack-x.keep", ""),
        ("rr-cache/x/preimage", ""),
        ("modules/x/HEAD", "ref: refs/heads/main\n"),
        ("shallow", ""),
        ("sequencer/todo", ""),
        ("rebase-merge/head-name", "refs/heads/main\n"),
        ("worktrees/landed/ORIG_HEAD", ""),
        ("worktrees/landed/config.worktree", "[core]\n"),
        ("worktrees/landed/refs/bisect/bad", ""),
        ("worktrees/dirty/rebase-merge/autostash", ""),
    ] {
        let place = evil.git_dir(name);
        if place.symlink_metadata().is_err() {
            let text = if ["bad", "autostash", "landed/ORIG_HEAD"]
                .iter()
                .any(|end| name.ends_with(end))
            {
                format!("{head}\n")
            } else {
                text.to_owned()
            };
            write(&place, text);
        }
    }
}

/// Returns what a path stands for: of many alike, one is enough.
fn class(path: &Path) -> String {
    let text = path.to_str().unwrap();
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        ["objects", shard] if shard.len() == 2 => "objects/*".into(),
        ["objects", shard, _] if shard.len() == 2 => "objects/*/*".into(),
        ["objects", "pack", name] if name.starts_with("pack-") => {
            format!("objects/pack/*.{}", name.rsplit('.').next().unwrap())
        }
        ["hooks", _] => "hooks/*".into(),
        [name] if name.starts_with("sharedindex.") => "sharedindex.*".into(),
        _ => text.into(),
    }
}

fn paths(git_dir: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(git_dir)
        .min_depth(1)
        .sort_by_file_name();
    let entries = entries.into_iter().map(|entry| entry.unwrap().into_path());
    entries
        .map(|path| path.strip_prefix(git_dir).unwrap().to_owned())
        .collect()
}

/// Returns the cases: each place of such a git dir, as each kind.
pub(super) fn cases() -> Vec<Case> {
    let world = super::World::unprepared();
    let evil = Evil::copy(&world, "all");
    fill(&evil);
    let places: BTreeSet<String> = paths(&evil.git_dir(""))
        .iter()
        .map(|path| class(path))
        .collect();
    println!("{} places", places.len());
    let one = |place: &String, (kind, make): Kind| {
        let plain: String = place
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let place = place.clone();
        Case::new(
            &format!("{kind}-{}", plain.to_lowercase()),
            "",
            "",
            move |evil| {
                fill(evil);
                let all = paths(&evil.git_dir(""));
                let found = all.iter().find(|path| class(path) == place).unwrap();
                evil.clear(found.to_str().unwrap());
                make(evil, &evil.git_dir(found));
            },
        )
    };
    places
        .iter()
        .flat_map(|place| KINDS.map(|kind| one(place, kind)))
        .collect()
}

/// Returns repos in which a worktree's `HEAD` leads to each of these, and one that is well-formed.
pub(super) fn heads() -> Vec<Case> {
    let one = |name: &'static str| {
        let case = format!("head-{}", name.to_lowercase().replace('_', "-"));
        Case::new(&case, "", "", move |evil| {
            fill(evil);
            write(&evil.landed.admin.join("HEAD"), format!("ref: {name}\n"));
            evil.fifo(name);
        })
    };
    // As it was, so that the others are not refused for what all have in common.
    let whole = Case::new("head-as-it-was", "Maintained reap keep", "", fill);
    SPECIAL.into_iter().map(one).chain([whole]).collect()
}
