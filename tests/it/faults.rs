//! Runs while the file system fails at any call: nothing is lost, the report names the failure, the
//! exit code is right.
//!
//! The tracer makes one system call on the volume fail, or all from one on, of the program and its
//! git children. The first of equal calls stands for all of them. The sample takes a minute. The
//! whole, `TREEWARDEN_SWEEP=all cargo test --test it faults:: -- --ignored --nocapture`, takes
//! hours; `TREEWARDEN_SWEEP=1/20` tries a twentieth.

use super::support::calls::Call;
use super::support::sweep::{Sweep, all_well, sample, sweep};
use super::support::tracer::{Act, Point, Traced, points};
use nix::errno::Errno;
use std::sync::atomic::{AtomicUsize, Ordering};
use treewarden::report::RunReport;
use treewarden::report::troubles::{Kind, troubles};

/// Errors that a file server can return, with the system's words for them.
const ERRORS: [(Errno, &str); 7] = [
    (Errno::EIO, "Input/output error"),
    (Errno::ESTALE, "Stale file handle"),
    (Errno::ENOSPC, "No space left on device"),
    (Errno::EACCES, "Permission denied"),
    (Errno::EDQUOT, "Disk quota exceeded"),
    (Errno::ENOENT, "No such file or directory"),
    (Errno::EINTR, "Interrupted system call"),
];

struct Fault {
    point: Point,
    errno: Errno,
    lasting: bool,
}

impl Fault {
    fn act(&self) -> Act<'_> {
        if self.lasting {
            Act::Lasting(&self.point, self.errno)
        } else {
            Act::Once(&self.point, self.errno)
        }
    }
}

fn faults() -> Vec<Fault> {
    let sweep = Sweep::new();
    sweep.bring_back();
    let night = sweep.night(Act::Watch);
    let first = points(&night.calls)
        .into_iter()
        .filter(|point| point.nth == 1);
    let of_point = |point: Point| {
        let errors = ERRORS
            .iter()
            .map(|(errno, _)| *errno)
            .filter(move |errno| point.call.kind.can_meet(*errno));
        // No file server interrupts a call for ever.
        errors
            .flat_map(|errno| [(errno, false), (errno, true)])
            .filter(|fault| *fault != (Errno::EINTR, true))
            .map(move |fault| (point.clone(), fault))
            .collect::<Vec<_>>()
    };
    first
        .flat_map(of_point)
        .map(|(point, (errno, lasting))| Fault {
            point,
            errno,
            lasting,
        })
        .collect()
}

/// Git treats a reflog that it can't read as missing, without a word, so its lines are kept for
/// longer. libgit2 does the same with packed refs, which only matter here for lock files of the
/// default branch.
fn is_passed_over(fault: &Fault) -> bool {
    let Call {
        who, path, name, ..
    } = &fault.point.call;
    let unseen = fault.errno == Errno::EACCES || *name == "newfstatat";
    (&**who == "git reflog" && unseen && path.contains("/logs/"))
        || (*name == "mmap" && path.ends_with("/packed-refs"))
}

/// Returns what is wrong with how the run ended.
fn wrong_end(sweep: &Sweep, fault: &Fault, night: &Traced) -> Vec<String> {
    if night.hung {
        return vec!["it hangs".to_owned()];
    }
    let Ok(report) = serde_json::from_str::<RunReport>(&night.ran.out) else {
        return vec![format!(
            "it ended with {} and without a report: {}",
            night.ran.code, night.ran.err
        )];
    };
    let words = ERRORS
        .iter()
        .find(|(errno, _)| *errno == fault.errno)
        .unwrap()
        .1;
    let troubles = troubles(&report);
    let told = format!(
        "{:?} {troubles:?} {:?}",
        report.run.reason, report.eviction.obstacles
    );
    let named = told.contains(words);
    match night.ran.code {
        // A missing file can be real: then there is nothing to report.
        0 if fault.errno == Errno::ENOENT || is_passed_over(fault) => Vec::new(),
        0 => sweep
            .unlike_one_night()
            .into_iter()
            .map(|odd| format!("it ended with 0, and yet {odd}"))
            .collect(),
        // The program has words of its own for a missing file.
        3 if named || fault.errno == Errno::ENOENT => sweep
            .unlike_untouched()
            .into_iter()
            .map(|odd| format!("it was refused, and yet {odd}"))
            .collect(),
        1 if !troubles.iter().any(|trouble| trouble.kind != Kind::Warning) => {
            vec![format!("it ended with 1 and names no failure: {told}")]
        }
        3 => vec![format!("it was refused for another reason: {told}")],
        // Git has words of its own, and libgit2 sometimes has none.
        1 if !named
            && fault.errno != Errno::ENOENT
            && ![".git/", ".bare/"]
                .iter()
                .any(|git| fault.point.call.path.contains(git)) =>
        {
            vec![format!("unnamed: {told}")]
        }
        1 => Vec::new(),
        // Some versions of git loop for ever on a directory that can't be read, until the deadline.
        4 if fault.lasting => Vec::new(),
        code => vec![format!("it ended with {code}: {told} {}", night.ran.err)],
    }
}

/// Tries each of them and checks how the run ended. Nearly all must be reached.
fn all_end_well(chosen: &[Fault], total: usize) {
    let missed = AtomicUsize::new(0);
    let wrong = sweep(chosen, |sweep, fault| {
        sweep.bring_back();
        let night = sweep.night(fault.act());
        missed.fetch_add(usize::from(night.hit.is_none()), Ordering::Relaxed);
        let mut wrong = wrong_end(sweep, fault, &night);
        wrong.extend(sweep.lost());
        wrong.extend(
            sweep
                .recover(true)
                .into_iter()
                .map(|odd| format!("afterwards {odd}")),
        );
        // If a pointer seems missing, its content is evicted without it. Tools fetch that again.
        wrong.retain(|what| fault.errno != Errno::ENOENT || !what.contains(" is there, and "));
        wrong.retain(|what| {
            !is_passed_over(fault) || !what.contains(".git/logs/") && !what.contains(".bare/logs/")
        });
        let lasting = if fault.lasting { " from then on" } else { "" };
        wrong
            .iter()
            .map(|what| format!("{}{lasting} at {}: {what}", fault.errno, fault.point))
            .collect()
    });
    let missed = missed.into_inner();
    println!(
        "{} of {total} faults tried, {} met",
        chosen.len(),
        chosen.len() - missed
    );
    all_well(&wrong, missed, chosen.len());
}

#[test]
#[ignore = "slow"]
fn a_night_with_a_fault_loses_nothing_and_tells_of_it() {
    let all = faults();
    let total = all.len();
    let name = |fault: &Fault| format!("{} at {}", fault.errno, fault.point);
    all_end_well(&sample(all, 60, name), total);
}

/// A lock that one failed lookup hid once cost a missing tree its registration.
#[test]
#[ignore = "slow"]
fn a_lock_that_is_not_found_once_is_still_one() {
    let is_lock = |fault: &Fault| {
        let call = &fault.point.call;
        let ours = call.who.starts_with("treewarden") && call.path.ends_with("/locked");
        ours && fault.errno == Errno::ENOENT
    };
    let all: Vec<Fault> = faults().into_iter().filter(is_lock).collect();
    assert!(!all.is_empty(), "no lock is looked at");
    all_end_well(&all, all.len());
}

/// To git a directory of packs that can't be listed is empty: it once packed loose objects alone,
/// and the run took that for a repack.
#[test]
#[ignore = "slow"]
fn packs_that_git_can_not_see_are_reported() {
    let of_packs = |fault: &Fault| {
        let call = &fault.point.call;
        let looks = ["getdents64", "newfstatat"].contains(&call.name);
        let packs = call.path.contains("acme__tools/.bare/objects/pack");
        &*call.who == "git repack" && looks && packs && !fault.lasting
    };
    let all: Vec<Fault> = faults().into_iter().filter(of_packs).collect();
    assert!(all.len() >= 5, "{}", all.len());
    all_end_well(&all, all.len());
}

/// To git that is only a warning, and it reports success. It doesn't mention an old pack, which is
/// left for the next full repack.
#[test]
#[ignore = "slow"]
fn what_git_can_not_delete_is_told() {
    let warns = |call: &Call| {
        call.who.starts_with("git")
            && call.name.starts_with("unlink")
            && !call.path.contains("/objects/pack/")
    };
    let once = |fault: &Fault| fault.errno == Errno::EIO && !fault.lasting;
    let all: Vec<Fault> = faults()
        .into_iter()
        .filter(|fault| warns(&fault.point.call) && once(fault))
        .collect();
    assert!(all.len() >= 20, "{}", all.len());
    all_end_well(&all, all.len());
}
