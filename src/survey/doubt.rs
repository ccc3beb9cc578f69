//! Why a tree's state is unknown, in words that somebody can act on: what was tried, what went
//! wrong, what helps.
//!
//! git2 adds a class and a code to its messages, which doesn't help whoever has to repair a tree.
//! Only the message is quoted, after the explanation.

use crate::fs::denied::{self, Wanted};
use crate::fs::openat;
use git2::{ErrorClass, ErrorCode};
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// Returns `failed to look: an object that it needs is missing (object not found - no match for id
/// (...)); run git fsck, ...`, and the like.
/// `path` is the tree's, of which something may be another user's.
pub(super) fn told(what: &str, path: &Path, error: &io::Error) -> String {
    let (cause, remedy) = plain(error);
    let denied = denied::message(path, Wanted::Read, error);
    let remedy = remedy.map_or(String::new(), |remedy| format!("; {remedy}"));
    let remedy = if denied.is_empty() { remedy } else { denied };
    format!("failed to {what}: {cause}{remedy}")
}

/// Checks whether the file system failed: then that needs attention, and not the tree.
pub(super) fn failed(error: &io::Error) -> bool {
    // std has no `ErrorKind` for EIO.
    let nameless = io::Error::from(Errno::IO).kind();
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::StaleNetworkFileHandle
            | io::ErrorKind::Interrupted
    ) || error.kind() == nameless
        || by_git(error).is_some_and(|error| error.class() == ErrorClass::Os)
}

fn by_git(error: &io::Error) -> Option<&git2::Error> {
    error.get_ref().and_then(|cause| cause.downcast_ref())
}

/// Returns the cause, and the remedy unless the cause already names it.
fn plain(error: &io::Error) -> (String, Option<&'static str>) {
    const BY_HAND: &str = "look at it with `git status` there, and fix it by hand";
    const FAILED: &str = "the file system failed: look after it, the next run tries again";
    if let Some(error) = by_git(error) {
        let said = error.message().trim_end_matches('.');
        return match (error.class(), error.code()) {
            (ErrorClass::Os | ErrorClass::Filesystem, _) => (said.to_owned(), Some(FAILED)),
            (ErrorClass::Odb, ErrorCode::NotFound) => (
                format!("an object that it needs is missing ({said})"),
                Some("run `git fsck`, and fetch or restore what it names"),
            ),
            (ErrorClass::Odb | ErrorClass::Object | ErrorClass::Tree | ErrorClass::Zlib, _) => (
                format!("an object that it needs is damaged ({said})"),
                Some("run `git fsck`, and restore what it names"),
            ),
            (ErrorClass::Index, _) => (
                format!("its index is malformed ({said})"),
                Some("move the index away, then run `git reset` there"),
            ),
            (ErrorClass::Reference | ErrorClass::Invalid | ErrorClass::Repository, _) => (
                format!("HEAD or a ref is malformed ({said})"),
                Some("run `git fsck`, and fix the ref that it names"),
            ),
            _ => (said.to_owned(), Some(BY_HAND)),
        };
    }
    match Errno::from_io_error(error) {
        Some(errno @ (Errno::LOOP | Errno::XDEV)) => (
            openat::cause(errno),
            Some("move the tree, or run `git worktree repair`"),
        ),
        Some(Errno::ACCESS | Errno::PERM) => (
            error.to_string(),
            Some("run as the agents' user, or give it leave to read"),
        ),
        Some(Errno::NAMETOOLONG) => (
            error.to_string(),
            Some("shorten or remove the path by hand"),
        ),
        Some(_) if failed(error) => (error.to_string(), Some(FAILED)),
        Some(_) => (error.to_string(), Some(BY_HAND)),
        // Our own errors name the remedy after a semicolon.
        None => (
            error.to_string(),
            (!error.to_string().contains("; ")).then_some(BY_HAND),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_remedy_and_no_code() {
        let git = |code, class| io::Error::other(git2::Error::new(code, class, "it went wrong"));
        let errors = [
            git(ErrorCode::NotFound, ErrorClass::Odb),
            git(ErrorCode::GenericError, ErrorClass::Zlib),
            git(ErrorCode::GenericError, ErrorClass::Index),
            git(ErrorCode::NotFound, ErrorClass::Invalid),
            git(ErrorCode::GenericError, ErrorClass::Reference),
            git(ErrorCode::GenericError, ErrorClass::Os),
            git(ErrorCode::GenericError, ErrorClass::Net),
            io::Error::from(Errno::LOOP),
            io::Error::from(Errno::ACCESS),
            io::Error::from(Errno::IO),
            io::Error::from(Errno::NOTDIR),
            io::Error::other("ours"),
        ];
        for error in errors {
            let told = told("look", Path::new(""), &error);
            assert!(
                told.starts_with("failed to look: ")
                    && told.contains("; ")
                    && !told.contains("class="),
                "{told}"
            );
        }
        assert_eq!(
            told(
                "look",
                Path::new(""),
                &io::Error::other("it is odd; do this")
            ),
            "failed to look: it is odd; do this"
        );
    }

    #[test]
    fn a_failing_disk_is_told_apart() {
        let git = |class| io::Error::other(git2::Error::new(ErrorCode::GenericError, class, "x"));
        assert!(
            [Errno::IO, Errno::ACCESS, Errno::STALE]
                .into_iter()
                .all(|errno| failed(&errno.into()))
                && failed(&git(ErrorClass::Os))
        );
        assert!(
            !failed(&Errno::LOOP.into())
                && !failed(&git(ErrorClass::Odb))
                && !failed(&io::Error::other("odd"))
        );
    }
}
