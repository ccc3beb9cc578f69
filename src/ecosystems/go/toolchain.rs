//! Go's own toolchains. Go fetches the one that a `go.mod` or `go.work` asks for as a module,
//! `golang.org/toolchain@v0.0.1-go1.22.3.linux-amd64`, and no `go.sum` names it.
//!
//! Observed with Go 1.27: it reads `.ziphash` each time it starts that toolchain, and fetches what
//! is missing again.

use super::sums::module_package;
use crate::facts::package::Package;

const MODULE: &str = "golang.org/toolchain";

/// Returns the toolchain of a line of `go.mod`: `toolchain go1.22.3`, or `go 1.22.3`, which asks
/// for at least that. It is named without a platform, since those of all machines are in use.
pub(super) fn named(line: &str) -> Option<Package> {
    let mut words = line.split_whitespace();
    let (directive, version) = (words.next()?, words.next()?);
    let version = match directive {
        "go" => version,
        "toolchain" => version.strip_prefix("go")?,
        _ => return None,
    };
    let is_version = version.starts_with(|first: char| first.is_ascii_digit());
    is_version.then(|| module_package(MODULE, &format!("v0.0.1-go{version}")))
}

/// Returns the toolchain that a module at a version is; none if it is another module.
pub(super) fn of_module(module: &str, version: &str) -> Option<Package> {
    let (version, _platform) = version.rsplit_once('.')?;
    (module == MODULE).then(|| module_package(MODULE, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_the_toolchains_of_all_platforms() {
        let manifest = "module go.example/x\n\ngo 1.21\n\ntoolchain go1.22.3 // newer\n\
                        require go.example/toolchain v1.0.0\ntoolchain default\ngo\n";
        let named: Vec<Package> = manifest.lines().filter_map(named).collect();
        let version = |version: &str| module_package(MODULE, version);
        assert_eq!(
            named,
            [version("v0.0.1-go1.21"), version("v0.0.1-go1.22.3")]
        );
        for platform in ["linux-amd64", "darwin-arm64"] {
            let module = of_module(MODULE, &format!("v0.0.1-go1.22.3.{platform}"));
            assert_eq!(module.as_ref(), named.last());
        }
        assert_eq!(of_module("go.example/toolchain", "v0.0.1-go1.22.3.x"), None);
    }
}
