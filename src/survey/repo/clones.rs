//! The survey of a repo's loose clones, each behind a shadow of its own.

use super::{Asked, RepoSurvey, side_by_side};
use crate::facts::worktree::{State, Worktree};
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::Refusal;
use crate::survey::clones::{Keeper, Opened};
use crate::survey::context::Context;
use crate::survey::worktree;
use git2::Repository;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::io;

impl RepoSurvey<'_> {
    /// Surveys the repo's loose clones.
    ///
    /// # Errors
    /// There are too many directories where they may be, or it is time to stop.
    pub(super) fn clones(&self, repo: &Repository) -> io::Result<Vec<Worktree>> {
        let places = self.around.clones(self.policy, self.stop)?;
        let git_dir = |place: &VolumePath| place.join(".git").expect("a fixed name stays inside");
        let places: BTreeMap<VolumePath, VolumePath> = places
            .into_iter()
            .map(|place| (git_dir(&place), place))
            .collect();
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let look = |git_dirs: &[&VolumePath]| {
            let keeper = Keeper::of(self.shadow, self.stop);
            let asked = Asked::of(repo, self.stop);
            let one = |git_dir: &&VolumePath| {
                let place = places.get(*git_dir).expect("it is one of them");
                let keeper = keeper
                    .as_ref()
                    .map_err(|error| State::Unknown(error.to_string()));
                let looked = keeper.and_then(|keeper| self.clone_at(place, keeper, &asked));
                looked.unwrap_or_else(|state| self.not_looked(git_dir, state))
            };
            Ok::<_, Infallible>(git_dirs.par_iter().map(one).collect())
        };
        let Ok(clones) = side_by_side(&places.keys().collect::<Vec<_>>(), self.stop, look);
        Ok(clones)
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

    fn not_looked(&self, git_dir: &VolumePath, state: State) -> Worktree {
        let made_again = &self.policy.worktrees.made_again;
        Worktree {
            state,
            ..worktree::blank(git_dir, Some(self.shadow.git_dir()), made_again)
        }
    }
}
