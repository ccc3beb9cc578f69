//! Hostile repos: what an agent may write into its `.git` and its trees, and how a run deals with
//! it.
//!
//! Each case is a repo that real git created and a hostile hand then changed, with the row that a
//! run must report. All are on one volume with a well-formed repo, a victim, a cache, and a
//! directory outside. Whatever they try: no canary runs, nothing outside the repo's own directories
//! changes by a byte, the run ends, no output controls a terminal, and the well-formed repo is
//! maintained.

#![expect(
    clippy::disallowed_methods,
    reason = "tests build and break volumes with real tools"
)]

mod config;
mod evil;
mod heavy;
mod hooks;
mod huge;
mod layouts;
mod links;
mod names;
mod races;

use super::support::group::Group;
use super::support::repo::Repo;
use super::support::snapshot::{Standing, snapshot};
use super::support::{World, fifo, same, try_git, write};
use evil::{Evil, WORK};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use treewarden::report::{RepoOutcome, RunReport, TreeOutcome};

/// The longest that a run may take; one over thirty such repos takes some seconds.
const LIMIT: Duration = Duration::from_mins(1);
/// The most memory for the program and all that it starts, whatever it reads. The kernel enforces
/// it if a control group can be made.
const MOST_MEMORY: u64 = 256 << 20;
/// How late a run may stop, on a shared machine.
const LATE: Duration = Duration::from_secs(10);

/// A hostile repo.
pub(crate) struct Case {
    /// The repo's name.
    name: String,
    /// The row it must get: the outcome, then the fates of its landed and its dirty tree.
    row: &'static str,
    /// Words that the row must contain.
    words: String,
    make: Box<dyn Fn(&Evil<'_>) + Send + Sync>,
    /// A plain git command that runs its canary.
    sings: &'static str,
}

/// Both trees are reaped, as if nothing were wrong.
const FINE: &str = "Maintained reap reap";

/// Expects the repo to be left alone, unchanged.
const fn refused() -> &'static str {
    "Refused"
}

impl Case {
    fn new(
        name: &str,
        row: &'static str,
        words: &str,
        make: impl Fn(&Evil<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            row,
            words: words.to_owned(),
            make: Box::new(make),
            sings: "",
        }
    }

    fn sings(self, sings: &'static str) -> Self {
        Self { sings, ..self }
    }
}

/// Creates a volume with a well-formed repo, a victim and a lender.
fn stage() -> World {
    let world = World::new();
    for (section, text) in [
        ("run", "max_reaped: 10000"),
        ("defaults", "gc: {strategy: git-gc}"),
        (
            "caches",
            "{kind: folder, name: models, path: caches/models}",
        ),
    ] {
        world.set(section, text);
    }
    for directory in ["sung", "outside", "canaries", "home"] {
        fs::create_dir(world.beside(directory)).unwrap();
    }
    write(&world.beside("outside/precious"), "precious\n");
    fifo(&world.beside("outside/fifo"));
    write(&world.at("caches/models/llm/weights"), "weights\n");
    world.enrol("acme/honest", "");
    Evil::copy(&world, "honest");
    Evil::copy(&world, "victim");
    Evil::copy(&world, "lender");
    world
}

/// Returns everything below a directory by its change time, which nobody can set: cheap for a large
/// file.
fn stamps(top: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, u64)> {
    let entries = walkdir::WalkDir::new(top)
        .into_iter()
        .filter_map(Result::ok);
    let stamp = |data: fs::Metadata| (data.ino(), data.ctime(), data.ctime_nsec(), data.len());
    entries
        .filter_map(|entry| {
            Some((
                entry.path().to_owned(),
                stamp(entry.path().symlink_metadata().ok()?),
            ))
        })
        .collect()
}

/// Returns everything that a run must not touch, on the volume and beside it.
fn not_ours(world: &World) -> BTreeMap<PathBuf, Standing> {
    let mut all = BTreeMap::new();
    for place in ["outside", "canaries", "home"] {
        all.extend(
            snapshot(&world.beside(place))
                .into_iter()
                .map(|(path, standing)| (Path::new(place).join(path), standing)),
        );
    }
    for place in ["acme__victim", "worktrees/acme__victim", "caches"] {
        all.extend(
            snapshot(&world.at(place))
                .into_iter()
                .map(|(path, standing)| (Path::new(place).join(path), standing)),
        );
    }
    // Git renews the time of a borrowed object instead of writing it again, as with its own.
    let lent = snapshot(&world.at("acme__lender"))
        .into_iter()
        .map(|(path, standing)| {
            (
                path,
                Standing {
                    mtime: 0,
                    ctime: 0,
                    ..standing
                },
            )
        });
    all.extend(lent.map(|(path, standing)| (Path::new("acme__lender").join(path), standing)));
    all.extend(
        snapshot(&Evil::origins())
            .into_iter()
            .map(|(path, standing)| (Path::new("origins").join(path), standing)),
    );
    let names = |directory: &Path| {
        fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect::<std::collections::BTreeSet<_>>()
    };
    // Nor may a new name appear at the top of anything.
    for directory in [world.beside(""), world.root.clone(), world.at("worktrees")] {
        let standing = Standing {
            kind: "names",
            mode: 0,
            size: 0,
            content: 0,
            inode: 0,
            mtime: 0,
            ctime: 0,
        };
        all.extend(
            names(&directory)
                .into_iter()
                .map(|name| (directory.join(name), standing.clone())),
        );
    }
    all
}

/// How a run ended. The output is bytes, as a terminal gets them.
struct Ended {
    code: i32,
    out: Vec<u8>,
    err: Vec<u8>,
    /// The program's own peak, in bytes.
    peak: u64,
    /// The peak including what it started and the page cache, and how many processes the kernel
    /// killed for want of memory.
    group: Option<(u64, u64)>,
    took: Duration,
}

/// Runs the program within `LIMIT`, with debug logs.
fn run(world: &World, arguments: &[&str]) -> Ended {
    run_until(world, arguments, None)
}

/// Does the same, with SIGTERM after so long.
fn run_until(world: &World, arguments: &[&str], signal: Option<Duration>) -> Ended {
    let group = Group::make(MOST_MEMORY).ok();
    let (out, err) = (
        tempfile::NamedTempFile::new().unwrap(),
        tempfile::NamedTempFile::new().unwrap(),
    );
    let program = env!("CARGO_BIN_EXE_treewarden");
    let mut command = group
        .as_ref()
        .map_or_else(|| Command::new(program), |group| group.command(program));
    command
        .args(arguments)
        .current_dir(world.beside("home"))
        .env_clear();
    command
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TREEWARDEN_CONFIG", world.config());
    command.env("TREEWARDEN_TEST_TOUCHED", "1");
    command
        .env("TMPDIR", world.beside("scratch"))
        .env("HOME", world.beside("home"))
        .env("RUST_LOG", "debug");
    command
        .stdin(Stdio::null())
        .stdout(out.reopen().unwrap())
        .stderr(err.reopen().unwrap());
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let (mut peak, mut signal) = (0, signal);
    let status = loop {
        peak = peak.max(memory(child.id()));
        if signal.take_if(|after| began.elapsed() > *after).is_some() {
            rustix::process::kill_process(
                rustix::process::Pid::from_child(&child),
                rustix::process::Signal::TERM,
            )
            .unwrap();
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!(
                "it hangs: {arguments:?}: {}",
                String::from_utf8_lossy(&fs::read(err.path()).unwrap())
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let read = |file: &tempfile::NamedTempFile| fs::read(file.path()).unwrap();
    let group = group.map(|group| (group.peak().unwrap_or(0), group.killed()));
    Ended {
        code: status.code().unwrap_or(-1),
        out: read(&out),
        err: read(&err),
        peak,
        group,
        took: began.elapsed(),
    }
}

/// Returns the most memory that a process has had so far; 0 if it is gone.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or_default();
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .unwrap_or(0)
        * 1024
}

/// Returns lines with characters that control a terminal, or change the reading direction.
fn steering(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let odd = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    text.lines()
        .filter(|line| line.contains(odd))
        .map(|line| format!("{:?}", line.chars().take(600).collect::<String>()))
        .collect()
}

/// Does a dry run and a run over these cases on one volume; reports all complaints at once.
#[track_caller]
fn night(cases: &[Case]) {
    let world = &stage();
    cases.par_iter().for_each(|case| {
        world.enrol(&format!("acme/{}", case.name), "");
        let evil = Evil::copy(world, &case.name);
        (case.make)(&evil);
        evil.age();
    });
    let others = not_ours(world);
    let own: BTreeMap<_, _> = cases
        .iter()
        .map(|case| (case.name.clone(), all_of(world, &case.name)))
        .collect();

    let dry = run(world, &["report"]);
    for case in cases {
        same(
            &format!("{} after a report", case.name),
            &all_of(world, &case.name),
            &own[&case.name],
        );
    }
    let ran = run(world, &["run", "--format", "json", "--log-format", "json"]);
    let report: RunReport = serde_json::from_slice(&ran.out).unwrap_or_else(|error| {
        panic!(
            "{error}, {}, {:?}: {}",
            ran.code,
            ran.group,
            String::from_utf8_lossy(&ran.err)
        )
    });
    same("what is none of its business", &not_ours(world), &others);
    let mut odd = Vec::new();
    for case in cases {
        odd.extend(judge(world, &report, case));
        let kept = case.row.starts_with("Refused") || case.row.starts_with("Failed");
        if kept && all_of(world, &case.name) != own[&case.name] {
            odd.push(format!(
                "{}: it was left alone, and is not as it was",
                case.name
            ));
        }
    }
    odd.extend(honest(world, &report));
    let sung: Vec<_> = fs::read_dir(world.beside("sung"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    if !sung.is_empty() {
        odd.push(format!("canaries sang: {sung:?}"));
    }
    let troubled = cases
        .iter()
        .any(|case| case.row.ends_with('!') || !case.row.starts_with("Maintained"));
    if ran.code != i32::from(troubled) {
        odd.push(format!("exit code {}", ran.code));
    }
    let [text, json] = ["text", "json"].map(|format| run(world, &["history", "--format", format]));
    let journal = fs::read(world.at(".treewarden/journal.jsonl")).unwrap();
    for (what, bytes) in [
        ("dry run", &dry.out),
        ("its log", &dry.err),
        ("night", &ran.out),
        ("its log", &ran.err),
        ("history", &text.out),
        ("history", &json.out),
        ("history's log", &text.err),
        ("journal", &journal),
    ] {
        odd.extend(
            steering(bytes)
                .into_iter()
                .map(|line| format!("{what} steers a terminal: {line}")),
        );
    }
    for (what, ran) in [("dry run", &dry), ("night", &ran)] {
        let (all, killed) = ran.group.unwrap_or_default();
        println!(
            "{what}: {} repos, {:.1} s, {} MiB, {} MiB with all",
            cases.len() + 1,
            ran.took.as_secs_f64(),
            ran.peak >> 20,
            all >> 20
        );
        if ran.peak > MOST_MEMORY || killed > 0 {
            odd.push(format!("{what} took {} MiB", ran.peak >> 20));
        }
    }
    // The trees are deeper than the standard library can remove.
    let removed = Command::new("rm")
        .arg("-rf")
        .arg(&world.root)
        .status()
        .unwrap();
    assert!(removed.success());
    assert!(
        odd.is_empty(),
        "{} complaints:\n{}",
        odd.len(),
        odd.join("\n")
    );
}

fn all_of(world: &World, name: &str) -> BTreeMap<PathBuf, (u64, i64, i64, u64)> {
    let mut all = stamps(&world.at(format!("acme__{name}")));
    all.extend(stamps(&world.at(format!("worktrees/acme__{name}"))));
    all
}

/// Compares the row with the case; returns what differs.
fn judge(world: &World, report: &RunReport, case: &Case) -> Option<String> {
    let name = format!("acme/{}", case.name);
    let Some(row) = report.repos.iter().find(|row| row.name == name) else {
        return Some(format!("{name} has no row"));
    };
    let mut found = format!("{:?}", row.outcome);
    if matches!(row.outcome, RepoOutcome::Maintained) {
        for name in ["landed", "dirty"] {
            let path = world.at(format!("worktrees/acme__{}/{name}", case.name));
            let fates: Vec<String> = row
                .worktrees
                .iter()
                .filter(|tree| tree.path == path)
                .map(fate)
                .collect();
            found.push(' ');
            found.push_str(&if fates.is_empty() {
                "-".to_owned()
            } else {
                fates.join("+")
            });
        }
        found.push_str(if row.failures.is_empty() { "" } else { "!" });
    }
    let words = format!("{row:?}");
    let told = row.reason.clone().unwrap_or_default();
    let wanted = words.contains(&case.words) || told.contains(&case.words);
    (found != case.row || !wanted).then(|| {
        let trees: Vec<_> = row
            .worktrees
            .iter()
            .map(|tree| {
                format!(
                    "{}: {:?} {:?}",
                    world.below(&tree.path),
                    tree.outcome,
                    tree.reasons
                )
            })
            .collect();
        format!(
            "{}: expected `{} {}`, found `{found}`: {told:?} {:?} {trees:?}",
            case.name, case.row, case.words, row.failures
        )
    })
}

fn fate(tree: &treewarden::report::Worktree) -> String {
    use treewarden::report::VerdictName::{Keep, Reap, Unknown};
    match (tree.verdict, &tree.outcome) {
        (Reap, TreeOutcome::Reaped) => "reap",
        (Reap, TreeOutcome::Failed(_)) => "failed",
        (Reap, _) => "spared",
        (Keep, _) => "keep",
        (Unknown, _) => "unknown",
    }
    .to_owned()
}

/// Checks that the well-formed repo was maintained: trees reaped, work rescued, nothing broken.
fn honest(world: &World, report: &RunReport) -> Option<String> {
    let row = report
        .repos
        .iter()
        .find(|row| row.name == "acme/honest")
        .unwrap();
    let rescue = row
        .worktrees
        .iter()
        .find_map(|tree| tree.rescue_ref.clone())
        .unwrap_or_default();
    let honest = Repo::there(world, "acme/honest");
    let (_, work, _) = try_git(&honest.path, 0.0, &["show", &format!("{rescue}:new.ts")]);
    let gone = !world.at("worktrees/acme__honest/landed").exists()
        && !world.at("worktrees/acme__honest/dirty").exists();
    let fine = row.outcome == RepoOutcome::Maintained
        && row.failures.is_empty()
        && gone
        && work == WORK.trim_end()
        && honest.fsck().is_empty();
    (!fine).then(|| format!("the honest repo: {row:?}"))
}

#[test]
fn the_corpus_is_large() {
    let rooms = [
        config::cases(),
        hooks::cases(),
        layouts::cases(),
        links::cases(),
        names::cases(),
        huge::cases(),
        heavy::cases(),
        heavy::slow(),
    ];
    let names: Vec<String> = rooms.into_iter().flatten().map(|case| case.name).collect();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    println!("{} hostile repos", names.len());
    assert!(
        distinct.len() == names.len() && names.len() >= 100,
        "{} of {} names",
        distinct.len(),
        names.len()
    );
}

/// The whole corpus takes minutes; this is what a run after each build can afford.
#[test]
fn a_sample_of_the_corpus_changes_nothing_outside() {
    let corpus = [
        config::cases(),
        hooks::cases(),
        links::cases(),
        names::cases(),
    ];
    let sample: Vec<Case> = corpus.into_iter().flatten().step_by(12).collect();
    night(&sample);
}

#[test]
#[ignore = "needs a quarter of a minute"]
fn no_config_is_obeyed() {
    let cases = config::cases();
    for cases in cases.chunks(20) {
        night(cases);
    }
}

#[test]
#[ignore = "needs a quarter of a minute"]
fn no_hook_runs_and_no_history_is_invented() {
    let cases = hooks::cases();
    cases.chunks(20).for_each(night);
}

#[test]
#[ignore = "needs a quarter of a minute"]
fn no_link_is_followed() {
    let cases = links::cases();
    cases.chunks(50).for_each(night);
}

#[test]
fn no_git_dir_is_anybody_elses() {
    night(&layouts::cases());
}

#[test]
fn no_name_steers_a_terminal() {
    night(&names::cases());
}

#[test]
#[ignore = "needs a minute"]
fn nothing_huge_or_corrupt_stops_the_night() {
    night(&huge::cases());
}

#[test]
#[ignore = "needs a minute"]
fn nothing_heavy_takes_the_memory_of_all() {
    for case in heavy::cases() {
        println!("{}", case.name);
        night(&[case]);
    }
    night(&heavy::cases());
}

#[test]
#[ignore = "needs a minute"]
fn what_takes_a_day_to_read_ends_with_the_run() {
    for case in heavy::slow() {
        for (arguments, signal) in [
            (&["run", "--deadline", "5s"][..], None),
            (&["run"], Some(5)),
        ] {
            let world = stage();
            world.enrol(&format!("acme/{}", case.name), "");
            let evil = Evil::copy(&world, &case.name);
            (case.make)(&evil);
            let ran = run_until(&world, arguments, signal.map(Duration::from_secs));
            println!(
                "{} {arguments:?}: {} after {:.1} s",
                case.name,
                ran.code,
                ran.took.as_secs_f64()
            );
            let in_time = ran.took < Duration::from_secs(5) + LATE;
            assert!(
                in_time && [0, 1, 4].contains(&ran.code),
                "{}: {}",
                case.name,
                String::from_utf8_lossy(&ran.err)
            );
        }
    }
}

#[test]
fn the_canaries_can_sing() {
    let world = stage();
    let cases: Vec<Case> = config::cases()
        .into_iter()
        .chain(hooks::cases())
        .filter(|case| !case.sings.is_empty())
        .collect();
    let silent = cases.par_iter().filter(|case| {
        let evil = Evil::copy(&world, &case.name);
        (case.make)(&evil);
        write(&evil.repo.path.join("README.md"), "edited\n");
        for command in case.sings.split(" && ") {
            let _whatever_it_says = try_git(
                &evil.repo.path,
                0.0,
                &command.split(' ').collect::<Vec<_>>(),
            );
        }
        !world.beside("sung").join(&case.name).exists()
    });
    let silent: Vec<&str> = silent.map(|case| case.name.as_str()).collect();
    println!(
        "{} canaries sing under plain git",
        cases.len() - silent.len()
    );
    assert!(
        silent.is_empty() && cases.len() > 20,
        "{silent:?} of {} stay silent under plain git",
        cases.len()
    );
}
