//! `treewarden schedule`: the units for systemd, or the line for cron, that run it every night on
//! one machine.
//!
//! `treewarden.service` and `treewarden.timer` beside this file are the units as the Debian package
//! installs them. Here only their command is replaced: by this program and the config that it was
//! asked with. They know nothing else of the config, so they stay right when it changes.

pub mod systemd;

use super::agent::env;
use std::io;
use std::path::{Path, PathBuf};

/// The units' names.
pub const NAMES: [&str; 2] = ["treewarden.service", "treewarden.timer"];
const SERVICE: &str = include_str!("treewarden.service");
const TIMER: &str = include_str!("treewarden.timer");
/// How the package's service begins its run: with the config of whoever enables it.
const PACKAGED: &str = "/usr/bin/treewarden run --config %E/treewarden/treewarden.yaml";

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

/// What is run every night: a program with a config.
#[derive(Debug)]
pub struct Job {
    program: String,
    config: String,
}

impl Job {
    /// Returns the job of running this program with that config.
    ///
    /// # Errors
    /// [`JobError`].
    pub fn of(config: &Path) -> Result<Self, JobError> {
        let program = std::env::current_exe().and_then(|path| {
            // A program that was replaced while it runs: the kernel adds to its name.
            path.try_exists()?
                .then_some(path)
                .ok_or_else(|| io::Error::other("it was replaced; try again"))
        });
        let program = program.map_err(|cause| JobError::Unknown("this program", cause))?;
        let config =
            std::path::absolute(config).map_err(|cause| JobError::Unknown("the config", cause))?;
        Self::new(&program, &config)
    }

    fn new(program: &Path, config: &Path) -> Result<Self, JobError> {
        let text = |path: &Path| match path.to_str() {
            Some(text) if !text.contains(char::is_control) => Ok(text.to_owned()),
            _ => Err(JobError::Unsayable(path.to_owned())),
        };
        Ok(Self {
            program: text(program)?,
            config: text(config)?,
        })
    }

    /// Returns the service and the timer that starts it, for a user's manager.
    ///
    /// # Errors
    /// [`JobError::Unstartable`].
    pub fn units(&self) -> Result<[Unit; 2], JobError> {
        if self.program.contains(['"', '\'', '\\']) {
            return Err(JobError::Unstartable(self.program.clone()));
        }
        // systemd replaces variables in the arguments alone.
        let command = format!(
            "{} run --config {}",
            word(&self.program),
            word(&self.config.replace('$', "$$"))
        );
        let [service, timer] = NAMES;
        Ok(
            [(service, SERVICE), (timer, TIMER)].map(|(name, text)| Unit {
                name,
                text: text.replace(PACKAGED, &command),
            }),
        )
    }

    /// Returns the line for `crontab -e`.
    pub fn cron_line(&self) -> String {
        let [program, config] = [&self.program, &self.config].map(|path| env::shell(path));
        // For cron an unescaped `%` is a line end.
        let command = format!("{program} run --config {config}").replace('%', r"\%");
        format!("17 3 * * * nice -n 19 ionice -c 3 {command}\n")
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
        Job::new(Path::new(program), Path::new(config)).unwrap()
    }

    #[test]
    fn only_the_command_of_the_packaged_units_is_replaced() {
        let [service, timer] = job("/home/me/bin/treewarden", "/home/me/t.yaml")
            .units()
            .unwrap();
        let ours = "/home/me/bin/treewarden run --config /home/me/t.yaml";
        assert_eq!(service.text.replace(ours, PACKAGED), SERVICE);
        assert_eq!(service.text.matches(ours).count(), 1);
        assert_eq!(timer.text, TIMER);
    }

    /// How systemd reads them is tested with systemd.
    #[test]
    fn odd_paths_are_one_word_each() {
        let odd = job("/a b/50%h/$HOME/w", r#"/it's/50% "$x"\n.yaml"#);
        let [service, _] = odd.units().unwrap();
        let line = r#"ExecStart="/a b/50%%h/$HOME/w" run --config "/it's/50%% \"$$x\"\\n.yaml""#;
        assert!(service.text.contains(line), "{}", service.text);
        let line = r#"'/a b/50\%h/$HOME/w' run --config '/it'\''s/50\% "$x"\n.yaml'"#;
        assert_eq!(
            odd.cron_line(),
            format!("17 3 * * * nice -n 19 ionice -c 3 {line}\n")
        );
        let refused = Job::new(Path::new("/bin/w"), Path::new("/a\nExecStart=/bin/sh"));
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
