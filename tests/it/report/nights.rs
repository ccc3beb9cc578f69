//! Hand-written reports of typical runs: rich, idle, dry and disastrous.

use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use treewarden::facts::cache::UsedFrom;
use treewarden::report::{
    Class, CouldGo, Counts, Eviction, Gc, GcAction, HeldBy, HeldUnits, Level, Lock, Prune, Repo,
    RepoOutcome, Rescues, Run, RunOutcome, RunReport, SCHEMA, Totals, TreeOutcome, Unit,
    UnitOutcome, VerdictName, Volume, Worktree,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY: u64 = 24 * 60 * 60;

fn started() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 21, 3, 0, 0).unwrap()
}

fn level(used: u64, used_inodes: u64) -> Level {
    Level {
        used_bytes: used,
        free_bytes: 200 * GIB - used,
        used_inodes,
        standing_bytes: None,
    }
}

fn night(seconds: i64, before: Level, after: Level, repos: Vec<Repo>) -> RunReport {
    RunReport {
        schema: SCHEMA.to_owned(),
        run: Run {
            id: "0b0e5a3c-6f3d-4c1e-9d2a-5b1f0c7e9a11".to_owned(),
            started: started(),
            finished: started() + TimeDelta::seconds(seconds),
            as_of: None,
            dry_run: false,
            shard: None,
            asked: None,
            host: "treewarden-29398140-x7k2p".to_owned(),
            version: "0.1.0".to_owned(),
            outcome: RunOutcome::Ok,
            reason: None,
        },
        volume: Volume {
            root: "/data".into(),
            total_bytes: 200 * GIB,
            total_inodes: 26_000_000,
            before,
            after,
            high: 0.85,
            low: 0.75,
            budget_bytes: None,
        },
        repos,
        eviction: Eviction {
            reason: "61 % of bytes is under the high mark of 85 %".to_owned(),
            ..Eviction::default()
        },
        usage: Vec::new(),
        totals: Totals::default(),
        alerts: Vec::new(),
        failures: Vec::new(),
        notes: Vec::new(),
        left_out: Vec::new(),
    }
}

fn repo(name: &str, outcome: RepoOutcome, seconds: f64, worktrees: Vec<Worktree>) -> Repo {
    Repo {
        name: name.to_owned(),
        path: format!("/data/{}", name.replace('/', "__")).into(),
        outcome,
        reason: None,
        unchanged_since: None,
        seconds,
        lock: Lock::default(),
        prune: Prune::default(),
        rescues: Rescues::default(),
        over_cap: None,
        gc: Gc {
            reason: "little to repack".to_owned(),
            ..Gc::default()
        },
        worktrees,
        failures: Vec::new(),
    }
}

fn repack(action: GcAction, before: (u64, u64, u64), after: (u64, u64, u64)) -> Gc {
    let counts = |(loose_objects, packs, bytes)| Counts {
        loose_objects,
        packs,
        bytes,
    };
    Gc {
        action,
        reason: "9 packs are more than 8".to_owned(),
        before: counts(before),
        after: counts(after),
        stale_locks: Vec::new(),
    }
}

fn tree(path: impl Into<PathBuf>, because: &str, reason: &str) -> Worktree {
    let path = path.into();
    Worktree {
        branch: path
            .file_name()
            .map(|name| format!("afk/{}", name.to_string_lossy())),
        path,
        kind: None,
        head: Some("4f0c2d9b1e".to_owned()),
        class: None,
        verdict: VerdictName::Keep,
        reasons: vec![reason.to_owned()],
        because: because.to_owned().into(),
        idle_seconds: Some(3 * 60 * 60),
        goes_at: None,
        bytes: None,
        outcome: TreeOutcome::Kept,
        rescue_ref: None,
    }
}

fn recent(root: &str, names: &[&str]) -> Vec<Worktree> {
    names
        .iter()
        .map(|name| tree(format!("{root}/{name}"), "recent", "active 3 hours ago"))
        .collect()
}

fn reaped(path: &str, class: Class, days: u64, bytes: u64, reason: &str) -> Worktree {
    let mut tree = tree(path, "idle", reason);
    tree.class = Some(class);
    tree.verdict = VerdictName::Reap;
    tree.idle_seconds = Some(days * DAY);
    tree.bytes = Some(bytes);
    tree.outcome = TreeOutcome::Reaped;
    tree
}

fn unit(cache: &str, kind: &str, name: &str, bytes: u64, days: i64) -> Unit {
    Unit {
        cache: cache.to_owned(),
        kind: kind.to_owned(),
        unit: name.to_owned(),
        bytes,
        inodes: 12,
        last_used: started() - TimeDelta::days(days),
        last_used_from: UsedFrom::WriteTime,
        named_by: None,
        in_use: false,
        outcome: UnitOutcome::Evicted,
    }
}

/// Returns a run with a bit of everything, in which only one tree failed.
pub(crate) fn rich() -> RunReport {
    let mut report = night(
        742,
        level(180 * GIB, 11_200_000),
        level(149 * GIB, 9_900_000),
        rich_repos(),
    );
    report.eviction = rich_eviction();
    report.tally(34 * MIB, GIB + 200 * MIB);
    report
}

fn rich_repos() -> Vec<Repo> {
    let mut shop = repo("acme/shop", RepoOutcome::Maintained, 214.0, shop_trees());
    shop.gc = repack(GcAction::Full, (412, 9, 240 * MIB), (0, 1, 206 * MIB));
    shop.gc.stale_locks = vec!["/data/acme__shop/.git/worktrees/cart-totals/index.lock".into()];
    shop.prune.dropped = vec![
        "/data/acme__shop/.worktrees/issue-12".into(),
        "/data/acme__shop/.worktrees/issue-15".into(),
    ];
    shop.rescues.kept = 3;
    shop.rescues.next_expires = Some(started() + TimeDelta::days(4));
    let mut site = repo(
        "acme/marketing-site",
        RepoOutcome::Maintained,
        2.4,
        recent("/data/worktrees/acme__marketing-site", &["hero"]),
    );
    site.lock.waited_seconds = 247.0;
    site.worktrees.push(tree(
        "/data/worktrees/acme__marketing-site/old-hero",
        "dangling",
        "its admin directory is gone: no repo knows it",
    ));
    let mut api = repo("acme/api", RepoOutcome::Busy, 600.0, vec![]);
    api.lock = Lock {
        waited_seconds: 600.0,
        holder: Some("agent-7f9c/exec (pid 812) since 02:41 UTC".to_owned()),
        busy_nights: 4,
    };
    let mut etl = repo("data/etl", RepoOutcome::Maintained, 31.0, etl_trees());
    etl.gc = repack(
        GcAction::Incremental,
        (88, 3, 90 * MIB),
        (0, 2, 90 * MIB + 4 * KIB),
    );
    vec![shop, site, api, etl]
}

fn shop_trees() -> Vec<Worktree> {
    let root = "/data/acme__shop/.worktrees";
    let mut trees = vec![
        reaped(
            &format!("{root}/fix-cart"),
            Class::Landed,
            3,
            2 * GIB + 100 * MIB,
            "squash-merged into origin/main as 9c1d2e4, idle over 1 day",
        ),
        reaped(
            &format!("{root}/issue-41-checkout-copy-for-the-holiday-season"),
            Class::Saved,
            16,
            900 * MIB,
            "all commits are on branch afk/issue-41-checkout-copy-for-the-holiday-season, idle over 7 days",
        ),
        reaped(
            &format!("{root}/try-vite"),
            Class::Unsaved,
            37,
            3 * GIB + 300 * MIB,
            "3 changed files, idle over 30 days",
        ),
    ];
    trees[2].branch = None;
    trees[2].rescue_ref = Some("refs/treewarden/rescue/try-vite/20261121T030112Z".to_owned());
    trees.extend(recent(
        root,
        &[
            "cart-totals",
            "coupons",
            "dark-mode",
            "issue-52",
            "issue-53",
            "issue-57",
            "refunds",
            "search",
            "vat",
        ],
    ));
    trees.push(tree(
        format!("{root}/release"),
        "locked",
        "locked: the release robot lives here",
    ));
    trees.push(tree(
        format!("{root}/rebase-me"),
        "in progress",
        "a rebase is under way",
    ));
    trees
}

fn etl_trees() -> Vec<Worktree> {
    let mut failed = reaped(
        "/data/worktrees/data__etl/backfill",
        Class::Landed,
        9,
        GIB,
        "merged into origin/main",
    );
    failed.because = "landed".to_owned().into();
    failed.outcome = TreeOutcome::Failed(
        "failed to rename `/data/worktrees/data__etl/backfill` into the trash: Permission denied; give uid 1000 write access to `/data/worktrees/data__etl`"
            .to_owned(),
    );
    let mut unknown = tree(
        "/data/worktrees/data__etl/parquet",
        "unreadable",
        "failed to stat `src`: Input/output error; it stays until the mount answers",
    );
    unknown.verdict = VerdictName::Unknown;
    let mut trees = vec![failed];
    trees.extend(recent("/data/worktrees/data__etl", &["schema-v3"]));
    trees.push(unknown);
    trees
}

fn rich_eviction() -> Eviction {
    let mut units: Vec<Unit> = (0..41u64)
        .map(|i| {
            unit(
                "npm",
                "npm",
                &format!("content-v2/sha512/{i:02x}/9f"),
                (20 + i * 7) * MIB,
                200 - i64::try_from(i).unwrap() * 3,
            )
        })
        .collect();
    units.push(unit(
        "cargo",
        "cargo",
        "registry/src/index.crates.io-1949cf8c6b5b557f/aws-sdk-ec2-1.98.0",
        412 * MIB,
        64,
    ));
    units.push(unit("cargo", "cargo", "git/db/polars-0a7f2c", 2 * GIB, 64));
    units.push(unit(
        "models",
        "folder",
        "whisper-large-v3",
        14 * GIB + 700 * MIB,
        91,
    ));
    // Half of npm's units were once named by a lock file, and one of cargo's is named now.
    for unit in units.iter_mut().take(41).step_by(2) {
        (unit.last_used_from, unit.named_by) =
            (UsedFrom::Named, Some("acme/marketing-site".to_owned()));
    }
    (
        units[42].last_used_from,
        units[42].named_by,
        units[42].in_use,
    ) = (UsedFrom::Named, Some("data/etl".to_owned()), true);
    let mut used = unit(
        "go-mod",
        "go-mod",
        "golang.org/x/tools@v0.24.0",
        40 * MIB,
        90,
    );
    used.outcome = UnitOutcome::Skipped("used since they were listed".to_owned());
    units.push(used);
    Eviction {
        triggered: true,
        reason: "86 % of bytes after reaping is over the high mark of 85 %".to_owned(),
        wanted_bytes: 22 * GIB + 400 * MIB,
        freed_bytes: 23 * GIB + 512 * MIB,
        obstacles: vec!["pip: 212 units, 1.4 GiB, are younger than 24 hours".to_owned()],
        units,
        ..Eviction::default()
    }
}

/// Returns a run with nothing to do.
pub(crate) fn idle() -> RunReport {
    let mut shop = recent(
        "/data/acme__shop/.worktrees",
        &["cart-totals", "coupons", "vat"],
    );
    shop.push(tree(
        "/data/acme__shop/.worktrees/release",
        "locked",
        "locked: the release robot lives here",
    ));
    let repos = vec![
        repo("acme/shop", RepoOutcome::Maintained, 1.2, shop),
        repo(
            "acme/api",
            RepoOutcome::Maintained,
            0.8,
            recent("/data/worktrees/acme__api", &["tokens"]),
        ),
        repo("data/etl", RepoOutcome::Maintained, 0.4, vec![]),
    ];
    let mut report = night(
        4,
        level(122 * GIB, 8_000_000),
        level(122 * GIB, 8_000_000),
        repos,
    );
    report.tally(0, 0);
    report
}

/// Returns a run over a budget, which is not all that the disk holds.
pub(crate) fn budgeted() -> RunReport {
    let mut report = rich();
    report.volume.budget_bytes = Some(25 * GIB);
    report.volume.before.standing_bytes = Some(26 * GIB);
    report.volume.after.standing_bytes = Some(22 * GIB);
    report
}

/// Returns the dry run of the rich one.
pub(crate) fn rehearsal() -> RunReport {
    let mut report = rich();
    report.run.dry_run = true;
    report.run.finished = started() + TimeDelta::seconds(19);
    report.repos.retain(|repo| repo.name != "data/etl");
    for repo in &mut report.repos {
        if repo.outcome == RepoOutcome::Maintained {
            repo.outcome = RepoOutcome::Planned;
        }
        repo.gc.after = repo.gc.before;
        repo.seconds /= 40.0;
        for tree in repo
            .worktrees
            .iter_mut()
            .filter(|tree| tree.outcome == TreeOutcome::Reaped)
        {
            tree.outcome = TreeOutcome::Planned;
            tree.rescue_ref = None;
        }
        (repo.lock.waited_seconds, repo.lock.busy_nights) = (0.0, 0);
    }
    report
        .eviction
        .units
        .retain(|unit| unit.cache != "npm" && unit.outcome == UnitOutcome::Evicted);
    for unit in &mut report.eviction.units {
        unit.outcome = UnitOutcome::Planned;
    }
    report.eviction.wanted_bytes = 17 * GIB;
    report.eviction.freed_bytes = 17 * GIB + 88 * MIB;
    report.volume.after = level(155 * GIB, 10_100_000);
    report.tally(0, GIB + 200 * MIB);
    report
}

/// Names made to fool a terminal, and everything going wrong at once.
pub(crate) fn disaster() -> RunReport {
    let mut report = night(
        14_400,
        level(190 * GIB, 25_900_000),
        level(186 * GIB, 25_700_000),
        disaster_repos(),
    );
    report.run.outcome = RunOutcome::Interrupted;
    report.run.reason = Some("stopped by the deadline of 4 h; the rest comes next run".to_owned());
    report.run.shard = Some("1/2".to_owned());
    let mut failed = unit(
        "pip\u{1b}[2J",
        "pip",
        "http-v2/\u{9b}31m\nfake",
        5 * MIB,
        40,
    );
    failed.outcome = UnitOutcome::Failed(
        "failed to rename `http-v2/\nfake`: Stale file handle; it is tried again next run"
            .to_owned(),
    );
    report.eviction = Eviction {
        triggered: true,
        reason: "99 % of inodes is over the high mark of 85 %".to_owned(),
        wanted_bytes: 36 * GIB,
        freed_bytes: 2 * GIB,
        shortfall_bytes: 34 * GIB,
        wanted_inodes: 6_400_000,
        freed_inodes: 200_000,
        shortfall_inodes: 6_200_000,
        obstacles: vec![
            "models: 30 GiB are its reserve\u{7}".to_owned(),
            "npm: unreadable\r\nAll in order".to_owned(),
        ],
        held: vec![
            HeldUnits {
                by: HeldBy::Reserve,
                cache: "models".to_owned(),
                units: 3,
            },
            HeldUnits {
                by: HeldBy::InUse,
                cache: "npm".to_owned(),
                units: 1200,
            },
        ],
        could_go: vec![CouldGo {
            cache: "models".to_owned(),
            unit: "whisper\u{1b}[2J".to_owned(),
            bytes: 14 * GIB,
            by: HeldBy::Reserve,
        }],
        units: vec![
            unit("npm", "npm", "evil\u{202e}gpj.exe", 2 * GIB, 1),
            failed,
        ],
        rungs: Vec::new(),
    };
    report.failures =
        vec!["failed to empty the trash entry `0197\t\u{1b}]0;owned\u{7}`: Directory not empty; the next run goes on".to_owned()];
    report.tally(0, 0);
    report
}

fn disaster_repos() -> Vec<Repo> {
    let stopped = "the run stopped before its turn; it comes first next time";
    let mut hostile = repo(
        "acme/shop\u{1b}[31m",
        RepoOutcome::Maintained,
        61.0,
        hostile_trees(),
    );
    hostile.gc = repack(
        GcAction::Incremental,
        (7000, 12, 900 * MIB),
        (0, 3, 880 * MIB),
    );
    hostile.gc.stale_locks = vec!["/data/acme__shop/.git/\u{202e}kcol".into()];
    hostile.failures = vec![
        "failed to write the commit-graph: No space left on device; free some room on `/data`"
            .to_owned(),
    ];
    let mut infra = repo("acme/infra", RepoOutcome::Refused, 0.1, vec![]);
    infra.reason = Some("it is a git-crypt repo: encrypted files must not be edited from a worktree; take it out of the config".to_owned());
    let mut missing = repo("data/etl", RepoOutcome::Maintained, 3.0, vec![]);
    missing.prune.refused = Some(
        "7 of 9 registered trees are missing at once: is the volume mounted in full?".to_owned(),
    );
    let mut broken = repo("data/lake", RepoOutcome::Failed, 12.0, vec![]);
    broken.reason =
        Some("failed to open `/data/data__lake`: config\nline 3 is no config; run `git -C /data/data__lake config --list`".to_owned());
    let mut late =
        ["zeta/a", "zeta/b", "zeta/c"].map(|name| repo(name, RepoOutcome::Refused, 0.0, vec![]));
    for repo in &mut late {
        repo.reason = Some(stopped.to_owned());
    }
    [vec![hostile, infra, missing, broken], late.to_vec()].concat()
}

fn hostile_trees() -> Vec<Worktree> {
    let mut gone = reaped(
        "/data/acme__shop/.worktrees/a\u{1b}[2K\nFreed 9 TiB",
        Class::Unsaved,
        50,
        2 * GIB,
        "1 untracked file `\u{7}\u{8}x`",
    );
    gone.branch = Some("\u{202e}niam\u{2066}\u{1b}[1A".to_owned());
    gone.rescue_ref = Some("refs/treewarden/rescue/a\u{85}b/1".to_owned());
    let mut failed = reaped(
        "/data/acme__shop/.worktrees/b\rc",
        Class::Landed,
        5,
        GIB,
        "merged",
    );
    failed.outcome =
        TreeOutcome::Failed("failed to rescue `b\rc`: \u{1b}c; look at it by hand".to_owned());
    let latin1 = PathBuf::from(OsStr::from_bytes(b"/data/acme__shop/.worktrees/caf\xe9"));
    let mut unknown = tree(
        latin1,
        "unreadable",
        "failed to read `.git`: Input/output error\u{2028}; it stays",
    );
    unknown.verdict = VerdictName::Unknown;
    unknown.idle_seconds = Some(45 * 86_400);
    let kept = tree(
        "/data/acme__shop/.worktrees/k\u{200b}ept\u{feff}",
        "rec\u{1b}[7ment",
        "active\tnow",
    );
    vec![gone, failed, kept, unknown]
}

/// Returns a refused run.
pub(crate) fn refused() -> RunReport {
    let mut report = night(0, Level::default(), Level::default(), vec![]);
    report.volume.total_bytes = 0;
    report.run.outcome = RunOutcome::Refused;
    report.run.reason =
        Some("failed to read the sentinel `/data/.treewarden/volume.json`: No such file or directory; is the volume mounted? A new one wants `treewarden init /data`".to_owned());
    report.eviction = Eviction::default();
    report.tally(0, 0);
    report
}
