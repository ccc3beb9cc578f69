//! The formats of a repo's objects and refs, and which of them treewarden maintains
//! (`docs/design/formats.md#what-is-refused`).
//!
//! Git reads more of them than libgit2. A repo in another format is refused by name, with what
//! would help, and nothing in it is touched.

use super::GitError;

/// A version of git: major and minor.
pub type Version = (u32, u32);

/// Extensions that need not be obeyed to maintain a repo.
const OBEYED: [&str; 5] = [
    "extensions.worktreeconfig",
    "extensions.noop",
    "extensions.noop-v1",
    "extensions.relativeworktrees",
    "extensions.partialclone",
];
/// Values of other extensions that say what is so without them.
const PLAIN: [(&str, &str); 2] = [
    ("extensions.objectformat", "sha1"),
    ("extensions.refstorage", "files"),
];

/// A format that treewarden knows by name and can't maintain.
struct Format {
    key: &'static str,
    /// The value that asks for it; any, if none.
    value: Option<&'static str>,
    /// What the repo has then.
    name: &'static str,
    /// The first git that has it.
    since: Version,
    /// Whether only libgit2 is in the way.
    awaits_libgit2: bool,
    helps: &'static str,
}

/// See `docs/design/formats.md#what-is-refused`.
const REFUSED: [Format; 4] = [
    Format {
        key: "extensions.objectformat",
        value: Some("sha256"),
        name: "SHA-256 objects",
        since: (2, 29),
        awaits_libgit2: true,
        helps: "git has no way back to SHA-1: take the repo out of the config until a newer \
                treewarden reads it",
    },
    Format {
        key: "extensions.refstorage",
        value: Some("reftable"),
        name: "reftables",
        since: (2, 45),
        awaits_libgit2: true,
        helps: "`git refs migrate --ref-format=files` of git 2.48 or newer converts a repo without \
                worktrees; or take the repo out of the config",
    },
    Format {
        key: "extensions.compatobjectformat",
        value: None,
        name: "objects with two names",
        since: (2, 45),
        awaits_libgit2: false,
        helps: "git itself calls this unfinished: make the repo anew without it, or take it out of \
                the config",
    },
    Format {
        key: "extensions.preciousobjects",
        value: None,
        name: "objects that must not be deleted",
        since: (2, 7),
        awaits_libgit2: false,
        helps: "unset it if that is no longer meant, or take the repo out of the config",
    },
];

/// Returns whether a setting in a repo's config, with its key in lower case, leaves the repo in a
/// format that treewarden reads.
pub(crate) fn is_read(key: &str, value: &str) -> bool {
    !key.starts_with("extensions.") || OBEYED.contains(&key) || PLAIN.contains(&(key, value))
}

/// Returns why an extension in a repo's config keeps treewarden from maintaining the repo, and what
/// helps; none if it doesn't. The key is in lower case. `git` is asked only then: it returns the
/// version of the git on the path, if that is known.
pub(crate) fn refusal(key: &str, value: &str, git: &dyn Fn() -> Option<Version>) -> Option<String> {
    if is_read(key, value) {
        return None;
    }
    let is = |format: &&Format| format.key == key && format.value.is_none_or(|is| is == value);
    Some(REFUSED.iter().find(is).map_or_else(
        || {
            format!(
                "treewarden {} does not know this format; see whether a newer one does, or take \
                 the repo out of the config",
                env!("CARGO_PKG_VERSION")
            )
        },
        |format| format.refusal(git()),
    ))
}

impl Format {
    fn refusal(&self, git: Option<Version>) -> String {
        let mut causes = vec![format!("the repo has {}", self.name)];
        if let Some(old) = git.filter(|git| *git < self.since) {
            causes.push(format!(
                "they need git {} or newer, and this is git {}",
                dotted(self.since),
                dotted(old)
            ));
        }
        if self.awaits_libgit2 {
            causes.push(format!("{} does not read them", libgit2()));
        }
        causes.push(self.helps.to_owned());
        causes.join("; ")
    }

    /// Returns whether this git has the format, for people.
    fn support(&self, git: Version) -> String {
        let git = if git < self.since {
            format!("need git {} or newer", dotted(self.since))
        } else {
            format!("git {} has them", dotted(git))
        };
        format!("{} ({git})", self.name)
    }
}

/// Returns which formats are maintained with this git, and which of git's others are not, for
/// people.
pub fn summary(git: Version) -> String {
    let others = REFUSED.iter().filter(|format| format.awaits_libgit2);
    let others: Vec<String> = others.map(|format| format.support(git)).collect();
    format!(
        "SHA-1 objects and refs in files; not {}, which {} does not read",
        others.join(" and "),
        libgit2()
    )
}

/// Returns whether git failed because the other side has names of another length.
pub(crate) fn is_mismatch(error: &GitError) -> bool {
    matches!(error, GitError::Failed { message, .. } if message.contains("mismatched algorithms"))
}

fn dotted((major, minor): Version) -> String {
    format!("{major}.{minor}")
}

/// Returns the name and version of the libgit2 in this program.
fn libgit2() -> String {
    let (major, minor, _) = git2::Version::get().libgit2_version();
    format!("libgit2 {major}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, value: &str, git: Version) -> Option<String> {
        refusal(key, value, &|| Some(git))
    }

    #[test]
    fn what_changes_nothing_is_obeyed_and_git_is_not_asked() {
        let asked = || panic!("asked for git's version");
        for (key, value) in PLAIN
            .into_iter()
            .chain(OBEYED.map(|key| (key, "true")))
            .chain([("core.bare", "true")])
        {
            assert_eq!(refusal(key, value, &asked), None, "{key}");
        }
        assert!(refusal("extensions.new", "true", &asked).is_some());
        assert!(refusal("extensions.refstorage", "files:///elsewhere", &asked).is_some());
        assert!(refusal("extensions.objectformat", "SHA1", &asked).is_some());
    }

    #[test]
    fn a_git_that_is_too_old_is_named_with_the_one_that_is_needed() {
        let needs = "; they need git 2.45 or newer, and this is git 2.39; libgit2 ";
        let reftable = |git| of("extensions.refstorage", "reftable", git).unwrap();
        assert!(reftable((2, 39)).contains(needs), "{}", reftable((2, 39)));
        assert!(!reftable((2, 45)).contains("they need"));
        assert!(!reftable((3, 0)).contains("they need"));
        let unknown = refusal("extensions.refstorage", "reftable", &|| None).unwrap();
        assert_eq!(unknown, reftable((2, 45)));
    }

    #[test]
    fn the_summary_says_what_this_git_has() {
        let words = |git| summary(git).replace(&libgit2(), "libgit2 N");
        assert_eq!(
            words((2, 39)),
            "SHA-1 objects and refs in files; not SHA-256 objects (git 2.39 has them) and \
             reftables (need git 2.45 or newer), which libgit2 N does not read"
        );
        assert!(words((3, 1)).contains("and reftables (git 3.1 has them), which"));
    }
}
