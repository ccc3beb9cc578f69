//! A made-up tree shaped like what fills a volume: packages in `node_modules`, npm's and pnpm's
//! stores, crates, git objects.
//!
//! The same number of entries creates the same tree, except for which of two equal files is the
//! link. It must never be created in a directory that is not empty.

#![allow(dead_code, reason = "each bench uses its part")]

use rayon::prelude::*;
use std::fs;
use std::io;
use std::path::Path;

/// Two packages, with what pnpm and npm stored of each, a crate, and git objects.
const ENTRIES_OF_A_PART: usize = 125;

/// Creates a tree of about so many entries in `root`.
///
/// # Errors
/// The disk is full, or something is there already.
pub(crate) fn make(root: &Path, entries: usize) -> io::Result<()> {
    let parts = entries / ENTRIES_OF_A_PART;
    for byte in 0..=u8::MAX {
        for directory in ["pnpm/files", "npm/content", "shop/.git/objects"] {
            fs::create_dir_all(root.join(format!("{directory}/{byte:02x}")))?;
        }
    }
    (0..parts * 2).into_par_iter().try_for_each(|number| {
        package(root, number)?;
        stored(root, number)?;
        if number % 2 == 0 {
            unpacked_crate(root, number)
        } else {
            objects(root, number)
        }
    })
}

/// Creates files in one directory, and nothing else.
///
/// # Errors
/// As [`make`].
pub(crate) fn wide(root: &Path, files: usize) -> io::Result<()> {
    fs::create_dir_all(root)?;
    (0..files)
        .try_for_each(|number| fs::write(root.join(format!("{:016x}", scattered(number))), b""))
}

/// Creates a chain of directories, so many deep, each with so many files.
///
/// # Errors
/// As [`make`].
pub(crate) fn deep(root: &Path, levels: usize, files: usize) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    fs::create_dir_all(root)?;
    let mut here = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    for _ in 0..levels {
        for number in 0..files {
            drop(rustix::fs::openat(
                &here,
                format!("file-{number}"),
                OFlags::WRONLY | OFlags::CREATE,
                Mode::RWXU,
            )?);
        }
        rustix::fs::mkdirat(&here, "d", Mode::RWXU)?;
        here = rustix::fs::openat(
            &here,
            "d",
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
        )?;
    }
    Ok(())
}

/// Creates a package: 4 directories, 14 files, every fourth of them a link into pnpm's store.
fn package(root: &Path, number: usize) -> io::Result<()> {
    let top = root.join(format!(
        "trees/tree-{}/node_modules/package-{number}",
        number / 600
    ));
    for directory in ["dist/internal", "test"] {
        fs::create_dir_all(top.join(directory))?;
    }
    for file in 0..14 {
        let directory = ["", "dist", "dist/internal", "test"][file % 4];
        let (path, bytes) = (
            top.join(directory).join(format!("module-{file}.js")),
            scattered(number * 14 + file),
        );
        if file % 4 == 1 {
            let store = root.join(format!("pnpm/files/{:02x}/{bytes:016x}", bytes & 0xff));
            write(&store, bytes)?;
            fs::hard_link(store, path)?;
        } else {
            write(&path, bytes)?;
        }
    }
    Ok(())
}

/// Creates three files of npm's cache, each two directories down, where few others are.
fn stored(root: &Path, number: usize) -> io::Result<()> {
    (0..3).try_for_each(|blob| {
        let hash = scattered(number * 3 + blob + 77_777_777);
        let directory = root.join(format!(
            "npm/content/{:02x}/{:02x}",
            hash & 0xff,
            hash >> 8 & 0xff
        ));
        fs::create_dir_all(&directory)?;
        write(&directory.join(format!("{hash:032x}")), hash)
    })
}

/// Creates a crate: 6 directories and 40 files.
fn unpacked_crate(root: &Path, number: usize) -> io::Result<()> {
    let top = root.join(format!("cargo/registry/src/index/crate-{number}"));
    for directory in ["src/imp/unix", "tests", "benches"] {
        fs::create_dir_all(top.join(directory))?;
    }
    (0..40).try_for_each(|file| {
        let directory = ["", "src", "src/imp", "src/imp/unix", "tests", "benches"][file % 6];
        write(
            &top.join(directory).join(format!("file_{file}.rs")),
            scattered(number * 40 + file + 33_333_333),
        )
    })
}

/// Creates twenty-four loose objects.
fn objects(root: &Path, number: usize) -> io::Result<()> {
    (0..24).try_for_each(|object| {
        let hash = scattered(number * 24 + object + 55_555_555);
        write(
            &root.join(format!("shop/.git/objects/{:02x}/{hash:038x}", hash & 0xff)),
            hash,
        )
    })
}

/// Writes a file, mostly of a block, now and then of several.
fn write(path: &Path, random: u64) -> io::Result<()> {
    static TEXT: [u8; 20_000] = [b'x'; 20_000];
    let most = if random.is_multiple_of(8) {
        TEXT.len() as u64
    } else {
        4000
    };
    fs::write(
        path,
        &TEXT[..usize::try_from(random >> 16 & 0xffff).unwrap_or(0)
            % usize::try_from(most).unwrap_or(1)],
    )
}

/// Returns a number that depends only on `number`, and looks random.
fn scattered(number: usize) -> u64 {
    fastrand::Rng::with_seed(number as u64).u64(..)
}
