//! Reports of what tests cover, by the list of sources that each report keeps: coverage.py's
//! `htmlcov`, istanbul's and v8's `coverage`.
//!
//! It must never take a page for a report's whose source that list doesn't name.

use super::keys::Keys;
use super::{Directory, Opinion, Says, Tool, beside, ends_with, folder, holds, opinion};
use rustix::fd::AsFd;
use serde::Deserialize;
use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;

pub(super) const COVERAGE_PY: Tool = Tool {
    signs: &[],
    made: |parent, name| {
        name == "htmlcov"
            && folder(parent, name).is_some_and(|folder| holds(folder.as_fd(), &["status.json"]))
    },
    account: coverage_py,
};
pub(super) const ISTANBUL: Tool = Tool {
    signs: &[],
    made: |parent, name| name == "coverage" && beside(parent, &["package.json"], name, &SIGNS),
    account: istanbul,
};

/// What istanbul's reporters call their reports.
const SIGNS: [&str; 4] = [
    "coverage-final.json",
    "lcov-report",
    "lcov.info",
    "coverage-summary.json",
];

#[derive(Deserialize)]
struct Status {
    files: Keys,
}

fn coverage_py(directory: &Directory) -> Opinion {
    let status = directory
        .note("status.json")
        .and_then(|note| serde_json::from_slice::<Status>(&note).ok());
    let pages: HashSet<String> = status
        .into_iter()
        .flat_map(|status| status.files.0)
        .collect();
    opinion(move |_, name, kind| {
        let fixed = [
            "index.html",
            "class_index.html",
            "function_index.html",
            "status.json",
            ".gitignore",
        ]
        .contains(&name);
        let dressing = [
            "coverage_html",
            "favicon_32",
            "keybd_closed",
            "keybd_open",
            "style",
            "jquery",
        ]
        .iter()
        .any(|start| name.starts_with(start));
        let dressing = dressing && ends_with(name, &["css", "js", "png", "svg"]);
        let page = name
            .strip_suffix(".html")
            .is_some_and(|page| pages.contains(page));
        (!kind.is_dir() && (fixed || dressing || page)).into()
    })
}

fn istanbul(directory: &Directory) -> Opinion {
    let all = directory
        .note("coverage-final.json")
        .and_then(|note| serde_json::from_slice::<Keys>(&note).ok());
    let json = all.into_iter().flat_map(|keys| keys.0);
    let lcov = ["lcov.info", "lcov-report/lcov.info"]
        .into_iter()
        .filter_map(|name| directory.text(name));
    let lcov = lcov.flat_map(|text| {
        text.lines()
            .filter_map(|line| line.strip_prefix("SF:").map(str::to_owned))
            .collect::<Vec<_>>()
    });
    let sources: HashSet<String> = json
        .chain(lcov)
        .filter_map(|path| Some(Path::new(&path).file_name()?.to_str()?.to_owned()))
        .collect();
    pages(Rc::new(sources), true)
}

/// A page for each source, an index for each directory, and their dressing.
fn pages(sources: Rc<HashSet<String>>, top: bool) -> Opinion {
    const REPORTS: [&str; 7] = [
        "clover.xml",
        "cobertura-coverage.xml",
        "coverage-final.json",
        "coverage-summary.json",
        "lcov.info",
        "coverage.txt",
        "teamcity.txt",
    ];
    const DRESSING: [&str; 12] = [
        "base.css",
        "block-navigation.js",
        "favicon.png",
        "index.html",
        "prettify.css",
        "prettify.js",
        "sort-arrow-sprite.png",
        "sorter.js",
        "lcov.info",
        "readex-pro-license.txt",
        "readex-pro.woff2",
        "theme.js",
    ];
    opinion(move |_, name, kind| match name {
        ".tmp" | "tmp" if kind.is_dir() && top => Says::Below(super::files(|name| {
            name.starts_with("coverage-") && ends_with(name, &["json"])
        })),
        _ if kind.is_dir() => Says::Below(pages(sources.clone(), false)),
        _ => (DRESSING.contains(&name)
            || (top && REPORTS.contains(&name))
            || name
                .strip_suffix(".html")
                .is_some_and(|source| sources.contains(source)))
        .into(),
    })
}
