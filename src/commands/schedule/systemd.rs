//! `schedule systemd --install` and `--uninstall`: puts the units where the user's manager reads
//! them, and enables the timers; or undoes exactly that.
//!
//! A file there is ours if it begins as ours do; anything else is refused before anything is
//! touched. This is the only place that starts `systemctl`, since systemd's own way to ask it, by
//! D-Bus, would need a library for four calls.

use super::{NAMES, Unit};
use crate::fs::atomic::outside;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How each of our units begins.
const OURS: &str = "# By treewarden,";

/// Why the units were not installed or removed.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// Nobody can be asked.
    #[error(
        "failed to ask systemd's user manager: {cause}. Nothing was touched. If this machine has \
         no systemd, use `treewarden schedule cron`. If it has, and this is `su` or `sudo`: \
         `sudo loginctl enable-linger {user}` starts your manager, and `export \
         XDG_RUNTIME_DIR=/run/user/{uid}` says where it is"
    )]
    NoManager {
        /// What `systemctl` says, or why there is none.
        cause: String,
        /// The user's name, or a shell's way to ask for it.
        user: String,
        /// The user's id.
        uid: u32,
    },
    /// The manager reads other directories.
    #[error(
        "failed to install into `{}`: your user manager doesn't read it. Nothing was touched. It \
         reads {read}; set XDG_CONFIG_HOME as it was when the manager started", directory.display()
    )]
    NotRead {
        /// Where the units would go.
        directory: PathBuf,
        /// Where the manager looks.
        read: String,
    },
    /// Something else is in a unit's place.
    #[error(
        "failed to {verb} `{}`: treewarden did not write it. Nothing was touched. Move it away, or \
         change it by hand", path.display()
    )]
    NotOurs {
        /// What was to be done to it.
        verb: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// No directory for units.
    #[error("failed to find your units' directory: set HOME or XDG_CONFIG_HOME to a whole path")]
    NoHome,
    /// A file can't be read, written or removed.
    #[error("failed to {verb} `{}`: {cause}", path.display())]
    File {
        /// What was to be done to it.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The manager refused.
    #[error("failed to {verb} {timers}: {cause}. Mend this, and say it again")]
    Refused {
        /// What it was asked.
        verb: &'static str,
        /// The timers' names.
        timers: String,
        /// What it says.
        cause: String,
    },
}

/// What became of a unit's file.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Written,
    /// It was the same.
    Unchanged,
    /// It differed: these lines are not in it any more.
    Replaced(Vec<String>),
    /// It is gone.
    Removed,
    /// It was not there.
    Missing,
}

/// The files in the order of the units, and when the nightly run is due next, if that is known.
#[derive(Debug)]
pub struct Installed {
    /// Each file, and what became of it.
    pub files: Vec<(PathBuf, Change)>,
    /// As `systemctl` writes it.
    pub next: Option<String>,
    /// Whether the manager runs while the user is not logged in.
    pub lingers: bool,
}

/// Writes the units and enables the timers among them.
///
/// # Errors
/// [`SystemdError`]; before `File` and `Refused`, nothing was touched.
pub fn install(units: &[Unit]) -> Result<Installed, SystemdError> {
    let directory = directory()?;
    reads(&directory)?;
    let names: Vec<&str> = units.iter().map(|unit| unit.name).collect();
    let places = places(&directory, &names, "replace")?;
    let file = |verb, path: &Path, cause| SystemdError::File {
        verb,
        path: path.to_owned(),
        cause,
    };
    fs::create_dir_all(&directory).map_err(|cause| file("create", &directory, cause))?;
    let mut files = Vec::new();
    for (unit, (path, old)) in units.iter().zip(places) {
        let change = changed(old.as_deref(), &unit.text);
        if change != Change::Unchanged {
            outside::replace(&path, unit.text.as_bytes())
                .map_err(|cause| file("write", &path, cause))?;
        }
        files.push((path, change));
    }
    let timers = timers(&names);
    asked("enable", &["daemon-reload"], &timers)?;
    asked("enable", &["enable", "--now"], &timers)?;
    let next = [
        "show",
        "--value",
        "--property=NextElapseUSecRealtime",
        NAMES[1],
    ];
    Ok(Installed {
        files,
        next: systemctl(&next).ok().filter(|next| !next.is_empty()),
        lingers: Path::new("/var/lib/systemd/linger").join(user()).exists(),
    })
}

/// Disables the timers and removes the units. A run that is at work goes on.
///
/// # Errors
/// As [`install`].
pub fn uninstall() -> Result<Vec<(PathBuf, Change)>, SystemdError> {
    let directory = directory()?;
    reads(&directory)?;
    let places = places(&directory, &NAMES, "remove")?;
    let mut files = Vec::new();
    for (names, units) in NAMES.chunks(2).zip(places.chunks(2)) {
        // Without a file of ours, the timer is somebody else's, such as the package's.
        if units.iter().any(|(_, old)| old.is_some()) {
            asked("disable", &["disable", "--now"], &timers(names))?;
        } else if !files.is_empty() {
            continue;
        }
        for (path, old) in units {
            let change = match old {
                Some(_) => remove(path).map(|()| Change::Removed)?,
                None => Change::Missing,
            };
            files.push((path.clone(), change));
        }
    }
    asked("forget", &["daemon-reload"], &timers(&NAMES))?;
    Ok(files)
}

/// Returns the timers among these units.
fn timers<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let is_timer = |name: &&str| name.contains(".timer");
    names.iter().copied().filter(is_timer).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a unit that treewarden wrote into the user's own directory"
)]
fn remove(path: &Path) -> Result<(), SystemdError> {
    fs::remove_file(path).map_err(|cause| SystemdError::File {
        verb: "remove",
        path: path.to_owned(),
        cause,
    })
}

/// Returns where the user's own units are.
fn directory() -> Result<PathBuf, SystemdError> {
    let whole = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let config = whole("XDG_CONFIG_HOME").or_else(|| Some(whole("HOME")?.join(".config")));
    Ok(config.ok_or(SystemdError::NoHome)?.join("systemd/user"))
}

/// Checks that there is a manager, and that it reads this directory.
fn reads(directory: &Path) -> Result<(), SystemdError> {
    let read = systemctl(&["show", "--value", "--property=UnitPath"]).map_err(|cause| {
        SystemdError::NoManager {
            cause,
            user: user(),
            uid: rustix::process::getuid().as_raw(),
        }
    })?;
    if format!(" {read} ").contains(&format!(" {} ", directory.display())) {
        return Ok(());
    }
    Err(SystemdError::NotRead {
        directory: directory.to_owned(),
        read,
    })
}

/// Returns each unit's file, and what it holds if it is there. Refuses if one is not ours.
fn places(
    directory: &Path,
    names: &[&str],
    verb: &'static str,
) -> Result<Vec<(PathBuf, Option<String>)>, SystemdError> {
    let place = |name: &&str| {
        let path = directory.join(name);
        let old = match fs::symlink_metadata(&path) {
            // A link may be a mask, or lead to somebody's collection of dotfiles.
            Ok(seen) if seen.is_file() => fs::read_to_string(&path).map(Some),
            Ok(_) => Ok(Some(String::new())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        match old {
            Ok(Some(text)) if !text.starts_with(OURS) => Err(SystemdError::NotOurs { verb, path }),
            Ok(old) => Ok((path, old)),
            Err(cause) => Err(SystemdError::File {
                verb: "read",
                path,
                cause,
            }),
        }
    };
    names.iter().map(place).collect()
}

fn changed(old: Option<&str>, new: &str) -> Change {
    match old {
        None => Change::Written,
        Some(old) if old == new => Change::Unchanged,
        Some(old) => {
            let gone = old
                .lines()
                .filter(|line| new.lines().all(|kept| kept != *line));
            Change::Replaced(gone.map(ToOwned::to_owned).collect())
        }
    }
}

/// The user's name, or what a shell replaces by it.
fn user() -> String {
    let named = ["USER", "LOGNAME"].map(|name| std::env::var(name).ok());
    named
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty() && !name.contains('/'))
        .unwrap_or_else(|| "$(id -un)".to_owned())
}

/// Gives the manager a command about timers; `daemon-reload` names none.
fn asked(verb: &'static str, command: &[&str], timers: &[&str]) -> Result<(), SystemdError> {
    let named = if command.contains(&"--now") {
        timers
    } else {
        &[]
    };
    let refused = |cause| SystemdError::Refused {
        verb,
        timers: timers.join(" and "),
        cause,
    };
    systemctl(&[command, named].concat())
        .map(drop)
        .map_err(refused)
}

/// Asks the user's manager, and returns what it answers, or why it doesn't.
fn systemctl(args: &[&str]) -> Result<String, String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing else can enable a user's timer"
    )]
    let mut command = Command::new("systemctl");
    let ended = command
        .arg("--user")
        .args(args)
        .stdin(Stdio::null())
        .output();
    let ended = ended.map_err(|error| format!("failed to run `systemctl`: {error}"))?;
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.trim().trim_end_matches('.').replace('\n', "; ")
    };
    if ended.status.success() {
        Ok(text(&ended.stdout))
    } else {
        Err(text(&ended.stderr))
    }
}
