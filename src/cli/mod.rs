//! The commands as typed, and what each prints.
//!
//! Results go to standard output, logs and progress to standard error. The exit codes are those of
//! `docs/design/contract.md#exit-codes`: 0 done, 1 something failed, 2 bad usage or config, 3
//! refused, 4 stopped early.

use crate::commands::demo::{self, DemoError};
use crate::commands::repos;
use crate::config::{policy, policy::Policy, units};
use crate::fs::clock;
use crate::plan::evict::Mark;
use crate::plan::repo::Only;
use crate::report::{RunOutcome, json, look::Look, text};
use crate::run::{self, Options};
use anstream::eprintln;
use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::ProgressBar;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod agents;
mod check;
mod checkouts;
mod config_file;
mod explain;
mod history;
mod hook;
mod html_file;
mod init;
mod init_outside;
mod maintain;
mod manual;
mod output;
mod rescues;
mod schedule;
mod schema;
mod screen;
mod shard;

/// Keeps a shared volume of persistent git checkouts, worktrees and package caches healthy.
///
/// It works through every enrolled repo in parallel under the lock that agents take too: prunes,
/// repacks, and reaps stale worktrees without losing work; then, when the volume passes its
/// watermarks, evicts caches least recently used first.
///
/// Exit codes: 0 all done (a busy repo is no failure); 1 something failed, or eviction fell short;
/// 2 bad usage or config; 3 refused, because the volume is not what the config says or another run
/// has it; 4 stopped early by a signal or the deadline.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// The config file. Default: what `TREEWARDEN_CONFIG` names, else
    /// `~/.config/treewarden/treewarden.yaml`, else `/etc/treewarden/treewarden.yaml`
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How logs are written to standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// For a cluster: one JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build a sample volume in a temporary directory, do a run on it, and show the report
    Demo {
        /// Where to build it; must not exist yet
        #[arg(long, value_name = "DIR")]
        at: Option<PathBuf>,
    },
    /// Prepare a volume: the state directory, and a sentinel that names the volume and the path it
    /// is mounted at. With --discover, find what is there first and write a config
    Init(init::Init),
    /// Maintain the volume: this is what the scheduled job runs
    Run {
        #[command(flatten)]
        pass: Pass,
        /// Go on only if the volume is above this watermark. If it isn't, that costs one look: no
        /// lock is taken, nothing is written, and the exit code is 0
        #[arg(long, value_enum, value_name = "MARK")]
        when: Option<When>,
    },
    /// Show what a run would do, changing nothing (the same as `run --dry-run`), and what fills the
    /// volume
    Report {
        #[command(flatten)]
        pass: Pass,
        /// Show what would go by then: `36 hours` or `2 weeks` from now, `2026-12-24`, `2026-12-24
        /// 03:00` (UTC), or `2026-12-24T03:00:00Z`
        #[arg(long, value_name = "TIME")]
        as_of: Option<units::Moment>,
    },
    /// Check config, volume, mount, git, permissions and the receivers of alerts: each line is ok,
    /// or says what to do about it
    Check(check::Check),
    /// Show past runs: what went, what it freed, what stood in the way; or one run's whole report
    History(history::History),
    /// Explain why a worktree, a rescue or a cache's unit stays or goes, and when; changes nothing
    Explain(explain::Explain),
    /// Clone a persistent checkout of a configured repo, under its lock
    Enroll(checkouts::Enroll),
    /// Add, list and remove worktrees, under the repo's lock
    #[command(subcommand)]
    Worktree(checkouts::Worktree),
    /// List, inspect and restore what was saved before a worktree was removed
    #[command(subcommand)]
    Rescue(rescues::Rescue),
    /// Print a JSON Schema: of the config, for editors, or of the reports, for programs
    Schema {
        /// What to describe
        of: schema::Of,
    },
    #[command(flatten)]
    Agents(agents::Agents),
    /// Run it every night on this machine, by systemd or cron
    #[command(subcommand)]
    Schedule(schedule::Schedule),
    #[command(flatten)]
    Manual(manual::Manual),
}

#[derive(Debug, Args)]
struct Pass {
    /// Change nothing; show what would be done
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// How to write the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
    /// Write the report to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Work on this repo alone: its name, or a last part that no other has; can be given several
    /// times
    #[arg(long, value_name = "NAME")]
    repo: Vec<String>,
    /// Do only these parts of the work
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,...")]
    only: Vec<Part>,
    /// Stop after this time, as `2h`, `90m` or `1h30m` [default: the config's run.deadline]
    #[arg(long, value_name = "TIME")]
    deadline: Option<units::Time>,
    /// Go on though nothing ran for more than a week: runs were missed, and the clock is right
    #[arg(long)]
    after_pause: bool,
    #[command(flatten)]
    shard: shard::Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs: JSON, by `docs/design/contract.md#the-report`
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// For people
    Text,
    /// For programs: JSON, by `docs/design/contract.md#the-report`
    Json,
    /// For people with a browser: one file that needs nothing else, with the past runs
    Html,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    /// Above eviction.high: caches are evicted
    High,
    /// Above eviction.critical: it is urgent
    Critical,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Drop registrations of trees that are gone
    Prune,
    /// Clear what a crashed git left, and repack
    Gc,
    /// Remove stale worktrees, and rescues that stood long enough
    Reap,
    /// Evict cache units when the volume is too full
    Evict,
}

/// Something that ends the program before there is a report.
#[derive(Debug)]
struct Exit {
    code: u8,
    message: String,
}

/// Bad usage or config: nothing was touched.
fn usage(message: impl ToString) -> Exit {
    Exit {
        code: 2,
        message: message.to_string(),
    }
}

/// The volume is not what it should be: nothing was touched.
fn refused(message: impl ToString) -> Exit {
    Exit {
        code: 3,
        message: message.to_string(),
    }
}

/// The program failed to report what it did.
fn failed(message: impl ToString) -> Exit {
    Exit {
        code: 1,
        message: message.to_string(),
    }
}

/// Parses, runs, prints, and returns the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logs(cli.log_format);
    // An agent's command must have the limit that it would have without us.
    if !matches!(cli.command, Command::Agents(_)) {
        raise_descriptor_limit();
    }
    let code = dispatch(cli).unwrap_or_else(|exit| {
        complain(&exit);
        exit.code
    });
    ExitCode::from(code)
}

/// If nobody reads it, the exit code still says so.
fn complain(exit: &Exit) {
    let _nobody_reads = writeln!(anstream::stderr(), "treewarden: {}", exit.message);
}

fn dispatch(cli: Cli) -> Result<u8, Exit> {
    let config = || config_file::load(cli.config.as_deref());
    match cli.command {
        Command::Demo { at } => demo(at.as_deref()),
        Command::Init(asked) => asked.run(cli.config.as_deref()),
        Command::Run { pass, when } => {
            let (policy, options) = (config()?, asked(&pass)?);
            if when.map_or(Ok(false), |when| calm(&policy, &pass, &options, when))? {
                return Ok(0);
            }
            maintain::maintain(&policy, &pass, options, cli.log_format)
        }
        Command::Report { pass, as_of } => {
            let options = to_report(&pass, as_of)?;
            maintain::maintain(&config()?, &pass, options, cli.log_format)
        }
        Command::Check(asked) => check::run(cli.config.as_deref(), &asked),
        Command::History(asked) => asked.run(&config()?),
        Command::Explain(asked) => {
            let (policy, source) = config_file::load_with_source(cli.config.as_deref())?;
            explain::run(&policy, &source, &asked)
        }
        Command::Enroll(asked) => {
            let policy = config()?;
            warn_of_secrets(&policy);
            checkouts::enroll(&policy, &asked)
        }
        Command::Worktree(asked) => checkouts::worktree(&config()?, &asked),
        Command::Rescue(command) => rescues::rescue(&config()?, &command),
        Command::Schema { of } => schema::print_schema(of),
        Command::Agents(command) => command.run(&config()?),
        Command::Schedule(command) => command.run(cli.config.as_deref()),
        Command::Manual(command) => command.run(),
    }
}

/// Returns the options of a run that only reports, as of now or of a later time.
fn to_report(pass: &Pass, as_of: Option<units::Moment>) -> Result<Options, Exit> {
    let as_of = as_of
        .map(|moment| moment.after(clock::now()))
        .transpose()
        .map_err(usage)?;
    let options = asked(pass)?;
    // What fills the volume is not measured for one repo, one part of the work, or one shard.
    let usage = pass.repo.is_empty() && pass.only.is_empty() && options.shard.is_none();
    Ok(Options {
        dry_run: true,
        as_of,
        usage,
        ..options
    })
}

/// Checks whether a run that waits for a watermark has nothing to do, and says so in one line. That
/// is no report, so only a reader of text gets it on standard output.
fn calm(policy: &Policy, pass: &Pass, options: &Options, when: When) -> Result<bool, Exit> {
    if options.shard.is_some() {
        let why = "shards wait for each other, so either all of them begin or none; leave one out";
        return Err(usage(format!("--when and --shard: {why}")));
    }
    let mark = match when {
        When::High => Mark::High,
        When::Critical => Mark::Critical,
    };
    let Some(told) = run::calm(policy, mark) else {
        return Ok(false);
    };
    if pass.format == ReportFormat::Text && pass.output.is_none() {
        print(&format!("nothing to do: {told}\n"))?;
    } else {
        eprintln!("treewarden: nothing to do: {told}");
    }
    Ok(true)
}

fn warn_of_secrets(policy: &Policy) {
    for repo in policy.repos.iter().filter(|repo| repo.shows_secret()) {
        tracing::warn!(repo = repo.name, "{}", policy::WITH_SECRET);
    }
}

fn asked(pass: &Pass) -> Result<Options, Exit> {
    let (repos, only, shard) = (pass.repo.clone(), only(&pass.only), pass.shard.shard()?);
    Ok(Options {
        dry_run: pass.dry_run,
        repos,
        only,
        as_of: None,
        usage: false,
        shard,
        after_pause: pass.after_pause,
    })
}

/// Returns the repo of this name, or the one that the caller stands in.
fn repo<'a>(policy: &'a Policy, name: Option<&str>) -> Result<&'a policy::Repo, Exit> {
    repos::meant(policy, name).map_err(usage)
}

/// Returns the repos that a listing is about: those of these names; without any, the one that the
/// caller stands in, unless `all` are wanted. Empty means all.
fn listed<'a>(
    policy: &'a Policy,
    names: &[String],
    all: bool,
) -> Result<Vec<&'a policy::Repo>, Exit> {
    if all {
        return Ok(Vec::new());
    }
    let chosen = repos::chosen(policy, names).map_err(usage)?;
    if let ([repo], []) = (chosen.as_slice(), names) {
        eprintln!(
            "treewarden: of {}, where you stand; --all lists every repo's",
            repo.name
        );
    }
    Ok(chosen)
}

fn only(parts: &[Part]) -> Only {
    let has = |part| parts.is_empty() || parts.contains(&part);
    Only {
        prune: has(Part::Prune),
        gc: has(Part::Gc),
        reap: has(Part::Reap),
        evict: has(Part::Evict),
    }
}

/// Prints. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Exit> {
    printed(io::stdout().write_all(text.as_bytes()))
}

fn printed(written: io::Result<()>) -> Result<(), Exit> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(format!(
            "failed to write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

fn demo(at: Option<&Path>) -> Result<u8, Exit> {
    let bar = progress();
    let demo = demo::run(at, &bar).map_err(|error| match error {
        DemoError::Exists(_) => usage(error),
        error => failed(error),
    })?;
    bar.finish_and_clear();
    print(&text::render(&demo.report, Look::of_stdout()))?;
    print(&demo.look_around())?;
    // The sample has a repo that must be refused, which is no failure of the demo.
    Ok(if demo.report.run.outcome == RunOutcome::Refused {
        3
    } else {
        0
    })
}

fn write_as(format: Format, what: &impl serde::Serialize, text: impl FnOnce() -> String) -> String {
    match format {
        Format::Text => text(),
        Format::Json => json::pretty(what),
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    ProgressBar::new(0)
}

/// Raises the soft limit of descriptors to the hard one: walks keep hundreds of directories open,
/// and git2 a file per pack, for which the usual 1024 are few.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the descriptor limit stays as it is");
    }
}

fn start_logs(format: LogFormat) {
    // A cluster keeps its logs and wants to see the run's progress; a person at a terminal has the
    // report.
    let level = match format {
        LogFormat::Text => tracing::Level::WARN,
        LogFormat::Json => tracing::Level::INFO,
    };
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    // The run must not end because the reader of its logs has (`2>&1 | head`): by default a failed
    // log line is itself reported on standard error.
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => logs
            .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .init(),
        LogFormat::Json => logs.json().init(),
    }
}
