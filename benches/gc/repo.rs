//! A repo that grows from day to day, created with real git: the same one for every way.
//!
//! It must never depend on the machine's own git config, nor on the day on which it is created.

use fastrand::Rng;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Files in the tree, in 20 directories of 10 directories, and bytes of each.
const FILES: usize = 2000;
const SIZE: usize = 4000;
/// Files that a commit changes.
const CHANGED: usize = 3;
/// Seconds.
const DAY: i64 = 86_400;

/// The repo, at `git_dir`.
pub(crate) struct Repo {
    pub(crate) git_dir: PathBuf,
    rng: Rng,
    contents: Vec<String>,
    commits: u64,
}

impl Repo {
    /// Creates a repo of so many commits, in one pack.
    pub(crate) fn make(checkout: &Path, commits: usize) -> Self {
        std::fs::create_dir_all(checkout).unwrap();
        run(git(&checkout.join(".git")).args(["init", "-q", "-b", "main"]));
        let mut rng = Rng::with_seed(7);
        let contents = (0..FILES)
            .map(|_| (0..SIZE / 50).fold(String::new(), |text, _| text + &line(&mut rng)))
            .collect();
        let mut repo = Self {
            git_dir: checkout.join(".git"),
            rng,
            contents,
            commits: 0,
        };
        repo.import(commits, 1);
        run(git(&repo.git_dir).args(["repack", "-q", "-a", "-d", "-f"]));
        run(git(&repo.git_dir).args(["gc", "-q"]));
        repo
    }

    /// Copies it to another place, where it grows in the same way.
    pub(crate) fn copy(&self, checkout: &Path) -> Self {
        run(Command::new("cp")
            .arg("-a")
            .arg(self.git_dir.parent().unwrap())
            .arg(checkout));
        Self {
            git_dir: checkout.join(".git"),
            rng: self.rng.clone(),
            contents: self.contents.clone(),
            commits: self.commits,
        }
    }

    /// Adds a day's growth: so many small packs, as fetches leave them, and commits with loose
    /// objects, as agents create them.
    pub(crate) fn grow(&mut self, packs: usize, loose_commits: usize) {
        for _ in 0..packs {
            self.import(8, 1);
        }
        self.import(loose_commits, 1_000_000);
    }

    /// Adds commits that each change a line of some files: a commit, some trees, and the files.
    fn import(&mut self, commits: usize, unpack_limit: usize) {
        let mut text = String::new();
        for number in 0..commits {
            self.commits += 1;
            let changed = (0..CHANGED).map(|_| self.rng.usize(0..FILES));
            let changed: Vec<usize> = if self.commits == 1 {
                (0..FILES).collect()
            } else {
                changed.collect()
            };
            let when = 1_600_000_000 + i64::try_from(self.commits).unwrap() * DAY / 50;
            let message = format!("Commit {}", self.commits);
            write!(
                text,
                "commit refs/heads/main\ncommitter A <a@b> {when} +0000\ndata {}\n{message}\n",
                message.len()
            )
            .unwrap();
            if number == 0 && self.commits > 1 {
                text += "from refs/heads/main^0\n";
            }
            for file in changed {
                let at = self.rng.usize(0..SIZE / 50) * 50;
                let line = line(&mut self.rng);
                self.contents[file].replace_range(at..at + 50, &line);
                let content = &self.contents[file];
                let (dir, below) = (file % 20, file / 20 % 10);
                write!(
                    text,
                    "M 100644 inline dir{dir}/sub{below}/file{file}.rs\ndata {}\n{content}\n",
                    content.len()
                )
                .unwrap();
            }
        }
        let mut command = git(&self.git_dir);
        command
            .args([
                "-c",
                &format!("fastimport.unpackLimit={unpack_limit}"),
                "fast-import",
                "--quiet",
            ])
            .stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
    }
}

/// Returns fifty bytes.
fn line(rng: &mut Rng) -> String {
    (0..49).map(|_| rng.alphanumeric()).chain(['\n']).collect()
}

/// Returns git for this repo, without anybody's config.
pub(crate) fn git(git_dir: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_DIR", git_dir)
        .stdout(Stdio::null());
    command
}

/// Runs it; it must succeed.
pub(crate) fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
