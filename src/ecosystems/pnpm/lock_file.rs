//! `pnpm-lock.yaml`: every archive by its digest. All versions of the format write it as
//! `integrity: sha512-...`.
//!
//! It is read line by line, and of each line only that word: a YAML parser would have to be trusted
//! with anchors that anybody can write.

use crate::facts::package::Package;

pub(super) fn packages(line: &str) -> Vec<Package> {
    let Some((_, rest)) = line.split_once("integrity:") else {
        return Vec::new();
    };
    let value = rest.trim().split([',', '}']).next().unwrap_or_default();
    Package::integrity(value.trim_matches(['\'', '"', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_one_line_or_on_its_own() {
        let integrity = format!("sha512-{}", "B".repeat(88));
        let package = Package::integrity(&integrity).remove(0);
        let text = format!(
            "lockfileVersion: '9.0'\npackages:\n  a@1.0.0:\n    resolution: {{integrity: {integrity}}}\n    engines: {{node: '>=4'}}\n  \
             /b/2.0.0:\n    resolution:\n      integrity: {integrity}\n    dev: false\n  c@1:\n    resolution: {{integrity: {integrity}, tarball: https://x/y.tgz}}\n"
        );
        assert_eq!(
            text.lines().flat_map(packages).collect::<Vec<_>>(),
            [package.clone(), package.clone(), package]
        );
    }
}
