//! The repo's own config: data to judge, never to obey.
//!
//! Only lines that every reader of git's format understands in the same way are read here. If there
//! are others, git is asked, in a process that costs more than the rest of a small repo's survey.
//! Includes are not followed.

use super::{Refusal, crypt};
use crate::git::formats::{self, Version};

/// The most bytes that the section names of all entries take together in a well-formed config.
const LARGEST: usize = 64 << 20;

/// Returns whether its entries could take more memory than there is: each repeats the name of its
/// section, and a megabyte of config can have a hundred thousand keys in a section with a long
/// name. A line has at most one key, and a section's name is at the beginning of its line.
pub(super) fn is_endless(config: &[u8]) -> bool {
    let lines = || {
        config
            .strip_prefix(b"\xef\xbb\xbf")
            .unwrap_or(config)
            .split(|&byte| byte == b'\n')
    };
    let longest = lines()
        .filter(|line| line.trim_ascii_start().starts_with(b"["))
        .map(<[u8]>::len)
        .max()
        .unwrap_or(0);
    lines().count().saturating_mul(longest) > LARGEST
}

/// Returns the entries as `git config --null --list` would, each as `key\nvalue`; none if a line
/// isn't plain: if it has quotes, comments, backslashes, tabs or other control characters, or no
/// `=`.
pub(crate) fn plain(config: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(config).ok()?;
    let (mut section, mut entries) = (None, Vec::new());
    for line in text
        .split('\n')
        .map(|line| line.trim_matches([' ', '\t']))
        .filter(|line| !line.is_empty())
    {
        if let Some(name) = line.strip_prefix('[') {
            section = Some(header(name.strip_suffix(']')?)?);
            continue;
        }
        let (key, value) = line.split_once('=')?;
        let key = key.trim_end_matches([' ', '\t']);
        let is_plain = key.starts_with(|first: char| first.is_ascii_alphabetic()) && is_name(key);
        let value = value.trim_start_matches([' ', '\t']);
        if !is_plain || value.contains(|char: char| char.is_control() || "\"\\#;".contains(char)) {
            return None;
        }
        entries.push(format!(
            "{}.{}\n{value}",
            section.as_ref()?,
            key.to_ascii_lowercase()
        ));
    }
    Some(entries)
}

/// Returns a section as it precedes a key: `core`, or `remote.origin` for `remote "origin"`.
fn header(name: &str) -> Option<String> {
    let Some((name, rest)) = name.split_once(' ') else {
        return is_name(name).then(|| name.to_ascii_lowercase());
    };
    let below = rest.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain =
        is_name(name) && !below.contains(|char: char| char.is_control() || "\"\\".contains(char));
    is_plain.then(|| format!("{}.{below}", name.to_ascii_lowercase()))
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// What a repo's config says about its objects.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Theirs {
    /// Objects may be missing, because a remote has promised to have them (`git clone --filter`).
    pub promisor: bool,
    /// Its `gc.*` keys and their values, in order. A name between two dots is unchanged, the rest
    /// is in lower case.
    pub gc: Vec<(String, String)>,
    /// The files that it includes, under any condition, as it names them.
    pub includes: Vec<String>,
    /// Its `core.bare`, if it has one.
    pub bare: Option<bool>,
    /// Its `core.worktree`: the directory that it says it is the git dir of.
    pub worktree: Option<String>,
}

/// Refuses entries, each `key\nvalue`, that change the meaning of objects. Gathers the others.
/// `git` returns the version of the git on the path, for the refusal.
pub(super) fn judge<'a>(
    entries: impl Iterator<Item = &'a str>,
    git: &dyn Fn() -> Option<Version>,
) -> Result<Theirs, Refusal> {
    let entries: Vec<&str> = entries.collect();
    entries
        .iter()
        .try_for_each(|entry| judge_entry(entry, git))?;
    Ok(gather(entries.into_iter()))
}

/// Gathers entries of a file that can't change the meaning of objects.
pub(super) fn gather<'a>(entries: impl Iterator<Item = &'a str>) -> Theirs {
    let mut theirs = Theirs::default();
    for entry in entries {
        let (key, value) = entry.split_once('\n').unwrap_or((entry, "true"));
        if key.starts_with("gc.") {
            theirs.gc.push((key.to_owned(), value.to_owned()));
        }
        if key == "include.path"
            || key
                .strip_suffix(".path")
                .is_some_and(|key| key.starts_with("includeif."))
        {
            theirs.includes.push(value.to_owned());
        }
        match key {
            "core.bare" => theirs.bare = Some(is_true(value)),
            "core.worktree" => theirs.worktree = Some(value.to_owned()),
            _ => {}
        }
        let is_promisor =
            key.starts_with("remote.") && key.ends_with(".promisor") && is_true(value);
        theirs.promisor |= is_promisor || key.eq_ignore_ascii_case("extensions.partialclone");
    }
    theirs
}

fn is_true(value: &str) -> bool {
    !matches!(value, "false" | "no" | "off" | "0" | "")
}

/// Refuses one `key\nvalue` that would change the meaning of the repo's objects. `git` is as in
/// [`judge`].
pub(crate) fn judge_entry(entry: &str, git: &dyn Fn() -> Option<Version>) -> Result<(), Refusal> {
    let (key, value) = entry.split_once('\n').unwrap_or((entry, "true"));
    let key = key.to_lowercase();
    let refuse = |why: &str| {
        Err(Refusal::Malformed(format!(
            "`.git/config` sets {key} = {value}: {why}"
        )))
    };
    match key.as_str() {
        "core.repositoryformatversion" if !matches!(value, "0" | "1") => {
            refuse("this version of the format is unknown to treewarden")
        }
        _ if crypt::is_key(&key) => refuse(crypt::WORDS),
        _ => formats::refusal(&key, value, git).map_or(Ok(()), |why| refuse(&why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::stop::Stop;
    use crate::git::confine::Reach;
    use crate::git::{Git, GitError};
    use std::sync::Arc;
    use std::time::Duration;

    /// Returns git's reading of the config; none if git rejects it.
    fn by_git(config: &[u8]) -> Option<Vec<String>> {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("theirs"), config).unwrap();
        let stop = Stop::after(Duration::from_mins(1), Arc::default());
        let reach = Reach::of(scratch.path()).unwrap();
        let git = Git::new(scratch.path(), &reach, &stop, Duration::from_secs(10));
        match git.run(&[
            "config",
            "--file",
            "theirs",
            "--no-includes",
            "--null",
            "--list",
        ]) {
            Ok(listed) => Some(
                String::from_utf8(listed)
                    .unwrap()
                    .split_terminator('\0')
                    .map(str::to_owned)
                    .collect(),
            ),
            Err(GitError::Failed { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn what_git_writes_is_plain() {
        let config = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n[remote \"origin\"]\n\
            \turl = git@github.com:Acme/shop.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
            [branch \"Feature/é\"]\n\tremote = origin\n\tmerge = refs/heads/Feature/é\n[user]\n\tname = A  U Thor\n\temail =\n";
        let listed = plain(config.as_bytes()).unwrap();
        assert_eq!(listed.len(), 9);
        assert_eq!(Some(listed), by_git(config.as_bytes()));
        assert_eq!(plain(b""), Some(Vec::new()));
    }

    #[test]
    fn what_readers_could_differ_about_is_gits_to_tell() {
        let lines = "bare|a = \"b\"|a = b # c|a = b ; c|a = b\\|a = b\tc|a = b\r|a = b\0c|a_b = c|1a = b|a b = c|= b|# a|[a|[a] b = c|[]|[a.b]|\
            [a  \"b\"]|[a \"b\\\"\"]|[a \"b\" ]|[a \"b]|[a \"\"b\"]|\u{feff}[a]|a = \u{85}";
        for line in lines.split('|') {
            assert_eq!(
                plain(format!("[core]\n{line}\n").as_bytes()),
                None,
                "{line}"
            );
        }
        assert_eq!(plain(b"a = b\n"), None, "in no section");
        assert_eq!(plain(b"[core]\na = \xff\n"), None, "no UTF-8");
    }

    #[test]
    fn a_long_name_for_many_keys_is_no_honest_config() {
        let config = |name: usize, keys: usize| {
            format!("[a \"{}\"]\n{}", "x".repeat(name), "a=\n".repeat(keys))
        };
        for (name, keys, endless) in [
            (500 << 10, 100_000, true),
            (1000, 100_000, true),
            (500 << 10, 10, false),
            (200, 100_000, false),
        ] {
            assert_eq!(
                is_endless(config(name, keys).as_bytes()),
                endless,
                "{name}, {keys}"
            );
        }
    }

    #[test]
    fn git_takes_what_is_plain_alike() {
        let parts = "[|]|[core]|[A-b]|[a \"B c\"]|[a \"\"]|\n|\n|\n|\n\t| |\t|=| = |key|K2-|value|a]b|[c=d|\"|#|;|\\|\r|é|=x|.|\u{b}";
        let parts: Vec<&str> = parts.split('|').collect();
        let (mut random, mut seen) = (fastrand::Rng::with_seed(7), 0);
        while seen < 100 {
            let config: String = (0..random.usize(1..14))
                .map(|_| parts[random.usize(..parts.len())])
                .collect();
            if let Some(listed) = plain(config.as_bytes()).filter(|listed| !listed.is_empty()) {
                assert_eq!(Some(listed), by_git(config.as_bytes()), "{config:?}");
                seen += 1;
            }
        }
    }
}
