//! A `.git` file below a tree's root: whose it is, and whether it keeps the tree.
//!
//! Three kinds don't. A copy of a worktree (`cp -a`) contains the `.git` file of another tree's
//! registration, so its files are plain content. An unchanged submodule can be fetched again if a
//! remote has all of its commits. So can the repo of a submodule that is no longer checked out.
//! Everything else is a repo of its own. A commit counts as fetched only if a remote-tracking ref
//! reaches it, and a repo is opened only after the type of every file in it was checked.

use super::known::Known;
use super::{lines, reach, tree};
use crate::fs::openat::{self, Listed, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::formats;
use crate::git::shadow::config;
use git2::{Odb, Oid, Repository};
use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Bytes of half a million packed refs.
const PACKED: u64 = 32 << 20;
/// Bytes of a packed ref's line: no name is longer.
const NAME: usize = 8 << 10;
/// Bytes of a `.git` file, `gitdir` or HEAD: each is one line.
const LINE: u64 = 64 << 10;
/// Bytes of a config.
const CONFIG: u64 = 1 << 20;
/// The section of a config that changes the format of the repo, in lower case.
const EXTENSIONS: &[u8] = b"extensions";
/// The names that git creates in a submodule's git dir while no operation is under way. Any other
/// is an operation's, a worktree, a nested submodule, or somebody's.
const AT_REST: [&str; 16] = [
    "HEAD",
    "ORIG_HEAD",
    "FETCH_HEAD",
    "COMMIT_EDITMSG",
    "branches",
    "config",
    "description",
    "gc.log",
    "hooks",
    "index",
    "info",
    "logs",
    "objects",
    "packed-refs",
    "refs",
    "shallow",
];
/// Files and directories in a git dir, at most: a well-formed repo has fewer.
const MOST: usize = 200_000;

/// Returns where the `.git` file at `at` points, resolved lexically.
pub(super) fn leads_to(at: &VolumePath) -> io::Result<Option<PathBuf>> {
    let text = openat::read(at, LINE)?;
    let Some(to) = str::from_utf8(&text)
        .ok()
        .and_then(|text| text.trim_end_matches('\n').strip_prefix("gitdir: "))
    else {
        return Ok(None);
    };
    let directory = at.path();
    Ok(plain(
        directory.parent().unwrap_or(&directory),
        Path::new(to),
    ))
}

/// Resolves `to` lexically, from `directory`: no link on the way is followed when it is opened.
fn plain(directory: &Path, to: &Path) -> Option<PathBuf> {
    let mut path = if to.is_absolute() {
        PathBuf::from("/")
    } else {
        directory.to_owned()
    };
    for part in to.components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if !path.pop() => return None,
            _ => {}
        }
    }
    Some(path)
}

/// Returns whether the `.git` file at `path` in the tree `top` is a copy of another tree's, which
/// is elsewhere. `places` are where `top` may be registered, `own` is its registration.
pub(super) fn is_copy(
    own: &VolumePath,
    top: &VolumePath,
    path: &Path,
    places: [&Path; 2],
) -> io::Result<bool> {
    let at = top.join(path)?;
    let Some(admin) = leads_to(&at)?.and_then(|admin| VolumePath::new(own.root(), &admin).ok())
    else {
        return Ok(false);
    };
    // It points to this tree's own registration, wherever the tree is by now.
    if admin == *own {
        return Ok(true);
    }
    if admin.relative().parent().and_then(Path::file_name) != Some("worktrees".as_ref()) {
        return Ok(false);
    }
    let Some(back) = found(openat::read(&admin.join("gitdir")?, LINE))? else {
        return Ok(false);
    };
    let Some(back) = str::from_utf8(&back)
        .ok()
        .and_then(|back| plain(&admin.path(), Path::new(back.trim_end_matches('\n'))))
    else {
        return Ok(false);
    };
    // If nothing is there, this may be that very tree, which somebody moved.
    let stands = VolumePath::new(own.root(), &back)
        .ok()
        .map(|back| found(openat::stat(&back)))
        .transpose()?
        .flatten()
        .is_some();
    Ok(stands && !places.iter().any(|place| place.join(path) == back))
}

/// The time to read a submodule's loose objects. If it takes longer, the tree stays.
const WHOLE: Duration = Duration::from_secs(10);

/// Returns why the repo in a submodule's git dir can't be fetched again; none if all of it can.
pub(super) fn holds(git_dir: &VolumePath, stop: &Stop) -> io::Result<Option<String>> {
    if let Some(odd) = odd_name(git_dir)? {
        return Ok(Some(format!(
            "`{odd}` in its repo belongs to an unfinished operation, or isn't git's"
        )));
    }
    if let Some(why) = other_format(git_dir)? {
        return Ok(Some(why));
    }
    let Some(repo) = objects(git_dir, stop)? else {
        return Ok(Some(
            "its repo contains links, alternates or damaged objects".to_owned(),
        ));
    };
    let at = |name: &str| git_dir.join(name).map_err(io::Error::from);
    let (mut own, mut remote) = (reach::Ids::of(stop), reach::Ids::of(stop));
    packed(git_dir, stop, |id, name| {
        if name.starts_with(b"refs/remotes/") {
            remote.add(id)
        } else {
            own.add(id)
        }
    })?;
    for (directory, remotes) in [("refs", "refs/remotes"), ("logs", "logs/refs/remotes")] {
        for file in reach::files_below(&at(directory)?, stop)?.all {
            let is_remote = file.relative().starts_with(at(remotes)?.relative());
            match (directory, is_remote) {
                ("refs", true) => reach::ids(&[file], &mut remote, stop)?,
                ("refs", false) => reach::ids(&[file], &mut own, stop)?,
                // The reflogs of remote-tracking refs name what the remote once had.
                (_, true) => {}
                (_, false) => reach::log_commits(&file, &mut own, stop)?,
            }
        }
    }
    reach::ids(&[at("HEAD")?, at("ORIG_HEAD")?], &mut own, stop)?;
    Ok(match unfetched(&repo, &own.ids, &remote.ids) {
        Ok(lonely) => lonely.map(|id| format!("no remote has its commit {id}")),
        Err(error) => Some(format!("its commits can't be read: {}", error.message())),
    })
}

/// Returns the extension in the repo's config because of which its refs or objects can't be read
/// here; none if they can. In a SHA-256 repo no ref would count as one, and nothing as unfetched.
fn other_format(git_dir: &VolumePath) -> io::Result<Option<String>> {
    let Some(text) = found(openat::read(&git_dir.join("config")?, CONFIG))? else {
        return Ok(None);
    };
    let Some(entries) = config::plain(&text) else {
        let has_any = text
            .to_ascii_lowercase()
            .windows(EXTENSIONS.len())
            .any(|word| word == EXTENSIONS);
        return Ok(has_any.then(|| {
            "its repo has extensions, and its config is not as git writes it".to_owned()
        }));
    };
    let mut settings = entries.iter().filter_map(|entry| entry.split_once('\n'));
    let other = settings.find(|(key, value)| !formats::is_read(key, value));
    Ok(other.map(|(key, value)| {
        format!("its repo has a format that treewarden does not read: {key} = {value}")
    }))
}

/// Calls `each` for every packed ref, with its id and the beginning of its name.
fn packed(
    git_dir: &VolumePath,
    stop: &Stop,
    mut each: impl FnMut(Oid, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let Some(file) = found(openat::file(&git_dir.join("packed-refs")?))? else {
        return Ok(());
    };
    if file.metadata()?.len() > PACKED {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "`packed-refs` is larger than any well-formed one",
        ));
    }
    lines::each(file, NAME, stop, |line| match line.split_at_checked(40) {
        // The line after a tag, `^` and the tag's commit, is skipped: the tag leads there.
        Some((id, [b' ', name @ ..])) => reach::id(id).map_or(Ok(()), |id| each(id, name)),
        _ => Ok(()),
    })
}

/// Returns a commit, or another named object, that no remote reaches.
fn unfetched(
    repo: &Repository,
    own: &BTreeSet<Oid>,
    remote: &BTreeSet<Oid>,
) -> Result<Option<Oid>, git2::Error> {
    let mut walk = repo.revwalk()?;
    for &id in remote {
        walk.hide(id)?;
    }
    for &id in own {
        // No branch of a remote names a tag, a tree or a blob.
        let Ok(commit) = repo.find_commit(id) else {
            return Ok(Some(id));
        };
        walk.push(commit.id())?;
    }
    walk.next().transpose()
}

fn odd_name(git_dir: &VolumePath) -> io::Result<Option<String>> {
    let names = openat::list(openat::dir(git_dir)?)?;
    let odd = |name: &std::ffi::OsStr| !AT_REST.iter().any(|known| name == *known);
    Ok(names
        .into_iter()
        .map(|(name, _)| name)
        .find(|name| odd(name))
        .map(|name| name.to_string_lossy().into_owned()))
}

/// Opens the objects of a git dir, without its config and hooks; none if there is a link, a pipe,
/// an alternates file, a truncated object or too many files.
fn objects(git_dir: &VolumePath, stop: &Stop) -> io::Result<Option<Repository>> {
    let objects = git_dir.join("objects")?;
    openat::dir(&objects)?;
    let borrows = objects.join("info/alternates")?;
    if found(openat::stat(&borrows))?.is_some() {
        return Ok(None);
    }
    let mut count = 0_usize;
    for entry in walkdir::WalkDir::new(git_dir.path()).follow_links(false) {
        let entry = entry?;
        stop.go_on()?;
        count = count.saturating_add(1);
        if !(entry.file_type().is_file() || entry.file_type().is_dir()) || count > MOST {
            return Ok(None);
        }
    }
    if !crate::git::shadow::is_whole(&objects, &stop.at_most(WHOLE)) {
        return Ok(None);
    }
    let odb = Odb::new().map_err(io::Error::other)?;
    let path = objects.path();
    let Some(path) = path.to_str() else {
        return Ok(None);
    };
    odb.add_disk_alternate(path).map_err(io::Error::other)?;
    Repository::from_odb(odb)
        .map(Some)
        .map_err(io::Error::other)
}

/// Returns why the submodules' repos in a registration keep the tree; none if they can be fetched
/// again. Git keeps them even after `git submodule deinit`, with commits that nothing else has.
pub(super) fn held(admin: &VolumePath, listed: &Listed, stop: &Stop) -> io::Result<Option<String>> {
    if !listed.holds("modules") {
        return Ok(None);
    }
    for repo in modules(admin, stop)? {
        if let Some(why) = holds(&repo, stop)? {
            let name = repo.relative().file_name().unwrap_or_default().display();
            return Ok(Some(format!(
                "its registration holds the repo of its submodule {name}, which no rescue keeps: {why}"
            )));
        }
    }
    Ok(None)
}

/// Returns the git dirs of submodules in a registration, by their paths there.
pub(super) fn modules(admin: &VolumePath, stop: &Stop) -> io::Result<Vec<VolumePath>> {
    let top = admin.join("modules")?;
    let mut repos = Vec::new();
    let mut entries = walkdir::WalkDir::new(top.path())
        .follow_links(false)
        .into_iter();
    while let Some(entry) = entries.next() {
        stop.go_on()?;
        let entry = match entry {
            Err(error)
                if error
                    .io_error()
                    .is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound) =>
            {
                continue;
            }
            entry => entry?,
        };
        let place = VolumePath::new(admin.root(), entry.path())?;
        if !entry.file_type().is_dir() {
            // It is in no submodule's git dir: whoever put it there has to remove it.
            return Err(io::Error::other(format!(
                "`{place}` is in no submodule's repo"
            )));
        }
        if found(openat::stat(&place.join("HEAD")?))?.is_some() {
            repos.push(place);
            entries.skip_current_dir();
        }
    }
    Ok(repos)
}

/// Returns why the submodule at `place` keeps the tree; none if it is unchanged since the commit
/// `recorded` and can be fetched again.
pub(super) fn submodule(
    admin: &VolumePath,
    place: &VolumePath,
    recorded: Oid,
    stop: &Stop,
) -> io::Result<Option<String>> {
    let pointer = place.join(".git")?;
    let repos = modules(admin, stop)?;
    // The tree may be in the trash by now, and a relative path was written for its old place, so
    // only the end of the path is compared.
    let Some(to) = leads_to(&pointer)? else {
        return Ok(Some("its `.git` file is malformed".to_owned()));
    };
    let Some(git_dir) = repos
        .into_iter()
        .find(|repo| repo.path() == to || to.ends_with(tail(admin, repo)))
    else {
        return Ok(Some("its repo is none of this worktree's".to_owned()));
    };
    if let Some(why) = holds(&git_dir, stop)? {
        return Ok(Some(why));
    }
    let head = head_of(&git_dir, stop)?;
    if head != Some(recorded) {
        return Ok(Some("it is at another commit than HEAD names".to_owned()));
    }
    let Some(repo) = objects(&git_dir, stop)? else {
        return Ok(Some(
            "its repo contains links, alternates or damaged objects".to_owned(),
        ));
    };
    let known = Known::of_submodule(stop, &repo, &git_dir, head)?;
    let listing = known.listed(place, true)?;
    if let Some(blocker) = listing.blockers.first() {
        return Ok(Some(blocker.clone()));
    }
    Ok(known
        .dirty(&repo, place, &listing, &mut stop.hold())?
        .first()
        .map(|(path, what)| format!("{} {what}", path.display())))
}

/// Returns the commit that HEAD names, directly or through a branch.
fn head_of(git_dir: &VolumePath, stop: &Stop) -> io::Result<Option<Oid>> {
    let text = openat::read(&git_dir.join("HEAD")?, LINE)?;
    let text = String::from_utf8_lossy(&text);
    let Some(branch) = text.trim_end().strip_prefix("ref: ") else {
        return Ok(reach::id(text.trim_end().as_bytes()));
    };
    let Ok(loose) = git_dir.join(branch) else {
        return Ok(None);
    };
    let mut ids = reach::Ids::of(stop);
    reach::ids(&[loose], &mut ids, stop)?;
    let mut named = ids.ids.into_iter().next();
    let is_loose = named.is_some();
    packed(git_dir, stop, |id, name| {
        if !is_loose && name == branch.as_bytes() {
            named = Some(id);
        }
        Ok(())
    })?;
    Ok(named)
}

/// Returns `worktrees/<id>/modules/<name>`, the end of every path to it in a `.git` file.
fn tail(admin: &VolumePath, repo: &VolumePath) -> PathBuf {
    let id = admin.relative().file_name().unwrap_or_default();
    let below = repo
        .relative()
        .strip_prefix(admin.relative())
        .unwrap_or(repo.relative());
    Path::new("worktrees").join(id).join(below)
}

/// Removes everything below a directory from a listing.
pub(super) fn cut_out(listing: &mut tree::Listing, directory: &Path) {
    listing.files.retain(|path, _| !path.starts_with(directory));
    listing
        .directories
        .retain(|path, _| path == directory || !path.starts_with(directory));
    listing
        .regenerable
        .retain(|path| !path.starts_with(directory));
    let name = directory.display().to_string();
    listing
        .blockers
        .retain(|blocker| !blocker.starts_with(&format!("{name}/")));
}
