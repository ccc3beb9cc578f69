//! A volume full of package caches: laid out as the tools lay them out, each unit last used on a
//! day of its own.
//!
//! Files have made-up content, except for the bytes that the survey reads: npm's index, and the
//! ends of pip's bodies. It must never be anywhere but on a file system mounted for it alone: the
//! watermarks are shares of the whole, and other files would count.

#![allow(
    clippy::disallowed_methods,
    reason = "mounts are made and undone by the system's own commands"
)]
#![allow(clippy::cast_precision_loss, reason = "four digits of a percentage")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use rayon::prelude::*;
use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// A mounted volume. Dropping it unmounts its file system.
pub(crate) struct Volume {
    /// Where it is mounted.
    pub(crate) root: PathBuf,
    directory: tempfile::TempDir,
}

/// How many units of each kind, and how many files the larger ones have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    npm: usize,
    pip: usize,
    uv: usize,
    cargo: usize,
    go: usize,
    go_build: usize,
}

impl Shape {
    /// Returns a thousand units with twenty files each, on average, for each of `thousands`.
    pub(crate) fn mixed(thousands: usize) -> Self {
        Self {
            npm: 200 * thousands,
            pip: 160 * thousands,
            uv: 140 * thousands,
            cargo: 260 * thousands,
            go: 240 * thousands,
            go_build: 0,
        }
    }

    /// Returns a thousand units of one or two small files, for each of `thousands`.
    pub(crate) fn small(thousands: usize) -> Self {
        Self {
            npm: 150 * thousands,
            pip: 150 * thousands,
            uv: 0,
            cargo: 0,
            go: 0,
            go_build: 700 * thousands,
        }
    }

    /// Returns the number of units.
    pub(crate) fn units(self) -> usize {
        self.npm + self.pip + self.uv + self.cargo + self.go + self.go_build
    }

    /// Returns the number of their files.
    pub(crate) fn files(self) -> usize {
        2 * (self.npm + self.pip)
            + self.uv * (WHEEL + 1)
            + self.cargo * (CRATE + 1)
            + self.go * (MODULE + 5)
            + self.go_build
    }
}

/// Creates one unit below the caches, named after its number.
type Make = fn(&Path, &mut Rng, usize);

/// Files of an unpacked wheel, crate and module.
const WHEEL: usize = 36;
const CRATE: usize = 28;
const MODULE: usize = 24;

impl Volume {
    /// Creates the volume in `within`, on `tmpfs` or on an `ext4` in a file.
    pub(crate) fn make(within: &Path, on: &str, shape: Shape) -> Self {
        let directory = tempfile::tempdir_in(within).unwrap();
        let root = directory.path().join("volume");
        fs::create_dir(&root).unwrap();
        let inodes = shape.files() * 3 / 2 + 100_000;
        let bytes = shape.files() * 6 * 1024 + (256 << 20);
        if on == "tmpfs" {
            sh(
                "mount",
                &[
                    "-t",
                    "tmpfs",
                    "-o",
                    &format!("size={bytes},nr_inodes={inodes}"),
                    "tmpfs",
                ],
                &root,
            );
        } else {
            let image = directory.path().join("image");
            File::create(&image).unwrap().set_len(bytes as u64).unwrap();
            sh(
                "mkfs.ext4",
                &["-q", "-m", "0", "-N", &inodes.to_string()],
                &image,
            );
            sh("mount", &["-o", "loop", image.to_str().unwrap()], &root);
        }
        let volume = Self { root, directory };
        volume.fill(shape);
        volume
    }

    fn fill(&self, shape: Shape) {
        let kinds: [(usize, Make); 6] = [
            (shape.npm, npm),
            (shape.pip, pip),
            (shape.uv, uv),
            (shape.cargo, cargo),
            (shape.go, go),
            (shape.go_build, go_build),
        ];
        let caches = self.root.join("caches");
        for (kind, (count, make)) in kinds.into_iter().enumerate() {
            (0..count).into_par_iter().for_each(|number| {
                make(
                    &caches,
                    &mut Rng::with_seed((kind << 32 | number) as u64),
                    number,
                );
            });
        }
        // Otherwise the first way would wait for the disk to write this.
        rustix::fs::syncfs(File::open(&self.root).unwrap()).unwrap();
    }

    /// Returns the bytes in use, and in all, as the watermarks count them.
    pub(crate) fn level(&self) -> (u64, u64) {
        let stat = rustix::fs::statvfs(&self.root).unwrap();
        (
            (stat.f_blocks - stat.f_bfree) * stat.f_frsize,
            (stat.f_blocks - stat.f_bfree + stat.f_bavail) * stat.f_frsize,
        )
    }

    /// Writes a config with which treewarden frees that many bytes here, and returns its path.
    pub(crate) fn config(&self, to_free: u64) -> PathBuf {
        let (used, all) = self.level();
        let share = |bytes: u64| 100.0 * bytes as f64 / all as f64;
        let (high, low) = (share(used) - 0.01, share(used - to_free));
        let caches = ["npm", "pip", "uv", "cargo", "go-mod", "go-build"]
            .map(|kind| format!("  - {{kind: {kind}, path: caches/{kind}}}\n"));
        let threads = std::env::var("EVICT_THREADS").unwrap_or_else(|_| "32".to_owned());
        let config = self.directory.path().join("config.yaml");
        let text = format!(
            "volume:\n  root: {}\nrun: {{io_threads: {threads}}}\neviction:\n  high: {{bytes: {high:.4}%, inodes: 100%}}\n  low: {{bytes: {low:.4}%, inodes: 99%}}\nrepos: []\ncaches:\n{}",
            self.root.display(),
            caches.concat()
        );
        fs::write(&config, text).unwrap();
        config
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        sh("umount", &["--lazy"], &self.root);
    }
}

fn sh(program: &str, arguments: &[&str], last: &Path) {
    let status = Command::new(program)
        .args(arguments)
        .arg(last)
        .status()
        .unwrap();
    assert!(
        status.success(),
        "{program} failed; this bench mounts a volume of its own, so run it as root"
    );
}

/// Returns a unit's last use: 2 to 200 days ago.
fn used(rng: &mut Rng) -> SystemTime {
    SystemTime::now() - Duration::from_secs(rng.u64(2 * 86_400..200 * 86_400))
}

fn put(path: &Path, bytes: &[u8], at: SystemTime) {
    let mut file = File::create(path)
        .or_else(|_| {
            fs::create_dir_all(path.parent().unwrap())?;
            File::create(path)
        })
        .unwrap();
    file.write_all(bytes).unwrap();
    file.set_times(FileTimes::new().set_accessed(at).set_modified(at))
        .unwrap();
}

fn some(rng: &mut Rng) -> Vec<u8> {
    vec![b'x'; rng.usize(50..4000)]
}

fn hex(rng: &mut Rng, digits: usize) -> String {
    (0..digits)
        .map(|_| char::from_digit(rng.u32(0..16), 16).unwrap())
        .collect()
}

/// Writes `count` files in a handful of directories, which are as old as the files.
fn tree(directory: &Path, first: &str, count: usize, rng: &mut Rng, at: SystemTime) {
    put(&directory.join(first), &some(rng), at);
    let below: Vec<PathBuf> = ["src", "src/deep", "tests"]
        .iter()
        .map(|name| directory.join(name))
        .collect();
    for number in 1..count {
        put(
            &below[number % 3].join(format!("file_{number}.rs")),
            &some(rng),
            at,
        );
    }
    // The first file's directory, too: one young directory in a wheel would keep it.
    let first = directory.join(first);
    for directory in below
        .iter()
        .rev()
        .map(PathBuf::as_path)
        .chain([first.parent().unwrap(), directory])
    {
        File::open(directory)
            .unwrap()
            .set_times(FileTimes::new().set_modified(at))
            .unwrap();
    }
}

fn npm(caches: &Path, rng: &mut Rng, number: usize) {
    let (at, cache) = (used(rng), caches.join("npm/_cacache"));
    let digest: Vec<u8> = (0..64).map(|_| rng.u8(..)).collect();
    let hexed = digest
        .iter()
        .fold(String::new(), |hexed, byte| hexed + &format!("{byte:02x}"));
    put(
        &cache.join(format!(
            "content-v2/sha512/{}/{}/{}",
            &hexed[..2],
            &hexed[2..4],
            &hexed[4..]
        )),
        &some(rng),
        at,
    );
    let key = format!(
        "make-fetch-happen:request-cache:https://registry.npmjs.org/package-{number}/-/package-{number}-1.0.0.tgz"
    );
    let line = format!(
        "\n{}\t{{\"key\":\"{key}\",\"integrity\":\"sha512-{}\",\"time\":1700000000000,\"size\":1000,\"metadata\":{{\"url\":\"{key}\"}}}}",
        hex(rng, 40),
        STANDARD.encode(digest)
    );
    let bucket = hex(rng, 64);
    put(
        &cache.join(format!(
            "index-v5/{}/{}/{}",
            &bucket[..2],
            &bucket[2..4],
            &bucket[4..]
        )),
        line.as_bytes(),
        at,
    );
}

fn pip(caches: &Path, rng: &mut Rng, _: usize) {
    let (at, hash) = (used(rng), hex(rng, 56));
    let shard = hash[..5]
        .chars()
        .fold(String::new(), |shard, digit| shard + &format!("{digit}/"));
    let path = caches.join(format!("pip/http-v2/{shard}{hash}"));
    put(&path, &some(rng)[..50], at);
    put(&path.with_extension("body"), &some(rng), at);
}

fn uv(caches: &Path, rng: &mut Rng, number: usize) {
    let (at, cache, id) = (
        used(rng),
        caches.join("uv"),
        format!("{}{number}", hex(rng, 16)),
    );
    let archive = cache.join("archive-v0").join(&id);
    tree(
        &archive,
        &format!("wheel_{number}-1.0.dist-info/METADATA"),
        WHEEL,
        rng,
        at,
    );
    let pointer = cache.join(format!("wheels-v5/pypi/wheel-{number}/1.0-py3-none-any"));
    put(
        &pointer.with_extension("0-py3-none-any.http"),
        &some(rng),
        at,
    );
    std::os::unix::fs::symlink(archive, pointer).unwrap();
}

fn cargo(caches: &Path, rng: &mut Rng, number: usize) {
    let (at, registry) = (used(rng), caches.join("cargo/registry"));
    put(
        &registry.join(format!(
            "cache/index.crates.io-1949/crate-{number}-1.0.0.crate"
        )),
        &some(rng),
        at,
    );
    tree(
        &registry.join(format!("src/index.crates.io-1949/crate-{number}-1.0.0")),
        ".cargo-ok",
        CRATE,
        rng,
        at,
    );
}

fn go(caches: &Path, rng: &mut Rng, number: usize) {
    let (at, cache) = (used(rng), caches.join("go-mod"));
    let module = format!("github.com/owner{}/module{number}", number % 500);
    tree(
        &cache.join(format!("{module}@v1.0.0")),
        "go.mod",
        MODULE,
        rng,
        at,
    );
    for part in ["zip", "ziphash", "info", "mod", "lock"] {
        put(
            &cache.join(format!("cache/download/{module}/@v/v1.0.0.{part}")),
            &some(rng),
            at,
        );
    }
}

fn go_build(caches: &Path, rng: &mut Rng, _: usize) {
    let (at, hash) = (used(rng), hex(rng, 64));
    put(
        &caches.join(format!(
            "go-build/{}/{hash}-{}",
            &hash[..2],
            if rng.bool() { "a" } else { "d" }
        )),
        &some(rng),
        at,
    );
}
