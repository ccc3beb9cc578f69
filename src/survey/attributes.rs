//! Line endings of checked-out files, by the attributes in HEAD and the repo's own settings.
//!
//! Both are only data: patterns are matched, and nothing is run. A line that isn't understood makes
//! the whole answer unknown, because a false "a checkout changes this file" would let work be lost.

use super::committed::Files;
use crate::fs::budget::Reservation;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::config;
use git2::Repository;
use globset::{GlobBuilder, GlobMatcher};
use std::io;
use std::path::{Path, PathBuf};

/// Well-formed repos have fewer such files, smaller ones, and fewer rules.
const MOST_FILES: usize = 1000;
const LARGEST: usize = 1 << 20;
const MOST_RULES: usize = 20_000;
/// Bytes that a compiled pattern takes.
const A_RULE: usize = 8 << 10;
/// Bytes of a config, at most.
const LARGEST_CONFIG: u64 = 4 << 20;
const NAME: &str = ".gitattributes";

/// The attributes of a commit's files, as far as they concern line endings.
#[derive(Default)]
pub(super) struct Attributes {
    /// In order of precedence: the last match wins.
    rules: Vec<Rule>,
    /// Whether `core.autocrlf` is true.
    auto: bool,
    /// Whether text without an `eol` of its own gets CRLF.
    crlf: bool,
    held: Reservation,
}

struct Rule {
    /// The directory of its attributes file.
    directory: PathBuf,
    /// Whether the pattern matches a name in any directory below, instead of a path from there.
    by_name: bool,
    pattern: GlobMatcher,
    text: Option<Text>,
    eol: Option<Eol>,
}

/// The value of `eol`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Eol {
    Crlf,
    Lf,
    Unspecified,
}

/// The value of `text`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Set,
    Unset,
    Auto,
    Unspecified,
}

impl Attributes {
    /// Reads the attributes of the commit with these files; none if any part isn't understood.
    ///
    /// # Errors
    /// Something can't be read.
    pub(super) fn of(
        repo: &Repository,
        git_dir: &VolumePath,
        committed: &Files,
        stop: &Stop,
    ) -> io::Result<Option<Self>> {
        let at = |name: &str| git_dir.join(name).map_err(io::Error::from);
        let config = found(openat::read(&at("config")?, LARGEST_CONFIG))?.unwrap_or_default();
        let Some(entries) = config::plain(&config) else {
            return Ok(None);
        };
        let value = |key: &str| {
            entries
                .iter()
                .rev()
                .find_map(|entry| entry.strip_prefix(key)?.strip_prefix('\n'))
                .map(str::to_ascii_lowercase)
        };
        let auto = value("core.autocrlf").unwrap_or_default();
        let auto_is_true = matches!(auto.as_str(), "true" | "yes" | "on" | "1");
        let crlf =
            auto_is_true || (auto != "input" && value("core.eol").is_some_and(|eol| eol == "crlf"));
        let mut attributes = Self {
            rules: Vec::new(),
            auto: auto_is_true,
            crlf,
            held: stop.hold(),
        };
        let named = committed.iter().filter(|(path, (mode, _))| {
            path.file_name() == Some(NAME.as_ref()) && mode & 0o170_000 == 0o100_000
        });
        let mut files: Vec<_> = named
            .map(|(path, (_, blob))| (path.parent().unwrap_or(Path::new("")), *blob))
            .collect();
        // A deeper file takes precedence.
        files.sort_by_key(|(directory, _)| directory.components().count());
        for (directory, blob) in files.iter().take(MOST_FILES + 1) {
            let blob = repo.find_blob(*blob).map_err(io::Error::other)?;
            if files.len() > MOST_FILES || !attributes.add(directory, blob.content()) {
                return Ok(None);
            }
        }
        let own = found(openat::read(&at("info/attributes")?, LARGEST as u64))?.unwrap_or_default();
        Ok(attributes.add(Path::new(""), &own).then_some(attributes))
    }

    /// Adds a file's rules; false if one of them isn't understood.
    fn add(&mut self, directory: &Path, text: &[u8]) -> bool {
        let Some(text) = str::from_utf8(text).ok().filter(|_| text.len() <= LARGEST) else {
            return false;
        };
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            // Macros, quoted patterns, and negation, which git forbids.
            if line.starts_with(['[', '"', '!']) || self.rules.len() >= MOST_RULES {
                return false;
            }
            let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
            let pattern = words.next().unwrap_or_default();
            let Some(mut rule) = Rule::of(directory, pattern) else {
                return false;
            };
            words.for_each(|word| rule.say(word));
            if rule.text.is_some() || rule.eol.is_some() {
                if self.held.more(A_RULE).is_err() {
                    return false;
                }
                self.rules.push(rule);
            }
        }
        true
    }

    /// Checks whether a checkout of `blob` at `path` writes CRLF where the blob has LF.
    pub(super) fn lengthens(&self, path: &Path, blob: &[u8]) -> bool {
        let (mut text, mut eol) = (Text::Unspecified, Eol::Unspecified);
        for rule in self.rules.iter().filter(|rule| rule.matches(path)) {
            text = rule.text.unwrap_or(text);
            eol = rule.eol.unwrap_or(eol);
        }
        let text = match (text, eol) {
            // `eol` alone marks it as text.
            (Text::Unspecified, Eol::Crlf | Eol::Lf) => Text::Set,
            (Text::Unspecified, Eol::Unspecified) if self.auto => Text::Auto,
            (text, _) => text,
        };
        let crlf = if eol == Eol::Unspecified {
            self.crlf
        } else {
            eol == Eol::Crlf
        };
        match text {
            Text::Unset | Text::Unspecified => false,
            Text::Set => crlf,
            Text::Auto => crlf && !is_binary(blob),
        }
    }
}

impl Rule {
    /// Parses a pattern as in gitignore, except that a pattern with a trailing slash matches
    /// nothing. None if it isn't understood.
    fn of(directory: &Path, pattern: &str) -> Option<Self> {
        let by_name = !pattern.trim_end_matches('/').contains('/');
        let glob = GlobBuilder::new(pattern.strip_prefix('/').unwrap_or(pattern))
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .ok()?;
        // Braces have no meaning to git.
        let odd = pattern.contains(['{', '}']);
        (!odd).then(|| Self {
            directory: directory.to_owned(),
            by_name,
            pattern: glob.compile_matcher(),
            text: None,
            eol: None,
        })
    }

    fn say(&mut self, word: &str) {
        match word {
            "text" => self.text = Some(Text::Set),
            // `crlf` is the older name of `text`. Even if it is set, the file counts as `-text`:
            // then a checkout changes nothing.
            "-text" | "binary" | "text=input" | "crlf" | "-crlf" | "crlf=input" => {
                self.text = Some(Text::Unset);
            }
            "text=auto" => self.text = Some(Text::Auto),
            "!text" => self.text = Some(Text::Unspecified),
            "eol=crlf" => self.eol = Some(Eol::Crlf),
            "eol=lf" => self.eol = Some(Eol::Lf),
            "-eol" | "!eol" => self.eol = Some(Eol::Unspecified),
            _ => {}
        }
    }

    fn matches(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.directory) else {
            return false;
        };
        if self.by_name {
            path.file_name()
                .is_some_and(|name| self.pattern.is_match(name))
        } else {
            self.pattern.is_match(below)
        }
    }
}

/// Guesses as git does: a NUL, or more than one non-printable character in 128, means binary.
fn is_binary(blob: &[u8]) -> bool {
    let odd = |byte: u8| {
        byte == 127 || (byte < 32 && !matches!(byte, b'\n' | b'\r' | b'\t' | 8 | 12 | 27))
    };
    let (mut plain, mut strange) = (0_usize, 0_usize);
    for &byte in blob {
        match byte {
            0 => return true,
            b'\n' | b'\r' => {}
            _ if odd(byte) => strange = strange.saturating_add(1),
            _ => plain = plain.saturating_add(1),
        }
    }
    (plain >> 7) < strange
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengthens(
        settings: (bool, bool),
        files: &[(&str, &str)],
        path: &str,
        blob: &[u8],
    ) -> Option<bool> {
        let mut attributes = Attributes {
            rules: Vec::new(),
            auto: settings.0,
            crlf: settings.1,
            held: Reservation::default(),
        };
        let understood = files
            .iter()
            .all(|(directory, text)| attributes.add(Path::new(directory), text.as_bytes()));
        understood.then(|| attributes.lengthens(Path::new(path), blob))
    }

    #[test]
    fn the_last_rule_that_matches_counts() {
        let (text, plain) = (b"one\n", (false, false));
        for (rules, path, expected) in [
            ("*.txt text eol=crlf", "a.txt", true),
            ("*.txt eol=crlf", "deep/down/a.txt", true),
            ("*.txt text", "a.txt", false),
            ("*.txt eol=lf", "a.txt", false),
            ("* text=auto eol=crlf", "a", true),
            ("* eol=crlf\n*.png binary", "a.png", false),
            ("* eol=crlf\n*.sh eol=lf", "a.sh", false),
            ("*.sh eol=lf\n* eol=crlf", "a.sh", true),
            ("/a.txt eol=crlf", "a.txt", true),
            ("/a.txt eol=crlf", "deep/a.txt", false),
            ("deep/*.txt eol=crlf", "deep/a.txt", true),
            ("deep/*.txt eol=crlf", "deep/down/a.txt", false),
            ("deep/** eol=crlf", "deep/down/a.txt", true),
            ("**/a.txt eol=crlf", "deep/down/a.txt", true),
            ("deep/ eol=crlf", "deep/a.txt", false),
            ("# *.txt eol=crlf", "a.txt", false),
            ("*.txt eol=crlf -text", "a.txt", false),
        ] {
            assert_eq!(
                lengthens(plain, &[("", rules)], path, text),
                Some(expected),
                "{rules}: {path}"
            );
        }
        let deeper = [("", "* eol=crlf"), ("deep", "*.txt eol=lf")];
        assert_eq!(lengthens(plain, &deeper, "deep/a.txt", text), Some(false));
        assert_eq!(lengthens(plain, &deeper, "deeper/a.txt", text), Some(true));
        for odd in [
            "[attr]mine text eol=crlf",
            "\"a b\" eol=crlf",
            "{a,b} eol=crlf",
            "[ eol=crlf",
        ] {
            assert_eq!(lengthens(plain, &[("", odd)], "a", text), None, "{odd}");
        }
    }

    #[test]
    fn settings_count_for_text_that_has_no_rule() {
        let auto = (true, true);
        assert_eq!(lengthens(auto, &[], "a", b"one\n"), Some(true));
        assert_eq!(lengthens(auto, &[], "a", b"one\n\0"), Some(false));
        assert_eq!(
            lengthens(auto, &[("", "* -text")], "a", b"one\n"),
            Some(false)
        );
        assert_eq!(lengthens((false, true), &[], "a", b"one\n"), Some(false));
        assert_eq!(
            lengthens((false, true), &[("", "* text")], "a", b"one\n"),
            Some(true)
        );
    }
}
