//! `rescue list`, `show` and `restore`, as typed, and what each prints. Paths and branches are
//! escaped.

use super::screen::ForReader;
use super::{Exit, Format, failed, listed, print, printed, refused, usage, write_as};
use crate::commands::rescues::restore::{RestoreRequest, message, restore};
use crate::commands::rescues::{self, RescuesError};
use crate::config::policy::Policy;
use crate::fs::clock;
use crate::fs::stop::Stop;
use crate::lock::LockError;
use crate::report::look::Look;
use crate::report::{rescues as table, words};
use clap::Subcommand;
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum Rescue {
    /// Which rescues there are, the newest first, and when each one expires
    #[command(visible_alias = "ls")]
    List {
        /// How to write it
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        /// Those of this repo alone; can be given several times [default: the repo that you stand
        /// in, else all]
        #[arg(long, value_name = "NAME")]
        repo: Vec<String>,
        /// Those of all repos, wherever you stand
        #[arg(long, conflicts_with = "repo")]
        all: bool,
    },
    /// What is in one: changes against HEAD, staged content, commits that nothing else reaches
    Show {
        /// `owner/name:worktree/time`, the ref that a report names, or the beginning of the
        /// commit's id
        id: String,
        /// How to write it
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        /// Print its files' changes against HEAD instead, as a patch that `git apply` takes
        #[arg(long, conflicts_with = "format")]
        patch: bool,
    },
    /// Bring one back as a worktree, or a file or directory of it; under the repo's lock
    Restore {
        /// `owner/name:worktree/time`, the ref that a report names, or the beginning of the
        /// commit's id
        id: String,
        /// A file or directory of the tree, `.` for all files; without it, a new worktree is made
        path: Option<PathBuf>,
        /// Where the tree is to stand [default: where it stood]
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// Replace files that differ
        #[arg(long, requires = "path")]
        force: bool,
    },
}

pub(super) fn rescue(policy: &Policy, command: &Rescue) -> Result<u8, Exit> {
    let stop = Stop::after(policy.run.deadline, Stop::listen().map_err(failed)?);
    let (now, look) = (clock::now(), Look::of_stdout());
    match command {
        Rescue::List { format, repo, all } => {
            let repos = listed(policy, repo, *all)?;
            let list = rescues::list(policy, &repos, &stop, now).map_err(stopped)?;
            print(&write_as(*format, &list, || table::list(&list, look)))?;
            Ok(u8::from(!list.failures.is_empty()))
        }
        Rescue::Show {
            id, patch: true, ..
        } => {
            let mut out = ForReader::of_stdout();
            rescues::patch(policy, id, &stop, &mut out).map_err(stopped)?;
            printed(out.flush())?;
            Ok(0)
        }
        Rescue::Show { id, format, .. } => {
            let shown = rescues::show(policy, id, &stop, now).map_err(stopped)?;
            print(&write_as(*format, &shown, || table::show(&shown, look)))?;
            Ok(0)
        }
        Rescue::Restore {
            id,
            path,
            to,
            force,
        } => {
            let request = RestoreRequest {
                id,
                path: path.as_deref(),
                to: to.as_deref(),
                force: *force,
            };
            print(&message(
                &restore(policy, &request, &stop, now).map_err(stopped)?,
            ))?;
            Ok(0)
        }
    }
}

fn stopped(error: RescuesError) -> Exit {
    let message = words::plain(&error.to_string());
    match error {
        RescuesError::Volume(_) => refused(message),
        RescuesError::Lock(_, error) if matches!(*error, LockError::Local { .. }) => {
            refused(message)
        }
        RescuesError::Id(_) => usage(message),
        _ => failed(message),
    }
}
