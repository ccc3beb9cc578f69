//! Files that web compilers write: those with a source map, and the output directory that the
//! config of `tsc` names.
//!
//! Nobody writes a source map by hand. So a map, a file that has one, and the type declarations of
//! that file were generated.

use super::account::{Opinion, Says, Tool, opinion};
use super::directory::{Directory, ends_with, folder, holds};
use super::directory::{listed, open_directory};
use super::ecosystem::Ecosystem;
use super::made_file::{MadeFile, beginning, contains, shows};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::FileType;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::rc::Rc;

pub(super) static COMPILERS: Ecosystem = Ecosystem {
    output: &OUTPUT,
    files: &[MadeFile {
        may_be: |name| name.ends_with(".tsbuildinfo"),
        is_one: |parent, name, _| {
            shows(parent, name, |bytes| {
                beginning(bytes).starts_with('{') && contains(bytes, "\"version\"")
            })
        },
    }],
    ..Ecosystem::named("compilers of the web")
};

static OUTPUT: [Tool; 2] = [
    Tool {
        signs: &[],
        made: is_mapped,
        account: |_| compiled(String::new(), Rc::new(Vec::new())),
    },
    Tool {
        signs: &[],
        made: is_tscs,
        account: |directory| compiled(String::new(), Rc::new(sources(directory))),
    },
];

/// The most entries below a directory that are searched for a source map.
const MOST: usize = 5000;
const DEEPEST: usize = 32;
const CONFIG: &str = "tsconfig.json";

fn is_mapped(parent: BorrowedFd<'_>, name: &str) -> bool {
    let mut left = MOST;
    ["dist", "build"].contains(&name)
        && holds(parent, &["package.json"])
        && folder(parent, name).is_some_and(|folder| holds_map(&folder, DEEPEST, &mut left))
}

fn holds_map(folder: &OwnedFd, depth: usize, left: &mut usize) -> bool {
    let Ok(mut entries) = listed(folder) else {
        return false;
    };
    // Sorted first: the file system's order must not decide which entries are searched.
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    entries.truncate(*left);
    *left = left.saturating_sub(entries.len());
    let stands = |of: &str| {
        let found = entries.binary_search_by(|(name, _)| name.as_os_str().cmp(OsStr::new(of)));
        found.is_ok()
    };
    let map = |(name, kind): &(OsString, FileType)| {
        let of = name.to_str().and_then(|name| name.strip_suffix(".map"));
        *kind == FileType::RegularFile && of.is_some_and(stands)
    };
    if entries.iter().any(map) {
        return true;
    }
    let mut below = entries
        .iter()
        .filter(|(_, kind)| depth > 0 && *kind == FileType::Directory);
    below.any(|(name, _)| {
        *left > 0
            && open_directory(folder.as_fd(), name)
                .is_ok_and(|below| holds_map(&below, depth.saturating_sub(1), left))
    })
}

/// Returns whether the config beside a directory names it as the output directory.
fn is_tscs(parent: BorrowedFd<'_>, name: &str) -> bool {
    holds(parent, &[CONFIG]) && folder(parent, name).is_some() && {
        let config = super::directory::read(parent, Path::new(CONFIG))
            .ok()
            .and_then(|text| String::from_utf8(text).ok());
        config.is_some_and(|config| option(&config, "outDir").is_some_and(|out| plain(out) == name))
    }
}

/// Returns the text of an option. A `tsconfig.json` may have comments, which JSON parsers reject.
fn option<'a>(config: &'a str, key: &str) -> Option<&'a str> {
    let lines = config
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"));
    let after = lines
        .filter_map(|line| line.split_once(&format!("\"{key}\"")))
        .map(|(_, after)| after)
        .next()?;
    after
        .trim_start()
        .strip_prefix(':')?
        .trim_start()
        .strip_prefix('"')?
        .split('"')
        .next()
}

fn plain(path: &str) -> &str {
    path.trim_start_matches("./").trim_end_matches('/')
}

/// Returns the directories that may contain the sources, each with a trailing slash.
fn sources(directory: &Directory) -> Vec<String> {
    let config = directory
        .above()
        .first()
        .and_then(|project| project.text(CONFIG))
        .unwrap_or_default();
    let root = option(&config, "rootDir").map(|root| format!("{}/", plain(root)));
    root.into_iter()
        .chain(["src/".to_owned(), String::new()])
        .map(|root| root.trim_start_matches("./").to_owned())
        .collect()
}

fn compiled(path: String, sources: Rc<Vec<String>>) -> Opinion {
    opinion(move |directory, name, kind| {
        if kind.is_dir() {
            return Says::Below(compiled(format!("{path}{name}/"), sources.clone()));
        }
        let license = name
            .strip_suffix(".LICENSE.txt")
            .is_some_and(|of| directory.holds(of));
        (license
            || is_one(directory, name)
            || ends_with(name, &["tsbuildinfo"])
            || has_source(directory, &path, name, &sources))
        .into()
    })
}

/// Returns whether it is a source map, has one, or declares the types of a file that has one.
fn is_one(directory: &Directory, name: &str) -> bool {
    let mapped = |name: &str| directory.holds(&format!("{name}.map"));
    let declares = [(".d.ts", ".js"), (".d.mts", ".mjs"), (".d.cts", ".cjs")];
    let typed = || {
        declares.iter().any(|(types, code)| {
            name.strip_suffix(types)
                .is_some_and(|stem| mapped(&format!("{stem}{code}")))
        })
    };
    name.strip_suffix(".map")
        .map_or_else(|| mapped(name) || typed(), |of| directory.holds(of))
}

fn has_source(directory: &Directory, path: &str, name: &str, sources: &[String]) -> bool {
    const MADE_OF: [(&str, &[&str]); 7] = [
        (".d.ts", &["ts", "tsx", "js", "jsx"]),
        (".d.mts", &["mts", "mjs"]),
        (".d.cts", &["cts", "cjs"]),
        (".mjs", &["mts", "mjs"]),
        (".cjs", &["cts", "cjs"]),
        (".js", &["ts", "tsx", "js", "jsx"]),
        (".jsx", &["tsx", "jsx"]),
    ];
    let name = name.strip_suffix(".map").unwrap_or(name);
    if sources.is_empty() {
        return false;
    }
    let made_of = MADE_OF
        .iter()
        .find_map(|(end, of)| Some((name.strip_suffix(end)?, *of)));
    let Some((stem, of)) = made_of else {
        return false;
    };
    let depth = path.matches('/').count();
    let above = directory.above();
    let project = above.get(depth);
    let stands = |root: &String| {
        of.iter().any(|end| {
            project.is_some_and(|project| project.has(&format!("{root}{path}{stem}.{end}")))
        })
    };
    sources.iter().any(stands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystems::testing::Field;

    #[test]
    fn of_many_entries_only_the_first_are_searched_for_a_map() {
        let field = Field::new();
        field.file("p/package.json", 1);
        for number in 0..MOST {
            field.file(&format!("p/dist/{number:05}.map"), 1);
        }
        for name in ["x.js", "x.js.map"] {
            field.file(&format!("p/dist/{name}"), 1);
        }
        let parent = std::fs::File::open(field.at("p").path()).unwrap();
        assert!(!is_mapped(parent.as_fd(), "dist"));
        field.file("p/dist/00007", 1);
        assert!(is_mapped(parent.as_fd(), "dist"));
    }

    #[test]
    fn an_option_is_read_from_a_config_with_comments() {
        let config = "{\n  // \"outDir\": \"no\",\n  \"compilerOptions\": {\"outDir\": \"./lib/\", /* x */ \"rootDir\" : \"src\"}\n}";
        assert_eq!(option(config, "outDir").map(plain), Some("lib"));
        assert_eq!(option(config, "rootDir"), Some("src"));
        assert_eq!(option(config, "declarationDir"), None);
    }
}
