//! `enroll` and `worktree`, as typed, and what each prints.
//!
//! Standard output is for programs: `worktree add` writes only the path there, and everything else
//! to standard error.

use super::{Exit, Format, failed, print, write_as};
use crate::commands::enroll;
use crate::commands::worktrees;
use crate::commands::worktrees::{WorkError, add, list, named, remove};
use crate::config::{policy::Policy, units};
use crate::fs::clock;
use crate::fs::stop::Stop;
use crate::report::{words, worktrees as table};
use anstream::eprintln;
use clap::{Args, Subcommand};
use std::time::Duration;

/// How long to wait for a repo's lock.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Wait this long for the repo's lock, as `5m` [default: as the config says]
    #[arg(long, value_name = "TIME")]
    wait: Option<units::Time>,
    /// Don't wait at all
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
}

impl Wait {
    fn time(&self) -> Option<Duration> {
        if self.no_wait {
            Some(Duration::ZERO)
        } else {
            self.wait.map(|time| time.0)
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Enroll {
    /// The repo's name in the config; without it, every repo with a `url` that isn't there yet
    repo: Option<String>,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Subcommand)]
pub(super) enum Worktree {
    /// Fetch, then make a worktree, under the repo's lock; prints its path alone
    Add {
        /// The repo's name in the config
        repo: String,
        /// The worktree's name: its directory, and its branch if --branch doesn't say otherwise
        name: String,
        /// What the branch starts from: a branch or tag of origin, or a commit [default: origin's
        /// default branch]
        #[arg(long, value_name = "REF")]
        from: Option<String>,
        /// The branch; one that is there is checked out as it is [default: NAME]
        #[arg(long, value_name = "BRANCH")]
        branch: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Which worktrees there are, and what a run would do with each
    List {
        /// The repo's name in the config; without it, all repos
        repo: Option<String>,
        /// Look no closer than a run, which is faster: without sizes, and without the class of young
        /// trees and when they go
        #[arg(long)]
        quick: bool,
        /// How to write it
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Remove a worktree as a run would, now; its branch stays
    Remove {
        /// The repo's name in the config
        repo: String,
        /// The worktree's name, or its path
        name: String,
        /// Rescue unsaved work first; without this, a tree that holds some stays
        #[arg(long)]
        rescue: bool,
        #[command(flatten)]
        wait: Wait,
    },
}

fn stop(policy: &Policy) -> Result<Stop, Exit> {
    Ok(Stop::after(
        policy.run.deadline,
        Stop::listen().map_err(failed)?,
    ))
}

fn ended(error: WorkError) -> Exit {
    Exit {
        code: error.code(),
        message: words::plain(&error.to_string()),
    }
}

/// Clones the missing repos. One that fails doesn't keep the others from theirs.
pub(super) fn enroll(policy: &Policy, asked: &Enroll) -> Result<u8, Exit> {
    let stop = stop(policy)?;
    let repos = match &asked.repo {
        Some(name) => vec![named(policy, name).map_err(ended)?],
        None => enroll::missing(policy),
    };
    if repos.is_empty() {
        print("every repo with a `url` is enrolled already\n")?;
    }
    let mut code = 0;
    for repo in repos {
        match enroll::enroll(policy, repo, asked.wait.time(), &stop) {
            Ok(enrolled) => {
                print(&format!("{}\n", words::plain(&enrolled.told)))?;
                enrolled
                    .note
                    .iter()
                    .for_each(|note| eprintln!("treewarden: {}", words::plain(note)));
            }
            Err(error) if asked.repo.is_some() || error.code() > 2 => return Err(ended(error)),
            Err(error) => {
                eprintln!("treewarden: {}", words::plain(&error.to_string()));
                code = 1;
            }
        }
    }
    Ok(code)
}

/// Runs one of the commands about worktrees.
pub(super) fn worktree(policy: &Policy, asked: &Worktree) -> Result<u8, Exit> {
    let stop = stop(policy)?;
    match asked {
        Worktree::Add {
            repo,
            name,
            from,
            branch,
            wait,
        } => {
            let request = add::AddRequest {
                repo,
                name,
                from: from.as_deref(),
                branch: branch.as_deref(),
                wait: wait.time(),
            };
            let added = add::add(policy, &request, &stop).map_err(ended)?;
            eprintln!("treewarden: {}", words::plain(&added.note));
            print(&format!("{}\n", added.path.display()))?;
            Ok(0)
        }
        Worktree::List {
            repo,
            quick,
            format,
        } => {
            let request = list::ListRequest {
                repo: repo.as_deref(),
                quick: *quick,
            };
            let listing = list::list(policy, &request, &stop, clock::now()).map_err(ended)?;
            print(&write_as(*format, &listing, || table::text(&listing)))?;
            Ok(u8::from(!listing.failures.is_empty()))
        }
        Worktree::Remove {
            repo,
            name,
            rescue,
            wait,
        } => {
            let request = remove::RemoveRequest {
                repo,
                name,
                rescue: *rescue,
                wait: wait.time(),
            };
            let told = worktrees::remove::remove(policy, &request, &stop).map_err(ended)?;
            print(&format!("{}\n", words::plain(&told)))?;
            Ok(0)
        }
    }
}
