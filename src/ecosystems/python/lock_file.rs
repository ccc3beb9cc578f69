//! Python's lock files: `uv.lock`, `poetry.lock`, `pdm.lock`, `pylock.toml` and pinned
//! requirements. They name every release by name and version, and the project's page, without which
//! a pinned requirement can't be resolved offline.
//!
//! Addresses don't count: an index may get another address tomorrow, and pip and uv know a release
//! by its name. A range is not a version.

use crate::ecosystems::lock_file::{LockFileError, from_toml};
use crate::facts::package::Package;
use serde::Deserialize;

#[derive(Deserialize)]
struct Lock {
    #[serde(default, alias = "packages")]
    package: Vec<Entry>,
}

/// A workspace's own packages may have no version.
#[derive(Deserialize)]
struct Entry {
    name: String,
    version: Option<String>,
}

/// Names a release on a Python index. Names that PEP 503 treats as equal are equal, and so are
/// `2.0` and `2.0.0`, by PEP 440.
pub(in crate::ecosystems) fn release_package(name: &str, version: &str) -> Package {
    let mut version = version.trim().trim_start_matches('v');
    while let Some(shorter) = version.strip_suffix(".0") {
        version = shorter;
    }
    Package::new("python", &format!("{} {version}", normal(name)))
}

/// Names a project's page on a Python index.
pub(in crate::ecosystems) fn page(name: &str) -> Package {
    Package::new("python-page", &normal(name))
}

/// Normalises a project's name by PEP 503.
fn normal(name: &str) -> String {
    let (mut normal, mut gap) = (String::new(), false);
    for symbol in name.trim().chars() {
        if matches!(symbol, '-' | '_' | '.') {
            gap = true;
            continue;
        }
        if std::mem::take(&mut gap) {
            normal.push('-');
        }
        normal.push(symbol.to_ascii_lowercase());
    }
    normal
}

/// Parses a lock file in TOML.
pub(super) fn locked(text: &str) -> Result<Vec<Package>, LockFileError> {
    let lock: Lock = from_toml(text)?;
    Ok(lock
        .package
        .iter()
        .filter_map(|entry| Some(release(&entry.name, entry.version.as_deref()?)))
        .flatten()
        .collect())
}

/// Parses a line of `requirements.txt` and the like, as `pip-compile` and `pip freeze` write them:
/// `Name[extra]==1.0 ; python_version > "3" --hash=... \`
pub(super) fn requirement(line: &str) -> Option<[Package; 2]> {
    let line = line.split(" #").next()?.trim();
    let (name, rest) = line.split_once("==")?;
    let name = name.split('[').next()?.trim();
    let version = rest
        .trim_start_matches('=')
        .trim_start()
        .split([' ', ';', '\\', ',', '\t'])
        .next()?;
    let is_name = name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (is_name && !version.is_empty() && !version.contains('*')).then(|| release(name, version))
}

fn release(name: &str, version: &str) -> [Package; 2] {
    [release_package(name, version), page(name)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_that_are_the_same() {
        let same = [
            (("Foo__bar.-Baz", "1.0"), ("foo-bar-baz", "1.0")),
            (("foo", "v2.0.0"), ("foo", "2")),
        ];
        for ((name, version), (other, its)) in same {
            assert_eq!(release_package(name, version), release_package(other, its));
        }
        let different = [
            (("foo", "2.10"), ("foo", "2.1")),
            (("foobar", "1.0"), ("foo-bar", "1.0")),
        ];
        for ((name, version), (other, its)) in different {
            assert_ne!(release_package(name, version), release_package(other, its));
        }
    }

    #[test]
    fn locks() {
        let uv = "version = 1\n[[package]]\nname = \"shop\"\nsource = { editable = \".\" }\n[[package]]\nname = \"Type_Extensions\"\n\
                  version = \"4.12.2\"\nsource = { registry = \"https://pypi.org/simple\" }\nwheels = [{ url = \"https://x/y.whl\", hash = \"sha256:00\" }]\n";
        assert_eq!(locked(uv).unwrap(), release("type-extensions", "4.12.2"));
        let others = "[[package]]\nname = \"a\"\nversion = \"1.2\"\nsource = { git = \"https://x/a?rev=main#0123\" }\n\
                      [[package]]\nname = \"b\"\nversion = \"0.1.0\"\nsource = { path = \"../b\" }\n\
                      [[package]]\nname = \"c\"\nsource = { virtual = \".\" }\n";
        assert_eq!(
            locked(others).unwrap(),
            [release("a", "1.2"), release("b", "0.1")].concat()
        );
        let pylock =
            "lock-version = \"1.0\"\n[[packages]]\nname = \"attrs\"\nversion = \"25.1.0\"\n";
        assert_eq!(locked(pylock).unwrap(), release("attrs", "25.1.0"));
        for odd in [
            "version = 1\npackage = \"a secret\"\n",
            "[[package]]\nname = 3\n",
        ] {
            let why = locked(odd).unwrap_err().to_string();
            assert_eq!(why, "line 2 is no TOML of its form");
        }
    }

    #[test]
    fn requirements() {
        let text = "# by pip-compile\n--index-url https://pypi.org/simple\nRequests[socks]==2.31.0 ; python_version >= \"3.7\" \\\n    \
                    --hash=sha256:58cd2187c01e70e6e26505bca751777aa9f2ee0b7f4300988b709f44e013003f\n    # via shop\nsix===1.16.0\nidna>=3\n\
                    urllib3==2.*\n-r other.txt\nname @ https://x/y==z.whl\nnumpy == 2.0.1 # why\n";
        let expected = [
            ("requests", "2.31.0"),
            ("six", "1.16.0"),
            ("numpy", "2.0.1"),
        ]
        .map(|(name, version)| release(name, version));
        assert_eq!(
            text.lines().filter_map(requirement).collect::<Vec<_>>(),
            expected
        );
    }
}
