//! `Cargo.lock`: every registry crate by name and version, every git dependency by its commit.
//!
//! Crates of the workspace itself have no source and are left out, as no cache has them. A broken
//! file is an error, never an empty lock file.

use crate::ecosystems::lock_file::{LockFileError, from_toml};
use crate::facts::package::Package;
use serde::Deserialize;

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    source: Option<String>,
}

/// Digits of a commit in the name of cargo's checkout.
const REVISION: usize = 7;

/// Names a registry crate by its archive: `serde-1.0.0`.
pub(super) fn crate_package(name_and_version: &str) -> Package {
    Package::new("cargo", name_and_version)
}

/// Names a commit of a git dependency. `repo` is the last part of its address, without `.git`;
/// cargo writes it in lower case for GitHub.
pub(super) fn git_package(repo: &str, revision: &str) -> Package {
    let revision = revision.get(..REVISION).unwrap_or(revision);
    Package::new("cargo-git", &format!("{} {revision}", repo.to_lowercase()))
}

pub(super) fn packages(text: &str) -> Result<Vec<Package>, LockFileError> {
    let lock: Lock = from_toml(text)?;
    Ok(lock.package.iter().filter_map(package).collect())
}

fn package(entry: &Entry) -> Option<Package> {
    let source = entry.source.as_deref()?;
    let Some(git) = source.strip_prefix("git+") else {
        return Some(crate_package(&format!("{}-{}", entry.name, entry.version)));
    };
    // `git+https://github.com/acme/shop.git?branch=main#<commit>`
    let (address, revision) = git.rsplit_once('#')?;
    let repo = address
        .split('?')
        .next()?
        .trim_end_matches('/')
        .rsplit('/')
        .next()?;
    Some(git_package(
        repo.strip_suffix(".git").unwrap_or(repo),
        revision,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_the_same_however_it_is_written() {
        assert_eq!(
            git_package("Tools", "0123456789abcdef"),
            git_package("tools", "0123456")
        );
    }

    #[test]
    fn registries_and_git() {
        let text = r#"
version = 4
[[package]]
name = "shop"
version = "0.1.0"
dependencies = ["serde", "tool"]
[[package]]
name = "serde"
version = "1.0.228"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "9a8e94ea7f378bd32cbbd37198a4a91436180c5bb472411e48b5ec2e2124ae9e"
[[package]]
name = "tool"
version = "0.3.0"
source = "git+https://github.com/acme/tools.git?branch=main#0123456789abcdef0123456789abcdef01234567"
"#;
        assert_eq!(
            packages(text).unwrap(),
            [
                crate_package("serde-1.0.228"),
                git_package("tools", "0123456")
            ]
        );
        // The first version of the format, with checksums in their own table; a sparse registry;
        // and capitals in a GitHub address, which cargo writes in lower case.
        let old = r#"
[root]
name = "shop"
version = "0.1.0"
[[package]]
name = "itoa"
version = "0.4.1"
source = "registry+https://github.com/rust-lang/crates.io-index"
[[package]]
name = "ryu"
version = "1.0.0"
source = "sparse+https://registry.acme.example/index/"
[[package]]
name = "tool"
version = "0.3.0"
source = "git+https://github.com/Acme/My.Tools.git?rev=b5daf85#b5daf85393e9a11c890bd9ec289a4ae25bf09c5f"
[metadata]
"checksum itoa 0.4.1 (registry+https://github.com/rust-lang/crates.io-index)" = "c069bbec61e1ca5a596166e55dfe4773ff745c3d16b700013bcaff9a6df2c682"
"#;
        let expected = [
            crate_package("itoa-0.4.1"),
            crate_package("ryu-1.0.0"),
            git_package("my.tools", "b5daf85"),
        ];
        assert_eq!(packages(old).unwrap(), expected);
        assert_eq!(packages("").unwrap(), []);
        assert!(packages("<<<<<<< HEAD\n[[package]]\n").is_err());
    }
}
