//! Where a setting comes from: its key and line in the config file, or the program's default.

use super::problem::{KeyPath, Step};
use super::raw;

/// A config file as it was read.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) file: String,
    pub(super) text: String,
}

/// A key of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key, such as `repos[1].worktrees.saved`.
    pub key: String,
    /// Its line in the file, from 1; none if it isn't there, so that the default applies.
    pub line: Option<usize>,
}

impl Source {
    /// Returns the file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns a key of the whole config, such as `["eviction", "min_age"]`.
    pub fn of(&self, keys: &[&str]) -> Setting {
        self.setting(&below(&KeyPath::default(), keys))
    }

    /// Returns a key of the repo at this position, which overrides the same key of `defaults`.
    pub fn of_repo(&self, index: usize, keys: &[&str]) -> Setting {
        let own = self.setting(&below(&KeyPath::default().key("repos").item(index), keys));
        if own.line.is_some() {
            return own;
        }
        self.setting(&below(&KeyPath::default().key("defaults"), keys))
    }

    /// Returns a key of the cache at this position.
    pub fn of_cache(&self, index: usize, key: &str) -> Setting {
        self.setting(&KeyPath::default().key("caches").item(index).key(key))
    }

    fn setting(&self, at: &KeyPath) -> Setting {
        Setting {
            key: at.to_string(),
            line: raw::line_of(&self.text, &at.0),
        }
    }
}

fn below(at: &KeyPath, keys: &[&str]) -> KeyPath {
    let steps = keys.iter().map(|key| Step::Key((*key).to_owned()));
    KeyPath(at.0.iter().cloned().chain(steps).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_found_where_it_applies_from() {
        let source = Source {
            file: "a.yaml".into(),
            text: "volume: {root: /data}\ndefaults:\n  worktrees:\n    saved: 3d\n    \
                   landed: 1d\nrepos:\n  - {name: a/a, path: a}\n  - name: b/b\n    path: b\n    \
                   worktrees: {saved: 9d}\ncaches:\n  - {kind: npm, path: c,\n     min_age: 2d}\n"
                .into(),
        };
        let of_repo = |index, key| source.of_repo(index, &["worktrees", key]);
        let found = |key: &str, line| Setting {
            key: key.to_owned(),
            line,
        };
        for (setting, key, line) in [
            (of_repo(0, "saved"), "defaults.worktrees.saved", Some(4)),
            (of_repo(1, "saved"), "repos[1].worktrees.saved", Some(10)),
            (of_repo(1, "landed"), "defaults.worktrees.landed", Some(5)),
            (of_repo(1, "unsaved"), "defaults.worktrees.unsaved", None),
            (source.of_cache(0, "min_age"), "caches[0].min_age", Some(13)),
            (source.of_cache(0, "reserve"), "caches[0].reserve", None),
            (
                source.of(&["eviction", "high", "bytes"]),
                "eviction.high.bytes",
                None,
            ),
            (source.of(&["volume", "root"]), "volume.root", Some(1)),
        ] {
            assert_eq!(setting, found(key, line));
        }
    }
}
