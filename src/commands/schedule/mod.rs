//! `treewarden schedule`: the units for systemd, or the lines for cron, that run it every night on
//! one machine, and if asked every hour of the day, for when the volume is too full.
//!
//! The services and timers beside this file are the units as the Debian package installs them. Here only their command is replaced: by this program and the config that it was
//! asked with. They know nothing else of the config, so they stay right when it changes.

pub mod systemd;

use super::agent::env;
use std::io;
use std::path::{Path, PathBuf};

/// The names of all units: each service before the timer that starts it.
pub const NAMES: [&str; 4] = [
    "treewarden.service",
    "treewarden.timer",
    "treewarden-hourly.service",
    "treewarden-hourly.timer",
];
const TEXTS: [&str; 4] = [
    include_str!("treewarden.service"),
    include_str!("treewarden.timer"),
    include_str!("treewarden-hourly.service"),
    include_str!("treewarden-hourly.timer"),
];
/// What runs every night.
const NIGHTLY: &str = "run";
/// What runs every hour: it only makes room, and by day nothing is repacked.
const HOURLY: &str = "run --when high --only reap,evict";

/// Returns the command in the package's services: with the config of whoever enables them.
fn packaged(what: &str) -> String {
    format!("/usr/bin/treewarden {what} --config %E/treewarden/treewarden.yaml")
}

/// A unit: its file's name, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The file's name.
    pub name: &'static str,
    /// What is in it.
    pub text: String,
}

/// Why it can't be scheduled.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The path of this program or of the config is unknown.
    #[error("failed to find the path of {0}: {1}")]
    Unknown(&'static str, io::Error),
    /// A path that a unit or a crontab can't hold.
    #[error(
        "failed to write {0:?} into a unit or a crontab: it has a line end, another control \
         character, or is not UTF-8; rename it"
    )]
    Unsayable(PathBuf),
    /// A program that systemd doesn't start.
    #[error(
        "systemd starts no program with a quote or a backslash in its path: move `{0}` elsewhere"
    )]
    Unstartable(String),
}

/// What is run: a program with a config, every night, and by day as well if it is `hourly`.
#[derive(Debug)]
pub struct Job {
    program: String,
    config: String,
    hourly: bool,
}

impl Job {
    /// Returns the job of running this program with that config.
    ///
    /// # Errors
    /// [`JobError`].
    pub fn of(config: &Path, hourly: bool) -> Result<Self, JobError> {
        let program = std::env::current_exe().and_then(|path| {
            // A program that was replaced while it runs: the kernel adds to its name.
            path.try_exists()?
                .then_some(path)
                .ok_or_else(|| io::Error::other("it was replaced; try again"))
        });
        let program = program.map_err(|cause| JobError::Unknown("this program", cause))?;
        let config =
            std::path::absolute(config).map_err(|cause| JobError::Unknown("the config", cause))?;
        Self::new(&program, &config, hourly)
    }

    fn new(program: &Path, config: &Path, hourly: bool) -> Result<Self, JobError> {
        let text = |path: &Path| match path.to_str() {
            Some(text) if !text.contains(char::is_control) => Ok(text.to_owned()),
            _ => Err(JobError::Unsayable(path.to_owned())),
        };
        Ok(Self {
            program: text(program)?,
            config: text(config)?,
            hourly,
        })
    }

    /// Returns the services and the timers that start them, for a user's manager.
    ///
    /// # Errors
    /// [`JobError::Unstartable`].
    pub fn units(&self) -> Result<Vec<Unit>, JobError> {
        if self.program.contains(['"', '\'', '\\']) {
            return Err(JobError::Unstartable(self.program.clone()));
        }
        // systemd replaces variables in the arguments alone.
        let (program, config) = (word(&self.program), word(&self.config.replace('$', "$$")));
        let unit = |(name, text): (&'static str, &str)| {
            let ours = |what: &str| format!("{program} {what} --config {config}");
            let text = [NIGHTLY, HOURLY]
                .iter()
                .fold(text.to_owned(), |text, what| {
                    text.replace(&packaged(what), &ours(what))
                });
            Unit { name, text }
        };
        let units = NAMES.into_iter().zip(TEXTS);
        Ok(units
            .take(if self.hourly { 4 } else { 2 })
            .map(unit)
            .collect())
    }

    /// Returns the lines for `crontab -e`.
    pub fn cron_lines(&self) -> String {
        let [program, config] = [&self.program, &self.config].map(|path| env::shell(path));
        let line = |when: &str, nice: &str, what: &str| {
            // For cron an unescaped `%` is a line end.
            let command = format!("{program} {what} --config {config}").replace('%', r"\%");
            format!("{when} {nice} {command}")
        };
        let nightly = line("17 3 * * *", "nice -n 19 ionice -c 3", NIGHTLY);
        // Not while the nightly run may be at work. Cron mails whatever is printed.
        let hourly = line("47 0-2,8-23 * * *", "nice", HOURLY);
        if self.hourly {
            format!("{nightly}\n{hourly} >/dev/null\n")
        } else {
            format!("{nightly}\n")
        }
    }
}

/// Returns one word of a unit's command line, as `systemd.service(5)` reads it.
fn word(text: &str) -> String {
    let text = text.replace('%', "%%");
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@:,%$".contains(c);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(program: &str, config: &str) -> Job {
        Job::new(Path::new(program), Path::new(config), true).unwrap()
    }

    #[test]
    fn only_the_command_of_the_packaged_units_is_replaced() {
        let units = job("/home/me/bin/treewarden", "/home/me/t.yaml")
            .units()
            .unwrap();
        let names: Vec<&str> = units.iter().map(|unit| unit.name).collect();
        assert_eq!(names, NAMES);
        for ((unit, text), what) in units.iter().zip(TEXTS).zip([NIGHTLY, "", HOURLY, ""]) {
            let ours = format!("/home/me/bin/treewarden {what} --config /home/me/t.yaml");
            assert_eq!(unit.text.replace(&ours, &packaged(what)), text);
            let is_service = unit.name.contains(".service");
            assert_eq!(unit.text.matches(&ours).count(), usize::from(is_service));
        }
    }

    /// How systemd reads them is tested with systemd.
    #[test]
    fn odd_paths_are_one_word_each() {
        let odd = job("/a b/50%h/$HOME/w", r#"/it's/50% "$x"\n.yaml"#);
        let service = odd.units().unwrap().remove(0);
        let line = r#"ExecStart="/a b/50%%h/$HOME/w" run --config "/it's/50%% \"$$x\"\\n.yaml""#;
        assert!(service.text.contains(line), "{}", service.text);
        let line = r#"'/a b/50\%h/$HOME/w' run --config '/it'\''s/50\% "$x"\n.yaml'"#;
        let hourly = line.replace(" run ", " run --when high --only reap,evict ");
        assert_eq!(
            odd.cron_lines(),
            format!(
                "17 3 * * * nice -n 19 ionice -c 3 {line}\n47 0-2,8-23 * * * nice {hourly} >/dev/null\n"
            )
        );
        let refused = Job::new(
            Path::new("/bin/w"),
            Path::new("/a\nExecStart=/bin/sh"),
            false,
        );
        assert!(
            matches!(refused, Err(JobError::Unsayable(_))),
            "{refused:?}"
        );
        let refused = job("/it's/w", "/t.yaml").units();
        assert!(
            matches!(refused, Err(JobError::Unstartable(_))),
            "{refused:?}"
        );
    }
}
