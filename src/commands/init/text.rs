//! The config that `init --discover` writes, as text. `config.yaml` beside this file is its
//! template; what comes from the disk is quoted or escaped here.

use crate::facts::discovered::{Discovered, FoundCache, FoundRepo, Kind, LeftOut};
use crate::fs::humanize::{count, size};
use crate::fs::volume_path::VolumePath;
use crate::report::words::{plain, steers, width};
use askama::Template;
use chrono::{DateTime, Utc};
use std::fmt::Write as _;

/// Columns of a line of comment, without its indent and `# `.
const WIDTH: usize = 96;
/// Words that YAML, in one version or another, takes for something other than a text.
const KEYWORDS: [&str; 12] = [
    ".", ".inf", ".nan", "false", "n", "no", "null", "off", "on", "true", "y", "yes",
];

#[derive(Template)]
#[template(path = "config.yaml", escape = "none")]
struct Config {
    place: String,
    /// Whether it is the caller's own, so that whoever wrote the addresses has the caller's rights.
    is_own: bool,
    day: String,
    root: String,
    state: String,
    presets: String,
    repos: Vec<Repo>,
    caches: Vec<String>,
    left_out_repos: Vec<String>,
    left_out_caches: Vec<String>,
}

struct Repo {
    name: String,
    path: String,
    url: Option<String>,
    trees: Option<String>,
    clones: Vec<String>,
}

/// Returns the whole config.
pub(super) fn config(found: &Discovered, state: &VolumePath, now: DateTime<Utc>) -> String {
    let root = found.root.to_string_lossy();
    let build_output = (!found.repos.is_empty()).then(|| "{kind: build-output}".to_owned());
    let (mut left_out_repos, mut left_out_caches) = (Vec::new(), Vec::new());
    for out in &found.left_out {
        match &out.what {
            Kind::Repo(name) => left_out_repos.extend(left_out(out, Some(item(name, &out.path)))),
            Kind::Repos(many) => {
                let out = LeftOut {
                    why: format!("{} in {}: {}", count(*many, "repo"), out.path, out.why),
                    ..out.clone()
                };
                left_out_repos.extend(left_out(&out, None));
            }
            Kind::Cache(kind) => {
                let entry = format!("{{kind: {}, path: {}}}", kind.name(), scalar(&out.path));
                left_out_caches.extend(left_out(out, Some(entry)));
            }
            Kind::Other => {}
        }
    }
    let config = Config {
        place: plain(&root),
        is_own: found.is_own,
        day: now.format("%Y-%m-%d").to_string(),
        root: scalar(&root),
        state: scalar(&state.to_string()),
        presets: found.presets.join(", "),
        repos: found.repos.iter().map(|it| repo(it, found)).collect(),
        caches: found.caches.iter().map(cache).chain(build_output).collect(),
        left_out_repos,
        left_out_caches,
    };
    config.render().expect("writing to a string can't fail")
}

/// Returns a config with these repos and nothing else, to be judged.
pub(super) fn draft(state: &VolumePath, repos: &[&VolumePath]) -> String {
    let (root, state) = (state.root().to_string_lossy(), state.to_string());
    let (root, state) = (scalar(&root), scalar(&state));
    let mut text = format!("volume: {{root: {root}, state: {state}}}\nrepos:\n");
    for (number, place) in repos.iter().enumerate() {
        let item = item(&format!("repo-{number}"), &place.to_string());
        let _infallible = writeln!(text, "  - {item}");
    }
    if repos.is_empty() {
        text.push_str("  []\n");
    }
    text
}

fn repo(repo: &FoundRepo, found: &Discovered) -> Repo {
    let trees = repo.trees.places.len() as u64;
    let clones = found.clones.iter().filter(|clone| clone.of == repo.name);
    let clone = |(number, place): (usize, &VolumePath)| {
        let name = format!("{}-clone-{}", repo.name, number.saturating_add(1));
        item(&name, &place.to_string())
    };
    Repo {
        name: scalar(&repo.name),
        path: scalar(&repo.place.to_string()),
        url: repo.url.as_deref().map(scalar),
        trees: (trees > 0).then(|| {
            let size = size(repo.size.bytes);
            format!("{}, {size} with the checkout", count(trees, "worktree"))
        }),
        clones: clones
            .map(|clone| &clone.place)
            .enumerate()
            .map(clone)
            .collect(),
    }
}

fn cache(cache: &FoundCache) -> String {
    let (kind, path) = (cache.kind.name(), scalar(&cache.place.to_string()));
    let name = cache.name.as_ref().map(|name| format!("name: {name}, "));
    let name = name.unwrap_or_default();
    format!(
        "{{kind: {kind}, {name}path: {path}}}    # {}",
        size(cache.size.bytes)
    )
}

/// Returns an item of `repos`.
fn item(name: &str, path: &str) -> String {
    format!("{{name: {}, path: {}}}", scalar(name), scalar(path))
}

/// Returns the lines of a comment: why something is left out, and the entry that it would have.
fn left_out(out: &LeftOut, entry: Option<String>) -> Vec<String> {
    let mut lines = vec!["Left out:".to_owned()];
    for word in plain(&out.why).split(' ') {
        match lines.last_mut() {
            Some(line) if width(line) + width(word) < WIDTH => line.extend([" ", word]),
            _ => lines.push(format!("  {word}")),
        }
    }
    lines.extend(entry.map(|entry| format!("- {}", plain(&entry))));
    lines
}

/// Returns a text as a YAML scalar, in quotes unless it is surely a text without them.
fn scalar(text: &str) -> String {
    let is_plain = !KEYWORDS.contains(&text.to_lowercase().as_str())
        && text
            .trim_start_matches('.')
            .starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c));
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::new();
    for c in serde_json::Value::from(text).to_string().chars() {
        if steers(c) {
            let _infallible = write!(quoted, "\\U{:08x}", u32::from(c));
        } else {
            quoted.push(c);
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that a file system can have, and what some YAML takes them for.
    #[test]
    fn every_text_stays_the_same_text() {
        for text in [
            "acme/shop",
            "/home/me",
            ".npm",
            "true",
            "Yes",
            "~",
            "null",
            "1e3",
            "0x1f",
            "-",
            "- a",
            "a: b",
            "a #b",
            "#b",
            "{a}",
            "[a]",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a`",
            "it's",
            "\"",
            " a ",
            "",
            "über",
            "2026-01-01",
            ".inf",
            ".5",
            "a\\b",
            "..",
            "<<",
            "=",
            "a,b",
            "\u{85}",
            "\u{2028}",
            "\u{feff}x",
            "\u{7f}",
        ] {
            let yaml = format!("{{a: {}}}", scalar(text));
            let read: std::collections::BTreeMap<String, String> =
                serde_yaml::from_str(&yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"));
            assert_eq!(read["a"], text, "{yaml}");
        }
    }

    #[test]
    fn a_long_reason_is_several_lines() {
        let out = LeftOut {
            what: Kind::Other,
            path: String::new(),
            why: format!("{}\nend", "word ".repeat(30)),
        };
        let lines = left_out(&out, Some("{name: a}".to_owned()));
        assert_eq!(lines.len(), 3);
        assert!(
            lines
                .iter()
                .all(|line| line.len() <= WIDTH && !line.contains('\n'))
        );
        assert!(lines[1].ends_with(r"\u{a}end"), "{lines:?}");
        assert_eq!(lines[2], "- {name: a}");
    }
}
