//! The busy probe: the operator's own command that answers "is somebody working in this repo?".
//!
//! A pipeline's lock may be elsewhere, such as an issue label or an agent server's API. Exit 1 is
//! idle; anything else, including an error and a time-out, is busy. Only the command in the
//! operator's config is run.

use crate::fs::stop::Stop;
use rustix::process::{Pid, Signal};
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Long enough for an API call, short enough for a run of many repos.
const LIMIT: Duration = Duration::from_secs(30);

/// The environment variables that a probe gets, besides those that begin with [`FOR_PROBES`]: none
/// of git's, and none of our secrets.
const ENVIRONMENT: [&str; 12] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "TZ",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
];
/// The prefix of the variables in which an operator passes a token to the probe.
const FOR_PROBES: &str = "PROBE_";

/// Returns why the repo counts as busy; none if the probe says idle or there is no probe.
pub fn busy(probe: &[String], repo: &str, stop: &Stop) -> Option<String> {
    ask(probe, repo, stop, LIMIT)
}

fn ask(probe: &[String], repo: &str, stop: &Stop, limit: Duration) -> Option<String> {
    let (program, args) = probe.split_first()?;
    #[expect(clippy::disallowed_methods, reason = "the operator's own command")]
    let started = Command::new(program)
        .args(args)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_for_probes(name)))
        .env("TREEWARDEN_REPO", repo)
        // So that nothing it starts picks up agents' files from its working directory.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            return Some(format!(
                "failed to start the busy probe `{program}`: {error}; fix it in the config"
            ));
        }
    };
    let began = Instant::now();
    let why = loop {
        match child.try_wait() {
            Ok(Some(status)) => return verdict(status.code()),
            Ok(None) if stop.reached().is_some() => {
                break "the busy probe was ended, for the run is to stop".to_owned();
            }
            Ok(None) if began.elapsed() < limit => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                break format!("the busy probe gave no answer within {} s", limit.as_secs());
            }
            Err(error) => break format!("failed to wait for the busy probe: {error}"),
        }
    };
    // The whole group: a shell's `curl` would keep running.
    let _gone_already = rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL);
    let _status = child.wait();
    Some(why)
}

fn is_for_probes(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| ENVIRONMENT.contains(&name) || name.starts_with(FOR_PROBES))
}

fn verdict(code: Option<i32>) -> Option<String> {
    match code {
        Some(1) => None,
        Some(0) => Some("the busy probe says that somebody works here".to_owned()),
        Some(code) => Some(format!(
            "the busy probe left with {code}, which is neither 0 (busy) nor 1 (idle)"
        )),
        None => Some("the busy probe was killed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(script: &str) -> Option<String> {
        busy(
            &["sh".into(), "-c".into(), script.into()],
            "acme/shop",
            &Stop::never(),
        )
    }

    #[test]
    fn only_exit_1_is_idle() {
        assert_eq!(busy(&[], "acme/shop", &Stop::never()), None);
        assert_eq!(say("test \"$TREEWARDEN_REPO\" = acme/shop && exit 1"), None);
        for script in ["exit 0", "exit 3", "kill -9 $$"] {
            assert!(say(script).is_some(), "{script}");
        }
        let stopping = Stop::after(Duration::ZERO, std::sync::Arc::default());
        assert!(
            busy(&["sleep".into(), "60".into()], "acme/shop", &stopping)
                .unwrap()
                .contains("is to stop")
        );
        assert!(
            busy(&["/nonexistent/probe".into()], "acme/shop", &Stop::never())
                .unwrap()
                .contains("/nonexistent/probe")
        );
    }

    #[test]
    fn a_probe_that_gives_no_answer_is_ended_with_what_it_started() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("late");
        let script = format!("(sleep 0.4; touch {}) & sleep 60", file.display());
        let began = Instant::now();
        let why = ask(
            &["sh".into(), "-c".into(), script],
            "acme/shop",
            &Stop::never(),
            Duration::from_millis(100),
        );
        assert_eq!(
            why.as_deref(),
            Some("the busy probe gave no answer within 0 s")
        );
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(600));
        assert!(!file.exists());
    }

    #[test]
    fn no_shell_reads_its_arguments() {
        assert_eq!(
            busy(
                &["test".into(), "$HOME".into(), "!=".into(), "$HOME".into()],
                "acme/shop",
                &Stop::never()
            ),
            None
        );
    }
}
