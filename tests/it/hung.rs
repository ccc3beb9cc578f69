//! A run that hangs in an uninterruptible system call ends even so, and reports what it did.

use super::support::{World, until};
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::time::{Duration, Instant};
use treewarden::report::{RepoOutcome, RunOutcome};

/// Waits for any thread, not only the first of a process.
const ALL: WaitPidFlag = WaitPidFlag::__WALL;

/// Stops all threads of a process except those of this name, so that they seem to hang.
fn halt_all_but(name: &str, process: i32) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut halted = Vec::new();
    for thread in threads.map(|thread| thread.unwrap()) {
        if fs::read_to_string(thread.path().join("comm"))
            .unwrap()
            .trim()
            == name
        {
            continue;
        }
        let id = thread.file_name().to_str().unwrap().parse().unwrap();
        let thread = Pid::from_raw(id);
        ptrace::seize(thread, Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(ALL)).unwrap();
        halted.push(thread);
    }
    halted
}

#[test]
#[ignore = "needs a quarter of a minute"]
fn a_run_that_hangs_is_ended_and_tells_what_it_did() {
    let world = World::new();
    world.repo("acme/quiet").tree("landed").age(2.0);
    let (hung, mark) = (world.repo("acme/hung"), world.beside("mark"));
    hung.set(&format!(
        "busy_probe: [sh, -c, 'touch {}; exec sleep 40']",
        mark.display()
    ));
    world.set_variable("TREEWARDEN_TEST_SILENT", "10".to_owned());
    let began = Instant::now();
    let mut running = world.start(&["run", "--deadline", "4s", "--format", "json"]);
    until("the probe is asked", || mark.exists());
    // Meanwhile the other repo is done.
    std::thread::sleep(Duration::from_secs(2));
    let process = running.pid().as_raw_nonzero().get();
    let halted = halt_all_but("watchdog", process);
    assert!(halted.len() > 4 && running.runs());
    // The process' end shows only once each thread's end was waited for.
    let mut still_hangs = false;
    while running.runs() {
        let threads = halted.iter().filter(|thread| thread.as_raw() != process);
        for thread in threads {
            let _gone_already = waitpid(*thread, Some(ALL | WaitPidFlag::WNOHANG));
        }
        if began.elapsed() > Duration::from_mins(1) {
            still_hangs = true;
            running.signal(rustix::process::Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let ran = running.end();
    assert!(!still_hangs, "{ran:?}");
    assert!(
        ran.code == 4 && began.elapsed() > Duration::from_secs(13),
        "after {:?}: {ran:?}",
        began.elapsed()
    );
    let report = ran.report();
    assert_eq!(report.run.outcome, RunOutcome::Interrupted);
    let rows: Vec<(&str, RepoOutcome, usize)> = report
        .repos
        .iter()
        .map(|row| (row.name.as_str(), row.outcome, row.failures.len()))
        .collect();
    assert_eq!(
        rows,
        [
            ("acme/hung", RepoOutcome::Failed, 1),
            ("acme/quiet", RepoOutcome::Maintained, 0),
        ],
        "{report:#?}"
    );
    assert!(report.worktrees().all(|tree| !tree.goes()));
    let past = world.history();
    assert_eq!(past.last().map(|run| &run.run), Some(&report.run));
    // What it held is free, and the next run does what it left.
    hung.set("busy_probe: []");
    world.night();
    assert!(!world.at("worktrees/acme__quiet/landed").exists());
}
