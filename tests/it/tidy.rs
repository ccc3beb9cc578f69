//! Conventions as tests: what `src/lib.rs` promises about the source, and what the README promises
//! about the program, checked by reading both.
//!
//! The checks search for words, not syntax. Each reports all offenders at once.

use clap::CommandFactory;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use treewarden::cli::Cli;
use treewarden::ecosystems;
use treewarden::ecosystems::lister::CacheLayout;
use walkdir::WalkDir;

/// Every room, from top to bottom, and what it may import: only rooms further down.
const ROOMS: [(&str, &[&str]); 15] = [
    (
        "cli",
        &[
            "commands", "run", "notify", "report", "lock", "plan", "config", "fs",
        ],
    ),
    (
        "commands",
        &[
            "run",
            "report",
            "apply",
            "lock",
            "survey",
            "plan",
            "state",
            "config",
            "ecosystems",
            "facts",
            "git",
            "fs",
        ],
    ),
    (
        "run",
        &[
            "notify",
            "report",
            "apply",
            "lock",
            "survey",
            "plan",
            "state",
            "config",
            "ecosystems",
            "facts",
            "git",
            "fs",
        ],
    ),
    ("notify", &["report", "plan", "config", "fs"]),
    ("report", &["apply", "plan", "facts", "fs"]),
    // It surveys again before it acts, so it sees the survey; it never decides, so it doesn't see
    // the config.
    (
        "apply",
        &["lock", "survey", "plan", "ecosystems", "facts", "git", "fs"],
    ),
    ("lock", &["plan", "fs"]),
    ("survey", &["config", "ecosystems", "facts", "git", "fs"]),
    ("plan", &["config", "facts", "fs"]),
    ("state", &["config", "facts", "fs"]),
    ("config", &["ecosystems", "facts", "fs"]),
    // All that is known of a tool; the config takes its kinds of caches from here.
    ("ecosystems", &["facts", "fs"]),
    ("facts", &["fs"]),
    ("git", &["fs"]),
    ("fs", &[]),
];

/// Rooms that may see only the config's policy, and not how it is typed.
const POLICY_ONLY: [&str; 4] = ["notify", "survey", "plan", "state"];

/// Calls, and the only files that may make them.
const HOMES: [(&str, &[&str]); 11] = [
    // A root that is not the volume's is the operator's word.
    ("VolumePath::outside", &["config/outside.rs"]),
    (
        "Command::new",
        &[
            "commands/agent/exec.rs",
            "commands/schedule/systemd.rs",
            "git/mod.rs",
            "survey/probe.rs",
        ],
    ),
    // The last one removes a draft of ours that was not renamed into place.
    (
        "unlinkat",
        &["apply/trash.rs", "apply/trash/delete.rs", "fs/atomic.rs"],
    ),
    (
        "renameat",
        &[
            "apply/trash/rename.rs",
            "apply/trash/delete.rs",
            "apply/restore.rs",
            "apply/staging.rs",
            "apply/reflogs.rs",
            "fs/atomic.rs",
        ],
    ),
    ("remove_dir", &["apply/trash.rs"]),
    // The latter removes the units that it wrote.
    (
        "remove_file",
        &["apply/trash.rs", "commands/schedule/systemd.rs"],
    ),
    ("serde_yaml", &["config/raw.rs"]),
    ("ureq", &["notify/http.rs"]),
    ("prometheus_client", &["notify/metrics.rs"]),
    ("Utc::now", &["fs/clock.rs"]),
    ("is_a_sample", &["fs/clock.rs", "commands/demo.rs"]),
];

/// Words that would let a decision depend on more than its arguments.
const NOT_IN_PLAN: [&str; 9] = [
    "VolumePath::new",
    "std::fs",
    "std::io",
    "std::env",
    "git2",
    "rustix",
    "walkdir",
    "SystemTime",
    "Instant",
];

/// A file of `src`: its path there, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Returns the text before the tests.
    fn body(&self) -> &str {
        let tests = [
            "mod tests {",
            "pub(super) mod tests {",
            "pub(in crate::plan) mod tests {",
        ];
        let ends = tests.map(|tests| self.text.find(&format!("#[cfg(test)]\n{tests}")));
        let end = ends.into_iter().flatten().min();
        self.text
            .get(..end.unwrap_or(self.text.len()))
            .unwrap_or_default()
    }

    /// Returns the lines of code before the tests, and nothing for a file of tests.
    fn code(&self) -> String {
        let only_tests = self.path.ends_with("/tests.rs") || self.path.ends_with("/testing.rs");
        let lines = self
            .body()
            .lines()
            .filter(|line| !only_tests && !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn stands_in(&self, room: &str) -> bool {
        self.path.starts_with(&format!("{room}/")) || self.path == format!("{room}.rs")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("failed to read `{path}`: {error}"))
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let files = WalkDir::new(&src)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| entry.expect("a readable directory").into_path());
    let rust = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let source = |path: std::path::PathBuf| Source {
        text: fs::read_to_string(&path).expect("a readable file"),
        path: path
            .strip_prefix(&src)
            .expect("below src")
            .display()
            .to_string(),
    };
    rust.map(source).collect()
}

#[track_caller]
fn assert_none(offenders: &[String], convention: &str) {
    assert!(
        offenders.is_empty(),
        "{convention}:\n  {}",
        offenders.join("\n  ")
    );
}

/// Returns the name after each `crate::`: an empty one for a group, which no room needs.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    code.split("crate::").skip(1).map(word).collect()
}

#[test]
fn every_file_opens_with_what_it_is() {
    let lacking = |source: &Source| !source.text.starts_with("//! ");
    let offenders: Vec<String> = sources()
        .into_iter()
        .filter(lacking)
        .map(|source| source.path)
        .collect();
    assert_none(&offenders, "these open without a `//!`");
}

#[test]
fn every_file_stands_in_a_room() {
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    let entries = fs::read_dir(root().join("src"))
        .expect("there is a `src`")
        .map(|entry| entry.expect("readable").file_name());
    let found: BTreeSet<String> = entries
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let expected: BTreeSet<String> = rooms
        .iter()
        .copied()
        .chain(["main.rs", "lib.rs"])
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(found, expected);
    let map = read("src/lib.rs");
    let unnamed = |room: &&&str| !map.contains(&format!("| [`{room}`] |"));
    assert_none(
        &rooms
            .iter()
            .filter(unnamed)
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        "rooms that lib.rs' map doesn't name",
    );
}

#[test]
fn imports_run_one_way() {
    let sources = sources();
    let mut offenders = Vec::new();
    for (floor, (room, may)) in ROOMS.into_iter().enumerate() {
        let below: Vec<&str> = ROOMS
            .iter()
            .skip(floor + 1)
            .map(|(room, _)| *room)
            .collect();
        offenders.extend(
            may.iter()
                .filter(|other| !below.contains(other))
                .map(|other| format!("{room} may not see {other}")),
        );
        for file in sources.iter().filter(|source| source.stands_in(room)) {
            let (code, allowed) = (file.code(), [may, &[room]].concat());
            let wrong = imports(&code)
                .into_iter()
                .filter(|name| !allowed.contains(&name.as_str()));
            offenders.extend(wrong.map(|name| format!("{}: crate::{name}", file.path)));
            if POLICY_ONLY.contains(&room)
                && code.matches("crate::config").count()
                    != code.matches("crate::config::policy").count()
            {
                offenders.push(format!("{}: more of `config` than its `policy`", file.path));
            }
        }
    }
    assert_none(&offenders, "imports that run the wrong way");
}

/// Files that may import each other: a submodule is itself surveyed as a checkout.
const KNOWN_CIRCLES: [[&str; 2]; 1] = [["survey/known", "survey/nested"]];

/// Returns the files of ours that `source` names, each as `room/file`. A module's own submodules
/// count as the module.
fn named_files(source: &Source, files: &BTreeSet<String>) -> BTreeSet<String> {
    let own: Vec<&str> = source.path.trim_end_matches(".rs").split('/').collect();
    let own = match own.as_slice() {
        [above @ .., "mod"] => above,
        all => all,
    };
    let code = source.code();
    let mut found = BTreeSet::new();
    let mut add = |path: &[&str]| {
        if let [room, file, ..] = path
            && files.contains(&format!("{room}/{file}"))
        {
            found.insert(format!("{room}/{file}"));
        }
    };
    for (at, _) in code
        .match_indices("crate::")
        .chain(code.match_indices("super::"))
    {
        // Only the first of `super::super::` counts.
        if code[..at].ends_with("super::") {
            continue;
        }
        let rest = &code[at..];
        let supers = rest.split("::").take_while(|part| *part == "super").count();
        let above = own.get(..own.len().saturating_sub(supers));
        let base = if supers == 0 {
            &[]
        } else {
            above.unwrap_or_default()
        };
        let after = rest
            .split("::")
            .skip(supers.max(1))
            .collect::<Vec<_>>()
            .join("::");
        for words in unfolded(&after) {
            let path: Vec<&str> = base.iter().copied().chain(words).collect();
            add(&path);
        }
    }
    found.remove(&own.get(..2).unwrap_or(own).join("/"));
    found
}

/// Returns the first two names of each path in a `use` or in code: `a::{b, c::d}` becomes `a::b`
/// and `a::c`.
fn unfolded(text: &str) -> Vec<Vec<&str>> {
    let word = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .count()
    };
    let (first, rest) = text.split_at(word(text));
    if let Some(group) = text.strip_prefix('{') {
        return parts(group).into_iter().flat_map(unfolded).collect();
    }
    match rest.strip_prefix("::") {
        Some(below) => match below.strip_prefix('{') {
            Some(group) => parts(group)
                .into_iter()
                .map(|part| vec![first, &part[..word(part)]])
                .collect(),
            None => vec![vec![first, &below[..word(below)]]],
        },
        None => vec![vec![first]],
    }
}

/// Splits a group in braces, after the opening one.
fn parts(group: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, symbol) in group.char_indices() {
        match symbol {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(group[begin..at].trim());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(group[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts
}

#[test]
fn no_files_of_a_room_import_in_a_circle() {
    let sources = sources();
    let name = |path: &str| {
        let mut parts = path.trim_end_matches(".rs").split('/');
        let (room, file) = (parts.next()?, parts.next()?);
        (!matches!(file, "mod" | "tests" | "testing")).then(|| format!("{room}/{file}"))
    };
    let files: BTreeSet<String> = sources.iter().filter_map(|file| name(&file.path)).collect();
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in &sources {
        if let Some(name) = name(&source.path) {
            imports
                .entry(name)
                .or_default()
                .extend(named_files(source, &files));
        }
    }
    for [one, other] in KNOWN_CIRCLES {
        let forgiven = imports
            .get_mut(other)
            .is_some_and(|names| names.remove(one));
        assert!(forgiven, "{one} and {other} are no circle any more");
    }
    // Drops what imports nothing that is left, until only circles and what leads to them remain.
    loop {
        let done: Vec<String> = imports
            .iter()
            .filter(|(_, names)| names.iter().all(|name| !imports.contains_key(name)))
            .map(|(name, _)| name.clone())
            .collect();
        if done.is_empty() {
            break;
        }
        for name in done {
            imports.remove(&name);
        }
    }
    // Then removes what only leads to a circle.
    loop {
        let asked: BTreeSet<String> = imports.values().flatten().cloned().collect();
        let before = imports.len();
        imports.retain(|name, _| asked.contains(name));
        if imports.len() == before {
            break;
        }
    }
    let keys: BTreeSet<String> = imports.keys().cloned().collect();
    let circles: Vec<String> = imports
        .into_iter()
        .map(|(name, names)| {
            let names: Vec<String> = names
                .into_iter()
                .filter(|name| keys.contains(name))
                .collect();
            format!("{name} imports {}", names.join(", "))
        })
        .collect();
    assert_none(&circles, "files that import one another in a circle");
}

#[test]
fn a_plan_can_do_no_io_and_read_no_clock() {
    let plan = sources()
        .into_iter()
        .filter(|source| source.stands_in("plan"));
    let found = |source: Source| {
        NOT_IN_PLAN
            .iter()
            .filter(|word| source.code().contains(**word))
            .map(|word| format!("{}: {word}", source.path))
            .collect::<Vec<_>>()
    };
    assert_none(
        &plan.flat_map(found).collect::<Vec<_>>(),
        "a plan is made of facts and policy alone",
    );
}

#[test]
fn dangerous_calls_stand_where_they_belong() {
    let sources = sources();
    let mut offenders = Vec::new();
    for (call, homes) in HOMES {
        let here = |source: &&Source| {
            source.code().contains(call) && !homes.contains(&source.path.as_str())
        };
        offenders.extend(
            sources
                .iter()
                .filter(here)
                .map(|source| format!("{}: {call} belongs into {}", source.path, homes.join(", "))),
        );
    }
    assert_none(&offenders, "calls away from home");
}

/// `docs/eviction.md` has every kind of cache in the list of ecosystems, and the example config
/// names each.
#[test]
fn the_docs_have_every_kind_of_cache() {
    let row = |layout: &CacheLayout| {
        let set: Vec<String> = (layout.variables)(Path::new("/"))
            .into_iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        let set = if set.is_empty() {
            "nothing".to_owned()
        } else {
            set.join(", ")
        };
        format!("| `{}` | {} | {set} |\n", layout.kind.name(), layout.unit)
    };
    let rows: String = ecosystems::layouts().map(row).collect();
    let head = "| kind | an entry is | `treewarden env` sets |\n| --- | --- | --- |\n";
    let table = format!("{head}{rows}\n");
    assert!(
        read("docs/eviction.md").contains(&table),
        "docs/eviction.md should have:\n{table}"
    );
    let example = read("config/treewarden.yaml");
    let comment: BTreeSet<&str> = example
        .lines()
        .skip_while(|line| !line.starts_with("#   kind "))
        .take_while(|line| !line.starts_with("#   name "))
        .flat_map(|line| line.split([' ', ',', ':']))
        .collect();
    let lacking: Vec<String> = ecosystems::layouts()
        .map(|layout| layout.kind.name())
        .filter(|kind| !comment.contains(kind))
        .map(ToOwned::to_owned)
        .collect();
    assert_none(&lacking, "kinds that config/treewarden.yaml doesn't name");
    for page in ["docs/design/contract.md", "docs/design/caches.md"] {
        let text = read(page);
        let lacking: Vec<String> = ecosystems::layouts()
            .map(|layout| format!("`{}`", layout.kind.name()))
            .filter(|kind| !text.contains(kind.as_str()))
            .collect();
        assert_none(&lacking, &format!("kinds that {page} doesn't name"));
    }
}

#[test]
fn a_place_outside_the_volume_can_not_be_made() {
    let sources = sources();
    let mut offenders = Vec::new();
    for source in &sources {
        let code = source.code();
        // Only code with a root of its own could make a path outside the volume. All others take
        // the root of a proven path, or the operator's.
        let roots = code
            .split("VolumePath::new(")
            .skip(1)
            .map(|after| after.split(',').next().unwrap_or_default());
        let operators = ["config", "cli"].iter().any(|room| source.stands_in(room));
        let proven = |root: &str| {
            let named = root == "root"
                && (code.contains("root: &Arc<Path>")
                    || code.contains("let root = self.place.root();"));
            named || root.ends_with(".root()") || root.ends_with("policy.volume.root")
        };
        let own = roots.filter(|root| !operators && !proven(root));
        offenders.extend(own.map(|root| format!("{}: VolumePath::new({root}, ..)", source.path)));
        let shown = ["fmt::Debug", "fmt::Display"];
        let made = code
            .lines()
            .filter(|line| line.starts_with("impl ") && line.contains(" for VolumePath"));
        let made = made.filter(|line| {
            !shown
                .iter()
                .any(|known| line.starts_with(&format!("impl {known} for VolumePath")))
        });
        offenders.extend(made.map(|line| format!("{}: {line}", source.path)));
    }
    let proof = sources
        .iter()
        .find(|source| source.path == "fs/volume_path.rs")
        .expect("there is one")
        .code();
    assert!(
        proof.contains("derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]\npub struct VolumePath {\n    root:"),
        "no derive that makes one"
    );
    assert_none(
        &offenders,
        "a place is proven by `VolumePath::new` and `join` alone, against the root of another place",
    );
}

#[test]
fn files_stay_short() {
    let long = |source: &Source| {
        let only_tests = source.path.ends_with("/tests.rs");
        !only_tests
            && source.body().lines().count() > if source.path == "main.rs" { 25 } else { 525 }
    };
    let told = |source: Source| {
        format!(
            "{}: {} lines before its tests",
            source.path,
            source.body().lines().count()
        )
    };
    let offenders: Vec<String> = sources().into_iter().filter(long).map(told).collect();
    assert_none(
        &offenders,
        "main.rs is a doorway of 25 lines; any other file is read in one go, 525 lines at 100 columns",
    );
}

/// Returns the names of all commands; clap adds `help` itself.
fn commands() -> BTreeSet<String> {
    Cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect()
}

/// Returns the word after each `` `treewarden `` in a text: commands for people to type.
fn told(text: &str) -> BTreeSet<String> {
    let words = text
        .split("`treewarden ")
        .skip(1)
        .filter_map(|after| after.split([' ', '`', '\n']).next());
    words
        .filter(|word| !word.starts_with('-'))
        .map(ToOwned::to_owned)
        .collect()
}

/// Returns the files below these directories with these extensions, as paths below the root.
fn files_below(directories: &[&str], extensions: &[&str]) -> Vec<String> {
    let mut files = Vec::new();
    for directory in directories {
        for entry in WalkDir::new(root().join(directory)).sort_by_file_name() {
            let path = entry.expect("a readable directory").into_path();
            let wanted = path
                .extension()
                .is_some_and(|found| extensions.iter().any(|known| found == *known));
            if wanted {
                let below = path.strip_prefix(root()).expect("below the root");
                files.push(below.display().to_string());
            }
        }
    }
    files
}

/// Returns what people read: the README, the changelog, pages beside their subject, and every page
/// of `docs`, at any depth.
fn documents() -> Vec<String> {
    let beside = [
        "README.md",
        "CHANGELOG.md",
        "benches/README.md",
        "cronjobs/README.md",
        "src/ecosystems/README.md",
        "tests/nfs/README.md",
    ];
    let mut pages = beside.map(ToOwned::to_owned).to_vec();
    pages.extend(files_below(&["docs"], &["md"]));
    pages
}

/// Returns a heading's anchor in a link, as GitHub computes it.
fn anchor(heading: &str) -> String {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then_some(c),
    };
    let heading = heading.trim().to_lowercase();
    heading.chars().filter_map(kept).collect()
}

/// Splits a link into its path and the heading after `#`.
fn parted(link: &str) -> (&str, Option<&str>) {
    match link.split_once('#') {
        Some((path, heading)) => (path, Some(heading)),
        None => (link, None),
    }
}

/// Whether the file exists and has that heading. Lines in a code block are no headings.
fn leads_somewhere(path: &Path, heading: Option<&str>) -> bool {
    let Some(wanted) = heading else {
        return path.exists();
    };
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut in_code = false;
    text.lines().any(|line| {
        in_code ^= line.starts_with("```");
        !in_code && line.starts_with('#') && anchor(line.trim_start_matches('#')) == wanted
    })
}

/// Returns the citations in a text: what is in backticks and begins like one of our pages.
fn citations(text: &str) -> Vec<String> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-#".contains(c);
    let mut cited = Vec::new();
    for begins in ["docs/", "benches/"] {
        for after in text.split(&format!("`{begins}")).skip(1) {
            let rest: String = after.chars().take_while(|c| is_path(*c)).collect();
            cited.push(format!("{begins}{rest}"));
        }
    }
    cited
}

#[test]
fn the_documents_name_the_commands_that_there_are() {
    assert_eq!(
        told(&read("README.md")),
        commands(),
        "the README's commands, and the program's"
    );
    let others = ["config/treewarden.yaml".to_owned()]
        .into_iter()
        .chain(documents().into_iter().filter(|path| path != "README.md"));
    for path in others {
        let unknown: Vec<String> = told(&read(&path))
            .difference(&commands())
            .cloned()
            .collect();
        assert_none(&unknown, &format!("{path} names commands that don't exist"));
    }
}

#[test]
fn the_readme_begins_with_two_commands_that_ci_runs() {
    let readme = read("README.md");
    let first = readme
        .split("```sh\n")
        .nth(1)
        .and_then(|block| block.split("```").next());
    assert_eq!(first, Some("cargo run -- demo\ncargo test\n"));
}

#[test]
fn every_exit_code_is_told_in_help_and_readme() {
    let help = Cli::command().render_long_help().to_string();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let codes = help
        .split("Exit codes: ")
        .nth(1)
        .and_then(|codes| codes.split(". ").next())
        .expect("exit codes in --help");
    let first = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
    assert_eq!(
        codes.split("; ").map(first).collect::<Vec<_>>(),
        ["0", "1", "2", "3", "4"],
        "{codes}"
    );
    assert!(
        help.contains("/etc/treewarden/treewarden.yaml"),
        "--help says where the config is"
    );
    let readme = read("README.md");
    let rows: Vec<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .map(first)
        .filter(|cell| cell.parse::<u8>().is_ok())
        .collect();
    assert_eq!(rows, ["0", "1", "2", "3", "4"]);
}

#[test]
fn the_changelog_has_this_version() {
    let heading = concat!("\n## [", env!("CARGO_PKG_VERSION"), "] - ");
    assert!(
        read("CHANGELOG.md").contains(heading),
        "CHANGELOG.md has no `{}`",
        heading.trim()
    );
}

#[test]
fn links_lead_somewhere() {
    let mut offenders = Vec::new();
    for path in documents() {
        let text = read(&path);
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|after| after.split(')').next());
        let page = root().join(&path);
        let directory = page.parent().expect("a directory");
        let lost = links.filter(|link| {
            let (to, heading) = parted(link);
            let target = if to.is_empty() {
                page.clone()
            } else {
                directory.join(to)
            };
            !link.starts_with("https://") && !leads_somewhere(&target, heading)
        });
        offenders.extend(lost.map(|link| format!("{path}: {link}")));
    }
    assert_none(&offenders, "links to nothing");
}

#[test]
fn citations_lead_somewhere() {
    let code = files_below(
        &[
            "src",
            "tests",
            "benches",
            "fuzz/src",
            "unsafe/src",
            "config",
            "cronjobs",
        ],
        &["rs", "yaml", "sh"],
    );
    let design = files_below(&["docs/design"], &["md"]);
    let bare: Vec<String> = design
        .iter()
        .filter_map(|page| Some(format!("`{}", page.strip_prefix("docs/design/")?)))
        .collect();
    let mut offenders = Vec::new();
    for path in &code {
        let text = read(path);
        let unplaced = bare.iter().filter(|name| text.contains(name.as_str()));
        offenders.extend(unplaced.map(|name| format!("{path}: {name}` without its directory")));
        let vague = citations(&text)
            .into_iter()
            .filter(|link| design.contains(link));
        offenders.extend(vague.map(|link| format!("{path}: {link} without a heading")));
    }
    for path in code.into_iter().chain(documents()) {
        let lost = citations(&read(&path)).into_iter().filter(|link| {
            let (page, heading) = parted(link);
            !leads_somewhere(&root().join(page), heading)
        });
        offenders.extend(lost.map(|link| format!("{path}: {link}")));
    }
    assert_none(&offenders, "citations of nothing");
    let git = root().join("docs/design/git.md");
    assert!(leads_somewhere(&git, Some("hostile-repos")));
    assert!(
        !leads_somewhere(&git, Some("hostile-repo")),
        "a wrong heading would not be noticed"
    );
}

#[test]
fn no_file_names_a_directory_of_the_machine_it_was_written_on() {
    let homes = [concat!("/wo", "rk/"), concat!("/tmp", "/h/")];
    let ours = |name: &std::ffi::OsStr| name != ".git" && name != "target";
    let files = WalkDir::new(root())
        .into_iter()
        .filter_entry(|entry| ours(entry.file_name()))
        .map(|entry| entry.expect("a readable tree"));
    let named = files
        .filter(|entry| entry.file_type().is_file())
        .filter(|entry| {
            let bytes = fs::read(entry.path()).expect("a readable file");
            let text = String::from_utf8_lossy(&bytes);
            homes.iter().any(|home| text.contains(home))
        });
    let offenders: Vec<String> = named
        .map(|entry| entry.path().display().to_string())
        .collect();
    assert_none(&offenders, "files with paths of one machine");
}
