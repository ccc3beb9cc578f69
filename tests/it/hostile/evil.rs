//! A hostile repo under construction: a copy of a repo that real git made, with a canary that no
//! run may start.
//!
//! All are copies of one template, so that two hundred repos cost two hundred calls of `cp` and not
//! two thousand of git.

use super::super::support::repo::{Repo, Tree};
use super::super::support::{World, age, fifo, remove, write};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Every hook that some git knows, and names that might be taken for one.
pub(crate) const HOOKS: [&str; 30] = [
    "applypatch-msg",
    "commit-msg",
    "fsmonitor-watchman",
    "p4-changelist",
    "p4-post-changelist",
    "p4-pre-submit",
    "p4-prepare-changelist",
    "post-applypatch",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-receive",
    "post-rewrite",
    "post-update",
    "pre-applypatch",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-rebase",
    "pre-receive",
    "prepare-commit-msg",
    "proc-receive",
    "push-to-checkout",
    "reference-transaction",
    "sendemail-validate",
    "update",
    "query-fsmonitor",
    "pre-gc",
];

/// A repo that was well-formed until the test changed it.
pub(crate) struct Evil<'a> {
    /// The repo.
    pub(crate) repo: Repo<'a>,
    /// Its tree that is merged and two days old.
    pub(crate) landed: Tree,
    /// Its tree with unsaved work that is 31 days old.
    pub(crate) dirty: Tree,
    /// An executable that leaves a file when it runs.
    pub(crate) canary: PathBuf,
}

/// The content that only `dirty` has.
pub(crate) const WORK: &str = "only here\n";

struct Template {
    world: World,
    repo: PathBuf,
}

/// Returns the repo that all others are copied from.
fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let world = World::unprepared();
        let repo = Repo::clone(&world, "acme/template");
        repo.commit(80.0, "src/main.rs", "fn main() {}\n");
        repo.push();
        repo.git(&["repack", "-q", "-d"]);
        repo.commit(70.0, "src/lib.rs", "mod x;\n");
        repo.push();
        repo.tree("landed").age(2.0);
        let dirty = repo.tree("dirty");
        dirty
            .commit("mine.ts", "1\n")
            .write("new.ts", WORK)
            .write("README.md", "edited\n");
        dirty.age(31.0);
        let path = repo.path.clone();
        Template { world, repo: path }
    })
}

impl<'a> Evil<'a> {
    /// Copies the template to `acme__NAME`, without enrolling it.
    pub(crate) fn copy(world: &'a World, name: &str) -> Self {
        let template = template();
        let repo = Repo::there(world, &format!("acme/{name}"));
        let trees = world.at(format!("worktrees/{}", repo.directory()));
        fs::create_dir_all(world.at("worktrees")).unwrap();
        for (from, to) in [
            (&template.repo, &repo.path),
            (&template.world.at("worktrees/acme__template"), &trees),
        ] {
            let copied = Command::new("cp")
                .arg("-a")
                .args([from, to])
                .status()
                .unwrap();
            assert!(copied.success());
        }
        let tree = |name: &str| {
            let tree = Tree {
                path: trees.join(name),
                admin: repo.git_dir("worktrees").join(name),
            };
            write(
                &tree.path.join(".git"),
                format!("gitdir: {}\n", tree.admin.display()),
            );
            write(
                &tree.admin.join("gitdir"),
                format!("{}\n", tree.path.join(".git").display()),
            );
            tree
        };
        let (landed, dirty) = (tree("landed"), tree("dirty"));
        let canary = world.beside("canaries").join(name);
        write(
            &canary,
            format!(
                "#!/bin/sh\n: > '{}'\n",
                world.beside("sung").join(name).display()
            ),
        );
        fs::set_permissions(&canary, fs::Permissions::from_mode(0o755)).unwrap();
        let evil = Self {
            repo,
            landed,
            dirty,
            canary,
        };
        evil.age();
        evil
    }

    /// Returns the origin that all copies share, outside their volumes.
    pub(crate) fn origins() -> PathBuf {
        template().world.beside("origins")
    }

    /// Makes the trees look idle, whatever was done to them.
    pub(crate) fn age(&self) {
        for (tree, days) in [(&self.landed, 2.0), (&self.dirty, 31.0)] {
            if tree.path.symlink_metadata().is_ok_and(|data| data.is_dir()) {
                // Some directories are deeper than a path can reach.
                let entries = walkdir::WalkDir::new(&tree.path)
                    .max_depth(50)
                    .contents_first(true)
                    .into_iter()
                    .flatten();
                entries.for_each(|entry| age(entry.path(), days));
            }
            tree.age_admin(days);
            for name in ["locked", "gitdir", "config.worktree"] {
                if tree.admin.join(name).symlink_metadata().is_ok() {
                    age(&tree.admin.join(name), days);
                }
            }
        }
    }

    /// Returns a path in its git dir.
    pub(crate) fn git_dir(&self, path: impl AsRef<Path>) -> PathBuf {
        self.repo.git_dir(path)
    }

    /// Returns a path beside the volume.
    pub(crate) fn outside(&self) -> PathBuf {
        self.repo.world.beside("outside")
    }

    /// Returns the same path in the victim's git dir.
    pub(crate) fn victim(&self, path: impl AsRef<Path>) -> PathBuf {
        self.repo.world.at("acme__victim/.git").join(path)
    }

    /// Returns a directory in which every hook is the canary.
    pub(crate) fn hooks(&self) -> PathBuf {
        let hooks = self.canary.with_extension("hooks");
        self.fill_with_hooks(&hooks);
        hooks
    }

    /// Makes every hook in a directory a copy of the canary.
    pub(crate) fn fill_with_hooks(&self, directory: &Path) {
        fs::create_dir_all(directory).unwrap();
        for name in HOOKS {
            fs::copy(&self.canary, directory.join(name)).unwrap();
        }
    }

    /// Fills in `{}` (the canary), `{hooks}`, `{outside}`, `{victim}` and `{lender}`.
    pub(crate) fn fill(&self, text: &str) -> String {
        let hooks = if text.contains("{hooks}") {
            self.hooks()
        } else {
            PathBuf::new()
        };
        let outside = self.outside();
        let lender = self.repo.world.at("acme__lender/.git/");
        let pairs = [
            ("{}", &self.canary),
            ("{hooks}", &hooks),
            ("{outside}", &outside),
            ("{victim}", &self.victim("")),
            ("{lender}", &lender),
        ];
        pairs.iter().fold(text.to_owned(), |text, (mark, path)| {
            text.replace(mark, &path.display().to_string())
        })
    }

    /// Adds `section.name=value` or `section.sub.name=value` lines to a config file.
    pub(crate) fn configure(&self, file: &Path, settings: &[&str]) {
        let mut text = fs::read_to_string(file).unwrap_or_default();
        for setting in settings {
            let (key, value) = setting.split_once('=').unwrap();
            let (section, name) = key.rsplit_once('.').unwrap();
            let (section, sub) = section
                .split_once('.')
                .map_or((section, None), |(section, sub)| (section, Some(sub)));
            let sub = sub
                .map(|sub| format!(" \"{}\"", self.fill(sub)))
                .unwrap_or_default();
            let value = self
                .fill(value)
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            text.extend(["[", section, &sub, "]\n\t", name, " = \"", &value, "\"\n"]);
        }
        write(file, text);
    }

    /// Puts a link to `target` in place of a file or directory of the git dir.
    pub(crate) fn link(&self, name: &str, target: impl AsRef<Path>) {
        self.clear(name);
        symlink(target, self.git_dir(name)).unwrap();
    }

    /// Puts a FIFO in its place.
    pub(crate) fn fifo(&self, name: &str) {
        self.clear(name);
        fifo(&self.git_dir(name));
    }

    /// Removes what is there, and creates the directory above.
    pub(crate) fn clear(&self, name: &str) {
        let place = self.git_dir(name);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        if place.symlink_metadata().is_ok() {
            remove(&place);
        }
    }
}
