//! What only a clone has: commits that the enrolled checkout's refs don't reach, and what a rescue
//! can't keep.
//!
//! | in the clone's git dir | it counts as |
//! | --- | --- |
//! | HEAD, refs, stashes, reflogs, files like `FETCH_HEAD` | commits, unless the checkout reaches them |
//! | reflogs of remote-tracking refs | nothing: they name what the remote once had |
//! | a ref to a tag, tree or blob that no ref of the checkout names | a blocker |
//! | worktrees of its own, files of git-lfs that the checkout lacks, git-annex | a blocker |

use super::Opened;
use crate::facts::rescue::Own;
use crate::facts::worktree::{State, Worktree};
use crate::fs::openat::{self, found};
use crate::fs::volume_path::VolumePath;
use crate::survey::known::head_of;
use crate::survey::staged::{INDEX_CAP, Staged};
use crate::survey::{extensions, go_on, reach, registry};
use git2::{ObjectType, Odb, OdbLookupFlags, Oid, Repository};
use std::collections::HashSet;
use std::io;

/// Bytes that an id takes in a set.
const AN_ID: usize = 48;
/// The mode of a submodule's commit, which is in another repo.
const SUBMODULE: u32 = 0o160_000;
/// The files of git-lfs in a git dir.
const LARGE: &str = "lfs/objects";

/// A clone's ref that no ref of the checkout equals.
pub struct OwnRef {
    /// Its full name.
    pub name: String,
    /// What it names.
    pub id: Oid,
    kind: ObjectType,
}

impl Opened<'_> {
    /// Returns the tips, in hex, that would be lost with the clone.
    ///
    /// # Errors
    /// Something can't be read: what would be lost is unknown.
    pub(in crate::survey) fn unreached(
        &self,
        repo: &Repository,
        head: Option<Oid>,
    ) -> io::Result<Vec<String>> {
        let tips = self.tips(repo, head)?;
        let lonely = self.lonely(repo, &tips)?;
        let tips = tips.iter().filter(|tip| lonely.contains(tip));
        Ok(tips.map(ToString::to_string).collect())
    }

    /// Returns every commit that HEAD, a ref, a reflog or an operation names.
    fn tips(&self, repo: &Repository, head: Option<Oid>) -> io::Result<Vec<Oid>> {
        let (stop, git_dir) = (self.stop, self.git_dir());
        let mut tips = reach::Ids::of(stop);
        head.iter().try_for_each(|head| tips.add(*head))?;
        for own in self.refs(repo)? {
            tips.add(own.id)?;
        }
        let remotes = git_dir.join("logs/refs/remotes")?;
        for log in reach::files_below(&git_dir.join("logs")?, stop)?.all {
            if !log.relative().starts_with(remotes.relative()) {
                reach::log_commits(&log, &mut tips, stop)?;
            }
        }
        let private = reach::PRIVATE.iter().map(|name| git_dir.join(name));
        reach::ids(&private.collect::<Result<Vec<_>, _>>()?, &mut tips, stop)?;
        let commits = tips.ids.into_iter();
        commits
            .filter_map(|tip| reach::commit(repo, tip).transpose())
            .collect()
    }

    fn lonely(&self, repo: &Repository, tips: &[Oid]) -> io::Result<HashSet<Oid>> {
        let kept: Vec<Oid> = self.keeper.tips.ids.iter().copied().collect();
        reach::lonely(repo, tips, &kept, self.stop)
    }

    /// Returns the clone's refs that name what no ref of the checkout names.
    ///
    /// # Errors
    /// They can't be read.
    pub fn refs(&self, repo: &Repository) -> io::Result<Vec<OwnRef>> {
        let odb = repo.odb().map_err(io::Error::other)?;
        let (mut own, mut held) = (Vec::new(), self.stop.hold());
        for reference in repo.references().map_err(io::Error::other)? {
            go_on(Some(self.stop))?;
            let reference = reference.map_err(io::Error::other)?;
            let Some(id) = reference
                .target()
                .filter(|id| !self.keeper.named.contains(id))
            else {
                continue;
            };
            let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
            held.more(name.len().saturating_add(AN_ID))?;
            let (_, kind) = odb.read_header(id).map_err(io::Error::other)?;
            own.push(OwnRef { name, id, kind });
        }
        Ok(own)
    }

    /// Returns what would be lost with the clone even if its commits and files were rescued.
    ///
    /// # Errors
    /// Something can't be read.
    pub(in crate::survey) fn blockers(&self, repo: &Repository) -> io::Result<Vec<String>> {
        let git_dir = self.git_dir();
        let mut blockers = Vec::new();
        if !registry::admins(git_dir)?.is_empty() {
            blockers.push(
                "it has worktrees of its own: remove them with `git worktree remove`".to_owned(),
            );
        }
        if found(openat::stat(&git_dir.join("annex")?))?.is_some() {
            blockers.push("it has files of git-annex: remove it by hand".to_owned());
        }
        let other = |own: &&OwnRef| own.kind != ObjectType::Commit;
        blockers.extend(self.refs(repo)?.iter().find(other).map(|own| {
            let name = &own.name;
            format!("the checkout doesn't have its {name}, which is no commit: push or delete it")
        }));
        blockers.extend(self.large_file()?.map(|oid| {
            format!("the checkout doesn't have its git-lfs file {oid}: `git lfs fetch --all` there")
        }));
        Ok(blockers)
    }

    /// Returns the id of a git-lfs file that the checkout doesn't have.
    fn large_file(&self) -> io::Result<Option<String>> {
        let (own, theirs) = (self.git_dir().join(LARGE)?, self.checkout().join(LARGE)?);
        for file in reach::files_below(&own, self.stop)?.all {
            let below = file.relative().strip_prefix(own.relative());
            let same = theirs.join(below.map_err(io::Error::other)?)?;
            let size = |file: &VolumePath| {
                Ok::<_, io::Error>(found(openat::stat(file))?.map(|stat| stat.st_size))
            };
            if size(&file)? != size(&same)? {
                let name = file.relative().file_name().unwrap_or_default();
                return Ok(Some(name.to_string_lossy().into_owned()));
            }
        }
        Ok(None)
    }

    /// Checks that none of these commits is where a shallow clone was cut off: the checkout would
    /// lack its parents.
    fn prove_deep(&self, commits: &HashSet<Oid>) -> io::Result<()> {
        let mut cut = reach::Ids::of(self.stop);
        reach::ids(&[self.git_dir().join("shallow")?], &mut cut, self.stop)?;
        if cut.ids.iter().any(|cut| commits.contains(cut)) {
            return Err(io::Error::other(
                "it is a shallow clone of commits that the checkout doesn't have; `git fetch` there",
            ));
        }
        Ok(())
    }

    /// Returns the objects that the checkout needs for these commits and doesn't have.
    ///
    /// # Errors
    /// Something can't be read.
    pub fn objects(&self, repo: &Repository, commits: &[Oid]) -> io::Result<Vec<Oid>> {
        let keeper = self.keeper.shadow.open().map_err(io::Error::other)?;
        let mut search = Search {
            repo,
            keeper: keeper.odb().map_err(io::Error::other)?,
            seen: HashSet::new(),
            missing: Vec::new(),
        };
        let mut held = self.stop.hold();
        let lonely = self.lonely(repo, commits)?;
        self.prove_deep(&lonely)?;
        for commit in lonely {
            search.see(commit);
            let tree = repo
                .find_commit(commit)
                .map_err(io::Error::other)?
                .tree_id();
            let mut below = vec![tree];
            while let Some(tree) = below.pop() {
                go_on(Some(self.stop))?;
                let before = search.seen.len();
                search.tree(tree, &mut below).map_err(io::Error::other)?;
                held.more(
                    search
                        .seen
                        .len()
                        .saturating_sub(before)
                        .saturating_mul(2 * AN_ID),
                )?;
            }
        }
        Ok(search.missing)
    }

    /// Returns the objects that only the clone's index names, and that the checkout doesn't have.
    ///
    /// # Errors
    /// The index can't be read.
    pub fn staged(&self, repo: &Repository) -> io::Result<Vec<Oid>> {
        let git_dir = self.git_dir();
        let index = Staged::read(git_dir, self.stop)?;
        let bytes = found(openat::read(&git_dir.join("index")?, INDEX_CAP))?.unwrap_or_default();
        let resolved = if bytes.is_empty() {
            Default::default()
        } else {
            extensions::resolved(&bytes)?
        };
        let keeper = self.keeper.shadow.open().map_err(io::Error::other)?;
        let keeper = keeper.odb().map_err(io::Error::other)?;
        let own = repo.odb().map_err(io::Error::other)?;
        let entries = index.entries.values().map(|entry| (entry.mode, entry.id));
        let resolved = resolved.iter().flatten().map(|(_, entry)| *entry);
        // Git drops the sides of a resolved conflict in time; the rest must be there.
        let there = |id: &Oid| own.exists_ext(*id, OdbLookupFlags::NO_REFRESH);
        let ids = entries.chain(resolved.filter(|(_, id)| there(id)));
        let missing = ids.filter(|(mode, id)| {
            *mode != SUBMODULE && !keeper.exists_ext(*id, OdbLookupFlags::NO_REFRESH)
        });
        Ok(missing.map(|(_, id)| id).collect())
    }

    /// Returns whether the clone of this survey still has the same commits, and nothing that a
    /// rescue can't keep.
    ///
    /// # Errors
    /// Something can't be read.
    pub fn is_unchanged(&self, repo: &Repository, tree: &Worktree) -> io::Result<bool> {
        let State::Inspected(contents) = &tree.state else {
            return Ok(false);
        };
        Ok(self.unreached(repo, head_of(tree)?)? == contents.unreached
            && self.blockers(repo)?.is_empty())
    }

    /// Returns the number and the size of what a rescue of these commits copies.
    pub(in crate::survey) fn size(&self, repo: &Repository, tips: &[String]) -> io::Result<Own> {
        let odb = repo.odb().map_err(io::Error::other)?;
        let tips: Result<Vec<Oid>, _> = tips.iter().map(|tip| Oid::from_str(tip)).collect();
        let mut own = Own::default();
        for id in self.objects(repo, &tips.map_err(io::Error::other)?)? {
            let (size, _) = odb.read_header(id).map_err(io::Error::other)?;
            own.files = own.files.saturating_add(1);
            own.bytes = own.bytes.saturating_add(size as u64);
        }
        Ok(own)
    }
}

/// A search for objects that the checkout lacks.
struct Search<'a> {
    repo: &'a Repository,
    keeper: Odb<'a>,
    seen: HashSet<Oid>,
    missing: Vec<Oid>,
}

impl Search<'_> {
    /// Notes an object, and returns whether it is new.
    fn see(&mut self, id: Oid) -> bool {
        let is_new = self.seen.insert(id);
        if is_new && !self.keeper.exists_ext(id, OdbLookupFlags::NO_REFRESH) {
            self.missing.push(id);
        }
        is_new
    }

    /// Notes a directory of a commit and what is in it; adds the directories in it to `below`.
    fn tree(&mut self, id: Oid, below: &mut Vec<Oid>) -> Result<(), git2::Error> {
        if !self.see(id) {
            return Ok(());
        }
        for entry in &self.repo.find_tree(id)? {
            match entry.kind() {
                Some(ObjectType::Tree) => below.push(entry.id()),
                // A submodule's commit is not in this repo.
                Some(ObjectType::Commit) => {}
                _ => drop(self.see(entry.id())),
            }
        }
        Ok(())
    }
}
