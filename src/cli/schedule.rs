//! `schedule`: the units or the lines that run it every night, or every hour, on one machine.

use super::{Exit, config_file, failed, print, usage};
use crate::commands::schedule::systemd::{self, Change, Installed, SystemdError};
use crate::commands::schedule::{Job, Unit};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Schedule {
    /// Print a service and a timer for systemd's user manager: every night, when the machine has
    /// nothing better to do, and not on battery
    Systemd(Systemd),
    /// Print a line for `crontab -e`
    Cron {
        #[command(flatten)]
        hourly: Hourly,
    },
}

#[derive(Debug, Args)]
pub(super) struct Hourly {
    /// Also every hour of the day, for when the volume is above eviction.high: that makes room
    #[arg(long)]
    hourly: bool,
}

#[derive(Debug, Args)]
pub(super) struct Systemd {
    /// Put them into `~/.config/systemd/user` and enable the timers
    #[arg(long, conflicts_with = "uninstall")]
    install: bool,
    /// Disable the timers and remove all of them
    #[arg(long, conflicts_with = "hourly")]
    uninstall: bool,
    #[command(flatten)]
    hourly: Hourly,
}

impl Schedule {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Exit> {
        let text = match self {
            Self::Cron { hourly } => job(config, hourly)?.cron_lines(),
            Self::Systemd(asked) if asked.uninstall => files(&systemd::uninstall().map_err(exit)?),
            Self::Systemd(asked) if asked.install => {
                let units = job(config, &asked.hourly)?.units().map_err(usage)?;
                installed(&systemd::install(&units).map_err(exit)?)
            }
            Self::Systemd(asked) => shown(&job(config, &asked.hourly)?.units().map_err(usage)?),
        };
        print(&text)?;
        Ok(0)
    }
}

/// A config with a mistake is better told of now than at three in the morning.
fn job(config: Option<&Path>, asked: &Hourly) -> Result<Job, Exit> {
    config_file::load(config)?;
    Job::of(&config_file::find(config)?, asked.hourly).map_err(usage)
}

fn exit(error: SystemdError) -> Exit {
    match error {
        SystemdError::File { .. } | SystemdError::Refused { .. } => failed(error),
        _ => usage(error),
    }
}

/// Returns the units one below the other, each below its name, as `systemctl cat` does.
fn shown(units: &[Unit]) -> String {
    let shown = |unit: &Unit| format!("# {}\n{}", unit.name, unit.text);
    units.iter().map(shown).collect::<Vec<_>>().join("\n")
}

fn files(files: &[(PathBuf, Change)]) -> String {
    let line = |(path, change): &(PathBuf, Change)| {
        let path = path.display();
        match change {
            Change::Written => format!("wrote `{path}`\n"),
            Change::Unchanged => format!("left `{path}` as it is: nothing changed\n"),
            Change::Removed => format!("removed `{path}`\n"),
            Change::Missing => format!("`{path}` is not there\n"),
            Change::Replaced(gone) => {
                let gone = gone.join("\n    ");
                format!("replaced `{path}`; these lines are gone:\n    {gone}\n")
            }
        }
    };
    files.iter().map(line).collect()
}

fn installed(done: &Installed) -> String {
    let next = done.next.as_ref();
    let next = next.map_or_else(String::new, |next| format!("; it runs next on {next}"));
    let linger = if done.lingers {
        ""
    } else {
        "It runs while you are logged in. To run it always: loginctl enable-linger\n"
    };
    let timers: Vec<_> = done
        .files
        .iter()
        .filter_map(|(path, _)| path.file_name()?.to_str())
        .filter(|name| name.contains(".timer"))
        .collect();
    format!(
        "{}enabled {}{next}\n\
         {linger}\
         To see the last run: journalctl --user -u treewarden\n",
        files(&done.files),
        timers.join(" and ")
    )
}
