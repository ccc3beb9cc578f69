//! Where a tool keeps a cache by itself, as its own manual says: by variables first, then in the
//! home directory. No tool is started, and no config of a tool is read.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A place at which a tool looks for its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usual {
    /// The directory that this variable names.
    Variable(&'static str),
    /// A path below the directory that this variable names.
    Below(&'static str, &'static str),
    /// A path in the home directory.
    Home(&'static str),
    /// A path in `$XDG_CACHE_HOME`, or else in `~/.cache`.
    Cache(&'static str),
    /// The same, with `$USER` at its end; none if that is not set.
    CacheOfUser(&'static str),
    /// A path in `$XDG_DATA_HOME`, or else in `~/.local/share`.
    Data(&'static str),
}

/// A user's home directory and environment.
pub struct Surroundings<'a> {
    /// The home directory.
    pub home: &'a Path,
    /// Returns a variable's value.
    pub variable: &'a (dyn Fn(&str) -> Option<OsString> + Sync),
}

impl Surroundings<'_> {
    /// Returns the first of these places that applies. A variable applies if it is set to an
    /// absolute path, any other place always does.
    pub fn first(&self, places: &[Usual]) -> Option<PathBuf> {
        places.iter().find_map(|place| self.path(*place))
    }

    fn path(&self, place: Usual) -> Option<PathBuf> {
        match place {
            Usual::Variable(name) => self.directory(name),
            Usual::Below(name, path) => Some(self.directory(name)?.join(path)),
            Usual::Home(path) => Some(self.home.join(path)),
            Usual::Cache(path) => Some(self.base("XDG_CACHE_HOME", ".cache").join(path)),
            Usual::CacheOfUser(path) => {
                let user = (self.variable)("USER")?;
                let mut name = OsString::from(path);
                name.push(user);
                Some(self.base("XDG_CACHE_HOME", ".cache").join(name))
            }
            Usual::Data(path) => Some(self.base("XDG_DATA_HOME", ".local/share").join(path)),
        }
    }

    fn base(&self, variable: &str, otherwise: &str) -> PathBuf {
        self.directory(variable)
            .unwrap_or_else(|| self.home.join(otherwise))
    }

    fn directory(&self, variable: &str) -> Option<PathBuf> {
        let path = PathBuf::from((self.variable)(variable)?);
        path.is_absolute().then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_applies_is_the_tools() {
        let variable = |name: &str| match name {
            "XDG_CACHE_HOME" => Some("/fast".into()),
            "XDG_DATA_HOME" => Some("relative".into()),
            "GOPATH" => Some("/go".into()),
            "UV_CACHE_DIR" => Some(OsString::new()),
            "USER" => Some("me".into()),
            _ => None,
        };
        let home = Surroundings {
            home: Path::new("/home/me"),
            variable: &variable,
        };
        let cases: [(&[Usual], &str); 6] = [
            (
                &[Usual::CacheOfUser("bazel/_bazel_")],
                "/fast/bazel/_bazel_me",
            ),
            (
                &[
                    Usual::Variable("GOMODCACHE"),
                    Usual::Below("GOPATH", "pkg/mod"),
                    Usual::Home("go/pkg/mod"),
                ],
                "/go/pkg/mod",
            ),
            (
                &[Usual::Variable("npm_config_cache"), Usual::Home(".npm")],
                "/home/me/.npm",
            ),
            (
                &[Usual::Variable("UV_CACHE_DIR"), Usual::Cache("uv")],
                "/fast/uv",
            ),
            (
                &[Usual::Data("pnpm/store")],
                "/home/me/.local/share/pnpm/store",
            ),
            (&[Usual::Variable("GOPATH"), Usual::Home("go")], "/go"),
        ];
        for (places, path) in cases {
            assert_eq!(home.first(places), Some(path.into()), "{places:?}");
        }
        assert_eq!(home.first(&[]), None);
    }
}
