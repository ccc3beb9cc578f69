//! What must hold for every input that a parser of ours can meet: one function a target.
//!
//! `.ci/fuzz` feeds them what libFuzzer makes up, `tests/it/fuzz_seeds.rs` the seeds, among them
//! what was found before. They must never accept an input because it makes no sense: that alone is
//! what they are for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use treewarden::commands::fuzzing;
use treewarden::config::{self, units};
use treewarden::fs::volume_path::VolumePath;
use treewarden::lock::Holder;
use treewarden::report;
use treewarden::report::journal;
use treewarden::report::look::Look;
use treewarden::report::{RunReport, history, text, words};
use treewarden::state::volume::Sentinel;

mod index;
mod rescue;
mod worktree;
pub use index::index;
pub use rescue::rescue;
pub use worktree::worktree;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target; its seeds are in `fuzz/seeds/NAME`.
pub const TARGETS: [Target; 9] = [
    ("config", config),
    ("journal", journal),
    ("state", state),
    ("caches", caches),
    ("locks", locks),
    ("worktree", worktree),
    ("index", index),
    ("rescue", rescue),
    ("words", words),
];

/// A config that is taken leads nowhere outside the volume and contradicts itself nowhere; one that
/// is refused says why on one line a problem.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match config::parse("treewarden.yaml", &text) {
        Ok(policy) => {
            let root = &policy.volume.root;
            assert!(root.is_absolute(), "{}", root.display());
            let caches = policy
                .caches
                .iter()
                .filter_map(|cache| cache.place.as_ref());
            for place in policy
                .repos
                .iter()
                .map(|repo| &repo.place)
                .chain(caches)
                .chain([&policy.volume.state])
            {
                below(root, &place.path());
            }
            for glob in policy.repos.iter().flat_map(|repo| &repo.worktrees.roots) {
                below(root, &root.join(glob));
            }
            let (high, low) = (policy.eviction.high, policy.eviction.low);
            for (low, high) in [(low.bytes, high.bytes), (low.inodes, high.inodes)] {
                assert!(0.0 < low && low <= high && high <= 1.0, "{low} {high}");
            }
            assert!(
                policy.run.repos_in_parallel > 0 && policy.run.io_threads > 0,
                "{:?}",
                policy.run
            );
        }
        Err(error) => assert!(!words::plain(&error.to_string()).is_empty()),
    }
    let text = text.trim();
    again::<units::Time>(text);
    again::<units::Bytes>(text);
    again::<units::Percent>(text);
    again::<units::Count>(text);
    again::<units::ClassAge>(text);
}

fn below(root: &Path, path: &Path) {
    let climbs = path
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    assert!(
        path.starts_with(root) && path != root && !climbs,
        "{} is not below {}",
        path.display(),
        root.display()
    );
}

/// An amount is an amount or a refusal that says what was typed.
fn again<T: std::str::FromStr<Err = units::BadValue>>(typed: &str) {
    if let Err(refusal) = typed.parse::<T>() {
        let refusal = refusal.to_string();
        assert!(
            refusal.contains(typed) && refusal.contains("; write a"),
            "{refusal}"
        );
    }
}

/// Cut anywhere, a journal gives all the whole lines before the cut; a night added to any journal
/// is its last; and what is printed of it moves no cursor.
pub fn journal(data: &[u8]) {
    let read = |text: &[u8]| journal::parse(text, 1 << 20).expect("memory can be read");
    let whole = read(data);
    let cut = data.len() / 2;
    let lines = data[..cut]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let (cut, lines) = (read(&data[..cut]), read(&data[..lines]));
    assert!(cut.runs.starts_with(&lines.runs) && whole.runs.starts_with(&lines.runs));
    assert!(cut.runs.len() <= lines.runs.len() + 1 && cut.skipped <= lines.skipped + 1);
    let night = night();
    let torn = if data.last().is_none_or(|last| *last == b'\n') {
        ""
    } else {
        "\n"
    };
    let more = read(
        &[
            data,
            torn.as_bytes(),
            journal::line(&night).as_bytes(),
            b"\n",
        ]
        .concat(),
    );
    let known = whole.runs.iter().any(|run| run.run.id == night.run.id);
    assert!(known || more.runs.last().is_some_and(|last| last.run == night.run));
    harmless(&history::render(&whole.runs, whole.skipped, Look::PLAIN));
    for run in &whole.runs {
        harmless(&text::render(run, Look::PLAIN));
    }
}

/// A night as it was written by the demo.
fn night() -> RunReport {
    serde_json::from_str(
        include_str!("../seeds/journal/night.jsonl")
            .lines()
            .next()
            .expect("a line"),
    )
    .expect("a report")
}

/// Nothing but text and line ends.
fn harmless(text: &str) {
    let odd = text
        .chars()
        .find(|c| *c != '\n' && words::plain(&c.to_string()) != c.to_string());
    assert_eq!(odd, None, "{text:?}");
}

/// Lock records, sentinels, looks and the trash's notes: what is read is what was written, leads
/// nowhere outside the volume, and tells of nothing that was done.
pub fn state(data: &[u8]) {
    if let Some(holder) = Holder::read(data) {
        let again = serde_json::to_vec(&holder).expect("a record can be written");
        assert_eq!(Holder::read(&again), Some(holder));
    }
    if let Ok(sentinel) = Sentinel::read(data) {
        assert_eq!(sentinel.schema, "treewarden.volume/1");
        let again = serde_json::to_vec(&sentinel).expect("a sentinel can be written");
        assert_eq!(Sentinel::read(&again).ok(), Some(sentinel));
    }
    if let Some(look) = fuzzing::look(data) {
        let again = serde_json::to_vec(&look).expect("a look can be written");
        assert_eq!(fuzzing::look(&again).as_ref(), Some(&look));
        let trees = look.trees();
        let mut night = night();
        let row = look.row(night.repos.remove(0), chrono::DateTime::UNIX_EPOCH);
        let idle = |tree: &report::Worktree| {
            tree.outcome == report::TreeOutcome::Kept
                && tree.verdict != report::VerdictName::Reap
                && tree.bytes.is_none()
                && tree.rescue_ref.is_none()
        };
        assert!(row.worktrees.iter().all(idle), "{row:?}");
        assert!(row.gc.before == row.gc.after, "{row:?}");
        assert!(trees <= data.len(), "{trees} trees in {} bytes", data.len());
        night.repos = vec![row];
        harmless(&text::render(&night, Look::PLAIN));
    }
    let root: Arc<Path> = Path::new("/data").into();
    let directory = VolumePath::new(&root, Path::new(".treewarden")).expect("inside");
    if let Some(origin) = fuzzing::taken(data, &directory) {
        below(&root, &origin.path());
    }
}

/// A lock file (its name is the input's first line) names packages that a ledger can hold, or says
/// why not; a ledger that is taken can be asked, tidied and taken again.
pub fn locks(data: &[u8]) {
    let end = data
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(data.len());
    let name = String::from_utf8_lossy(&data[..end]);
    match fuzzing::lock_file(&name, data.get(end + 1..).unwrap_or_default()) {
        Some(Ok(packages)) => assert!(
            packages
                .iter()
                .all(|package| package.as_str().contains(' ')),
            "{packages:?}"
        ),
        Some(Err(why)) => assert!(!why.to_string().is_empty()),
        None => {}
    }
    if let Ok(ledger) = fuzzing::ledger(data) {
        drop(ledger.names());
        let enrolled = ["acme/shop"].into();
        let tidied = ledger.tidied(&enrolled, chrono::DateTime::UNIX_EPOCH);
        let again = serde_json::to_vec(&tidied).expect("a ledger can be written");
        assert_eq!(fuzzing::ledger(&again).ok(), Some(tidied));
    }
}

/// A bucket of npm's index names contents by their place in the store, each once, and nothing else.
pub fn caches(data: &[u8]) {
    let (name, digests) = fuzzing::npm_bucket(data);
    assert!(name.is_some() || digests.is_empty());
    assert!(
        digests.windows(2).all(|pair| pair[0] < pair[1]),
        "{digests:?}"
    );
    for digest in digests {
        let hex = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let parts: Vec<&str> = digest.rsplitn(4, '/').collect();
        let [rest, second, first, _] = parts[..] else {
            panic!("{digest}")
        };
        assert!(
            hex(rest) && hex(second) && hex(first) && (first.len(), second.len()) == (2, 2),
            "{digest}"
        );
    }
}

/// What a repo supplies is shown so that it moves no cursor and starts no line; what would change
/// the meaning of its objects is refused.
pub fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let shown = words::plain(&text);
    harmless(&shown);
    assert!(
        !shown.contains('\n') && words::plain(&shown) == shown,
        "{shown:?}"
    );
    for columns in [1, 7, 40] {
        let short = words::shorten(&shown, columns);
        assert!(
            words::width(&short) <= columns.max(1),
            "{short:?} in {columns}"
        );
    }
    harmless(&text::render(&told(&text), Look::PLAIN));
    harmless(&text::render(&told(&text), Look::terminal(41)));
    harmless(&history::render(&[told(&text)], 1, Look::PLAIN));
    let refused = fuzzing::git_config_entry(&text).is_err();
    let key = text.split('\n').next().unwrap_or_default();
    assert!(
        refused || !key.eq_ignore_ascii_case("filter.git-crypt.smudge"),
        "{text:?}"
    );
    if let Some(mount) = fuzzing::mount(&text, Path::new("/data/a")) {
        assert!(Path::new("/data/a").starts_with(mount.at));
    }
}

/// A night on which everything is called the same.
fn told(name: &str) -> RunReport {
    let mut night = night();
    let path = PathBuf::from(name);
    let text = || name.to_owned();
    (night.run.reason, night.volume.root, night.failures) =
        (Some(text()), path.clone(), vec![text()]);
    for repo in &mut night.repos {
        (repo.name, repo.path, repo.reason, repo.failures) =
            (text(), path.clone(), Some(text()), vec![text()]);
        (repo.lock.holder, repo.gc.reason, repo.prune.refused) =
            (Some(text()), text(), Some(text()));
        (repo.gc.stale_locks, repo.prune.dropped) = (vec![path.clone()], vec![path.clone()]);
        for tree in &mut repo.worktrees {
            (tree.path, tree.branch, tree.head, tree.because) =
                (path.clone(), Some(text()), Some(text()), text().into());
            (tree.reasons, tree.rescue_ref, tree.outcome) = (
                vec![text()],
                Some(text()),
                report::TreeOutcome::Failed(text()),
            );
        }
    }
    night.eviction.reason = text();
    night.eviction.obstacles = vec![text()];
    for unit in &mut night.eviction.units {
        (unit.cache, unit.unit, unit.outcome) =
            (text(), text(), report::UnitOutcome::Failed(text()));
    }
    night.tally(0, 0);
    night
}
