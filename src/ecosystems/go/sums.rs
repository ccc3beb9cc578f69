//! `go.sum`: every module with a zip that was once needed.
//!
//! Lines for a `go.mod` alone name a module that nobody downloads, and are left out. So are
//! malformed lines. Go keeps lines of older versions until `go mod tidy`, so more is kept than
//! needed.

use crate::facts::package::Package;

/// Names a module, with its capitals unescaped (not `!x`): `github.com/BurntSushi/toml`, `v1.3.2`.
pub(super) fn module_package(module: &str, version: &str) -> Package {
    Package::new("go", &format!("{module}@{version}"))
}

pub(super) fn package(line: &str) -> Option<Package> {
    let mut words = line.split_whitespace();
    let (module, version, hash) = (words.next()?, words.next()?, words.next()?);
    (version.starts_with('v') && !version.ends_with("/go.mod") && hash.starts_with("h1:"))
        .then(|| module_package(module, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_but_not_their_go_mod() {
        let text = "github.com/BurntSushi/toml v1.3.2 h1:o7IhLm0Msx3BaB+n3Ag7L8EVlByGnpq14C4YWiu/gL8=\n\
                    github.com/BurntSushi/toml v1.3.2/go.mod h1:CxXYINrC8qIiEnFrOxCa7Jy5BFHlXnUU2pbicEuybxQ=\n\
                    <<<<<<< HEAD\nnonsense\n";
        assert_eq!(
            text.lines().filter_map(package).collect::<Vec<_>>(),
            [module_package("github.com/BurntSushi/toml", "v1.3.2")]
        );
    }
}
