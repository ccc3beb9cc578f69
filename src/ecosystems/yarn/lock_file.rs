//! `yarn.lock`: classic names archives by their digests, berry names zips by their locators.
//! Packages that Yarn links (`workspace:`) have no zip.
//!
//! Both are read line by line: a berry lock file looks like YAML, but is just as regular.

use crate::facts::package::Package;

/// Names a zip of Yarn berry by the beginning of its file name, without the two hashes:
/// `lodash-npm-4.17.21`, `@acme-shop-npm-1.0.0`, `resolve-patch`.
pub(super) fn zip_package(slug: &str) -> Package {
    Package::new("yarn", slug)
}

pub(super) fn packages(line: &str) -> Vec<Package> {
    let line = line.trim();
    let quoted = |rest: &str| rest.trim().trim_matches('"').to_owned();
    if let Some(integrity) = line.strip_prefix("integrity ") {
        Package::integrity(&quoted(integrity))
    } else if let Some(address) = line.strip_prefix("resolved ") {
        // `https://registry.yarnpkg.com/left-pad/-/left-pad-1.3.0.tgz#<sha1>`
        let address = quoted(address);
        let sha1 = address
            .rsplit_once('#')
            .and_then(|(_, sha1)| Package::digest("sha1", sha1));
        sha1.or_else(|| classic(&address)).into_iter().collect()
    } else if let Some(locator) = line.strip_prefix("resolution:") {
        slug(&quoted(locator))
            .map(|slug| zip_package(&slug))
            .into_iter()
            .collect()
    } else {
        Vec::new()
    }
}

/// Returns the package of an address without a SHA-1,
/// `https://mirror.example/npm/@scope/name/-/name-1.0.0.tgz`, by the beginning of Yarn's directory
/// for it, `npm-@scope-name-1.0.0`.
fn classic(address: &str) -> Option<Package> {
    let address = address
        .split(['?', '#'])
        .next()?
        .replace("%2f", "/")
        .replace("%2F", "/");
    let (above, file) = address.split_once("/-/")?;
    let mut parts = above.rsplit('/');
    let (name, scope) = (
        parts.next()?,
        parts.next().filter(|part| part.starts_with('@')),
    );
    let version = file
        .rsplit('/')
        .next()?
        .strip_suffix(".tgz")?
        .strip_prefix(name)?
        .strip_prefix('-')?;
    let full = scope.map_or_else(|| name.to_owned(), |scope| format!("{scope}/{name}"));
    let is_kept = |c: char| c == '@' || c.is_ascii_lowercase() || c.is_ascii_digit();
    let words: Vec<&str> = full
        .split(|c| !is_kept(c))
        .filter(|word| !word.is_empty())
        .collect();
    Some(zip_package(&format!("npm-{}-{version}", words.join("-"))))
}

/// Returns Yarn's name for the zip of `@scope/name@protocol:selector`, without the two hashes:
/// `@scope-name-protocol-version`, or without the version if the selector is none.
fn slug(locator: &str) -> Option<String> {
    let at = locator.get(1..)?.find('@')?.checked_add(1)?;
    let (ident, reference) = (
        locator.get(..at)?.replace('/', "-"),
        locator.get(at..)?.strip_prefix('@')?,
    );
    let (protocol, selector) = reference.split_once(':')?;
    let selector = selector.split("::").next()?;
    let is_version = selector.starts_with(|first: char| first.is_ascii_digit())
        && selector.split('.').count() >= 3
        && !selector.contains(['#', '/']);
    match protocol {
        "workspace" | "link" | "portal" => None,
        _ if is_version => Some(format!(
            "{ident}-{protocol}-{}",
            selector.split('+').next()?
        )),
        _ => Some(format!("{ident}-{protocol}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classic() {
        let integrity = "sha512-XI5MPzVNApjAyhQzphX8BkmKsKUxD4LdyK24iZeQGinBN9yTQT3bFlCBy/aVx2HrNcqQGsdot8ghrjyrvMCoEA==";
        let text = format!(
            "# yarn lockfile v1\n\nleft-pad@^1.3.0:\n  version \"1.3.0\"\n  \
             resolved \"https://registry.yarnpkg.com/left-pad/-/left-pad-1.3.0.tgz#5b8a3a7765dfe001261dde915589e782f8c94d1e\"\n  integrity {integrity}\n"
        );
        let sha1 = Package::digest("sha1", "5b8a3a7765dfe001261dde915589e782f8c94d1e").unwrap();
        assert_eq!(
            text.lines().flat_map(packages).collect::<Vec<_>>(),
            [sha1, Package::integrity(integrity).remove(0)]
        );
    }

    #[test]
    fn classic_from_a_mirror() {
        let table = [
            (
                "https://mirror.example/npm/left-pad/-/left-pad-1.3.0.tgz",
                Some("npm-left-pad-1.3.0"),
            ),
            (
                "https://mirror.example/npm/@sindresorhus/is/-/is-4.6.0.tgz",
                Some("npm-@sindresorhus-is-4.6.0"),
            ),
            (
                "https://mirror.example/npm/@acme%2fui_kit/-/ui_kit-1.0.0-rc.1.tgz?x=y",
                Some("npm-@acme-ui-kit-1.0.0-rc.1"),
            ),
            (
                "https://mirror.example/npm/@acme/ui/-/@acme/ui-1.0.0.tgz#",
                Some("npm-@acme-ui-1.0.0"),
            ),
            (
                "https://mirror.example/npm/JSONStream/-/JSONStream-1.3.5.tgz",
                Some("npm-tream-1.3.5"),
            ),
            ("https://mirror.example/download/left-pad-1.3.0.tgz", None),
            ("/-/", None),
            ("", None),
        ];
        for (address, expected) in table {
            let found = packages(&format!("  resolved \"{address}\""));
            assert_eq!(
                found,
                expected.map(zip_package).into_iter().collect::<Vec<_>>(),
                "{address}"
            );
        }
    }

    #[test]
    fn berry() {
        let table = [
            ("left-pad@npm:1.3.0", Some("left-pad-npm-1.3.0")),
            (
                "@acme/shop@npm:1.0.0-rc.1",
                Some("@acme-shop-npm-1.0.0-rc.1"),
            ),
            (
                "x@npm:1.0.0::__archiveUrl=https%3A%2F%2Fx",
                Some("x-npm-1.0.0"),
            ),
            (
                "resolve@patch:resolve@npm%3A1.22.8#optional!builtin<compat/resolve>::version=1.22.8&hash=c3c19d",
                Some("resolve-patch"),
            ),
            (
                "tool@https://github.com/acme/tool.git#commit=0123",
                Some("tool-https"),
            ),
            ("shop@workspace:.", None),
            ("@", None),
            ("", None),
            ("ä@", None),
        ];
        for (locator, expected) in table {
            let text = format!(
                "\"x@npm:^1\":\n  version: 1.3.0\n  resolution: \"{locator}\"\n  checksum: 10c0/00\n  languageName: node\n"
            );
            assert_eq!(
                text.lines().flat_map(packages).collect::<Vec<_>>(),
                expected.map(zip_package).into_iter().collect::<Vec<_>>(),
                "{locator}"
            );
        }
    }
}
