//! A path proven to be inside the volume's root, as a type.
//!
//! Whatever a plan changes is named by a [`VolumePath`], so a plan that leads out of the volume
//! can't be built. The proof here is lexical and does no I/O; links are refused later, when the
//! path is opened (`openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`). The root itself is no
//! target, so the path is never empty.
//!
//! A cache that the config names outside of the volume has a root of its own, the directory that
//! it stands in. Only the config makes such a path.

use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A path below the volume's root: relative, not empty, without `.` or `..`.
///
/// None can be created without the proof, so nothing unproven can be planned or deleted:
///
/// ```compile_fail,E0451
/// let root = std::sync::Arc::from(std::path::Path::new("/data"));
/// use treewarden::fs::volume_path::VolumePath;
/// let relative = "../etc/shadow".into();
/// let passwords = VolumePath { root, relative, is_outside: false };
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumePath {
    root: Arc<Path>,
    relative: Box<Path>,
    /// The root is not the volume's, so people need the absolute path.
    is_outside: bool,
}

/// The path is not below the root.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is not inside the volume `{}`", path.display(), root.display())]
pub struct Outside {
    path: PathBuf,
    root: PathBuf,
}

/// Lets a walk, which meets I/O errors at every step, return this error, too.
impl From<Outside> for io::Error {
    fn from(outside: Outside) -> Self {
        Self::other(outside)
    }
}

impl VolumePath {
    /// Proves that `path` (absolute, or relative to `root`) is below `root`.
    ///
    /// # Errors
    /// [`Outside`] if it isn't, if it is the root itself, or if it contains a `..`.
    pub fn new(root: &Arc<Path>, path: &Path) -> Result<Self, Outside> {
        let outside = || Outside {
            path: path.to_owned(),
            root: root.to_path_buf(),
        };
        let rest = if path.is_absolute() {
            path.strip_prefix(root).map_err(|_| outside())?
        } else {
            path
        };
        // Allocated exactly, because a run has a million of them in memory.
        let mut relative = PathBuf::with_capacity(rest.as_os_str().len());
        for component in rest.components() {
            match component {
                Component::Normal(name) => relative.push(name),
                Component::CurDir => {}
                _ => return Err(outside()),
            }
        }
        if relative.as_os_str().is_empty() {
            Err(outside())
        } else {
            Ok(Self {
                root: root.clone(),
                relative: relative.into(),
                is_outside: false,
            })
        }
    }

    /// Proves the same against a root that is not the volume's, but one that the config names.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn outside(root: &Arc<Path>, path: &Path) -> Result<Self, Outside> {
        Ok(Self {
            is_outside: true,
            ..Self::new(root, path)?
        })
    }

    /// Proves that `path` is below the same root.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn same_root(&self, path: &Path) -> Result<Self, Outside> {
        Ok(Self {
            is_outside: self.is_outside,
            ..Self::new(&self.root, path)?
        })
    }

    /// Returns the root: the volume's, or that of a cache outside of it.
    pub fn root(&self) -> &Arc<Path> {
        &self.root
    }

    /// Returns the path relative to the root.
    pub fn relative(&self) -> &Path {
        &self.relative
    }

    /// Returns the absolute path.
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.relative)
    }

    /// Returns a path below this one.
    ///
    /// # Errors
    /// [`Outside`] if `name` climbs with `..`.
    pub fn join(&self, name: impl AsRef<Path>) -> Result<Self, Outside> {
        let name = name.as_ref();
        // A listed name is one component, so the path above it need not be proven again.
        if name.components().eq([Component::Normal(name.as_os_str())]) {
            let mut relative = PathBuf::with_capacity(
                self.relative
                    .as_os_str()
                    .len()
                    .saturating_add(1)
                    .saturating_add(name.as_os_str().len()),
            );
            relative.push(&*self.relative);
            relative.push(name);
            return Ok(Self {
                root: self.root.clone(),
                relative: relative.into(),
                is_outside: self.is_outside,
            });
        }
        self.same_root(&self.relative.join(name))
    }

    /// Returns where `path` leads from this directory: an absolute path, or a relative one that may
    /// climb with `..`. This is lexical: a link on the way is refused when the path is opened.
    ///
    /// # Errors
    /// [`Outside`] if it leads out of the volume.
    pub fn resolve(&self, path: &Path) -> Result<Self, Outside> {
        let mut to = self.path();
        for part in path.components() {
            match part {
                Component::ParentDir => drop(to.pop()),
                // An absolute path starts over.
                part => to.push(part),
            }
        }
        Self::new(&self.root, &to)
    }
}

impl fmt::Debug for VolumePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.relative, f)
    }
}

impl fmt::Display for VolumePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_outside {
            return fmt::Display::fmt(&self.path().display(), f);
        }
        fmt::Display::fmt(&self.relative.display(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_outside_of_the_volume_is_shown_whole() {
        let root: Arc<Path> = Path::new("/var/cache").into();
        let pip = VolumePath::outside(&root, Path::new("pip")).unwrap();
        for place in [pip.join("http/a"), pip.join("http/./a")] {
            assert_eq!(place.unwrap().to_string(), "/var/cache/pip/http/a");
        }
        let lock = pip.same_root(Path::new("lock")).unwrap();
        assert_eq!(lock.to_string(), "/var/cache/lock");
        assert!(VolumePath::outside(&root, Path::new("/etc/shadow")).is_err());
    }

    #[test]
    fn only_what_lies_below_the_root_is_inside() {
        let root: Arc<Path> = Path::new("/data").into();
        for good in ["a", "/data/a", "a/./b", "/data/a//b"] {
            assert!(VolumePath::new(&root, Path::new(good)).is_ok(), "{good}");
        }
        let place = VolumePath::new(&root, Path::new("a")).unwrap();
        for (name, joined) in [
            ("b", "a/b"),
            ("b/c", "a/b/c"),
            ("b/", "a/b"),
            ("./b", "a/b"),
            (".", "a"),
            ("", "a"),
            ("/data/b", "b"),
        ] {
            assert_eq!(
                place.join(name).unwrap(),
                VolumePath::new(&root, Path::new(joined)).unwrap(),
                "{name}"
            );
        }
        for (name, resolved) in [
            ("b", "a/b"),
            ("./b/../c", "a/c"),
            ("../b", "b"),
            ("../../data/b", "b"),
            ("/data/b/../c", "c"),
        ] {
            assert_eq!(
                place.resolve(Path::new(name)).unwrap(),
                VolumePath::new(&root, Path::new(resolved)).unwrap(),
                "{name}"
            );
        }
        for bad in ["..", "../..", "../../b", "/etc", "/data", "/data/../etc"] {
            assert!(place.resolve(Path::new(bad)).is_err(), "{bad}");
        }
        for bad in ["..", "b/..", "../../etc", "/etc"] {
            assert!(place.join(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            ".",
            "/data",
            "/data/",
            "/",
            "/dat",
            "/database/a",
            "..",
            "a/../..",
            "a/..",
            "/data/../etc",
        ] {
            assert!(VolumePath::new(&root, Path::new(bad)).is_err(), "{bad}");
        }
    }
}
