//! A cache outside of the volume: which directories may be named, and where its trash stands.
//!
//! Beside the cache there is a small state directory with a lock and a trash, on the cache's own
//! file system, so that a unit can be renamed into it. What could be somebody's home, or belongs to
//! the system, is refused by its name. Links and mounts show only when the place is proven
//! (`state::outside`).

use super::policy::{self, Volume};
use super::values::odd;
use crate::fs::volume_path::VolumePath;
use std::path::{Component, Path};
use std::sync::Arc;

/// Directories that belong to the system, with all that is in them.
const SYSTEM: [&str; 14] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run",
    "/sbin", "/snap", "/sys", "/usr",
];
/// Directories in these that anybody may use.
const ANYBODYS: [&str; 2] = ["/dev/shm", "/run/user"];
/// Directories whose entries are homes, or belong to many programs.
const SHARED: [&str; 4] = ["/", "/home", "/run/user", "/var"];
/// Names that no cache has: what is in there is work, or treewarden's own.
const TAKEN: [&str; 3] = [".git", policy::STATE, policy::OUTSIDE_STATE];

/// Returns the place of the cache that was typed as `path`, and the directory that it stands in;
/// or what is wrong. `root` is the volume's root.
pub(super) fn directory(path: &str, root: &Path) -> Result<(VolumePath, Volume), String> {
    let place = Path::new(path);
    let plain = place
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !place.is_absolute() || !plain || odd(path) {
        return Err(format!(
            "`{path}` is no plain absolute path; write the cache's whole path, for instance /var/cache/ccache"
        ));
    }
    let is_at = |shared: &&str| place == Path::new(shared);
    let above = place.parent().filter(|above| {
        let holds_shared = |shared: &&str| *above == Path::new(shared);
        !SHARED.iter().any(holds_shared) && !ANYBODYS.iter().any(is_at)
    });
    let within = |directory: &&str| place.starts_with(directory);
    let is_system = SYSTEM.iter().any(within) && !ANYBODYS.iter().any(within);
    let above = above.filter(|_| !is_system).ok_or_else(|| {
        format!(
            "`{path}` belongs to the system, or holds more than one cache; name the cache's own directory, for instance {path}/npm"
        )
    })?;
    // A wrong root has `/` for a stand-in, and everything lies below that.
    if root != Path::new("/") {
        if place.starts_with(root) {
            return Err(format!(
                "`{path}` lies below volume.root; take `outside` out"
            ));
        }
        if root.starts_with(place) {
            return Err(format!(
                "`{path}` holds volume.root (`{}`); name the cache's own directory",
                root.display()
            ));
        }
    }
    let is_taken = |part: Component<'_>| TAKEN.iter().any(|taken| part.as_os_str() == *taken);
    if place.components().any(is_taken) {
        return Err(format!(
            "`{path}` is in a repo or in treewarden's own directory; name the cache's own directory"
        ));
    }
    let above: Arc<Path> = above.components().collect::<std::path::PathBuf>().into();
    let inside = |path: &Path| VolumePath::outside(&above, path).map_err(|error| error.to_string());
    let (place, state) = (inside(place)?, inside(Path::new(policy::OUTSIDE_STATE))?);
    Ok((place, Volume { root: above, state }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_has_its_trash_beside_it() {
        let (place, volume) = directory("/var/cache//ccache/", Path::new("/data")).unwrap();
        assert_eq!(place.to_string(), "/var/cache/ccache");
        assert_eq!(&*volume.root, Path::new("/var/cache"));
        assert_eq!(volume.state.to_string(), "/var/cache/.treewarden-outside");
        for good in [
            "/home/me/.npm",
            "/mnt/npm",
            "/tmp/npm",
            "/dev/shm/npm",
            "/run/user/1000/npm",
            "/database/npm",
        ] {
            assert!(directory(good, Path::new("/data")).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_could_be_anybodys_is_refused() {
        for (bad, why) in [
            ("npm", "is no plain absolute path"),
            ("~/.npm", "is no plain absolute path"),
            ("/mnt/../etc", "is no plain absolute path"),
            ("/mnt/a\nb", "is no plain absolute path"),
            ("/", "belongs to the system"),
            ("/cache", "belongs to the system"),
            ("/root", "belongs to the system"),
            ("/home/me", "belongs to the system"),
            ("/home/me/", "belongs to the system"),
            ("/var/lib", "belongs to the system"),
            ("/etc/npm/a", "belongs to the system"),
            ("/usr/lib/node_modules", "belongs to the system"),
            ("/dev/shm", "belongs to the system"),
            ("/run/user/1000", "belongs to the system"),
            ("/mnt/data/npm", "lies below volume.root"),
            ("/mnt/data", "lies below volume.root"),
            ("/srv/a/.git/b", "is in a repo"),
            ("/srv/a/.treewarden-outside/trash", "is in a repo"),
        ] {
            let message = directory(bad, Path::new("/mnt/data")).unwrap_err();
            assert!(message.contains(why), "{bad}: {message}");
        }
        let message = directory("/srv/a", Path::new("/srv/a/b")).unwrap_err();
        assert!(message.contains("holds volume.root"), "{message}");
    }
}
