//! `enroll` and `worktree`, as typed, and what each prints.
//!
//! Standard output is for programs: `worktree add` writes only the path there, and everything else
//! to standard error.

use super::hook::Hook;
use super::{Exit, Format, failed, listed, print, repo, usage, write_as};
use crate::commands::enroll;
use crate::commands::here::Here;
use crate::commands::repos;
use crate::commands::worktrees;
use crate::commands::worktrees::{WorkError, add, list, remove};
use crate::config::{policy, policy::Policy, units};
use crate::fs::clock;
use crate::fs::stop::Stop;
use crate::report::{words, worktrees as table};
use anstream::eprintln;
use clap::{Args, Subcommand};
use std::io::{self, IsTerminal as _};
use std::path::Path;
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
    /// The repo's name in the config, or a last part that no other has; without it, every repo with
    /// a `url` that isn't there yet
    repo: Option<String>,
    #[command(flatten)]
    wait: Wait,
}

/// `[REPO] NAME`. With one of them, that is the name.
#[derive(Debug, Args)]
pub(super) struct Tree {
    /// The repo's name in the config, or a last part that no other has [default: the repo that you
    /// stand in]
    repo: Option<String>,
    /// The worktree's name, which is its directory's (`remove` takes its path as well)
    name: Option<String>,
    /// Take the worktree from what this tool sends to its hook on standard input
    #[arg(long, value_enum, value_name = "TOOL", conflicts_with = "name")]
    hook: Option<Hook>,
}

impl Tree {
    /// Returns the repo's and the worktree's name; the latter is `sent` if a hook sends it.
    fn names(
        &self,
        sent: impl FnOnce(Hook) -> Result<String, Exit>,
    ) -> Result<(Option<&str>, String), Exit> {
        match (&self.repo, &self.name, self.hook) {
            (repo, _, Some(hook)) => Ok((repo.as_deref(), sent(hook)?)),
            (repo, Some(name), None) => Ok((repo.as_deref(), name.clone())),
            (Some(name), None, None) => Ok((None, name.clone())),
            (None, None, None) => Err(usage("NAME is missing: which worktree?")),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Add {
    #[command(flatten)]
    tree: Tree,
    /// What the branch starts from: a branch or tag of origin, or a commit [default: origin's
    /// default branch]
    #[arg(long, value_name = "REF")]
    from: Option<String>,
    /// The branch; one that is there is checked out as it is [default: NAME]
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    #[command(flatten)]
    tree: Tree,
    /// Rescue unsaved work first; without this, a tree that holds some stays
    #[arg(long)]
    rescue: bool,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Subcommand)]
pub(super) enum Worktree {
    /// Fetch, then make a worktree, under the repo's lock; prints its path alone
    #[command(override_usage = "treewarden worktree add [OPTIONS] [REPO] <NAME>")]
    Add(Add),
    /// Which worktrees there are, and what a run would do with each
    #[command(visible_alias = "ls")]
    List {
        /// The repo's name in the config, or a last part that no other has [default: the repo that
        /// you stand in, else all]
        repo: Option<String>,
        /// List those of all repos, wherever you stand
        #[arg(long, conflicts_with = "repo")]
        all: bool,
        /// Look no closer than a run, which is faster: without sizes, and without the class of young
        /// trees and when they go
        #[arg(long)]
        quick: bool,
        /// How to write it
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Remove a worktree as a run would, now; its branch stays
    #[command(
        visible_alias = "rm",
        override_usage = "treewarden worktree remove [OPTIONS] [REPO] <NAME>"
    )]
    Remove(Remove),
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
        Some(name) => vec![repos::named(policy, name).map_err(usage)?],
        None => enroll::missing(policy),
    };
    if repos.is_empty() {
        print("every repo with a `url` is enrolled already\n")?;
    }
    let mut code = 0;
    for repo in repos {
        if let Some(url) = &repo.url
            && io::stderr().is_terminal()
            && enroll::is_missing(repo)
        {
            eprintln!("Cloning {} from {url}", repo.name);
        }
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
        Worktree::Add(asked) => add(policy, asked, &stop),
        Worktree::List {
            repo,
            all,
            quick,
            format,
        } => {
            let names: Vec<String> = repo.iter().cloned().collect();
            let request = list::ListRequest {
                repo: listed(policy, &names, *all)?.first().copied(),
                quick: *quick,
            };
            let listing = list::list(policy, &request, &stop, clock::now()).map_err(ended)?;
            print(&write_as(*format, &listing, || table::text(&listing)))?;
            Ok(u8::from(!listing.failures.is_empty()))
        }
        Worktree::Remove(asked) => remove(policy, asked, &stop),
    }
}

/// Adds a worktree. A hook's name may contain `/`, which the directory's can't, and asks for a
/// worktree that is there already when its session is resumed.
fn add(policy: &Policy, asked: &Add, stop: &Stop) -> Result<u8, Exit> {
    let (typed, name) = asked.tree.names(Hook::name)?;
    let repo = repo(policy, typed)?;
    let directory = match asked.tree.hook {
        Some(_) => name.replace('/', "-"),
        None => name.clone(),
    };
    let there = asked
        .tree
        .hook
        .and_then(|_| worktrees::standing(repo, &directory));
    if let Some(there) = there {
        print(&format!("{}\n", there.display()))?;
        return Ok(0);
    }
    let request = add::AddRequest {
        repo,
        name: &directory,
        from: asked.from.as_deref(),
        branch: Some(asked.branch.as_deref().unwrap_or(&name)),
        wait: asked.wait.time(),
    };
    let added = add::add(policy, &request, stop).map_err(ended)?;
    eprintln!("treewarden: {}", words::plain(&added.note));
    print(&format!("{}\n", added.path.display()))?;
    Ok(0)
}

fn remove(policy: &Policy, asked: &Remove, stop: &Stop) -> Result<u8, Exit> {
    let (typed, name) = asked.tree.names(Hook::path)?;
    let request = remove::RemoveRequest {
        repo: repo_of(policy, typed, Path::new(&name))?,
        name: &name,
        rescue: asked.rescue,
        wait: asked.wait.time(),
    };
    let told = remove::remove(policy, &request, stop).map_err(ended)?;
    print(&format!("{}\n", words::plain(&told)))?;
    Ok(0)
}

/// Returns the repo of this name; without one, the repo that has the worktree, if its path is
/// given, or else the one that the caller stands in.
fn repo_of<'a>(
    policy: &'a Policy,
    name: Option<&str>,
    tree: &Path,
) -> Result<&'a policy::Repo, Exit> {
    if name.is_none() && tree.is_absolute() {
        let there = Here::at(tree).and_then(|there| there.repo(policy));
        if let Ok(Some((repo, _))) = there {
            return Ok(repo);
        }
    }
    repo(policy, name)
}
