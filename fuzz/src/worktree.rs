//! A worktree whose admin directory and `.git` file hold anything at all.
//!
//! The tree holds an edited file and a new one, whatever its index, HEAD and reflogs say. It must
//! never be called clean or missing.

use chrono::{TimeDelta, Utc};
use git2::{Repository, Signature};
use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use treewarden::facts::worktree::State;
use treewarden::fs::stop::Stop;
use treewarden::fs::volume_path::VolumePath;
use treewarden::survey::context::{Context, VolumeContext};
use treewarden::survey::landed::Upstream;
use treewarden::survey::reach::Kept;
use treewarden::survey::roots::{self, Roots};
use treewarden::survey::worktree;

/// What an input may say the content of: after a line `@NAME`. What it leaves out is as git wrote
/// it.
const FILES: [&str; 9] = [
    "gitdir",
    "HEAD",
    "commondir",
    "locked",
    "index",
    "ORIG_HEAD",
    "logs/HEAD",
    "refs/worktree/mine",
    "MERGE_HEAD",
];

/// The branch whose reflog is the worktree's.
const BRANCH: &str = "refs/heads/mine";

/// A volume with one repo and one worktree. It is swept away with the process.
struct Field {
    top: TempDir,
    repo: Repository,
    honest: Vec<(&'static str, Option<Vec<u8>>)>,
}

thread_local! {
    static FIELD: OnceCell<Field> = const { OnceCell::new() };
}

impl Field {
    fn new() -> Self {
        // In memory, where there is such a place: this is done many thousand times a second.
        let shm = Path::new("/dev/shm");
        let top = if shm.is_dir() {
            tempfile::tempdir_in(shm)
        } else {
            tempfile::tempdir()
        }
        .expect("a folder");
        let repo = Repository::init(top.path().join("repo")).expect("a repo");
        fs::write(top.path().join("repo/README.md"), "written\n").expect("a file");
        {
            let mut index = repo.index().expect("an index");
            index.add_path(Path::new("README.md")).expect("a file");
            let tree = repo
                .find_tree(index.write_tree().expect("a tree"))
                .expect("a tree");
            let who = Signature::new(
                "An Agent",
                "agent@example.com",
                &git2::Time::new(1_700_000_000, 0),
            )
            .expect("a name");
            let commit = repo
                .commit(Some("HEAD"), &who, &who, "One", &tree, &[])
                .expect("a commit");
            repo.branch("mine", &repo.find_commit(commit).expect("it"), false)
                .expect("a branch");
            let mine = repo.find_reference(BRANCH).expect("a branch");
            let mut options = git2::WorktreeAddOptions::new();
            options.reference(Some(&mine));
            repo.worktree("tree", &top.path().join("tree"), Some(&options))
                .expect("a worktree");
        }
        fs::write(top.path().join("tree/README.md"), "edited!\n").expect("a file");
        fs::write(top.path().join("tree/new.ts"), "precious\n").expect("a file");
        let admin = top.path().join("repo/.git/worktrees/tree");
        for directory in ["logs", "refs/worktree"] {
            fs::create_dir_all(admin.join(directory)).expect("a folder");
        }
        let honest = FILES
            .map(|name| (name, fs::read(admin.join(name)).ok()))
            .to_vec();
        Self { top, repo, honest }
    }

    /// Lays the admin directory out as `data` says.
    fn lay(&self, data: &[u8]) {
        let root = self.top.path().to_str().expect("a plain path").as_bytes();
        for (name, honest) in &self.honest {
            let path = self.top.path().join("repo/.git/worktrees/tree").join(name);
            match section(data, name)
                .map(|text| replace(text, b"ROOT", root))
                .or_else(|| honest.clone())
            {
                Some(text) => fs::write(path, text).expect("a file"),
                None => drop(fs::remove_file(path)),
            }
        }
        // As a branch's too: libgit2 reads that one.
        let log = self.top.path().join("repo/.git/logs").join(BRANCH);
        fs::create_dir_all(log.parent().expect("it is below logs")).expect("a folder");
        fs::write(log, section(data, "logs/HEAD").unwrap_or_default()).expect("a file");
        let git_file = replace(
            section(data, ".git").unwrap_or(b"gitdir: ROOT/repo/.git/worktrees/tree\n"),
            b"ROOT",
            root,
        );
        fs::write(self.top.path().join("tree/.git"), git_file).expect("a file");
    }
}

/// What nothing may be dropped of: sorted, each once, and whatever libgit2 finds in a reflog is
/// among it.
fn assert_named(field: &Field, data: &[u8], roots: &Roots) {
    for ids in [&roots.hidden, &roots.seen] {
        assert!(
            ids.windows(2).all(|pair| pair[0] < pair[1]) && !ids.contains(&[0; 20]),
            "{ids:?}"
        );
    }
    assert!(
        roots.unread.iter().all(|why| why.contains("; ")),
        "{:?}",
        roots.unread
    );
    // Libgit2 takes an id for one that more digits follow; git and we do not.
    let is_plain = section(data, "logs/HEAD")
        .unwrap_or_default()
        .split(|&byte| byte == b'\n')
        .all(|line| line.get(81).is_none_or(|&byte| byte == b' '));
    let Some(log) = field.repo.reflog(BRANCH).ok().filter(|_| is_plain) else {
        return;
    };
    for id in log
        .iter()
        .flat_map(|entry| [entry.id_old(), entry.id_new()])
        .filter(|id| !id.is_zero())
    {
        let known = roots.hidden.iter().any(|known| known[..] == *id.as_bytes());
        assert!(known || !roots.unread.is_empty(), "{id} is missing");
    }
}

/// What stands after the line `@NAME`, to the next such line.
pub(crate) fn section<'a>(data: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let head = format!("@{name}\n");
    let at = data
        .windows(head.len())
        .position(|window| window == head.as_bytes())?
        + head.len();
    let rest = &data[at..];
    let end = rest
        .windows(2)
        .position(|window| window == b"\n@")
        .map_or(rest.len(), |end| end + 1);
    Some(&rest[..end])
}

pub(crate) fn replace(text: &[u8], word: &[u8], with: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(word.len()).position(|window| window == word) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(with);
        rest = &rest[at + word.len()..];
    }
    [&replaced, rest].concat()
}

/// Whatever git's files say, the tree is there, and its work is seen or nobody can tell; and what
/// they name is known, or that it can't be read.
pub fn worktree(data: &[u8]) {
    FIELD.with(|field| look(field.get_or_init(Field::new), data));
}

fn look(field: &Field, data: &[u8]) {
    field.lay(data);
    let root: Arc<Path> = field.top.path().into();
    let at = |path: &str| VolumePath::new(&root, Path::new(path)).expect("inside");
    assert_named(
        field,
        data,
        &roots::read(
            &at("repo/.git"),
            &Stop::after(Duration::from_mins(10), Arc::default()),
        ),
    );
    let (place, now) = (at("repo"), Utc::now());
    let stop = Stop::after(Duration::from_mins(10), Arc::default());
    let context = Context {
        repo: &field.repo,
        place: &place,
        checkout: Some(&place),
        clock: now,
        look_before: now + TimeDelta::days(1),
        is_stale: treewarden::plan::repo::is_stale,
        around: &VolumeContext::default(),
        measured: false,
        made_again: &Arc::from([]),
        stashed: &HashSet::new(),
        kept: &Kept::default(),
        objects: &Arc::default(),
        upstream: &Upstream::of(&field.repo, &stop),
        stop: &stop,
        due: &|_| true,
        clone: None,
    };
    let tree = worktree::survey(&context, &at("repo/.git/worktrees/tree"));
    let here = tree.path == field.top.path().join("tree");
    match &tree.state {
        State::Inspected(contents) => {
            assert_eq!(
                contents.place.as_ref().map(VolumePath::path),
                Some(tree.path.clone()),
                "{tree:?}"
            );
            assert!(here && contents.dirty_count >= 2, "{tree:?}");
        }
        State::Missing { .. } => assert!(!here && !tree.path.exists(), "{tree:?}"),
        State::NotInspected => assert!(
            tree.locked.is_some() || !tree.in_progress.is_empty(),
            "{tree:?}"
        ),
        State::Unknown(why) | State::Unreadable(why) => assert!(!why.is_empty()),
    }
}
