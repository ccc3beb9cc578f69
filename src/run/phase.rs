//! What the progress bar says the run is at.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// How often a phase that counts nothing shows that it is alive.
const TICK: Duration = Duration::from_millis(100);

/// A part of a run, for whoever watches.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// The repos are surveyed and maintained: so many.
    Repos(usize),
    /// Stale worktrees are removed from so many repos.
    Worktrees(usize),
    /// What fills the volume is measured.
    Usage,
    /// The trash is emptied.
    Trash,
    /// Caches are evicted.
    Eviction,
    /// Repos are repacked for which there was no room before.
    Repacks,
}

impl Phase {
    /// Shows it.
    pub(super) fn show(self, bar: &ProgressBar) {
        if bar.is_hidden() {
            return;
        }
        let (name, many) = match self {
            Self::Repos(many) => ("repos", Some(many)),
            Self::Worktrees(many) => ("worktrees", Some(many)),
            Self::Usage => ("usage", None),
            Self::Trash => ("trash", None),
            Self::Eviction => ("eviction", None),
            Self::Repacks => ("repacks", None),
        };
        let template = match many {
            Some(_) => "{spinner} {prefix}  {bar:20} {pos}/{len}  {wide_msg}",
            None => "{spinner} {prefix}  {elapsed}  {wide_msg}",
        };
        let style =
            |template| ProgressStyle::with_template(template).expect("a fixed template parses");
        // Each change is drawn: none shows one phase's numbers under another's name.
        bar.set_style(style("{spinner}"));
        bar.set_length(many.unwrap_or_default() as u64);
        bar.set_position(0);
        bar.set_message("");
        bar.set_prefix(name);
        bar.set_style(style(template));
        bar.reset_elapsed();
        bar.enable_steady_tick(TICK);
    }
}
