//! A dry run names what the run after it does, in the same order, and leaves no trace.

use super::support::fleet::Fleet;
use super::support::snapshot::snapshot;
use super::support::{World, age, age_all, git, remove, same, write};
use std::collections::BTreeMap;
use treewarden::report::{RunReport, TreeOutcome, UnitOutcome};

/// Returns what a run did, or would do, in order: trees, registrations, leftovers, repacks, units.
pub(crate) fn deeds(report: &RunReport) -> BTreeMap<usize, String> {
    let mut deeds = Vec::new();
    for repo in &report.repos {
        deeds.push(format!(
            "{} {:?}: {} {}",
            repo.name, repo.gc.action, repo.gc.reason, repo.gc.before.loose_objects
        ));
        deeds.extend(
            repo.reason
                .iter()
                .map(|why| format!("{}: {why}", repo.name)),
        );
        deeds.extend(
            repo.gc
                .stale_locks
                .iter()
                .map(|path| format!("clear {}", path.display())),
        );
        deeds.extend(
            repo.prune
                .dropped
                .iter()
                .map(|path| format!("drop {}", path.display())),
        );
        deeds.extend(
            repo.prune
                .refused
                .iter()
                .map(|why| format!("{}: {why}", repo.name)),
        );
        for tree in &repo.worktrees {
            let goes = matches!(tree.outcome, TreeOutcome::Planned | TreeOutcome::Reaped);
            let kept = if goes {
                "goes".to_owned()
            } else {
                format!("{:?}", tree.outcome)
            };
            deeds.push(format!(
                "{kept} {} {:?} {:?} {:?}",
                tree.path.display(),
                tree.class,
                tree.because,
                tree.reasons
            ));
        }
    }
    for unit in &report.eviction.units {
        let goes = matches!(unit.outcome, UnitOutcome::Planned | UnitOutcome::Evicted);
        deeds.push(format!(
            "evict {goes} {} {} {} {}",
            unit.cache, unit.unit, unit.bytes, unit.inodes
        ));
    }
    deeds.into_iter().enumerate().collect()
}

/// Creates a fleet with a repo to repack, a crashed git's lock, and caches over budget.
pub(crate) fn everything() -> World {
    let Fleet { world, .. } = Fleet::new();
    let loose = world.repo("acme/loose");
    for n in 0..20 {
        loose.git(&["update-ref", &format!("refs/heads/b{n}"), "HEAD"]);
    }
    write(&loose.git_dir("packed-refs.lock"), "");
    age(&loose.git_dir("packed-refs.lock"), 1.0);
    let packs = world.repo("acme/packs");
    for n in 0..3 {
        packs.commit(60.0, "file.ts", &format!("{n}\n"));
        packs.git(&["repack", "-q", "-d"]);
    }
    age_all(&packs.git_dir("objects/pack"), 6.0);
    for (cache, units) in [("models", 4), ("data", 3)] {
        world.set(
            "caches",
            &format!("{{kind: folder, name: {cache}, path: caches/{cache}}}"),
        );
        for n in 1..=units {
            let unit = world.at(format!("caches/{cache}/{cache}-{n}"));
            write(&unit, vec![b'x'; 3_000_000 + n]);
            age(
                &unit,
                30.0 + f64::from(u32::try_from(n).unwrap())
                    + if cache == "data" { 0.5 } else { 0.0 },
            );
        }
    }
    // What a repack frees can't be foreseen, so the excess is large enough for it not to matter.
    world.set(
        "eviction",
        &format!("budget: {}", world.standing() - 3_500_000),
    );
    world
}

#[test]
fn nothing_changes_and_the_run_does_what_was_told() {
    let world = everything();
    let before = snapshot(&world.root);
    let dry = world.pass(0, &["run", "--dry-run"]);
    same("after a dry run", &snapshot(&world.root), &before);
    let report = world.pass(0, &["report"]);
    same("after a report", &snapshot(&world.root), &before);
    assert!(dry.run.dry_run && report.run.dry_run && dry.alerts.is_empty());
    let told = deeds(&dry);
    same("dry run and report", &deeds(&report), &told);

    let night = world.night();
    same("dry run and night", &deeds(&night), &told);
    assert!(!night.run.dry_run);
    // Two runs that do nothing would agree as well, so each kind of deed must occur.
    let said = told.into_values().collect::<Vec<_>>().join("\n");
    for deed in [
        "goes ",
        "clear ",
        "drop ",
        "Incremental",
        "Full",
        "evict true models models-4",
        "evict true data data-3",
        "Kept ",
    ] {
        assert!(said.contains(deed), "{deed}\n{said}");
    }
    assert_ne!(snapshot(&world.root), before);
    assert_eq!(night.totals.reaped, dry.totals.reaped);
    assert_eq!(night.totals.evicted, dry.totals.evicted);
}

#[test]
fn a_volume_that_no_night_was_on_yet_stays_as_it_was() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.tree("landed").age(2.0);
    // Without a lock directory, too: `init` created it, and somebody removed it.
    remove(&world.at(".treewarden/locks"));
    remove(&world.at(".treewarden/trash"));
    let before = snapshot(&world.root);
    for command in [
        &["run", "--dry-run"][..],
        &["report"],
        &["run", "--dry-run", "--only", "prune,gc"],
    ] {
        world.pass(0, command);
        for text in ["check", "history"] {
            assert_eq!(world.treewarden(&[text]).code, 0);
        }
        same(&format!("{command:?}"), &snapshot(&world.root), &before);
    }
    assert_eq!(git(&shop.path, 0.0, &["status", "--porcelain"]), "");
}

#[test]
fn a_dry_run_waits_for_nobody_and_takes_nobodys_lock() {
    let world = World::new();
    world.set("run", "deadline: 1h");
    world.repo("acme/shop").tree("landed").age(2.0);
    let _night = world.hold("volume");
    let before = snapshot(&world.root);
    let report = world.pass(0, &["report"]);
    assert_eq!(report.totals.reaped, 1);
    same(
        "after a report beside a night",
        &snapshot(&world.root),
        &before,
    );
}

#[test]
fn on_a_volume_in_order_nothing_would_be_freed() {
    let world = World::new();
    world.repo("acme/shop");
    let totals = world.pass(0, &["report"]).totals;
    assert_eq!((totals.freed_bytes, totals.freed_by_trash), (0, 0));
}
