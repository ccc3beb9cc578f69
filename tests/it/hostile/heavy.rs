//! Repos that are small on disk, but large in memory or endless to read.
//!
//! If a repo's content would need too much memory, the repo is refused by name and the others are
//! maintained. A read that would take a day ends with the run.

use super::super::support::{age, write};
use super::{Case, evil::Evil};
use flate2::{Compress, Compression, FlushCompress};
use git2::{ObjectType, Oid, Repository};
use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// In the row of such a repo, or of its tree.
const MEMORY: &str = "of memory";
/// The length in bytes of a path that the kernel just accepts.
const LONGEST: usize = 3_900;
/// The size in bytes of a file that nobody reads in a day.
const ENDLESS: u64 = 15 << 40;

/// Repos that are small on disk and large in memory.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("heavy-trees", "Maintained unknown reap", MEMORY, |evil| {
            let repo = open(evil);
            write(
                &evil.landed.admin.join("HEAD"),
                format!("{}\n", commit(&repo, long_paths(&repo))),
            );
        }),
        // Each entry stores only how its path differs from the one before: three bytes for four
        // thousand.
        Case::new(
            "heavy-indexes",
            "Maintained unknown unknown!",
            MEMORY,
            |evil| {
                let more = copies(evil, 2);
                for admin in [&evil.landed.admin, &evil.dirty.admin]
                    .into_iter()
                    .chain(&more)
                {
                    write(&admin.join("index"), index(100_000));
                }
            },
        ),
        Case::new("heavy-links", "Maintained reap unknown", MEMORY, |evil| {
            write(&evil.dirty.path.join("one"), "x\n");
            age(&evil.dirty.path.join("one"), 31.0);
            links(&evil.dirty.path, 12_000);
        }),
        // Read in parallel, each as large as a normal one may be. Git itself keeps a whole line in
        // memory.
        Case::new("heavy-reflogs", "Maintained reap reap!", MEMORY, |evil| {
            for admin in copies(evil, 30) {
                sparse(&admin.join("logs/HEAD"), 64 << 20);
            }
        }),
        // Each thread's repository handle has all refs in memory.
        Case::new("heavy-refs", "Refused", MEMORY, |evil| {
            let main = evil.repo.git(&["rev-parse", "HEAD"]);
            let name = "n".repeat(200);
            let lines: Vec<String> = (0..120_000)
                .map(|number| format!("{main} refs/tags/{name}{number:06}\n"))
                .collect();
            write(
                &evil.git_dir("packed-refs"),
                format!(
                    "# pack-refs with: peeled fully-peeled sorted \n{}",
                    lines.concat()
                ),
            );
            for admin in copies(evil, 30) {
                write(&admin.join("HEAD"), "ref: refs/heads/nowhere\n");
            }
        }),
        // Names of loose objects: all ids are kept until the whole store has been checked.
        Case::new("heavy-ids", "Refused", MEMORY, |evil| {
            ids(&evil.git_dir("objects/ab"), 300_000, "");
        }),
        Case::new(
            "heavy-tree-object",
            "Maintained unknown reap!",
            MEMORY,
            |evil| {
                let repo = open(evil);
                let blob = repo.blob(b"x").unwrap();
                let entry =
                    |number| [format!("100644 {number:09}\0").as_bytes(), blob.as_bytes()].concat();
                let tree = repo
                    .odb()
                    .unwrap()
                    .write(
                        ObjectType::Tree,
                        &(0..4_000_000).flat_map(entry).collect::<Vec<u8>>(),
                    )
                    .unwrap();
                write(
                    &evil.landed.admin.join("HEAD"),
                    format!("{}\n", commit(&repo, tree)),
                );
            },
        ),
    ]
}

/// Repos that take a day to read.
pub(super) fn slow() -> Vec<Case> {
    vec![
        // git-lfs' large files are read, to see whether the store has the same content.
        Case::new("slow-pointer", "", "", |evil| {
            let sum = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
            let pointer = format!(
                "version https://git-lfs.github.com/spec/v1\noid sha256:{sum}\nsize {ENDLESS}\n"
            );
            evil.dirty.commit("model.bin", &pointer);
            sparse(&evil.dirty.path.join("model.bin"), ENDLESS);
            sparse(&evil.git_dir(format!("lfs/objects/4d/7a/{sum}")), ENDLESS);
            evil.age();
        }),
        // A wheel's `RECORD` has the size and hash of each file.
        Case::new("slow-record", "", "", |evil| {
            let venv = evil.dirty.path.join(".venv");
            let site = venv.join("lib/python3.11/site-packages");
            write(&venv.join("pyvenv.cfg"), "home = /usr\n");
            write(
                &site.join("x-1.dist-info/RECORD"),
                format!("x.bin,sha256={},{ENDLESS}\n", "A".repeat(43)),
            );
            sparse(&site.join("x.bin"), ENDLESS);
            evil.age();
            // Changed after the install, so it is read.
            age(&site.join("x-1.dist-info/RECORD"), 60.0);
        }),
        // HEAD's file of that name is shorter, so this is another file, which is never rescued.
        Case::new("slow-edit", "", "", |evil| {
            sparse(&evil.dirty.path.join("README.md"), ENDLESS);
            evil.age();
        }),
        // A program of Go has its module's name somewhere in it.
        Case::new("slow-program", "", "", |evil| program(evil, "server")),
        Case::new("slow-programs", "", "", |evil| program(evil, "bin/server")),
        // A source map counts only beside the file that it is a map of.
        Case::new("slow-maps", "", "", |evil| {
            write(&evil.dirty.path.join("package.json"), "{}\n");
            ids(&evil.dirty.path.join("dist"), 200_000, ".map");
            evil.age();
        }),
        Case::new("slow-bomb", "", "", |evil| {
            let id = "1".repeat(40);
            bomb(&evil.git_dir(format!("objects/11/{}", &id[2..])), 64 << 30);
        }),
    ]
}

fn open(evil: &Evil<'_>) -> Repository {
    Repository::open(&evil.repo.path).unwrap()
}

fn commit(repo: &Repository, tree: Oid) -> Oid {
    let who = "An Agent <agent@example.com> 1700000000 +0000";
    let text = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nx\n");
    repo.odb()
        .unwrap()
        .write(ObjectType::Commit, text.as_bytes())
        .unwrap()
}

fn sparse(path: &Path, bytes: u64) {
    write(path, "");
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(bytes)
        .unwrap();
}

/// Creates an executable without an end in the directory of a `go.mod`, or in its `bin`.
fn program(evil: &Evil<'_>, path: &str) {
    let file = evil.dirty.path.join(path);
    write(&evil.dirty.path.join("go.mod"), "module acme.example\n");
    sparse(&file, ENDLESS);
    let open = File::options().write(true).open(&file).unwrap();
    open.write_all_at(b"\x7fELF", 0).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    evil.age();
}

/// Builds some kilobytes of trees that name 800,000 files, each by a path of the greatest length.
fn long_paths(repo: &Repository) -> Oid {
    let directory = |entries: &mut dyn Iterator<Item = (String, Oid)>, mode: &str| {
        let bytes: Vec<u8> = entries
            .flat_map(|(name, id)| [format!("{mode} {name}\0").as_bytes(), id.as_bytes()].concat())
            .collect();
        repo.odb().unwrap().write(ObjectType::Tree, &bytes).unwrap()
    };
    let blob = repo.blob(b"x").unwrap();
    let many =
        |count: usize, below: Oid| (0..count).map(move |number| (format!("n{number:02}"), below));
    let mut tree = directory(&mut many(100, blob), "100644");
    for count in [100, 80] {
        tree = directory(&mut many(count, tree), "40000");
    }
    for _ in 0..LONGEST / 256 {
        tree = directory(&mut [("d".repeat(255), tree)].into_iter(), "40000");
    }
    tree
}

/// Builds an index of version 4 in which all paths differ only at the end.
fn index(entries: u32) -> Vec<u8> {
    let mut bytes = [b"DIRC", &4_u32.to_be_bytes()[..], &entries.to_be_bytes()].concat();
    for number in 0..entries {
        bytes.extend(
            [
                [0; 24].as_slice(),
                &0o100_644_u32.to_be_bytes(),
                &[0; 12],
                &[1; 20],
                &0xfff_u16.to_be_bytes(),
            ]
            .concat(),
        );
        if number == 0 {
            bytes.push(0);
            bytes.extend("d".repeat(250).repeat(LONGEST / 250).as_bytes());
        } else {
            bytes.push(6);
        }
        bytes.extend(format!("{number:06}\0").as_bytes());
    }
    let sum = treewarden::git::sha1::of(&bytes);
    [bytes, sum].concat()
}

/// Creates so many more registrations like the landed tree's, with trees; returns their admin
/// directories.
fn copies(evil: &Evil<'_>, many: usize) -> Vec<PathBuf> {
    let one = |number: usize| {
        let name = format!("more{number}");
        let (tree, admin) = (
            evil.landed.path.with_file_name(&name),
            evil.landed.admin.with_file_name(&name),
        );
        for (from, to) in [(&evil.landed.path, &tree), (&evil.landed.admin, &admin)] {
            assert!(
                std::process::Command::new("cp")
                    .arg("-a")
                    .args([from, to])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        write(&tree.join(".git"), format!("gitdir: {}\n", admin.display()));
        write(
            &admin.join("gitdir"),
            format!("{}\n", tree.join(".git").display()),
        );
        write(
            &admin.join("HEAD"),
            evil.repo.git(&["rev-parse", "refs/remotes/origin/main"]),
        );
        admin
    };
    (0..many).map(one).collect()
}

/// Creates so many names of one file, 240 directories deep.
fn links(top: &Path, many: usize) {
    use rustix::fs::{AtFlags, Mode, OFlags, linkat, mkdirat, openat};
    let top = rustix::fs::open(top, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mut directory = top.try_clone().unwrap();
    for _ in 0..240 {
        mkdirat(&directory, "fifteen-letters", Mode::RWXU).unwrap();
        directory = openat(
            &directory,
            "fifteen-letters",
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
        )
        .unwrap();
    }
    for number in 0..many {
        linkat(
            &top,
            "one",
            &directory,
            format!("l{number:05}"),
            AtFlags::empty(),
        )
        .unwrap();
    }
}

/// Creates so many loose objects, or files with an extension, as names of a few files: ext4 allows
/// 65,000 names per file.
fn ids(directory: &Path, many: usize, extension: &str) {
    const NAMES: usize = 50_000;
    let name = |number: usize| directory.join(format!("{number:038x}{extension}"));
    for first in (0..many).step_by(NAMES) {
        write(&name(first), "");
        for number in first + 1..many.min(first + NAMES) {
            std::fs::hard_link(name(first), name(number)).unwrap();
        }
    }
}

/// Writes a loose object of so many zeros, a thousandth as large on disk: the same piece of
/// deflated zeros, repeated.
fn bomb(path: &Path, bytes: u64) {
    let piece = |zlib: bool, content: &[u8], flush| {
        let mut deflate = Compress::new(Compression::best(), zlib);
        let mut out = Vec::with_capacity(1 << 20);
        deflate.compress_vec(content, &mut out, flush).unwrap();
        out
    };
    let zeros = vec![0; 64 << 20];
    let (begin, more) = (
        piece(
            true,
            format!("blob {bytes}\0").as_bytes(),
            FlushCompress::Full,
        ),
        piece(false, &zeros, FlushCompress::Full),
    );
    write(path, &begin);
    let file = File::options().write(true).open(path).unwrap();
    let mut at = begin.len() as u64;
    for _ in 0..bytes / zeros.len() as u64 {
        file.write_all_at(&more, at).unwrap();
        at += more.len() as u64;
    }
}
