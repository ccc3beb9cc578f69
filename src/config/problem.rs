//! The problems of a config, and their places: key paths, the notes taken on the way, and the error
//! with all of them. Everything here is printed, so it never contains a value from below `alerts`:
//! those may be secrets.

use std::fmt;
use std::path::PathBuf;

/// One step of a key's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A mapping's key.
    Key(String),
    /// A list's item, from 0.
    Item(usize),
}

/// The place of a value: `eviction.low.bytes`, `repos[1].name`. Empty for the whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct KeyPath(pub(super) Vec<Step>);

impl KeyPath {
    /// The place of `name` in this mapping.
    pub(super) fn key(&self, name: &str) -> Self {
        self.below(Step::Key(name.to_owned()))
    }

    /// The place of an item of this list.
    pub(super) fn item(&self, index: usize) -> Self {
        self.below(Step::Item(index))
    }

    fn below(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            let dot = if position == 0 { "" } else { "." };
            match step {
                Step::Item(index) => write!(f, "[{index}]")?,
                // Somebody typed an address as a key: it may contain a password or a token.
                Step::Key(name) if name.contains(['/', ':', '@']) => write!(f, "{dot}(hidden)")?,
                Step::Key(name) => write!(f, "{dot}{name}")?,
            }
        }
        Ok(())
    }
}

/// The problems found so far, each at its key.
#[derive(Debug, Default)]
pub(super) struct Notes {
    found: Vec<(KeyPath, String)>,
    taken_out: Vec<KeyPath>,
}

impl Notes {
    /// Notes a problem at `at`. If the value was taken out as unreadable, problems that follow from
    /// that are dropped.
    pub(super) fn add(&mut self, at: &KeyPath, what: impl Into<String>) {
        if !self.is_taken_out(at) {
            self.found.push((at.clone(), what.into()));
        }
    }

    /// Notes a problem at `at`: its value can't be read and is left out from here on.
    pub(super) fn take_out(&mut self, at: KeyPath, what: String) {
        self.add(&at, what);
        self.taken_out.push(at);
    }

    /// Returns whether the value at `at`, or its parent, was taken out and so is unknown.
    pub(super) fn is_taken_out(&self, at: &KeyPath) -> bool {
        self.taken_out.iter().any(|out| at.0.starts_with(&out.0))
    }

    /// Returns the problems by line; `line` finds the line of a key.
    pub(super) fn into_problems(self, line: impl Fn(&KeyPath) -> usize) -> Vec<Problem> {
        let problem = |(at, what): (KeyPath, String)| Problem {
            line: line(&at),
            key: at.to_string(),
            what,
        };
        let mut problems: Vec<_> = self.found.into_iter().map(problem).collect();
        problems.sort_by_key(|problem| problem.line);
        problems
    }
}

/// A problem of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line in the file, from 1.
    pub line: usize,
    /// The key, such as `eviction.low.bytes`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, and the remedy.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_empty() {
            String::new()
        } else {
            format!("{}: ", self.key)
        };
        f.write_str(&one_line(&format!("{}: {key}{}", self.line, self.what)))
    }
}

/// Escapes control characters that were typed: a problem is one line on somebody's terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// Why the config can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("failed to read `{}`: {cause}; check that it is there and readable, name another with --config, or let `treewarden init --discover` write one", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file was read, and has problems.
    #[error("{}", lines(file, problems))]
    Refused {
        /// The file's name.
        file: String,
        /// Every problem, by line; never empty.
        problems: Vec<Problem>,
    },
}

fn lines(file: &str, problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("{file}:{problem}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_paths_read_as_people_write_them_and_hide_addresses() {
        let top = KeyPath::default();
        assert_eq!(top.to_string(), "");
        assert_eq!(
            top.key("repos")
                .item(1)
                .key("worktrees")
                .key("saved")
                .to_string(),
            "repos[1].worktrees.saved"
        );
        assert_eq!(
            top.key("alerts").key("https://me:secret@host").to_string(),
            "alerts.(hidden)"
        );
        assert_eq!(top.key("hooks.example/secret").to_string(), "(hidden)");
    }

    #[test]
    fn what_follows_from_a_value_taken_out_is_not_told_again() {
        let repos = KeyPath::default().key("repos");
        let mut notes = Notes::default();
        notes.take_out(repos.item(0), "no mapping".into());
        notes.add(&repos.item(0).key("name"), "missing");
        notes.add(&repos.item(1).key("name"), "missing");
        let message: Vec<_> = notes
            .into_problems(|_| 1)
            .into_iter()
            .map(|problem| problem.key)
            .collect();
        assert_eq!(message, ["repos[0]", "repos[1].name"]);
    }

    #[test]
    fn a_problem_is_one_line() {
        let problem = Problem {
            line: 3,
            key: "a\nb".into(),
            what: "\u{1b}[31m".into(),
        };
        assert_eq!(problem.to_string(), r"3: a\nb: \u{1b}[31m");
    }
}
