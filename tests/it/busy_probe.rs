//! The busy probe: the operator's own command, run without a shell and with a minimal environment.
//! A repo that is busy day after day raises an alert.

use super::support::{World, age, map, same, write};
use chrono::Duration;
use treewarden::report::{RepoOutcome, RunReport};

/// Shifts the journal's runs a day into the past.
pub(crate) fn a_day_goes_by(world: &World) {
    let journal = world.at(".treewarden/journal.jsonl");
    let lines = std::fs::read_to_string(&journal).unwrap();
    let earlier = lines.lines().map(|line| {
        let mut run: RunReport = serde_json::from_str(line).unwrap();
        run.run.started -= Duration::days(1);
        serde_json::to_string(&run).unwrap() + "\n"
    });
    write(&journal, earlier.collect::<String>());
}

#[test]
fn a_repo_that_is_busy_night_after_night_is_alerted() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    world.repo("acme/quiet");
    shop.tree("landed").age(2.0);
    let answer = world.beside("answer");
    shop.set(&format!(
        "busy_probe: [sh, -c, 'exit $(cat {})']",
        answer.display()
    ));
    let mut nights = Vec::new();
    // Busy, busy twice on one day, idle, then busy five nights in a row: once because of a lock,
    // once because the probe failed.
    for (night, code) in ["0", "0", "0", "1", "0", "0", "lock", "7", "0"]
        .into_iter()
        .enumerate()
    {
        write(&answer, code.replace("lock", "0"));
        let held = (code == "lock").then(|| world.hold("acme__shop"));
        if night != 2 && night > 0 {
            a_day_goes_by(&world);
        }
        let report = world.night();
        drop(held);
        let row = report
            .repos
            .iter()
            .find(|repo| repo.name == "acme/shop")
            .unwrap();
        assert_eq!(row.outcome == RepoOutcome::Busy, code != "1");
        nights.push((
            row.lock.busy_nights,
            report.alerts.iter().any(|alert| alert.name == "RepoBusy"),
        ));
        if night == 8 {
            let alert = report
                .alerts
                .iter()
                .find(|alert| alert.name == "RepoBusy")
                .unwrap();
            let said = "busy day after day: acme/shop for 5 days (the busy probe says that somebody works here); end what holds them";
            assert!(alert.summary.starts_with(said), "{alert:?}");
            let told = world
                .treewarden(&["run"])
                .out
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            assert!(
                told.contains(
                    "busy for 5 days in a row: the busy probe says that somebody works here"
                ),
                "{told}"
            );
        }
    }
    let expected = [
        (1, false),
        (2, false),
        (2, false),
        (0, false),
        (1, false),
        (2, false),
        (3, true),
        (4, true),
        (5, true),
    ];
    assert_eq!(nights, expected);
}

#[test]
fn a_probe_gets_no_environment_but_its_own() {
    let world = World::new();
    let (said, script) = (world.beside("said"), world.beside("probe"));
    world
        .repo("acme/shop")
        .set(&format!("busy_probe: [sh, {}]", script.display()));
    write(
        &script,
        format!(
            "{{ pwd; env | cut -d= -f1 | sort; ls -l /proc/self/fd | grep -c lock; }} >{}; exit 1\n",
            said.display()
        ),
    );
    let night = "PROBE_TOKEN=x GIT_DIR=/x TREEWARDEN_WEBHOOK_URL=secret LD_DEBUG= HOME=/root TZ=UTC \"$0\" run";
    let ran = world.program("sh", &["-c", night, env!("CARGO_BIN_EXE_treewarden")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = std::fs::read_to_string(&said).unwrap();
    let mut lines = said.lines();
    let (first, last) = (lines.next().unwrap(), lines.next_back().unwrap());
    // The shell itself adds `PWD`.
    let names: Vec<&str> = lines.filter(|name| *name != "PWD").collect();
    assert_eq!(
        (first, last),
        ("/", "0"),
        "its directory, and no lock of ours: {said}"
    );
    assert_eq!(
        names,
        [
            "HOME",
            "PATH",
            "PROBE_TOKEN",
            "TMPDIR",
            "TREEWARDEN_REPO",
            "TZ"
        ]
    );
}

#[test]
fn any_answer_but_idle_leaves_the_repo_alone_and_says_why() {
    let world = World::new();
    let answers = [
        (
            "busy",
            "exit 0",
            "the busy probe says that somebody works here",
        ),
        (
            "odd",
            "exit 3",
            "the busy probe left with 3, which is neither 0 (busy) nor 1 (idle)",
        ),
        ("killed", "kill -9 $$", "the busy probe was killed"),
        ("idle", "exit 1", ""),
    ];
    for (name, script, _) in answers {
        let repo = world.repo(&format!("acme/{name}"));
        repo.tree("landed").age(2.0);
        let leftover = repo.git_dir("shallow.lock");
        write(&leftover, "");
        age(&leftover, 1.0);
        repo.set(&format!("busy_probe: [sh, -c, '{script}']"));
    }
    let report = world.night();
    let found = report
        .repos
        .iter()
        .map(|repo| (repo.name.clone(), repo.reason.clone().unwrap_or_default()))
        .collect();
    same(
        "reasons",
        &found,
        &answers
            .iter()
            .map(|(name, _, why)| (format!("acme/{name}"), (*why).to_owned()))
            .collect(),
    );
    let left = answers.iter().map(|(name, ..)| {
        let repo = super::support::repo::Repo::there(&world, &format!("acme/{name}"));
        (
            (*name).to_owned(),
            format!(
                "{} {}",
                repo.registered().len(),
                repo.git_dir("shallow.lock").exists()
            ),
        )
    });
    same(
        "what is left",
        &left.collect(),
        &map(&[
            ("busy", "2 true"),
            ("odd", "2 true"),
            ("killed", "2 true"),
            ("idle", "1 false"),
        ]),
    );
}
