//! Git with the caller's credentials and transport, to fetch from a remote and to check out files.
//!
//! Whoever calls `enroll` or `worktree add` fetches with their own rights: their environment and
//! git config apply (credential helpers, ssh keys, proxies, `insteadOf`, filters such as git-lfs).
//! A repo's config, which any agent may have written, doesn't: this git works on a private git dir
//! ([`super::private`]), and nothing that a config in `.git` could make it run (`core.sshCommand`,
//! `remote.*.uploadpack`, `ext::` behind an `insteadOf`, `credential.helper`, `core.gitProxy`,
//! `core.fsmonitor`, filters, hooks) is ever read. Landlock can't confine it, because a credential
//! helper may need anything. By default it doesn't prompt, because nobody would answer. On a
//! terminal its progress is shown. Secrets in addresses are never shown.

use super::{GitError, read_all, supervise};
use crate::fs::stop::Stop;
use progress::Progress;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

mod progress;

/// The variables of `git rev-parse --local-env-vars`, which point to the repo of the caller's
/// shell, except those with settings, which may be the credentials.
const LOCAL: [&str; 16] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CEILING_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_TEMPLATE_DIR",
    "GIT_WORK_TREE",
];

/// Variables that are set unless the caller set them: a prompt would wait for ever (ssh asks the
/// terminal by default), and the caller's config may choose a ref format that a run doesn't know.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("GIT_TERMINAL_PROMPT", "0"),
    ("SSH_ASKPASS_REQUIRE", "force"),
    ("GIT_DEFAULT_REF_FORMAT", "files"),
];

/// Settings that override any config. Submodules are other repos with addresses from the fetched
/// content, so they are not fetched.
const SETTINGS: [(&str, &str); 7] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.fsync", "all"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
];

/// Lines of git's error message that are reported.
const LINES: usize = 6;

/// The caller's git, set up for one directory.
pub struct Caller<'a> {
    directory: &'a Path,
    places: Vec<(&'static str, OsString)>,
    settings: Vec<(String, String)>,
    stop: &'a Stop,
    limit: Duration,
}

impl<'a> Caller<'a> {
    /// Returns the caller's git for `directory`. Each command is ended after `limit`, or when the
    /// caller is to stop.
    pub fn new(directory: &'a Path, stop: &'a Stop, limit: Duration) -> Self {
        let settings = SETTINGS
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec();
        Self {
            directory,
            places: Vec::new(),
            settings,
            stop,
            limit,
        }
    }

    /// Sets a variable for git's directories: `GIT_DIR`, `GIT_COMMON_DIR`, `GIT_WORK_TREE`.
    #[must_use]
    pub fn place(mut self, variable: &'static str, path: impl Into<OsString>) -> Self {
        self.places.push((variable, path.into()));
        self
    }

    /// Adds settings, which override any config.
    #[must_use]
    pub fn with(mut self, settings: impl IntoIterator<Item = (String, String)>) -> Self {
        self.settings.extend(settings);
        self
    }

    /// Runs a command to its end and returns its standard output.
    ///
    /// # Errors
    /// [`GitError`]: not started, failed, or ended early. It contains no secret of an address.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Vec<u8>, GitError> {
        let mut err = tempfile::tempfile().map_err(GitError::Start)?;
        let complaint = err.try_clone().map_err(GitError::Start)?;
        self.finish(args, complaint.into(), || told(&mut err))
    }

    /// Does the same for a command that knows `--progress`, and shows its progress if standard
    /// error is a terminal.
    ///
    /// # Errors
    /// As [`Caller::run`].
    pub fn watched<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Vec<u8>, GitError> {
        let Some((command, rest)) = args.split_first().filter(|_| io::stderr().is_terminal())
        else {
            return self.run(args);
        };
        let mut err = tempfile::tempfile().map_err(GitError::Start)?;
        let kept = err.try_clone().map_err(GitError::Start)?;
        let (progress, complaint) = Progress::of(kept).map_err(GitError::Start)?;
        // A quiet fetch would show only the server's half of it.
        let is_loud = command.as_ref() == "fetch";
        let rest = rest.iter().map(AsRef::as_ref);
        let args: Vec<&OsStr> = [command.as_ref(), OsStr::new("--progress")]
            .into_iter()
            .chain(rest.filter(|arg| !(is_loud && *arg == "--quiet")))
            .collect();
        progress.during(|shown| {
            self.finish(&args, complaint, || {
                shown.end();
                told(&mut err)
            })
        })
    }

    /// Runs a command whose standard error goes to `complaint`; `told` returns what it said.
    fn finish<S: AsRef<OsStr>>(
        &self,
        args: &[S],
        complaint: Stdio,
        told: impl FnOnce() -> String,
    ) -> Result<Vec<u8>, GitError> {
        let mut out = tempfile::tempfile().map_err(GitError::Start)?;
        let to = out.try_clone().map_err(GitError::Start)?;
        let prepare = |command: &mut std::process::Command| {
            for name in LOCAL {
                command.env_remove(name);
            }
            command.envs(
                ENVIRONMENT
                    .into_iter()
                    .filter(|(name, _)| std::env::var_os(name).is_none()),
            );
            command
                .envs(self.places.iter().map(|(name, path)| (name, path)))
                .envs(self.numbered());
            command
                .current_dir(self.directory)
                .stdin(Stdio::null())
                .stdout(to)
                .stderr(complaint);
            Ok(())
        };
        supervise(args, prepare, self.stop, self.limit, told)?;
        read_all(&mut out).map_err(GitError::Start)
    }

    /// Returns the settings as variables, numbered after the caller's: an environment is visible
    /// only to its owner, while arguments are visible to all.
    fn numbered(&self) -> Vec<(String, String)> {
        let given = std::env::var("GIT_CONFIG_COUNT")
            .ok()
            .and_then(|count| count.parse::<usize>().ok())
            .unwrap_or(0);
        let mut variables = vec![(
            "GIT_CONFIG_COUNT".to_owned(),
            given.saturating_add(self.settings.len()).to_string(),
        )];
        for (number, (key, value)) in self
            .settings
            .iter()
            .enumerate()
            .map(|(number, setting)| (given.saturating_add(number), setting))
        {
            variables.push((format!("GIT_CONFIG_KEY_{number}"), key.clone()));
            variables.push((format!("GIT_CONFIG_VALUE_{number}"), value.clone()));
        }
        variables
    }
}

/// Returns the last lines of git's output without hints, warnings and secrets. The cause is often
/// before the last line.
fn told(err: &mut File) -> String {
    let text = read_all(err).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).replace('\r', "\n");
    let advice = |line: &&str| {
        line.is_empty() || line.starts_with("warning: ") || line.starts_with("hint: ")
    };
    let lines: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !advice(line))
        .map(hidden)
        .collect();
    lines.rchunks(LINES).next().unwrap_or_default().join("; ")
}

/// Returns the line without user names and passwords before the host of an address, and without its
/// query. Git hides passwords too, but not every helper does.
fn hidden(line: &str) -> String {
    let mut parts = line.split("://");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`' | '<' | '>'))
            .unwrap_or(part.len());
        let (address, rest) = part.split_at(end);
        let address = address.split('?').next().unwrap_or_default();
        let (host, path) = address.split_at(address.find('/').unwrap_or(address.len()));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        text.extend(["://", host, path, rest]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_addresses_are_hidden() {
        for (said, told) in [
            (
                "fatal: unable to access 'https://me:SECRET@host/a/b?t=SECRET': no",
                "fatal: unable to access 'https://host/a/b': no",
            ),
            (
                "https://SECRET@a/ and http://SECRET@b",
                "https://a/ and http://b",
            ),
            ("no address: me@host", "no address: me@host"),
            ("https://host/a@b", "https://host/a@b"),
        ] {
            assert_eq!(hidden(said), told);
        }
    }
}
