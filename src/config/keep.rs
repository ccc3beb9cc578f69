//! `worktrees.keep`: which trees its globs name.
//!
//! A glob with a `/` names places below the volume's root, or branches. One without a `/` names a
//! tree's own directory, or a branch. Whoever means the one and matches the other as well keeps a
//! tree too many, never one too few. `*` stays within one directory, and `**` reaches any depth.

use globset::{GlobBuilder, GlobMatcher};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The globs of a repo.
#[derive(Clone, Default)]
pub struct Keep(Arc<[Rule]>);

#[derive(Clone)]
struct Rule {
    /// As it was typed, for people.
    typed: String,
    glob: GlobMatcher,
}

impl Keep {
    /// Returns the rules of globs, each as it was typed and as it is below the volume's root. One
    /// that is no glob is left out: the config that has it is refused.
    pub(super) fn of<'a>(globs: impl Iterator<Item = (&'a str, String)>) -> Self {
        let rule = |(typed, glob): (&str, String)| {
            let glob = GlobBuilder::new(&glob).literal_separator(true).build();
            Some(Rule {
                typed: typed.to_owned(),
                glob: glob.ok()?.compile_matcher(),
            })
        };
        Self(globs.filter_map(rule).collect())
    }

    /// Returns the first glob, as typed, that names a tree. `place` is the tree's path below the
    /// volume's root, and `branch` the full name of what HEAD points to.
    pub fn names(&self, place: &Path, branch: Option<&str>) -> Option<&str> {
        let short = branch.and_then(|branch| branch.strip_prefix("refs/heads/"));
        let branches = [branch, short].into_iter().flatten().map(Path::new);
        // As in `.gitignore`, a directory's glob covers all that is in it.
        let above = place.ancestors().filter(|above| *above != Path::new(""));
        let known_as: Vec<&Path> = branches.chain(above).collect();
        let name = place.file_name().map(Path::new);
        let names = |rule: &&Rule| {
            let name = name.filter(|_| rule.is_a_name());
            let mut known_as = known_as.iter().copied().chain(name);
            known_as.any(|name| rule.glob.is_match(name))
        };
        self.0.iter().find(names).map(|rule| rule.typed.as_str())
    }
}

impl Rule {
    /// Returns whether it names trees by their last part alone.
    fn is_a_name(&self) -> bool {
        !self.text().contains('/')
    }

    fn text(&self) -> &str {
        self.glob.glob().glob()
    }
}

/// A matcher is made of its glob, so the globs tell rules apart.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        (&self.typed, self.text()) == (&other.typed, other.text())
    }
}

impl PartialEq for Keep {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(Rule::text))
            .finish()
    }
}
