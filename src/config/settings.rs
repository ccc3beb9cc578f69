//! The settings of each repo, and `defaults` for all: checked where they were typed, then layered.
//! So `defaults` is checked once, and not again for every repo.

use super::policy::{self, GcStrategy, Worktrees};
use super::problem::{KeyPath, Notes};
use super::raw;
use super::roots;
use super::units::{Bytes, ClassAge, Count, Time};
use super::values::{odd, one_of, texts};
use crate::facts::worktree::MadeAgain;
use crate::fs::volume_path::VolumePath;
use std::path::Path;
use std::time::Duration;

pub(super) const STRATEGIES: [(&str, GcStrategy); 3] = [
    ("auto", GcStrategy::Auto),
    ("git-gc", GcStrategy::GitGc),
    ("off", GcStrategy::Off),
];

/// Notes problems of the settings typed at `at`, whatever they are layered over.
pub(super) fn check(typed: &raw::Settings, root: &Path, at: &KeyPath, notes: &mut Notes) {
    let worktrees = at.key("worktrees");
    roots::check_presets(
        typed.worktrees.presets.as_ref(),
        &worktrees.key("presets"),
        notes,
    );
    roots::check_roots(
        typed.worktrees.roots.as_ref(),
        root,
        &worktrees.key("roots"),
        notes,
    );
    roots::check_keep(
        typed.worktrees.keep.as_ref(),
        root,
        &worktrees.key("keep"),
        notes,
    );
    check_caps(&typed.worktrees, &worktrees, notes);
    if typed.worktrees.rescue_keep == Some(Time(Duration::ZERO)) {
        notes.add(
            &worktrees.key("rescue_keep"),
            "0 would drop every rescue; write a time such as 30d",
        );
    }
    for (index, directory) in typed.worktrees.made_again.iter().flatten().enumerate() {
        check_made_again(directory, &worktrees.key("made_again").item(index), notes);
    }
    if let Some(Err(unknown)) = typed
        .gc
        .strategy
        .as_deref()
        .map(|name| one_of(&STRATEGIES, name))
    {
        notes.add(&at.key("gc").key("strategy"), unknown);
    }
    if let Some(command) = &typed.busy_probe {
        texts(command, &at.key("busy_probe"), notes);
    }
}

/// Notes caps that no tree could stay below.
fn check_caps(typed: &raw::Worktrees, at: &KeyPath, notes: &mut Notes) {
    let none = "0 would let no worktree stay for more than a day";
    if typed.max_trees == Some(Count(0)) {
        notes.add(
            &at.key("max_trees"),
            format!("{none}; write a number such as 20, or leave the key out for no cap"),
        );
    }
    if typed.max_bytes == Some(Bytes(0)) {
        notes.add(
            &at.key("max_bytes"),
            format!("{none}; write a size such as 40GiB, or leave the key out for no cap"),
        );
    }
}

/// Checks that a rule has a sign beside the directory or in it: a name alone proves nothing.
fn check_made_again(typed: &raw::MadeAgain, at: &KeyPath, notes: &mut Notes) {
    for (key, name) in [
        ("name", &typed.name),
        ("beside", &typed.beside),
        ("holds", &typed.holds),
    ] {
        let Some(name) = name else { continue };
        if matches!(name.as_str(), "" | "." | "..")
            || name.contains(['/', '*', '?'])
            || odd(name)
            || name.eq_ignore_ascii_case(".git")
        {
            notes.add(
                &at.key(key),
                format!("`{name}` is no plain name; write one file's or directory's name, such as dist, without `/` or `*`"),
            );
        }
    }
    if typed.name.is_none() {
        notes.add(
            &at.key("name"),
            "is missing; write the directory's name, such as dist",
        );
    }
    if typed.beside.is_none() && typed.holds.is_none() {
        notes.add(
            at,
            "says nothing but a name, which may be anybody's; write what stands `beside` it, such as package.json, or what it `holds`",
        );
    }
}

fn made_again(typed: &raw::Mapping<raw::MadeAgain>) -> Option<MadeAgain> {
    let raw::MadeAgain {
        name,
        beside,
        holds,
    } = (**typed).clone();
    Some(MadeAgain {
        name: name?,
        beside,
        holds,
    })
}

/// A repo's settings, which override `defaults`, which override the program's own.
#[derive(Clone, Copy)]
pub(super) struct Layers<'a> {
    /// Typed for this repo.
    pub(super) repo: &'a raw::Settings,
    /// Typed for all.
    pub(super) defaults: &'a raw::Settings,
}

impl<'a> Layers<'a> {
    fn first<T>(&self, typed: impl Fn(&'a raw::Settings) -> Option<T>) -> Option<T> {
        typed(self.repo).or_else(|| typed(self.defaults))
    }

    /// Returns how long to wait for the repo's lock.
    pub(super) fn lock_wait(&self) -> Duration {
        self.first(|s| s.lock_wait)
            .map_or(policy::LOCK_WAIT, |time| time.0)
    }

    /// Returns the rules about its worktrees.
    pub(super) fn worktrees(&self, repo: &VolumePath) -> Worktrees {
        let presets = self.first(|s| s.worktrees.presets.as_ref());
        let roots = self.first(|s| s.worktrees.roots.as_ref());
        let saved = self
            .first(|s| s.worktrees.saved)
            .map_or(policy::SAVED, |ClassAge(age)| age);
        Worktrees {
            landed: self
                .first(|s| s.worktrees.landed)
                .map_or(policy::LANDED, |ClassAge(age)| age),
            saved,
            unsaved: self
                .first(|s| s.worktrees.unsaved)
                .map_or(policy::UNSAVED, |ClassAge(age)| age),
            fresh: self
                .first(|s| s.worktrees.fresh)
                .map_or(saved, |ClassAge(age)| age),
            dead_locks: self
                .first(|s| s.worktrees.dead_locks)
                .map_or(policy::DEAD_LOCKS, |ClassAge(age)| age),
            keep: roots::keep(self.first(|s| s.worktrees.keep.as_ref()), repo),
            max_trees: self.first(|s| s.worktrees.max_trees).map(|count| count.0),
            max_bytes: self.first(|s| s.worktrees.max_bytes).map(|bytes| bytes.0),
            roots: roots::expanded(presets, roots, repo),
            rescue_max: self.rescue_max(),
            rescue_keep: self
                .first(|s| s.worktrees.rescue_keep)
                .map_or(policy::RESCUE_KEEP, |time| time.0),
            rescue_budget: self.rescue_budget(),
            made_again: self
                .first(|s| s.worktrees.made_again.as_ref())
                .into_iter()
                .flatten()
                .filter_map(made_again)
                .collect(),
        }
    }

    fn rescue_max(&self) -> u64 {
        self.first(|s| s.worktrees.rescue_max)
            .map_or(policy::RESCUE_MAX, |bytes| bytes.0)
    }

    fn rescue_budget(&self) -> u64 {
        self.first(|s| s.worktrees.rescue_budget)
            .map_or(policy::RESCUE_BUDGET, |bytes| bytes.0)
    }

    /// Returns the kind of repack.
    pub(super) fn gc(&self) -> GcStrategy {
        let known = |name: &str| one_of(&STRATEGIES, name).ok();
        self.first(|s| s.gc.strategy.as_deref())
            .and_then(known)
            .unwrap_or(policy::GC)
    }

    /// Returns the busy probe's command.
    pub(super) fn busy_probe(&self) -> Vec<String> {
        self.first(|s| s.busy_probe.as_ref())
            .into_iter()
            .flatten()
            .flatten()
            .cloned()
            .collect()
    }

    /// Notes a problem if one rescue may be larger than all rescues together: the next run would
    /// drop what this one saved.
    pub(super) fn check_rescue(&self, at: &KeyPath, notes: &mut Notes) {
        let (max, budget) = (self.rescue_max(), self.rescue_budget());
        let typed_here = &self.repo.worktrees;
        if max > budget && (typed_here.rescue_max.is_some() || typed_here.rescue_budget.is_some()) {
            let key = if typed_here.rescue_max.is_some() {
                "rescue_max"
            } else {
                "rescue_budget"
            };
            let message = format!(
                "rescue_max ({}) is above rescue_budget ({}); raise the budget or lower the cap",
                Bytes(max),
                Bytes(budget)
            );
            notes.add(&at.key("worktrees").key(key), message);
        }
    }
}
