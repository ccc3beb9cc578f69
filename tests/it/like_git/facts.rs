//! Git's answers about a repo, and which of them a run may not change.

use super::{Path, World, is_enrolled, sh};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use walkdir::WalkDir;

/// Everything that is compared.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Every object that git finds, also borrowed ones.
    objects: BTreeSet<String>,
    /// The objects that something here reaches.
    reached: BTreeSet<String>,
    /// Files of the git dir that are neither objects nor refs.
    files: BTreeSet<String>,
    /// The lines of each reflog.
    logs: BTreeMap<String, Vec<String>>,
    /// Git's answers by question.
    answers: BTreeMap<String, Vec<String>>,
}

/// How many questions are asked about a repo.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Before anything is done to it. An enrolled repo is later compared with what `git gc` leaves
    /// of it, so few questions are needed.
    First,
    /// With all questions.
    Whole,
}

impl Facts {
    /// Whether git failed to clone it.
    pub(super) fn fails_to_clone(&self) -> bool {
        let answer = self.answers.get("git clone");
        answer.is_some_and(|lines| lines.iter().any(|line| is_failure(line)))
    }

    /// Whether `after` lacks an object.
    pub(super) fn dropped_by(&self, after: &Self) -> bool {
        !self.objects.is_subset(&after.objects)
    }
}

/// Features of a checkout, and how to detect each: a path in its git dir (`*` is any name), and a
/// text in that file.
const HOLDS: &[(&str, &str, &str)] = &[
    ("a merge under way", "MERGE_HEAD", ""),
    ("an autostash of a merge", "MERGE_AUTOSTASH", ""),
    ("a cherry-pick under way", "CHERRY_PICK_HEAD", ""),
    ("more to pick", "sequencer/todo", "pick"),
    ("a revert under way", "REVERT_HEAD", ""),
    ("a bisect under way", "BISECT_LOG", ""),
    ("a rebase under way", "rebase-merge/done", ""),
    ("an autostash of a rebase", "rebase-merge/autostash", ""),
    ("a rebase by patches", "rebase-apply/patch", ""),
    (
        "an autostash of a rebase by patches",
        "rebase-apply/autostash",
        "",
    ),
    (
        "branches that a rebase moves",
        "rebase-merge/update-refs",
        "",
    ),
    ("rewritten commits", "refs/rewritten/*", ""),
    ("several stashes", "logs/refs/stash", "\n"),
    ("the base of a split index", "sharedindex.*", "DIRC"),
    ("an index that undoes", "index", "REUC"),
    ("an index of version 4", "index", "DIRC\0\0\0\x04"),
    ("a sparse index", "index", "sdir"),
    ("grafts", "info/grafts", ""),
    ("replaced objects", "refs/replace/*", ""),
    ("notes", "refs/notes/*", ""),
    ("packed refs", "packed-refs", "refs/"),
    ("a shallow end", "shallow", ""),
    ("a lender", "objects/info/alternates", ""),
    ("a kept pack", "objects/pack/*.keep", ""),
    ("a cruft pack", "objects/pack/*.mtimes", ""),
    ("a promisor's pack", "objects/pack/*.promisor", ""),
    ("a bitmap", "objects/pack/pack-*.bitmap", ""),
    ("a multi-pack-index", "objects/pack/multi-pack-index", ""),
    (
        "a bitmap of many packs",
        "objects/pack/multi-pack-index-*.bitmap",
        "",
    ),
    ("a commit-graph", "objects/info/commit-graph", ""),
    (
        "commit-graphs",
        "objects/info/commit-graphs/commit-graph-chain",
        "",
    ),
    ("a worktree", "worktrees/*/HEAD", ""),
    ("a worktree's reset", "worktrees/*/logs/HEAD", "reset: "),
    ("a worktree's rebase", "worktrees/*/rebase-merge/done", ""),
    ("a worktree's merge", "worktrees/*/MERGE_HEAD", ""),
    ("a worktree's own ref", "worktrees/*/refs/worktree/*", ""),
    ("a worktree's bisect", "worktrees/*/refs/bisect/*", ""),
    ("a worktree's split index", "worktrees/*/sharedindex.*", ""),
    ("a worktree's undoing index", "worktrees/*/index", "REUC"),
    ("a worktree's config", "worktrees/*/config.worktree", ""),
    ("a locked worktree", "worktrees/*/locked", ""),
    ("a submodule", "modules/*/HEAD", ""),
    ("a setting of gc's", "config", "[gc]"),
];

/// Returns the names of all features.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    HOLDS.iter().map(|(what, ..)| *what)
}

/// Returns the features of a checkout.
pub(super) fn holds(place: &Path) -> Vec<&'static str> {
    let there = |(_, path, text): &&(&str, &str, &str)| {
        let parts: Vec<&str> = path.split('/').collect();
        found(&place.join(".git"), &parts).iter().any(|file| {
            let bytes = std::fs::read(file).unwrap_or_default();
            // A line end in the text is there to find a second line, so the last one doesn't count.
            let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            text.is_empty() || contains(bytes, text.as_bytes())
        })
    };
    HOLDS.iter().filter(there).map(|(what, ..)| *what).collect()
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// Returns the paths below a directory that match a pattern.
fn found(directory: &Path, parts: &[&str]) -> Vec<PathBuf> {
    let Some((first, rest)) = parts.split_first() else {
        return vec![directory.to_owned()];
    };
    let Some((before, after)) = first.split_once('*') else {
        return if directory.join(first).symlink_metadata().is_ok() {
            found(&directory.join(first), rest)
        } else {
            Vec::new()
        };
    };
    let names = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|name| {
        name.len() >= before.len() + after.len()
            && name.starts_with(before)
            && name.ends_with(after)
    });
    names
        .flat_map(|name| found(&directory.join(name), rest))
        .collect()
}

/// The first questions. Fetching the missing objects of a partial clone would change the store, so
/// only the clone may use a transport.
const QUESTIONS: &str = r#"
ask() { echo "=== $*"; "$@" 2>&1 || echo "exit code $?"; }
export GIT_OPTIONAL_LOCKS=0 GIT_NO_LAZY_FETCH=1 GIT_ALLOW_PROTOCOL=none
ask git cat-file --batch-all-objects --batch-check='%(objectname)'
ask git fsck --full --no-dangling --no-progress
"#;

/// Asked at first of a repo that is not enrolled.
const REACHED: &str = "ask git rev-list --objects --no-object-names --all --reflog --indexed-objects --missing=allow-any";

/// The other questions.
const MORE_QUESTIONS: &str = r#"
ask git for-each-ref --format='%(refname) %(objectname)'
ask git stash list --format='%H %gs'
ask git log --all --format=%H
ask git reflog show --all --format=%H
echo "=== git clone"; GIT_ALLOW_PROTOCOL=file git clone -q --no-local --mirror . "$C" >/dev/null 2>&1 || echo "exit code $?"
rm -rf "$C"
"#;

/// The questions about a tree.
const OF_A_TREE: &str = r"
ask pwd
ask git ls-files -s
ask git ls-files --resolve-undo
ask git status --porcelain=2 --branch
";

/// Returns the git dir of a checkout or a bare repo.
fn git_dir(place: &Path) -> PathBuf {
    Some(place.join(".git"))
        .filter(|inside| inside.exists())
        .unwrap_or_else(|| place.to_owned())
}

/// Returns the main checkout, if there is one, and the worktrees on disk.
fn trees(place: &Path) -> Vec<PathBuf> {
    let mut trees: Vec<PathBuf> = std::iter::once(place.to_owned())
        .filter(|place| place.join(".git").exists())
        .collect();
    for admin in std::fs::read_dir(git_dir(place).join("worktrees"))
        .into_iter()
        .flatten()
    {
        let gitdir =
            std::fs::read_to_string(admin.unwrap().path().join("gitdir")).unwrap_or_default();
        trees.extend(
            Path::new(gitdir.trim_end())
                .parent()
                .filter(|tree| tree.is_dir())
                .map(Path::to_owned),
        );
    }
    trees
}

/// Asks git, and reads the git dir's files.
pub(super) fn facts(world: &World, git: &Path, directory: &str, look: Look) -> Facts {
    let place = world.at(directory);
    let clone = world.beside(format!("clone-{}", directory.replace('/', "-")));
    let mut script = format!(
        "C={}; cd {} || exit\n{QUESTIONS}",
        clone.display(),
        place.display()
    );
    let enrolled = is_enrolled(directory);
    if look == Look::First && !enrolled {
        script.push_str(REACHED);
    }
    if look == Look::Whole || !enrolled {
        script.push_str(MORE_QUESTIONS);
        for tree in trees(&place) {
            write!(script, "cd {}{OF_A_TREE}", tree.display()).unwrap();
        }
    }
    let said = sh(world, git, &script);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut facts = Facts::default();
    let mut tree = String::new();
    for answer in said.split("=== ").skip(1) {
        let (question, answer) = answer.split_once('\n').unwrap();
        let lines: Vec<String> = answer.lines().map(str::to_owned).collect();
        let ids = || lines.iter().filter(|line| is_id(line)).cloned().collect();
        match question.split(' ').nth(1) {
            None => tree = format!(" in {}", world.below(Path::new(answer.trim_end()))),
            Some("cat-file") => facts.objects = ids(),
            Some("rev-list") => facts.reached = ids(),
            Some("clone") => drop(facts.answers.insert("git clone".to_owned(), lines)),
            Some(_) => drop(facts.answers.insert(format!("{question}{tree}"), lines)),
        }
    }
    let passing = ["refs", "logs", "objects", "packed-refs", "reftable"];
    let git_dir = git_dir(&place);
    let all = WalkDir::new(&git_dir)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| !entry.file_type().is_dir());
    let all = all.map(|entry| {
        entry
            .path()
            .strip_prefix(&git_dir)
            .unwrap()
            .to_string_lossy()
            .into_owned()
    });
    facts.files = all
        .filter(|name| !name.split('/').any(|part| passing.contains(&part)))
        .collect();
    for file in files(&git_dir)
        .iter()
        .filter(|file| file.components().any(|part| part.as_os_str() == "logs"))
    {
        let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        facts.logs.insert(
            world.below(file).to_string(),
            text.lines()
                .map(|line| line.trim_end().to_owned())
                .collect(),
        );
    }
    facts
}

/// Returns the files of a git dir, without its objects.
fn files(git_dir: &Path) -> Vec<PathBuf> {
    let all = WalkDir::new(git_dir)
        .into_iter()
        .filter_entry(|entry| !matches!(entry.file_name().to_str(), Some("objects" | "modules")));
    all.map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect()
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What is missing and should not be.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Objects.
    pub(super) objects: Vec<String>,
    /// The same in words.
    pub(super) told: Vec<String>,
}

/// Compares. `collected` is an enrolled repo after `git gc`; in a repo that is not enrolled,
/// everything that was reached must still be there.
pub(super) fn lost(before: &Facts, collected: Option<&Facts>, after: &Facts) -> Lost {
    let kept = collected.unwrap_or(before);
    let wanted = collected.map_or(&before.reached, |collected| &collected.objects);
    // Only what was there before counts: git may have fetched objects since.
    let objects: Vec<String> = wanted
        .difference(&after.objects)
        .filter(|id| before.objects.contains(*id))
        .cloned()
        .collect();
    let mut told = Vec::new();
    if !objects.is_empty() {
        told.push(format!(
            "{} of {} objects are gone",
            objects.len(),
            wanted.len()
        ));
    }
    let gone: Vec<&String> = before.files.difference(&after.files).collect();
    if !gone.is_empty() {
        told.push(format!("files are gone: {}", brief(&gone)));
    }
    let nothing = Vec::new();
    for (name, lines) in &kept.logs {
        let there = after.logs.get(name).unwrap_or(&nothing);
        let gone: Vec<&String> = lines.iter().filter(|line| !there.contains(line)).collect();
        if !gone.is_empty() {
            told.push(format!("lines of {name} are gone: {}", brief(&gone)));
        }
    }
    for (question, answer) in &kept.answers {
        let now = after.answers.get(question).unwrap_or(&nothing);
        let first = before.answers.get(question).unwrap_or(&nothing);
        let mut more: Vec<&String> = now.iter().filter(|line| !answer.contains(line)).collect();
        let mut less: Vec<&String> = answer.iter().filter(|line| !now.contains(line)).collect();
        match question.split(' ').nth(1) {
            // Old complaints, and complaints that are gone, don't count.
            Some("fsck") => {
                let failed = first.iter().any(|line| is_failure(line));
                more.retain(|line| !(first.contains(line) || failed && is_failure(line)));
                less.clear();
            }
            Some("clone") if answer.iter().any(|line| is_failure(line)) => {
                more.clear();
                less.clear();
            }
            // What git itself broke and the run didn't doesn't count.
            _ if answer.iter().any(|line| is_failure(line))
                && !now.iter().any(|line| is_failure(line)) =>
            {
                more.clear();
                less.clear();
            }
            // A run keeps these lines for longer.
            Some("reflog" | "stash") => {
                more.retain(|line| !is_id(line.split(' ').next().unwrap_or_default()));
            }
            _ => {}
        }
        // `git gc` in the lender drops these graphs as well: the borrower then reads the commits
        // instead, and fsck reports this with one bit of its exit code.
        if collected.is_none() && more.iter().any(|line| *line == CHAIN) {
            more.retain(|line| *line != CHAIN && *line != "exit code 16");
        }
        if !more.is_empty() || !less.is_empty() {
            told.push(format!(
                "{question}: now it says {}, no longer {}",
                brief(&more),
                brief(&less)
            ));
        } else if question.starts_with("git stash")
            && !now.iter().filter(|line| answer.contains(line)).eq(answer)
        {
            told.push(format!("{question}: in another order"));
        }
    }
    Lost { objects, told }
}

/// Git's warning about a chain of commit-graphs of which a part was in the lender.
const CHAIN: &str = "warning: unable to find all commit-graph files";

fn is_failure(line: &str) -> bool {
    line.starts_with("exit code ")
}

fn brief(lines: &[&String]) -> String {
    let few: Vec<&str> = lines.iter().take(3).map(|line| line.as_str()).collect();
    format!("{} lines `{}`", lines.len(), few.join(" | "))
}

/// Returns who refers to these objects: every file of the git dir and every index with an id from
/// which git reaches one of them.
pub(super) fn referrers(
    world: &World,
    git: &Path,
    directory: &str,
    lost: &[String],
) -> Vec<String> {
    let place = world.at(directory);
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files(&git_dir(&place))
        .into_iter()
        .filter(|file| !file.ends_with("info/refs"))
    {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        for (n, line) in text.lines().enumerate() {
            for id in line
                .split(|c: char| !c.is_ascii_hexdigit())
                .filter(|id| is_id(id))
            {
                named.entry(id.to_owned()).or_default().insert(format!(
                    "{}:{}",
                    world.below(&file),
                    n + 1
                ));
            }
        }
    }
    for tree in trees(&place) {
        let said = sh(
            world,
            git,
            &format!(
                "cd {}; git ls-files -s; git ls-files --resolve-undo",
                tree.display()
            ),
        );
        for line in String::from_utf8_lossy(&said.stdout).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            named
                .entry(words[1].to_owned())
                .or_default()
                .insert(format!(
                    "the index of {} ({})",
                    world.below(&tree),
                    words[2..].join(" ")
                ));
        }
    }
    let mut told = Vec::new();
    for id in lost.iter().take(3) {
        let ask = |root: &String| {
            sh(
                world,
                git,
                &format!(
                    "cd {}; git rev-list --objects --no-object-names {root}",
                    place.display()
                ),
            )
        };
        let reaches = |root: &String| {
            String::from_utf8_lossy(&ask(root).stdout)
                .lines()
                .any(|line| line == id)
        };
        let roots = named
            .iter()
            .filter(|(root, _)| *root == id || reaches(root));
        let roots: Vec<String> = roots
            .flat_map(|(_, places)| places.iter().take(2).cloned())
            .take(6)
            .collect();
        let kind = sh(
            world,
            git,
            &format!("cd {}; git cat-file -t {id}", place.display()),
        );
        let kind = String::from_utf8_lossy(&kind.stdout).trim_end().to_owned();
        let by = if roots.is_empty() {
            "nothing refers to it: its age kept it, or its pack".to_owned()
        } else {
            roots.join(", ")
        };
        told.push(format!("{kind} {id}: {by}"));
    }
    told
}
