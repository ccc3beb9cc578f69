//! Repos and worktrees, created by the commands that agents use.

use super::{World, age, age_all, ago, git, template, try_git, write};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a run leaves in the admin directory of a tree that it finds missing.
pub(crate) const MISSING: &str = "treewarden-missing";
/// The same, if it went missing with many others.
pub(crate) const MISSING_AT_ONCE: &str = "treewarden-missing-at-once";

/// A persistent checkout, and its origin beside the volume.
pub(crate) struct Repo<'a> {
    /// The volume it is on.
    pub(crate) world: &'a World,
    /// `owner/name`.
    pub(crate) name: String,
    /// The checkout.
    pub(crate) path: PathBuf,
    /// Where its git dir is.
    pub(crate) layout: Layout,
}

/// Where a repo's git dir is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `.git` in the checkout.
    Plain,
    /// Elsewhere on the volume, as by `git init --separate-git-dir`.
    Separate,
    /// `.bare` in a directory without a checkout, with a `.git` file beside it.
    BareWithFile,
    /// `.bare` alone.
    Bare,
    /// The enrolled directory itself is a bare repo.
    Hub,
}

/// All but the plain one.
pub(crate) const LAYOUTS: [Layout; 4] = [
    Layout::Separate,
    Layout::BareWithFile,
    Layout::Bare,
    Layout::Hub,
];

/// A worktree.
pub(crate) struct Tree {
    /// Its path.
    pub(crate) path: PathBuf,
    /// Its admin directory.
    pub(crate) admin: PathBuf,
}

impl Layout {
    /// Returns the layout of an enrolled directory: plain, unless `.bare` and a `.git` file are there.
    fn of(path: &Path) -> Self {
        if path.join(".bare").is_dir() && path.join(".git").is_file() {
            Self::BareWithFile
        } else {
            Self::Plain
        }
    }
}

impl<'a> Repo<'a> {
    /// Returns one that was created before.
    pub(crate) fn there(world: &'a World, name: &str) -> Self {
        Self {
            world,
            name: name.to_owned(),
            path: world.at(name.replace('/', "__")),
            layout: Layout::of(&world.at(name.replace('/', "__"))),
        }
    }

    /// Creates a clone of a new origin.
    pub(crate) fn clone(world: &'a World, name: &str) -> Self {
        let directory = name.replace('/', "__");
        let origin = world.beside(format!("origins/{directory}.git"));
        let path = world.at(directory);
        template::origin_and_clone(&origin, &path);
        Self {
            world,
            name: name.to_owned(),
            path,
            layout: Layout::Plain,
        }
    }

    /// Sets its own settings in the config.
    pub(crate) fn set(&self, settings: &str) {
        self.world.enrol(&self.name, settings);
    }

    /// Runs git in the main checkout, dated 60 days ago.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.stand(), 60.0, arguments)
    }

    /// Returns where git finds the repo.
    pub(crate) fn stand(&self) -> PathBuf {
        match self.layout {
            Layout::Bare => self.git_dir(""),
            _ => self.path.clone(),
        }
    }

    /// Returns a path in its git dir.
    pub(crate) fn git_dir(&self, path: impl AsRef<Path>) -> PathBuf {
        self.world.at(self.git_dir_below()).join(path)
    }

    /// Returns its git dir, relative to the volume.
    fn git_dir_below(&self) -> String {
        let own = self.directory();
        match self.layout {
            Layout::Plain => format!("{own}/.git"),
            Layout::Separate => format!("git-dirs/{own}"),
            Layout::BareWithFile | Layout::Bare => format!("{own}/.bare"),
            Layout::Hub => own,
        }
    }

    /// Moves the git dir of a plain checkout. A repo that becomes bare keeps what its directory has
    /// besides, except for a hub.
    pub(crate) fn becomes(self, layout: Layout) -> Self {
        if layout == Layout::Plain {
            return self;
        }
        if layout != Layout::Separate {
            self.git(&["config", "core.bare", "true"]);
        }
        let (from, aside) = (
            self.git_dir_below(),
            self.world.beside(format!("moving-{}", self.directory())),
        );
        std::fs::rename(self.git_dir(""), &aside).unwrap();
        let new = Self { layout, ..self };
        let to = new.git_dir_below();
        let to_path = new.git_dir("");
        std::fs::create_dir_all(&to_path).unwrap();
        if layout == Layout::Hub {
            let entries = std::fs::read_dir(&new.path).unwrap().map(Result::unwrap);
            let others = entries.filter(|entry| !entry.path().join(".git").exists());
            others.for_each(|entry| super::remove(&entry.path()));
        }
        for entry in std::fs::read_dir(&aside).unwrap().map(Result::unwrap) {
            std::fs::rename(entry.path(), to_path.join(entry.file_name())).unwrap();
        }
        std::fs::remove_dir(&aside).unwrap();
        match layout {
            Layout::Separate => write(&new.path.join(".git"), format!("gitdir: ../{to}\n")),
            Layout::BareWithFile => write(&new.path.join(".git"), "gitdir: ./.bare\n"),
            _ => {}
        }
        for tree in new.places() {
            lead_to(&tree, &from, &to);
        }
        new
    }

    /// Returns where its registered trees stand.
    fn places(&self) -> Vec<PathBuf> {
        let admins = std::fs::read_dir(self.git_dir("worktrees"));
        let gitdir = |admin: std::fs::DirEntry| {
            let text = std::fs::read_to_string(admin.path().join("gitdir")).ok()?;
            Some(Path::new(text.trim_end()).parent()?.to_owned())
        };
        let admins = admins.into_iter().flatten().map(Result::unwrap);
        admins.filter_map(gitdir).collect()
    }

    /// Commits a file and all other changes in the main checkout.
    pub(crate) fn commit(&self, days: f64, file: &str, text: &str) {
        commit(&self.path, days, file, text);
    }

    /// Commits on `main` and pushes, as others do meanwhile.
    pub(crate) fn moves_on(&self, file: &str) {
        self.commit(60.0, file, "others' work\n");
        self.push();
    }

    /// Pushes `main`.
    pub(crate) fn push(&self) {
        self.git(&["push", "-q", "origin", "main"]);
    }

    /// Adds a worktree on a new branch of the same name, off the upstream's default branch.
    pub(crate) fn tree(&self, name: &str) -> Tree {
        self.tree_at(&format!("worktrees/{}/{name}", self.directory()), name)
    }

    /// Does the same at another path.
    pub(crate) fn tree_at(&self, place: &str, branch: &str) -> Tree {
        let path = self.world.at(place);
        self.git(&[
            "worktree",
            "add",
            "-q",
            "--no-track",
            "-b",
            branch,
            path.to_str().unwrap(),
            "refs/remotes/origin/main",
        ]);
        Tree::of(path).worked_in()
    }

    /// Adds a worktree with a detached HEAD.
    pub(crate) fn detached(&self, name: &str) -> Tree {
        let path = self
            .world
            .at(format!("worktrees/{}/{name}", self.directory()));
        self.git(&[
            "worktree",
            "add",
            "-q",
            "--detach",
            path.to_str().unwrap(),
            "refs/remotes/origin/main",
        ]);
        Tree::of(path).worked_in()
    }

    /// Returns its directory on the volume.
    pub(crate) fn directory(&self) -> String {
        self.name.replace('/', "__")
    }

    /// Returns what `git worktree list` says: each path, with its branch.
    pub(crate) fn registered(&self) -> BTreeMap<String, String> {
        let list = self.git(&["worktree", "list", "--porcelain"]);
        let entries = list.split("\n\n").filter(|entry| !entry.is_empty());
        let value = |entry: &str, key: &str| {
            let line = entry.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or("detached").trim().replace("refs/heads/", "")
        };
        entries
            .map(|entry| {
                (
                    self.world
                        .below(Path::new(&value(entry, "worktree ")))
                        .to_string(),
                    value(entry, "branch "),
                )
            })
            .collect()
    }

    /// Returns every ref below `prefix`, with the object it names.
    pub(crate) fn refs(&self, prefix: &str) -> BTreeMap<String, String> {
        let list = self.git(&["for-each-ref", "--format=%(refname) %(objectname)", prefix]);
        list.lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, id)| (name.to_owned(), id.to_owned()))
            .collect()
    }

    /// Returns what `git fsck` reports; empty if all is well.
    pub(crate) fn fsck(&self) -> String {
        let (code, out, err) = try_git(
            &self.stand(),
            0.0,
            &[
                "fsck",
                "--full",
                "--strict",
                "--no-dangling",
                "--no-progress",
            ],
        );
        if code == Some(0) {
            String::new()
        } else {
            format!("{out}{err}")
        }
    }
}

impl Tree {
    pub(crate) fn of(path: PathBuf) -> Self {
        // Git-annex makes it a link.
        if path.join(".git").is_symlink() {
            let admin = path.join(".git").canonicalize().unwrap();
            return Self { path, admin };
        }
        let text = std::fs::read_to_string(path.join(".git")).unwrap();
        let admin = PathBuf::from(text.trim_end().strip_prefix("gitdir: ").unwrap());
        Self { path, admin }
    }

    /// Adds a line to HEAD's reflog, as of a commit that landed since. Most tests want a tree that
    /// has been worked in, but without its commits.
    fn worked_in(self) -> Self {
        use std::io::Write;
        let log = self.admin.join("logs/HEAD");
        let text = std::fs::read_to_string(&log).unwrap();
        // The old id, and the new one.
        let head = text.lines().last().unwrap().split(' ').nth(1).unwrap();
        let seconds = DateTime::<Utc>::from(ago(60.0)).timestamp();
        let mut log = std::fs::File::options().append(true).open(&log).unwrap();
        writeln!(
            log,
            "{head} {head} An Agent <agent@example.com> {seconds} +0000\tcommit: Landed since"
        )
        .unwrap();
        self
    }

    /// Removes that line: nobody has committed anything here yet.
    pub(crate) fn not_worked_in(&self) -> &Self {
        let log = self.admin.join("logs/HEAD");
        let text = std::fs::read_to_string(&log).unwrap();
        let (kept, line) = text.trim_end().rsplit_once('\n').unwrap();
        assert!(line.ends_with("Landed since"), "{text}");
        write(&log, format!("{kept}\n"));
        self
    }

    /// Runs git in the tree, dated 60 days ago.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.path, 60.0, arguments)
    }

    /// Commits a file and all other changes.
    pub(crate) fn commit(&self, file: &str, text: &str) -> &Self {
        commit(&self.path, 60.0, file, text);
        self
    }

    /// Writes a file.
    pub(crate) fn write(&self, file: &str, text: &str) -> &Self {
        write(&self.path.join(file), text);
        self
    }

    /// Makes everything in the tree, and its admin files, look untouched for so many days.
    pub(crate) fn age(&self, days: f64) -> &Self {
        if self.path.exists() {
            age_all(&self.path, days);
        }
        self.age_admin(days)
    }

    /// Does the same for the admin files alone. A missing tree counts as found missing since then.
    pub(crate) fn age_admin(&self, days: f64) -> &Self {
        if !self.path.exists() {
            write(&self.admin.join(MISSING), "");
        }
        for name in [
            "HEAD",
            "index",
            "ORIG_HEAD",
            "logs/HEAD",
            "gitdir",
            "commondir",
            "config.worktree",
            MISSING,
        ] {
            let file = self.admin.join(name);
            if file.symlink_metadata().is_ok() {
                age(&file, days);
            }
        }
        self
    }
}

/// Lets all `.git` files below `tree` that lead into one git dir lead into another, as they were
/// written: absolute or relative.
fn lead_to(tree: &Path, from: &str, to: &str) {
    let files = walkdir::WalkDir::new(tree)
        .into_iter()
        .filter_map(Result::ok);
    for file in files.filter(|entry| entry.file_name() == ".git" && entry.file_type().is_file()) {
        let Ok(text) = std::fs::read_to_string(file.path()) else {
            continue;
        };
        if let Some((before, after)) = text.split_once(&format!("/{from}/")) {
            let written = file.metadata().unwrap().modified().unwrap();
            write(file.path(), format!("{before}/{to}/{after}"));
            let file = std::fs::File::options().write(true).open(file.path());
            file.unwrap().set_modified(written).unwrap();
        }
    }
}

/// Commits a file and all other changes in a checkout.
pub(super) fn commit(directory: &Path, days: f64, file: &str, text: &str) {
    write(&directory.join(file), text);
    git(directory, days, &["add", "-A"]);
    git(
        directory,
        days,
        &["commit", "-q", "-m", &format!("Work on {file}")],
    );
}
