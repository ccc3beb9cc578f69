//! A volume as agents leave it: repos with a history, worktrees with `node_modules`, an npm cache
//! beside them.
//!
//! All of it comes from the real git. It must never be created where something exists already.

#![expect(
    clippy::disallowed_methods,
    reason = "the volume is built with the real git, as agents would"
)]

use crate::fuse::{Manners, Mounted};
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Its size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Repos.
    pub(crate) repos: usize,
    /// Worktrees of each.
    pub(crate) trees: usize,
    /// Files that each checkout and worktree tracks.
    pub(crate) tracked: usize,
    /// Files below each worktree's `node_modules`.
    pub(crate) installed: usize,
    /// All worktrees are idle for three days, not only some.
    pub(crate) idle: bool,
}

impl Display for Shape {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            repos,
            trees,
            tracked,
            installed,
            ..
        } = self;
        write!(
            f,
            "{repos} repos with {trees} worktrees, each of {tracked} tracked and {installed} installed files"
        )
    }
}

/// The volume with its config.
pub(crate) struct Volume {
    /// The volume's root.
    pub(crate) root: PathBuf,
    /// treewarden's config.
    pub(crate) config: PathBuf,
    shape: Shape,
}

impl Volume {
    /// Creates it in `directory`. Each worktree has a commit of its own, and all but one a file
    /// that is in no commit. Of a repo's worktrees one is idle for five days, one, with all work
    /// saved on its branch, for three, and the others were worked in today: none is due.
    pub(crate) fn make(directory: &Path, shape: Shape) -> Self {
        let root = directory.join("volume");
        fs::create_dir_all(root.join("caches/npm")).expect("the volume is made");
        let volume = Self {
            config: directory.join("treewarden.yaml"),
            root,
            shape,
        };
        let names: Vec<String> = (0..shape.repos)
            .map(|number| format!("repo{number:04}"))
            .collect();
        let repos = names
            .iter()
            .map(|name| format!("  - {{name: bench/{name}, path: {name}}}\n"))
            .collect::<Vec<_>>()
            .concat();
        let text = format!(
            "volume: {{root: {}}}\neviction: {{high: {{bytes: 99%, inodes: 99%}}, low: {{bytes: 98%, inodes: 98%}}}}\nrepos:\n{repos}caches: [{{kind: npm, path: caches/npm}}]\n",
            volume.root.display()
        );
        fs::write(&volume.config, text).expect("the config is written");
        for file in 0..shape.installed {
            let path = volume.root.join("store").join(installed(file));
            fs::create_dir_all(path.parent().expect("it has one")).expect("a folder is made");
            fs::write(path, "module.exports = 1;\n").expect("a file is written");
        }
        let pattern = volume.root.join("pattern");
        volume.repo(&pattern);
        for name in &names {
            let place = volume.root.join(name);
            run(Command::new("cp").arg("-a").arg(&pattern).arg(&place));
            volume.add_trees(&place);
        }
        run(Command::new("rm").arg("-rf").arg(&pattern));
        // Otherwise the first way would wait for the disk to write this.
        rustix::fs::syncfs(fs::File::open(&volume.root).expect("it was made"))
            .expect("the disk takes it in");
        volume
    }

    /// Returns all checkouts.
    pub(crate) fn repos(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.shape.repos).map(|number| self.root.join(format!("repo{number:04}")))
    }

    /// Returns all worktrees.
    pub(crate) fn trees(&self) -> impl Iterator<Item = PathBuf> {
        let numbers = 0..self.shape.trees;
        self.repos().flat_map(move |repo| {
            numbers
                .clone()
                .map(move |number| repo.join(format!(".worktrees/issue{number}")))
        })
    }

    fn repo(&self, place: &Path) {
        fs::create_dir(place).expect("the pattern is made");
        git(place, &["init", "-q", "-b", "main"]);
        git(place, &["config", "gc.auto", "0"]);
        for number in 0..self.shape.tracked {
            let file = place.join(format!("src/part{:02}/file{number}.ts", number % 20));
            fs::create_dir_all(file.parent().expect("it has one")).expect("a folder is made");
            fs::write(
                file,
                format!("export const number = {number};\n").repeat(20),
            )
            .expect("a file is written");
        }
        fs::write(place.join(".gitignore"), "node_modules/\n").expect("a file is written");
        fs::write(place.join("package.json"), "{}\n").expect("a file is written");
        fs::write(
            place.join("package-lock.json"),
            "{\"lockfileVersion\": 3, \"packages\": {}}\n",
        )
        .expect("a file is written");
        for commit in 0..30 {
            fs::write(place.join("CHANGES"), format!("{commit}\n")).expect("a file is written");
            git(place, &["add", "-A"]);
            git(place, &["commit", "-q", "-m", "A change"]);
        }
        git(place, &["update-ref", "refs/remotes/origin/main", "HEAD"]);
        git(
            place,
            &[
                "symbolic-ref",
                "refs/remotes/origin/HEAD",
                "refs/remotes/origin/main",
            ],
        );
        git(place, &["gc", "-q"]);
    }

    fn add_trees(&self, place: &Path) {
        for number in 0..self.shape.trees {
            let name = format!("issue{number}");
            let tree = place.join(".worktrees").join(&name);
            git(
                place,
                &[
                    "worktree",
                    "add",
                    "-q",
                    "-b",
                    &name,
                    tree.to_str().expect("a plain path"),
                ],
            );
            for file in 0..self.shape.installed {
                let path = tree.join("node_modules").join(installed(file));
                if file % PACKAGE == 0 {
                    fs::create_dir_all(path.parent().expect("it has one"))
                        .expect("a folder is made");
                }
                fs::hard_link(self.root.join("store").join(installed(file)), path)
                    .expect("a file is linked");
            }
            // What npm leaves there, by which the directory is recognised.
            if self.shape.installed > 0 {
                let packages = (0..=self.shape.installed / PACKAGE)
                    .map(|number| format!("\"node_modules/package{number:03}\": {{}}"));
                let lock = format!(
                    "{{\"lockfileVersion\": 3, \"packages\": {{{}}}}}\n",
                    packages.collect::<Vec<_>>().join(", ")
                );
                fs::write(tree.join("node_modules/.package-lock.json"), lock)
                    .expect("a file is written");
            }
            fs::write(
                tree.join("src/part01/work.ts"),
                format!("export const work = {number};\n"),
            )
            .expect("a file is written");
            git(&tree, &["add", "-A"]);
            git(&tree, &["commit", "-q", "-m", "Work"]);
            if number != 1 {
                fs::write(tree.join("src/new.ts"), "new\n").expect("a file is written");
            }
            let days = [5, 3]
                .get(number)
                .copied()
                .unwrap_or(if self.shape.idle { 3 } else { 0 });
            if days > 0 {
                // As a checkout leaves it: its index knows the files, and is younger than they are.
                age(&tree, days + 1);
                git(&tree, &["status", "--porcelain"]);
                age(&place.join(".git/worktrees").join(&name), days);
            }
        }
    }
}

/// A volume behind a slow file server.
pub(crate) struct Served {
    /// The volume, at the path where the server is mounted.
    pub(crate) volume: Volume,
    backing: PathBuf,
    mountpoint: PathBuf,
    delay: Duration,
}

impl Served {
    /// Creates it in `directory`. A call takes `delay` µs.
    pub(crate) fn make(directory: &Path, shape: Shape, delay: u64) -> Self {
        let [backing, mountpoint] = ["backing", "server"].map(|name| directory.join(name));
        // Created where the server will be mounted, since git writes absolute paths.
        let volume = Volume::make(&mountpoint, shape);
        fs::rename(&mountpoint, &backing)
            .and_then(|()| fs::create_dir(&mountpoint))
            .expect("a folder is moved");
        Self {
            volume,
            backing,
            mountpoint,
            delay: Duration::from_micros(delay),
        }
    }

    /// Mounts it, with nothing in the kernel's caches, until the result is dropped.
    pub(crate) fn mount(&self) -> Mounted {
        let manners = Manners {
            cache: Duration::from_mins(1),
            ..Manners::LOCAL
        };
        let server = Mounted::mount(&self.backing, &self.mountpoint, manners);
        server.delay(self.delay);
        server
    }
}

/// Files of a package.
const PACKAGE: usize = 20;

/// Returns the path of an installed file in `node_modules`, and in the store that all trees link
/// to, as with pnpm.
fn installed(file: usize) -> String {
    format!("package{:03}/lib/file{}.js", file / PACKAGE, file % PACKAGE)
}

/// Makes all files there `days` old, including the lines of reflogs, except in `node_modules`.
fn age(directory: &Path, days: u64) {
    let then = SystemTime::now() - Duration::from_hours(24 * days);
    let seconds = then
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("it is after 1970")
        .as_secs();
    for entry in walkdir::WalkDir::new(directory)
        .into_iter()
        .filter_entry(|entry| entry.file_name() != "node_modules")
    {
        let entry = entry.expect("it can be listed");
        if !entry.file_type().is_file() {
            continue;
        }
        if entry.path().ends_with("logs/HEAD") {
            let text = fs::read_to_string(entry.path()).expect("a reflog");
            let line = |line: &str| {
                let (head, message) = line.split_once('\t').unwrap_or((line, ""));
                let mut words: Vec<&str> = head.split(' ').collect();
                let at = words.len() - 2;
                let stamp = seconds.to_string();
                words[at] = &stamp;
                format!("{}\t{message}\n", words.join(" "))
            };
            fs::write(entry.path(), text.lines().map(line).collect::<String>())
                .expect("a reflog is written");
        }
        fs::File::options()
            .append(true)
            .open(entry.path())
            .and_then(|file| file.set_modified(then))
            .expect("a time is set");
    }
}

/// Runs git there, without any config of this machine.
pub(crate) fn git(place: &Path, arguments: &[&str]) {
    let author = [
        ("GIT_AUTHOR_NAME", "A"),
        ("GIT_AUTHOR_EMAIL", "a@example.com"),
        ("GIT_COMMITTER_NAME", "A"),
        ("GIT_COMMITTER_EMAIL", "a@example.com"),
    ];
    run(Command::new("git")
        .args(arguments)
        .current_dir(place)
        .envs(author)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null"));
}

/// Runs it to its end.
///
/// # Panics
/// It failed: then the bench has no meaning.
pub(crate) fn run(command: &mut Command) {
    let done = command
        .output()
        .unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
    assert!(
        done.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}
