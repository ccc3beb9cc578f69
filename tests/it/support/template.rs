//! A new origin and its clone, which git makes once per test process. Each repo of a test is then
//! written from memory: that takes a millisecond, and git's thirteen processes thirty.

use super::{git, temporary, write};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What every repo ignores.
const IGNORED: &str = ".env\n*.log\nnode_modules/\ntarget/\nignored/\n";

/// The files of both, and where the origin was when git made them.
struct Template {
    origin: Vec<Entry>,
    clone: Vec<Entry>,
    was_at: String,
}

/// A directory, or a file with its permissions and content.
enum Entry {
    Directory(PathBuf),
    File(PathBuf, u32, Vec<u8>),
}

/// Creates an origin with one commit on `main`, and its clone.
pub(super) fn origin_and_clone(origin: &Path, clone: &Path) {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    // Git quotes other paths in the clone's config.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let Some(path) = origin.to_str().filter(|path| path.chars().all(plain)) else {
        return made_by_git(origin, clone);
    };
    let template = TEMPLATE.get_or_init(Template::new);
    put(origin, &template.origin);
    put(clone, &template.clone);
    let config = clone.join(".git/config");
    let text = fs::read_to_string(&config).unwrap();
    assert_eq!(text.matches(&template.was_at).count(), 1, "{text}");
    write(&config, text.replace(&template.was_at, path));
    // The index names inodes and times.
    git(clone, 80.0, &["update-index", "-q", "--refresh"]);
}

impl Template {
    fn new() -> Self {
        let top = temporary();
        let (origin, clone) = (top.path().join("origin.git"), top.path().join("clone"));
        made_by_git(&origin, &clone);
        Self {
            origin: entries(&origin),
            clone: entries(&clone),
            was_at: origin.to_str().unwrap().to_owned(),
        }
    }
}

/// Does the same with the commands that agents use.
fn made_by_git(origin: &Path, clone: &Path) {
    fs::create_dir_all(origin).unwrap();
    git(origin, 90.0, &["init", "-q", "--bare", "--template=", "."]);
    let (from, to) = (origin.to_str().unwrap(), clone.to_str().unwrap());
    git(origin, 90.0, &["clone", "-q", "--template=", from, to]);
    write(&clone.join(".gitignore"), IGNORED);
    write(&clone.join("package.json"), "{}\n");
    super::repo::commit(clone, 80.0, "README.md", "# A repo\n");
    git(clone, 60.0, &["push", "-q", "origin", "main"]);
}

/// Returns everything below a directory, each directory before what is in it.
fn entries(top: &Path) -> Vec<Entry> {
    let all = walkdir::WalkDir::new(top).into_iter().map(Result::unwrap);
    all.map(|entry| {
        let below = entry.path().strip_prefix(top).unwrap().to_owned();
        if entry.file_type().is_dir() {
            return Entry::Directory(below);
        }
        let mode = entry.metadata().unwrap().permissions().mode();
        Entry::File(below, mode, fs::read(entry.path()).unwrap())
    })
    .collect()
}

fn put(top: &Path, entries: &[Entry]) {
    for entry in entries {
        match entry {
            Entry::Directory(below) => fs::create_dir_all(top.join(below)).unwrap(),
            Entry::File(below, mode, content) => {
                let path = top.join(below);
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
        }
    }
}
