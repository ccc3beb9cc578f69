//! The git dir of a new checkout, as `git clone` would leave it, without hooks and templates.
//!
//! It is written as data, file by file, and `HEAD` comes last: a directory without it is no git
//! dir.

use super::SETTINGS;
use crate::apply::ownership::directories;
use crate::apply::staging::{NewFile, StagingDir, put_file};
use crate::commands::worktrees::remote::Head;
use crate::config::policy::Address;
use crate::fs::clock;
use crate::git::private::Ref;
use git2::Oid;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// The git dir's path in the staging directory.
pub(super) const GIT_DIR: &str = "tree/.git";

/// The contents of the git dir.
pub(super) struct GitDir<'a> {
    pub(super) staging: &'a StagingDir<'a>,
    /// The mode of its directories; files have the same without execution.
    pub(super) mode: u32,
    pub(super) url: &'a Address,
    pub(super) refs: &'a [Ref],
    pub(super) head: &'a Head,
    /// The `shallow` file, if origin's history is cut short.
    pub(super) shallow: Option<Vec<u8>>,
}

impl GitDir<'_> {
    /// Writes everything but the objects.
    pub(super) fn write(&self) -> io::Result<()> {
        self.put("", "config", &self.config())?;
        for directory in ["refs/heads", "refs/tags", "objects/info", "info"] {
            self.directory(directory)?;
        }
        self.put("", "packed-refs", &self.packed_refs())?;
        if let Some(cut) = &self.shallow {
            self.put("", "shallow", &String::from_utf8_lossy(cut))?;
        }
        self.logs()?;
        let head = match (&self.head.branch, &self.head.commit) {
            (None, Some(commit)) => format!("{commit}\n"),
            _ => format!("ref: refs/heads/{}\n", self.branch()),
        };
        self.put("", "HEAD", &head)
    }

    /// Returns the branch that is checked out; `main` for an empty repo without one.
    fn branch(&self) -> &str {
        self.head.branch.as_deref().unwrap_or("main")
    }

    /// Returns the local branch's commit; none if HEAD is detached, or the repo is empty.
    fn tip(&self) -> Option<&String> {
        self.head.branch.as_ref().and(self.head.commit.as_ref())
    }

    fn config(&self) -> String {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let config = format!(
            "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n\
             [remote \"origin\"]\n\turl = \"{}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
            quoted(self.url.plain())
        );
        let has_branch = self.head.branch.is_some() || self.head.commit.is_none();
        let branch = has_branch.then(|| {
            format!(
                "[branch \"{0}\"]\n\tremote = origin\n\tmerge = \"refs/heads/{0}\"\n",
                quoted(self.branch())
            )
        });
        let settings = SETTINGS.iter().filter_map(|(key, value)| {
            let (section, key) = key.split_once('.')?;
            Some(format!("[{section}]\n\t{key} = {value}\n"))
        });
        std::iter::once(config)
            .chain(branch)
            .chain(settings)
            .collect()
    }

    /// Returns origin's refs and the local branch, in the order of their names.
    fn packed_refs(&self) -> String {
        let own = self.tip().map(|id| Ref {
            name: format!("refs/heads/{}", self.branch()),
            id: id.clone(),
            peeled: None,
        });
        let kept = self.refs.iter().filter(|known| {
            known.name != "refs/remotes/origin/HEAD" && !known.name.starts_with("refs/treewarden/")
        });
        let mut packed: Vec<&Ref> = kept.chain(&own).collect();
        packed.sort_by(|one, other| one.name.cmp(&other.name));
        let line = |Ref { name, id, peeled }: &Ref| {
            let peeled = peeled.as_ref().map(|peeled| format!("^{peeled}\n"));
            format!("{id} {name}\n{}", peeled.unwrap_or_default())
        };
        let lines: String = packed.into_iter().map(line).collect();
        format!("# pack-refs with: peeled fully-peeled sorted \n{lines}")
    }

    /// Writes the reflogs, and origin's HEAD.
    fn logs(&self) -> io::Result<()> {
        let Some(commit) = &self.head.commit else {
            return Ok(());
        };
        let (none, now) = (Oid::ZERO_SHA1, clock::now().timestamp());
        let moved = format!(
            "{none} {commit} treewarden <treewarden@localhost> {now} +0000\tclone: from {}\n",
            self.url.plain()
        );
        self.put("logs", "HEAD", &moved)?;
        if self.tip().is_none() {
            return Ok(());
        }
        let path = Path::new("logs/refs/heads").join(self.branch());
        let (above, name) = (
            path.parent().unwrap_or(&path),
            path.file_name().unwrap_or_default(),
        );
        self.put(
            &above.display().to_string(),
            &name.to_string_lossy(),
            &moved,
        )?;
        self.put(
            "refs/remotes/origin",
            "HEAD",
            &format!("ref: refs/remotes/origin/{}\n", self.branch()),
        )
    }

    fn put(&self, directory: &str, name: &str, text: &str) -> io::Result<()> {
        let directory = self.directory(directory)?;
        let file = NewFile {
            name: name.as_ref(),
            owner: None,
            mode: self.mode & 0o666,
        };
        put_file(directory, file, |file| file.write_all(text.as_bytes()))
    }

    fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        let top = self.staging.directory(Path::new(""))?;
        directories(top, &Path::new(GIT_DIR).join(path), None, &|_| self.mode)
    }
}
