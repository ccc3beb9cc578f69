//! The survey of a repo's loose clones, each behind a shadow of its own.

use super::{Asked, RepoSurvey};
use crate::facts::worktree::{State, Worktree};
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::Refusal;
use crate::survey::clones::{Keeper, Opened};
use crate::survey::context::Context;
use crate::survey::worktree;
use git2::Repository;
use rayon::prelude::*;
use std::collections::HashSet;

impl RepoSurvey<'_> {
    /// Surveys the repo's loose clones.
    pub(super) fn clones(&self, repo: &Repository) -> Vec<Worktree> {
        let places = self.around.clones(self.policy, self.stop);
        if places.is_empty() {
            return Vec::new();
        }
        let keeper = Keeper::of(self.shadow, self.stop);
        let asked = Asked::of(repo, self.stop);
        let one = |place: &VolumePath| {
            let looked = keeper
                .as_ref()
                .map_err(|error| State::Unknown(error.to_string()));
            looked
                .and_then(|keeper| self.clone_at(place, keeper, &asked))
                .unwrap_or_else(|state| self.not_looked(place, state))
        };
        places.par_iter().map(one).collect()
    }

    fn clone_at(
        &self,
        place: &VolumePath,
        keeper: &Keeper<'_>,
        asked: &Asked<'_>,
    ) -> Result<Worktree, State> {
        let opened = Opened::of(place, keeper, self.stop).map_err(|refusal| match refusal {
            refusal @ Refusal::Unreadable { .. } => State::Unreadable(refusal.to_string()),
            refusal => State::Unknown(refusal.to_string()),
        })?;
        let repo = opened
            .open()
            .map_err(|error| State::Unknown(error.message().to_owned()))?;
        let stashed = HashSet::new();
        let context = Context {
            clone: Some(&opened),
            ..self.context(&repo, &stashed, asked)
        };
        Ok(worktree::survey(&context, opened.git_dir()))
    }

    fn not_looked(&self, place: &VolumePath, state: State) -> Worktree {
        let git_dir = place.join(".git").expect("a fixed name stays inside");
        let made_again = &self.policy.worktrees.made_again;
        Worktree {
            state,
            ..worktree::blank(&git_dir, Some(self.shadow.git_dir()), made_again)
        }
    }
}
