//! Explains a rescue.

use super::rules::fixed;
use super::{ExplainError, Request};
use crate::commands::pressure;
use crate::commands::rescues::{self, RescuesError};
use crate::config::policy;
use crate::config::units;
use crate::facts::rescue::Rescue;
use crate::fs::humanize;
use crate::plan::ladder::Rung;
use crate::plan::ladder::turn::Turn;
use crate::plan::rescue::{Because, Fate, fates};
use crate::plan::when;
use crate::report::explain::{self, Change, Explanation, Kind, Rule, SCHEMA};
use crate::report::pressure::{Part, UnderPressure};
use crate::run::inspect::{self, Wanted};
use crate::survey::context::Explained;
use crate::survey::processes::Processes;
use chrono::{DateTime, Utc};

/// Explains the rescue with this id.
pub(super) fn explain(request: &Request<'_>, id: &str) -> Result<Explanation, ExplainError> {
    let Request {
        policy, stop, now, ..
    } = *request;
    let found = rescues::find(policy, id, stop, now)?;
    let repo = found.repo;
    let (_shadow, git) = rescues::open(repo, stop)
        .map_err(|refusal| RescuesError::Repo(repo.name.clone(), refusal))?;
    let entry = found.entry(&git, now);
    let Present { all, goes, held } = present(request, repo, &found.rescue)?;
    let goes_at = expires(&all, &found.rescue, repo, now);
    Ok(Explanation {
        schema: SCHEMA,
        at: now,
        path: entry.path.clone(),
        kind: Kind::Rescue,
        repo: Some(repo.name.clone()),
        verdict: if goes {
            explain::Fate::Expire
        } else {
            explain::Fate::Keep
        },
        because: None,
        reasons: vec![entry.stands.clone()],
        goes_at,
        under_pressure: under_pressure(goes_at),
        held,
        rules: rules(request, repo, (&all, found.fate)),
        changes: changes(id),
        worktree: None,
        rescue: Some(entry),
        unit: None,
    })
}

/// What a run would find in the repo now.
struct Present {
    /// The repo's rescues.
    all: Vec<Rescue>,
    /// Whether it would drop this one.
    goes: bool,
    /// Why it would do nothing.
    held: Vec<String>,
}

fn present(
    request: &Request<'_>,
    repo: &policy::Repo,
    rescue: &Rescue,
) -> Result<Present, ExplainError> {
    let wanted = Wanted {
        repos: vec![repo],
        explained: Explained::None,
        measured: false,
        processes: Processes::but_callers(),
    };
    let inspected = inspect::inspect(request.policy, &wanted, request.stop, request.now)
        .map_err(ExplainError::Refused)?;
    let mut present = Present {
        all: vec![rescue.clone()],
        goes: false,
        held: inspected.doubts,
    };
    for one in inspected.repos {
        present.held.extend(
            one.held
                .map(|why| format!("a run leaves the whole repo alone for now: {why}")),
        );
        match one.found {
            Ok(seen) => {
                present.held.extend(seen.facts.busy);
                let mut due = seen.plan.expire.iter();
                present.goes = due.any(|(due, _)| due.name == rescue.name);
                present.all = seen.facts.rescues;
            }
            Err(why) => present
                .held
                .push(format!("nothing is done in this repo: {why}")),
        }
    }
    Ok(present)
}

/// Returns the rescue's turn: pressure lets none go earlier.
fn under_pressure(goes_at: Option<DateTime<Utc>>) -> Vec<UnderPressure> {
    match goes_at {
        Some(from) => vec![UnderPressure::new(
            Part::Whole,
            Turn::From(Rung::Trash, from),
        )],
        None => pressure::never("a rescue that never expires stays, however full the volume is"),
    }
}

fn changes(id: &str) -> Vec<Change> {
    vec![
        Change::new(format!(
            "`treewarden rescue restore {id}` brings it back as a worktree"
        )),
        Change::new("a longer `rescue_keep`, and a larger `rescue_budget`, keep it longer"),
        Change::new("younger rescues of this repo, if with them all are more than `rescue_budget`"),
    ]
}

/// Returns from when a run drops this rescue, if no other is made until then.
fn expires(
    all: &[Rescue],
    rescue: &Rescue,
    repo: &policy::Repo,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    when::first(now, |then| {
        let fates = fates(all, &repo.worktrees, then);
        let mut own = all
            .iter()
            .zip(fates)
            .filter(|(one, _)| one.name == rescue.name);
        own.any(|(_, fate)| matches!(fate, Fate::Expired(_)))
    })
}

fn rules(request: &Request<'_>, repo: &policy::Repo, (all, fate): (&[Rescue], Fate)) -> Vec<Rule> {
    let own = all.iter().filter_map(|rescue| rescue.own);
    let total = own.fold(0_u64, |sum, own| sum.saturating_add(own.bytes));
    let trees = &repo.worktrees;
    let keep = request.of_repo(
        repo,
        "rescue_keep",
        (
            units::typed(trees.rescue_keep),
            "a rescue expires after this long",
        ),
    );
    let says = format!(
        "the oldest expire if a repo's rescues are more; they are {} now",
        humanize::size(total)
    );
    let budget = request.of_repo(
        repo,
        "rescue_budget",
        (humanize::size(trees.rescue_budget), &says),
    );
    match fate {
        Fate::Unrecognised(_) => vec![fixed("a malformed rescue stays for good")],
        Fate::Expired(Because::Budget) => vec![budget, keep],
        _ => vec![keep, budget],
    }
}
