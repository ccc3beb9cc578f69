//! Rescues as a user sees them: listed and restored by the program's own commands, and compared
//! with the original. What was restored for this is removed at once, with its registration, so that
//! it doesn't count as work.

use super::super::support::remove;
use super::days::Sim;
use super::oracle::{Expected, differs};
use super::record;
use chrono::DateTime;
use std::path::PathBuf;

/// A line of `rescue list`.
#[derive(Clone)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) repo: String,
    pub(super) commit: String,
    pub(super) path: Option<PathBuf>,
    /// Seconds since the epoch.
    pub(super) taken: i64,
}

/// Returns all rescues that the program lists.
pub(super) fn list(sim: &Sim) -> Vec<Listed> {
    let ran = sim.program(&["rescue", "list", "--format", "json"]);
    let told: serde_json::Value =
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let of = |entry: &serde_json::Value| {
        let text = |key: &str| entry[key].as_str().map(str::to_owned);
        let taken = DateTime::parse_from_rfc3339(&text("taken")?)
            .ok()?
            .timestamp();
        Some(Listed {
            id: text("id")?,
            repo: text("repo")?,
            commit: text("commit")?,
            path: text("path").map(PathBuf::from),
            taken,
        })
    };
    told["rescues"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(of)
        .collect()
}

impl Sim {
    /// Returns the rescues of a repo: each one's id, and the tree's path.
    pub(super) fn rescues(&self, repo: &str) -> Vec<(String, PathBuf)> {
        let of = |listed: Listed| (listed.repo == repo).then_some((listed.id, listed.path?));
        list(self).into_iter().filter_map(of).collect()
    }
}

/// Restores a rescue beside everything else; returns how it differs from the tree.
pub(super) fn bring_back(sim: &mut Sim, rescue: &Listed, tree: &Expected) -> Vec<String> {
    sim.next += 1;
    let to = sim.world.at(format!("brought-back-{}", sim.next));
    let ran = sim.program(&[
        "rescue",
        "restore",
        &rescue.id,
        "--to",
        to.to_str().unwrap(),
    ]);
    if ran.code != 0 {
        return vec![format!(
            "{}: it does not come back: {}",
            rescue.id,
            ran.err.trim_end()
        )];
    }
    let git_dir = sim.repos[tree.repo].git_dir();
    let registered = record::registered(&git_dir);
    let admin = registered
        .into_iter()
        .find(|(_, place)| *place == to)
        .map(|(admin, _)| admin)
        .unwrap_or_default();
    let mut odd = differs(tree, &to, &admin, &record::roots(&git_dir));
    for command in [
        &["fsck", "--full", "--no-dangling", "--no-progress"][..],
        &["status", "--porcelain"],
    ] {
        odd.extend(
            sim.git(&to, command)
                .err()
                .map(|why| format!("git {command:?} there: {why}")),
        );
    }
    remove(&to);
    remove(&admin);
    odd.into_iter()
        .map(|what| format!("{}, brought back: {what}", rescue.id))
        .collect()
}
