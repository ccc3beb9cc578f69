//! Names for repos: each its own, and each one that the config accepts.

use crate::fs::volume_path::VolumePath;
use std::collections::HashSet;

/// Returns what is the same in all addresses of an origin: no transport, no user, no `.git`.
pub(super) fn same_for_all(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host_ends = rest.find(['/', ':']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(host_ends);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let path = path.trim_start_matches([':', '/']).trim_end_matches('/');
    format!("{host}/{}", path.strip_suffix(".git").unwrap_or(path))
}

/// The names given so far, by their lock files.
#[derive(Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// Returns a name that no other repo has: its origin's last two parts, or its directory's.
    pub(super) fn of(&mut self, place: &VolumePath, url: Option<&str>) -> String {
        let origin = url.map(same_for_all);
        let origin = origin.and_then(|origin| {
            let mut parts = origin.rsplit('/').filter(|part| !part.is_empty());
            let (name, owner) = (parts.next()?, parts.next()?);
            Some(format!("{}/{}", plain(owner), plain(name)))
        });
        let base = origin.unwrap_or_else(|| name_of(place));
        let names =
            std::iter::once(base.clone()).chain((2_u64..).map(|number| format!("{base}-{number}")));
        let mut free = names.filter(|name| self.0.insert(name.replace('/', "__")));
        free.next().expect("numbers don't end")
    }
}

/// Returns a repo's name by its directory.
pub(super) fn name_of(place: &VolumePath) -> String {
    let name = place.relative().file_name().unwrap_or_default();
    let name = plain(&name.to_string_lossy());
    match name.as_str() {
        "volume" | "journal" => format!("local/{name}"),
        shard if shard.starts_with("shard-") => format!("local/{name}"),
        _ => name,
    }
}

/// Returns a part of a name with the characters that the config accepts.
fn plain(part: &str) -> String {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let plain: String = part
        .trim_end_matches(".git")
        .chars()
        .map(|c| if known(c) { c } else { '-' })
        .collect();
    match plain.as_str() {
        "" | "." | ".." => "repo".to_owned(),
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn addresses_of_one_origin_are_the_same() {
        let same = [
            "https://github.com/acme/shop.git",
            "https://github.com/acme/shop/",
            "git@github.com:acme/shop.git",
            "ssh://git@github.com/acme/shop",
        ];
        for address in same {
            assert_eq!(same_for_all(address), "github.com/acme/shop", "{address}");
        }
        assert_eq!(same_for_all("/srv/git/shop.git"), "/srv/git/shop");
        assert_eq!(same_for_all("file:///srv/git/shop.git"), "/srv/git/shop");
    }

    #[test]
    fn every_repo_has_a_name_of_its_own() {
        let root: Arc<Path> = Path::new("/home/me").into();
        let mut names = Names::default();
        let mut name = |path: &str, url: Option<&str>| {
            names.of(&VolumePath::new(&root, Path::new(path)).unwrap(), url)
        };
        assert_eq!(name("src/a", Some("https://h/acme/shop.git")), "acme/shop");
        assert_eq!(name("src/b", Some("git@h:acme/shop")), "acme/shop-2");
        assert_eq!(name("src/c", Some("https://h/a/b/c+d/~x")), "c-d/-x");
        assert_eq!(name("notes", None), "notes");
        assert_eq!(name("old/notes", None), "notes-2");
        assert_eq!(name("volume", None), "local/volume");
        assert_eq!(name("src/my notes.git", None), "my-notes");
        assert_eq!(name("shard-1", None), "local/shard-1");
    }
}
