//! Huge and corrupt files: some would fill their reader's memory, some have counts that exceed
//! their content, some histories unfold to far more.
//!
//! Each run must end, in bounded memory, and report the cause.

use super::super::support::write;
use super::{Case, FINE, evil::Evil};
use git2::{ObjectType, Oid, Repository, Signature, Time};
use std::fs::{self, File};
use std::path::Path;

/// A size in bytes; sparse files of it take no disk space.
const HUGE: u64 = 1 << 30;

/// Creates a sparse file of so many zeros.
fn sparse(path: &Path, bytes: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if path.exists() {
        fs::remove_file(path).unwrap();
    }
    File::create(path).unwrap().set_len(bytes).unwrap();
}

/// Files of the git dir that become huge, each with its row.
const FILES: &[(&str, &str)] = &[
    ("HEAD", "Failed"),
    ("config", "Failed"),
    ("packed-refs", "Refused"),
    ("shallow", "Refused"),
    ("index", "Refused"),
    ("ORIG_HEAD", "Maintained reap reap!"),
    ("FETCH_HEAD", "Maintained reap reap!"),
    ("MERGE_HEAD", "Maintained reap reap!"),
    ("logs/HEAD", "Refused"),
    ("logs/refs/heads/main", "Refused"),
    ("logs/refs/stash", "Refused"),
    ("refs/heads/main", "Refused"),
    ("refs/heads/x", "Refused"),
    ("refs/remotes/origin/main", "Refused"),
    ("refs/treewarden/rescue/x/y", "Refused"),
    ("worktrees/landed/HEAD", "Refused"),
    ("worktrees/landed/gitdir", "Refused"),
    ("worktrees/landed/commondir", "Refused"),
    ("worktrees/landed/index", "Refused"),
    ("worktrees/landed/locked", "Refused"),
    ("worktrees/landed/ORIG_HEAD", "Refused"),
    ("worktrees/landed/logs/HEAD", "Refused"),
    ("worktrees/landed/refs/worktree/x", "Refused"),
    ("info/attributes", FINE),
    ("info/grafts", "Maintained reap reap!"),
    ("hooks/pre-auto-gc", FINE),
    ("objects/info/alternates", "Failed"),
    ("objects/info/commit-graph", FINE),
    ("objects/info/commit-graphs/commit-graph-chain", "Refused"),
    ("objects/pack/multi-pack-index", "Failed"),
    (
        "objects/pack/pack-1111111111111111111111111111111111111111.pack",
        FINE,
    ),
    (
        "objects/pack/pack-1111111111111111111111111111111111111111.idx",
        FINE,
    ),
    (
        "objects/11/11111111111111111111111111111111111111",
        "Failed",
    ),
];

/// Returns all cases of this file.
pub(super) fn cases() -> Vec<Case> {
    let files = FILES.iter().map(|&(file, row)| {
        let name: String = file
            .chars()
            .filter(|c| *c != '1')
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        Case::new(
            &format!("huge-{}", name.to_lowercase()),
            row,
            "",
            move |evil| sparse(&evil.git_dir(file), HUGE),
        )
    });
    // Each key repeats its section's name, so that a list of them would take some 80 GiB.
    let endless = [
        ("endless-config", ""),
        ("endless-config-for-git", "# a comment\n"),
    ]
    .map(|(name, more)| {
        Case::new(name, "Refused", "", move |evil| {
            let config = fs::read_to_string(evil.git_dir("config")).unwrap();
            let (section, keys) = ("x".repeat(500 << 10), "a=\n".repeat(170_000));
            write(
                &evil.git_dir("config"),
                format!("{config}[a \"{section}\"]\n{more}{keys}"),
            );
        })
    });
    files
        .chain(endless)
        .chain(counts())
        .chain(corrupt())
        .chain(bombs())
        .collect()
}

/// Headers that announce more than there is.
fn counts() -> Vec<Case> {
    let index = |name: &str, file: &'static str, row: &'static str| {
        Case::new(name, row, "", move |evil| {
            let mut bytes = b"DIRC\0\0\0\x02\x7f\xff\xff\xff".to_vec();
            bytes.extend([0; 20]);
            write(&evil.git_dir(file), bytes);
        })
    };
    vec![
        index("count-index", "index", "Refused"),
        index(
            "count-tree-index",
            "worktrees/landed/index",
            "Maintained unknown reap!",
        ),
        Case::new("count-extension", "Maintained unknown reap!", "", |evil| {
            let mut bytes = b"DIRC\0\0\0\x02\0\0\0\0TREE\x7f\xff\xff\xff".to_vec();
            bytes.extend([0; 40]);
            write(&evil.git_dir("worktrees/landed/index"), bytes);
        }),
        Case::new("count-pack", "Failed", "damaged: ", |evil| {
            pair(
                evil,
                b"PACK\0\0\0\x02\xff\xff\xff\xff",
                b"\xfftOc\0\0\0\x02",
            );
        }),
        Case::new("count-midx", FINE, "", |evil| {
            write(
                &evil.git_dir("objects/pack/multi-pack-index"),
                b"MIDX\x01\x01\xff\0\xff\xff\xff\xff",
            );
        }),
        Case::new("count-graph", FINE, "", |evil| {
            write(
                &evil.git_dir("objects/info/commit-graph"),
                b"CGPH\x01\x01\xff\xff",
            );
        }),
    ]
}

fn pair(evil: &Evil<'_>, pack: &[u8], idx: &[u8]) {
    let stem = evil
        .git_dir("objects/pack")
        .join(format!("pack-{}", "1".repeat(40)));
    write(&stem.with_extension("pack"), [pack, &[0; 20]].concat());
    let mut idx = idx.to_vec();
    idx.extend([0xff; 1024]);
    idx.extend([0; 40]);
    write(&stem.with_extension("idx"), idx);
}

/// Meaningless bytes, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn corrupt() -> Vec<Case> {
    let noisy = |name: &str, file: &'static str, row: &'static str| {
        Case::new(name, row, "", move |evil| {
            evil.repo
                .git(&["repack", "-q", "-a", "-d", "-b", "--write-midx"]);
            evil.repo.git(&["commit-graph", "write", "--reachable"]);
            let file = match file.split_once('*') {
                None => evil.git_dir(file),
                Some((directory, ending)) => {
                    let mut files = fs::read_dir(evil.git_dir(directory))
                        .unwrap()
                        .map(|entry| entry.unwrap().path());
                    files
                        .find(|path| path.to_str().unwrap().ends_with(ending))
                        .unwrap()
                }
            };
            let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
            let mut bytes = fs::read(&file).unwrap();
            bytes.truncate(12);
            bytes.extend(noise(length));
            fs::remove_file(&file).unwrap();
            write(&file, bytes);
        })
    };
    vec![
        noisy("noise-pack", "objects/pack*.pack", "Failed"),
        noisy("noise-idx", "objects/pack*.idx", "Failed"),
        noisy("noise-rev", "objects/pack*.rev", FINE),
        noisy("noise-bitmap", "objects/pack*.bitmap", FINE),
        noisy("noise-midx", "objects/pack/multi-pack-index", FINE),
        noisy("noise-graph", "objects/info/commit-graph", FINE),
        noisy(
            "noise-index",
            "worktrees/landed/index",
            "Maintained unknown reap!",
        ),
        noisy(
            "noise-head",
            "worktrees/landed/HEAD",
            "Maintained unknown reap",
        ),
        Case::new("noise-log", FINE, "", |evil| {
            write(&evil.git_dir("worktrees/landed/logs/HEAD"), noise(100_000));
        }),
        Case::new("noise-main-log", FINE, "", |evil| {
            write(&evil.git_dir("logs/HEAD"), noise(100_000));
        }),
        Case::new("noise-object", "Failed", "damaged: ", |evil| {
            write(
                &evil.git_dir("objects/11").join("1".repeat(38)),
                noise(1000),
            );
        }),
        Case::new("empty-object", "Failed", "damaged: ", |evil| {
            write(&evil.git_dir("objects/11").join("1".repeat(38)), "");
        }),
        Case::new("empty-pack", "Failed", "damaged: ", |evil| {
            pair(evil, b"", b"");
        }),
    ]
}

fn open(evil: &Evil<'_>) -> Repository {
    Repository::open(&evil.repo.path).unwrap()
}

fn commit(repo: &Repository, tree: Oid, parents: &[Oid]) -> Oid {
    let author = Signature::new(
        "An Agent",
        "agent@example.com",
        &Time::new(1_700_000_000, 0),
    )
    .unwrap();
    let parents: Vec<_> = parents
        .iter()
        .map(|id| repo.find_commit(*id).unwrap())
        .collect();
    repo.commit(
        None,
        &author,
        &author,
        "Unfold",
        &repo.find_tree(tree).unwrap(),
        &parents.iter().collect::<Vec<_>>(),
    )
    .unwrap()
}

/// Builds a tree of 31 objects that contains 2^30 files.
fn tree_bomb(repo: &Repository) -> Oid {
    let mut id = repo.blob(b"x").unwrap();
    for level in 0..30 {
        let mut tree = repo.treebuilder(None).unwrap();
        for name in ["a", "b"] {
            tree.insert(name, id, if level == 0 { 0o100_644 } else { 0o040_000 })
                .unwrap();
        }
        id = tree.write().unwrap();
    }
    id
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
fn bombs() -> Vec<Case> {
    fn at_head(evil: &Evil<'_>, id: Oid) {
        write(&evil.landed.admin.join("HEAD"), format!("{id}\n"));
    }
    vec![
        Case::new("bomb-tree", "Maintained unknown reap", "", |evil| {
            let repo = open(evil);
            at_head(evil, commit(&repo, tree_bomb(&repo), &[]));
        }),
        Case::new(
            "bomb-tree-over-main",
            "Maintained unknown reap",
            "",
            |evil| {
                let repo = open(evil);
                let main = repo.refname_to_id("refs/remotes/origin/main").unwrap();
                at_head(evil, commit(&repo, tree_bomb(&repo), &[main]));
            },
        ),
        // The tree itself is well-formed; what was merged upstream in between is not.
        Case::new("bomb-upstream", "Maintained keep reap", "", |evil| {
            let repo = open(evil);
            let main = repo
                .find_commit(repo.refname_to_id("refs/remotes/origin/main").unwrap())
                .unwrap();
            let bomb = commit(&repo, tree_bomb(&repo), &[main.id()]);
            let mine = commit(
                &repo,
                repo.treebuilder(None).unwrap().write().unwrap(),
                &[main.id()],
            );
            repo.reference("refs/remotes/origin/main", bomb, true, "x")
                .unwrap();
            at_head(evil, mine);
        }),
        Case::new("bomb-branch", "Maintained keep reap", "", |evil| {
            let repo = open(evil);
            let main = repo
                .find_commit(repo.refname_to_id("refs/remotes/origin/main").unwrap())
                .unwrap();
            let bomb = commit(&repo, tree_bomb(&repo), &[main.id()]);
            let mine = commit(
                &repo,
                repo.treebuilder(None).unwrap().write().unwrap(),
                &[bomb],
            );
            let ours = commit(
                &repo,
                repo.treebuilder(None).unwrap().write().unwrap(),
                &[main.id()],
            );
            let ours = commit(&repo, main.tree_id(), &[ours]);
            repo.reference("refs/remotes/origin/main", ours, true, "x")
                .unwrap();
            at_head(evil, mine);
        }),
        Case::new("bomb-refs", FINE, "", |evil| {
            let repo = open(evil);
            let bomb = tree_bomb(&repo);
            for name in [
                "refs/treewarden/rescue/x/y",
                "refs/treewarden/shield/x",
                "refs/stash",
                "refs/heads/tree",
                "refs/tags/tree",
            ] {
                repo.reference(name, bomb, true, "x").unwrap();
            }
        }),
        Case::new("bomb-tags", FINE, "", |evil| {
            let repo = open(evil);
            let tagger = "tagger An Agent <agent@example.com> 1700000000 +0000";
            let mut id = repo.refname_to_id("refs/heads/main").unwrap();
            for depth in 0..2000 {
                let kind = if depth == 0 { "commit" } else { "tag" };
                let text = format!("object {id}\ntype {kind}\ntag t{depth}\n{tagger}\n\nx\n");
                id = repo
                    .odb()
                    .unwrap()
                    .write(ObjectType::Tag, text.as_bytes())
                    .unwrap();
            }
            repo.reference("refs/tags/deep", id, true, "x").unwrap();
        }),
        Case::new("bomb-deep-tree", "Maintained unknown reap!", "", |evil| {
            let repo = open(evil);
            let mut id = repo.blob(b"x").unwrap();
            for level in 0..3000 {
                let mut tree = repo.treebuilder(None).unwrap();
                tree.insert("d", id, if level == 0 { 0o100_644 } else { 0o040_000 })
                    .unwrap();
                id = tree.write().unwrap();
            }
            at_head(evil, commit(&repo, id, &[]));
        }),
        Case::new("bomb-folders", "Maintained reap keep", "", |evil| {
            deep(&evil.dirty.path, 5000);
        }),
        Case::new(
            "bomb-made-again",
            "Maintained reap keep",
            "nested too deep",
            |evil| {
                write(&evil.dirty.path.join("node_modules/.bin/x"), "");
                deep(&evil.dirty.path.join("node_modules"), 5000);
            },
        ),
        Case::new("bomb-ref-folders", "Failed", "", |evil| {
            deep(&evil.git_dir("refs/heads"), 5000);
        }),
        Case::new("bomb-object-folders", "Failed", "", |evil| {
            deep(&evil.git_dir("objects"), 5000);
        }),
        Case::new("bomb-admin-folders", "Failed", "", |evil| {
            deep(&evil.landed.admin, 5000);
        }),
        Case::new("bomb-refs-deep", FINE, "", |evil| {
            let id = evil.repo.git(&["rev-parse", "HEAD"]);
            write(
                &evil.git_dir("refs/heads").join("d/".repeat(1500)).join("x"),
                format!("{id}\n"),
            );
        }),
    ]
}

/// Creates nested directories, deeper than any path reaches.
fn deep(top: &Path, levels: usize) {
    use rustix::fs::{Mode, OFlags};
    let mut fd = rustix::fs::open(top, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..levels {
        rustix::fs::mkdirat(&fd, "d", Mode::RWXU).unwrap();
        fd = rustix::fs::openat(&fd, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .unwrap();
    }
}
