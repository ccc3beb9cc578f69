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
        // Most changes are drawn, and few draws a second reach the screen. So there are few, and
        // none shows one phase's numbers under another's name.
        bar.set_style(style("{spinner}"));
        bar.update(|state| {
            state.set_len(many.unwrap_or_default() as u64);
            state.set_pos(0);
        });
        if !bar.message().is_empty() {
            bar.set_message("");
        }
        bar.reset_elapsed();
        bar.set_style(style(template));
        bar.set_prefix(name);
        if matches!(self, Self::Repos(_)) {
            bar.enable_steady_tick(TICK);
        }
    }
}
