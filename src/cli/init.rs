//! `init`, as typed, and what it prints.

use super::{Exit, config_file, failed, init_outside, print, refused, usage};
use crate::commands::init::{self, InitError, discover};
use crate::config::policy::{STATE, STATE_OF_A_HOME, Volume};
use crate::fs::atomic::outside;
use crate::fs::clock;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::report::{discovered, look::Look};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The volume's root, at the path that the agents see; with --discover, the home directory if
    /// none is given
    #[arg(required_unless_present_any = ["discover", "outside"])]
    root: Option<PathBuf>,
    /// Look for repos, worktrees and caches below ROOT, show them, and write a config of them
    ///
    /// Only names of directories are read, so files cost nothing. Links, other file systems and
    /// `node_modules` are not entered. The config is written where treewarden looks for it, and
    /// never over one.
    #[arg(long)]
    discover: bool,
    /// The state directory's name inside ROOT, as in the config [default: .treewarden, or
    /// .local/state/treewarden in a home directory that is looked through]
    #[arg(long)]
    state: Option<PathBuf>,
    /// Prepare the directories that the config's caches outside of the volume stand in: each gets
    /// a lock and a trash of its own, in .treewarden-outside
    #[arg(long, conflicts_with_all = ["root", "state", "discover"])]
    outside: bool,
}

impl Init {
    /// Prepares the volume. `typed` is `--config`.
    pub(super) fn run(&self, typed: Option<&Path>) -> Result<u8, Exit> {
        if self.outside {
            return init_outside::init(&config_file::load(typed)?);
        }
        let stop = Stop::after(Duration::MAX, Stop::listen().map_err(failed)?);
        if self.discover {
            return self.discover(typed, &stop);
        }
        let root = self.root.as_deref().unwrap_or(Path::new("."));
        let root = std::path::absolute(root).map_err(usage)?;
        let volume = self.volume(root.into(), STATE)?;
        let sentinel = init::init(&volume, &stop, clock::now()).map_err(told)?;
        print(&format!(
            "prepared `{}` as volume {}\n",
            sentinel.root.display(),
            sentinel.id
        ))?;
        Ok(0)
    }

    fn volume(&self, root: Arc<Path>, state: &str) -> Result<Volume, Exit> {
        let state = self.state.as_deref().unwrap_or(Path::new(state));
        let state = VolumePath::new(&root, state).map_err(usage)?;
        Ok(Volume { root, state })
    }

    /// Returns the volume that is to be looked through, and the home directory. Git writes real
    /// paths into worktrees, so both are real.
    fn place(&self) -> Result<(Volume, Option<PathBuf>), Exit> {
        let home = config_file::home();
        let no_root = || usage("HOME is not set; name the directory to look through");
        let root = self.root.clone().or_else(|| home.clone());
        let root = root.ok_or_else(no_root)?;
        let root = root.canonicalize().map_err(|cause| {
            let root = root.display();
            refused(format!(
                "failed to look through `{root}`: {cause}; name a directory"
            ))
        })?;
        let home = home.and_then(|home| home.canonicalize().ok());
        let is_home = home.as_ref() == Some(&root);
        let state = if is_home { STATE_OF_A_HOME } else { STATE };
        Ok((self.volume(root.into(), state)?, home))
    }

    fn discover(&self, typed: Option<&Path>, stop: &Stop) -> Result<u8, Exit> {
        let file = config_file::to_write(typed)?;
        if file.symlink_metadata().is_ok() {
            return Err(refused(format!(
                "`{}` is there already, and nothing was changed; edit it, or move it away and try again",
                file.display()
            )));
        }
        let (volume, home) = self.place()?;
        let bar = spinner();
        let request = discover::Request {
            volume: &volume,
            surroundings: discover::Surroundings {
                home: home.as_deref().unwrap_or(Path::new("/nonexistent")),
                variable: &|name| std::env::var_os(name),
            },
            stop,
            bar: &bar,
        };
        let found = discover::discover(&request).map_err(told)?;
        bar.finish_and_clear();
        print(&discovered::render(&found, Look::of_stdout()))?;
        if found.repos.is_empty() && found.caches.is_empty() {
            return Err(refused(
                "there is nothing to maintain, so nothing was changed; name the directory that your \
                 repos are in, for links and other file systems are not entered",
            ));
        }
        let now = clock::now();
        let sentinel = discover::prepare(&volume, now).map_err(refused)?;
        write(&file, &discover::config(&found, &volume.state, now))?;
        print(&format!(
            "\nPrepared `{}` as volume {}, and wrote `{}`: look through it.\n\
             Next: `{}`, to see what a run would do. It changes nothing.\n",
            sentinel.root.display(),
            sentinel.id,
            file.display(),
            next(typed),
        ))?;
        Ok(0)
    }
}

/// Returns the next command, which must find the same config.
fn next(typed: Option<&Path>) -> String {
    typed.map_or_else(
        || "treewarden report".to_owned(),
        |config| format!("treewarden report --config {}", config.display()),
    )
}

/// Writes a new config, and the directories above it.
fn write(file: &Path, text: &str) -> Result<(), Exit> {
    let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = made.and_then(|()| outside::create(file, text.as_bytes()));
    written.map_err(|cause| {
        failed(format!(
            "failed to write `{}`: {cause}; name another with --config, and try again",
            file.display()
        ))
    })
}

fn told(error: InitError) -> Exit {
    match error {
        InitError::Stopped(_) => Exit {
            code: 4,
            message: error.to_string(),
        },
        InitError::Threads(_) | InitError::Config(_) => failed(error),
        InitError::Volume(_) | InitError::Look { .. } => refused(error),
    }
}

/// Shows on a terminal that it looks, and how far it is.
fn spinner() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} directories  {msg}")
        .expect("a fixed template parses");
    let bar = ProgressBar::no_length().with_style(style);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
