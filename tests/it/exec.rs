//! `treewarden exec`: runs a command under its repo's lock, transparently, and never without the
//! lock.

use super::support::snapshot::snapshot;
use super::support::{Ran, Running, World, same, until, write};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use treewarden::report::RepoOutcome;

const SHOP: &str = "acme/shop";
const LOCK: &str = ".treewarden/locks/acme__shop.lock";

/// Runs a script under the lock of acme/shop.
fn exec(world: &World, options: &[&str], script: &str) -> Ran {
    start(world, options, script).end()
}

fn start(world: &World, options: &[&str], script: &str) -> Running {
    world.start(&[&["exec", SHOP], options, &["--", "sh", "-c", script]].concat())
}

/// Returns what `exec` says on standard error, if no worktree is named.
fn told(place: &std::path::Path) -> String {
    format!(
        "treewarden: running in `{}`, with the lock of {SHOP}\n",
        place.display()
    )
}

fn record(world: &World) -> String {
    std::fs::read_to_string(world.at(LOCK)).unwrap()
}

fn is_free(world: &World) -> bool {
    world.try_hold("acme__shop").is_some()
}

/// Returns a file that a script creates to say how far it got, as a path and as text.
fn mark(world: &World, name: &str) -> (PathBuf, String) {
    let path = world.beside(name);
    let text = path.display().to_string();
    (path, text)
}

/// Returns a shell loop that waits for the file, and gives up when the test's directory is gone.
fn waits(file: &std::path::Path) -> String {
    format!(
        "until [ -e {} ] || ! [ -d {} ]; do sleep 0.01; done",
        file.display(),
        file.parent().unwrap().display()
    )
}

#[test]
fn a_command_runs_where_it_is_told_to_with_its_caches_and_its_own_exit_code() {
    let world = World::new();
    world.set("caches", "{kind: npm, path: caches/npm}");
    let shop = world.repo(SHOP);
    let tree = shop.tree("fix");
    // A second tree with the same directory name has another name in git's registry.
    let twin = shop.tree_at("elsewhere/fix", "twin");
    let lone = shop.tree_at("elsewhere/lone", "lone");
    let script =
        "pwd; echo $PWD; echo $npm_config_cache; echo $TREEWARDEN_HOLDS; echo oops >&2; exit 42";
    for (options, place) in [
        (&[][..], &shop.path),
        (&["--worktree", "lone"], &lone.path),
        (&["--worktree", "fix"], &tree.path),
        (&["--worktree", "fix1"], &twin.path),
    ] {
        let ran = exec(&world, options, script);
        let expected = format!(
            "{0}\n{0}\n{1}\n{SHOP}\n",
            place.display(),
            world.at("caches/npm").display()
        );
        let told = if options.is_empty() {
            told(place)
        } else {
            String::new()
        };
        assert_eq!(
            (ran.code, ran.out, ran.err),
            (42, expected, format!("{told}oops\n")),
            "{options:?}"
        );
    }
    let beats = [&lone, &tree, &twin, &shop.tree("other")]
        .map(|tree| tree.admin.join("treewarden-heartbeat").exists());
    assert_eq!(beats, [true, true, true, false]);
    // What the error says when something that was asked for isn't there.
    let table: [(&[&str], i32, &str); 7] = [
        (
            &["exec", SHOP, "--worktree", "none", "--", "true"],
            2,
            "no worktree `none`; it has fix, fix, lone, other",
        ),
        (
            &["exec", SHOP, "--worktree", "../fix", "--", "true"],
            2,
            "no worktree `../fix`",
        ),
        (
            &["exec", "acme/none", "--", "true"],
            2,
            "the config has no repo `acme/none`; it has acme/shop",
        ),
        (&["exec", SHOP], 2, "CMD"),
        (
            &["exec", SHOP, "--wait", "1s", "--no-wait", "--", "true"],
            2,
            "--no-wait",
        ),
        (
            &["exec", SHOP, "--", "no-such-program"],
            127,
            "failed to run `no-such-program`: No such file",
        ),
        (
            &["exec", SHOP, "--", "/etc/passwd"],
            126,
            "failed to run `/etc/passwd`: Permission denied",
        ),
    ];
    for (typed, code, words) in table {
        let ran = world.treewarden(typed);
        assert!(
            ran.code == code && ran.err.contains(words) && ran.out.is_empty(),
            "{typed:?}: {ran:?}"
        );
    }
    assert_eq!((record(&world), is_free(&world)), (String::new(), true));
}

#[test]
fn the_command_has_what_it_would_have_without_us() {
    let world = World::new();
    let shop = world.repo(SHOP);
    let bare = |script: &str| world.program("sh", &["-c", script]);
    // Limits, ignored signals, standard input, and the environment except our own variables.
    // The C library's own signals, 32 and 33, are left out.
    let ask = "ulimit -Sn; ulimit -Hn; grep SigBlk /proc/self/status; \
               n=$(sed -n 's/SigIgn:.//p' /proc/self/status); echo $((0x$n & 0x7fffffff)); \
               umask; echo $FOO; cat";
    let before = "ulimit -Sn 512; umask 027; trap '' HUP USR1; export FOO=bar; printf 'a line' |";
    let through = format!(
        "{before} {} exec {SHOP} -- sh -c '{}'",
        env!("CARGO_BIN_EXE_treewarden"),
        ask.replace('\'', r"'\''")
    );
    let expected = bare(&format!("{before} sh -c '{}'", ask.replace('\'', r"'\''")));
    assert!(
        expected.out.starts_with("512\n") && expected.out.ends_with("bar\na line"),
        "{expected:?}"
    );
    let found = bare(&through);
    assert_eq!(
        (found.code, found.out, found.err),
        (0, expected.out, told(&shop.path))
    );
}

#[test]
fn the_lock_is_held_while_the_command_runs_and_names_it() {
    let world = World::new();
    let shop = world.repo(SHOP);
    shop.tree("landed").age(2.0);
    let (begun, name) = mark(&world, "begun");
    let go = world.beside("go");
    let wait = waits(&go);
    let running = start(&world, &[], &format!("touch {name}; {wait}"));
    until("it runs", || begun.exists());
    assert!(!is_free(&world));
    let pid = running.pid().as_raw_nonzero().to_string();
    let written = record(&world);
    assert!(
        written.contains("\"purpose\":\"exec\"") && written.contains(&format!("\"pid\":{pid},")),
        "{written}"
    );
    // A run skips the repo, and says why.
    let report = world.night();
    let holder = report.repos[0].lock.holder.clone().unwrap();
    assert_eq!(
        (report.repos[0].outcome, report.totals.reaped),
        (RepoOutcome::Busy, 0)
    );
    assert!(
        holder.contains(&format!("(pid {pid}) for `exec sh` since")),
        "{holder}"
    );
    // Another agent gives up as well, after the time that it was given.
    for (options, least) in [
        (&["--no-wait"][..], Duration::ZERO),
        (&["--wait", "1s"], Duration::from_secs(1)),
        (&[], Duration::ZERO),
    ] {
        let asked = Instant::now();
        let ran = exec(&world, options, "echo ran");
        assert!(
            ran.code == 75 && ran.out.is_empty() && asked.elapsed() >= least,
            "{options:?}: {ran:?}"
        );
        assert!(
            ran.err.contains("acme/shop: held by ")
                && ran
                    .err
                    .contains(&format!("(pid {pid}) for `exec sh` since")),
            "{ran:?}"
        );
    }
    // A waiting `exec` stops at a signal.
    let mut waiting = start(&world, &["--wait", "1m"], "echo ran");
    std::thread::sleep(Duration::from_millis(200));
    waiting.signal(Signal::TERM);
    let ran = waiting.end();
    assert!(ran.code == 128 + 15 && ran.out.is_empty(), "{ran:?}");
    // Waiting long enough gets the lock.
    let waiting = start(&world, &["--wait", "1m"], "echo ran");
    std::thread::sleep(Duration::from_millis(100));
    write(&go, "");
    let (first, second) = (running.end(), waiting.end());
    assert_eq!(
        (first.code, second.code, second.out.as_str()),
        (0, 0, "ran\n"),
        "{first:?} {second:?}"
    );
    assert_eq!((record(&world), is_free(&world)), (String::new(), true));
    assert_eq!(world.night().totals.reaped, 1);
}

#[test]
fn a_night_at_work_is_waited_for_repo_by_repo() {
    let world = World::new();
    let (begun, name) = mark(&world, "begun");
    let go = world.beside("go");
    let wait = waits(&go);
    world.repo(SHOP);
    world.repo("acme/other").set(&format!(
        "busy_probe: [sh, -c, 'touch {name}; {wait}; exit 1']"
    ));
    let night = world.start(&["run"]);
    until("the night is in the other repo", || begun.exists());
    assert!(
        world.try_hold("volume").is_none(),
        "the night holds the volume"
    );
    assert_eq!(exec(&world, &["--wait", "1m"], "exit 3").code, 3);
    let ran = world.treewarden(&["exec", "acme/other", "--no-wait", "--", "true"]);
    assert!(ran.code == 75 && ran.err.contains("for `run`"), "{ran:?}");
    write(&go, "");
    assert_eq!(night.end().code, 0);
}

#[test]
fn signals_reach_the_command_and_its_end_is_told() {
    let world = World::new();
    world.repo(SHOP);
    let (begun, name) = mark(&world, "begun");
    let all = [
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
    ];
    // A script that runs these tests in the background makes them ignore some signals. The command
    // then ignores them too, as it should.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok())
        .unwrap();
    let signals: Vec<Signal> = all
        .into_iter()
        .filter(|signal| ignored & (1 << (signal.as_raw() - 1)) == 0)
        .collect();
    assert!(signals.contains(&Signal::TERM));
    let mut found = BTreeMap::new();
    for &signal in &signals {
        let number = signal.as_raw();
        for (how, trap) in [
            ("trapped", format!("trap 'exit {}' {number};", 40 + number)),
            ("plain", String::new()),
        ] {
            if begun.exists() {
                super::support::remove(&begun);
            }
            let mut running = start(
                &world,
                &[],
                &format!("{trap} touch {name}; while :; do sleep 0.01; done"),
            );
            until("it runs", || begun.exists());
            running.signal(signal);
            found.insert((number, how), running.end().code);
        }
        until("nobody is left", || is_free(&world));
    }
    let expected = signals
        .into_iter()
        .map(Signal::as_raw)
        .flat_map(|n| [((n, "trapped"), 40 + n), ((n, "plain"), 128 + n)])
        .collect();
    same("exit codes", &found, &expected);
    // A signal that didn't come through treewarden counts as well.
    assert_eq!(exec(&world, &[], "kill -9 $$").code, 128 + 9);
    assert_eq!((record(&world), is_free(&world)), (String::new(), true));
}

#[test]
fn what_a_command_leaves_running_holds_the_lock() {
    for (start, said) in [("sh -c", true), ("setsid sh -c", false)] {
        let world = World::new();
        world.repo(SHOP);
        let (begun, name) = mark(&world, "begun");
        let (begins, wait) = (waits(&begun), waits(&world.beside("go")));
        let script = format!("{start} 'touch {name}; {wait}' & {begins}; exit 5");
        let ran = exec(&world, &[], &script);
        assert_eq!(
            (
                ran.code,
                ran.err
                    .contains("what it started goes on, and with it the lock")
            ),
            (5, said),
            "{ran:?}"
        );
        assert!(!is_free(&world));
        let ran = exec(&world, &["--no-wait"], "true");
        assert!(
            ran.code == 75 && ran.err.contains("for `exec sh` since"),
            "its starter's name stays: {ran:?}"
        );
        write(&world.beside("go"), "");
        until("it has ended", || is_free(&world));
        assert_eq!(exec(&world, &["--no-wait"], "exit 6").code, 6);
        assert_eq!(record(&world), "");
    }
}

/// Counts the processes with this word in their command line.
fn processes(word: &str) -> usize {
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok());
    all.filter(|line| {
        line.windows(word.len())
            .any(|window| window == word.as_bytes())
    })
    .count()
}

#[test]
fn a_killed_holder_takes_its_command_along_and_leaves_the_lock_free() {
    let world = World::new();
    world.repo(SHOP);
    let (begun, name) = mark(&world, "begun");
    // A child that ignores these signals, and a grandchild.
    let loops = format!(
        "trap '' TERM INT HUP; {}",
        waits(&world.beside("begun.never"))
    );
    let mut running = start(
        &world,
        &[],
        &format!(
            "sh -c \"{loops}\" & sh -c \"sh -c '{}' & wait\" & touch {name}; wait",
            "sleep 1000"
        ),
    );
    until("it runs", || {
        begun.exists() && processes(&format!("{name}.never")) > 1
    });
    running.signal(Signal::KILL);
    let killed = Instant::now();
    assert_eq!(running.end().code, 128 + 9);
    until("the lock is free", || is_free(&world));
    println!("free {} ms after the kill", killed.elapsed().as_millis());
    until("nobody is left", || {
        processes(&format!("{name}.never")) == 0
    });
    assert!(record(&world).contains("exec"), "nobody took the name out");
    assert_eq!(exec(&world, &["--no-wait"], "exit 6").code, 6);
}

#[test]
fn who_left_the_command_s_group_holds_the_lock_even_so() {
    let world = World::new();
    world.repo(SHOP);
    let (begun, name) = mark(&world, "begun");
    let go = world.beside("go");
    let wait = waits(&go);
    let away = format!("touch {name}; {wait}");
    let mut running = start(&world, &[], &format!("setsid sh -c '{away}' & sleep 1000"));
    until("it runs", || begun.exists());
    running.signal(Signal::KILL);
    assert_eq!(running.end().code, 128 + 9);
    // The lock stays taken while a process from outside the group is still running.
    std::thread::sleep(Duration::from_millis(200));
    assert!(!is_free(&world));
    write(&go, "");
    until("the lock is free", || is_free(&world));
}

#[test]
fn many_agents_get_their_turns_one_by_one() {
    let world = World::new();
    let shop = world.repo(SHOP);
    let (_, count) = mark(&world, "count");
    write(&world.beside("count"), "0\n");
    // An update is lost as soon as two run at once.
    let add = format!("read n <{count}; sleep 0.002; echo $((n + 1)) >{count}");
    let config = world.beside("agents.yaml");
    std::fs::copy(world.config(), &config).unwrap();
    let turn = format!(
        "{} --config {} exec {SHOP} --wait 1m -- sh -c '{add}'",
        env!("CARGO_BIN_EXE_treewarden"),
        config.display()
    );
    let agents: Vec<Running> = (0..8)
        .map(|_| world.start_program("sh", &["-euc", &[turn.as_str(); 10].join("\n")]))
        .collect();
    for agent in agents {
        let ran = agent.end();
        assert_eq!((ran.code, ran.err), (0, told(&shop.path).repeat(10)));
    }
    assert_eq!(
        std::fs::read_to_string(world.beside("count")).unwrap(),
        "80\n"
    );
    assert_eq!(record(&world), "");
}

#[test]
fn nothing_runs_where_nothing_may() {
    let world = World::new();
    let shop = world.repo(SHOP);
    let refused = |what: &str, words: &str| {
        let before = snapshot(&shop.path);
        let ran = exec(&world, &[], "echo ran; touch made");
        assert!(
            ran.code == 3 && ran.err.contains(words) && ran.out.is_empty(),
            "{what}: {ran:?}"
        );
        same(what, &snapshot(&shop.path), &before);
        assert_eq!(
            (record(&world), is_free(&world)),
            (String::new(), true),
            "{what}"
        );
    };
    let encrypted = "this is a git-crypt repo: encrypted files must not be edited from a worktree";
    write(
        &shop.path.join(".gitattributes"),
        "*.txt text\nsecret/** filter=git-crypt diff=git-crypt\n",
    );
    refused("by attribute", encrypted);
    super::support::remove(&shop.path.join(".gitattributes"));
    shop.git(&["config", "filter.git-crypt.smudge", "git-crypt smudge"]);
    refused("by filter", encrypted);
    shop.git(&["config", "--remove-section", "filter.git-crypt"]);
    write(&shop.git_dir("git-crypt/keys/default"), "key");
    refused("by key", encrypted);
    super::support::remove(&shop.git_dir("git-crypt"));
    assert_eq!(exec(&world, &[], "true").code, 0);
    // A link in place of a directory isn't followed.
    world.enrol("acme/none", "");
    std::os::unix::fs::symlink(&shop.path, world.at("acme__link")).unwrap();
    world.enrol("acme/link", "");
    for (repo, words) in [
        ("acme/none", "there is no git checkout"),
        ("acme/link", "failed to read `acme__link/.git`"),
    ] {
        let ran = world.treewarden(&["exec", repo, "--", "echo", "ran"]);
        assert!(
            ran.code == 3 && ran.err.contains(words) && ran.out.is_empty(),
            "{repo}: {ran:?}"
        );
    }
    // Nobody takes a second lock while holding one, not even the same one again.
    for nested in [
        "exec acme/shop -- echo ran",
        "worktree add acme/none fix",
        "worktree remove acme/shop fix",
        "enroll acme/none",
    ] {
        let ran = exec(
            &world,
            &[],
            &format!("{} {nested}", env!("CARGO_BIN_EXE_treewarden")),
        );
        assert!(
            ran.code == 2
                && ran.err.contains("under the lock of acme/shop already")
                && ran.out.is_empty(),
            "{nested}: {ran:?}"
        );
    }
    // A volume without our sentinel.
    super::support::remove(&world.at(".treewarden/volume.json"));
    let ran = exec(&world, &[], "echo ran");
    assert!(
        ran.code == 3 && ran.err.contains("treewarden init") && ran.out.is_empty(),
        "{ran:?}"
    );
}

#[test]
#[ignore = "needs a quarter of a minute"]
fn a_sign_of_life_is_given_and_a_lost_lock_ends_the_command() {
    for theft in ["rm LOCK", "mv LOCK LOCK.old; touch LOCK", "echo {} > LOCK"] {
        let world = World::new();
        let shop = world.repo(SHOP);
        let tree = shop.tree("fix");
        let (begun, name) = mark(&world, "begun");
        let running = start(
            &world,
            &["--worktree", "fix"],
            &format!("trap 'echo told; exit 9' TERM; touch {name}; while :; do sleep 0.01; done"),
        );
        until("it runs", || begun.exists());
        let beats = [world.at(LOCK), tree.admin.join("treewarden-heartbeat")];
        let seen = || {
            beats
                .each_ref()
                .map(|file| file.metadata().unwrap().modified().unwrap())
        };
        let (first, written) = (seen(), record(&world));
        until("both hearts beat", || {
            seen().iter().zip(&first).all(|(now, first)| now > first)
        });
        assert_eq!(record(&world), written);
        let theft = theft.replace("LOCK", world.at(LOCK).to_str().unwrap());
        assert_eq!(world.program("sh", &["-c", &theft]).code, 0);
        let ran = running.end();
        assert!(
            ran.code == 1
                && ran.out == "told\n"
                && ran
                    .err
                    .contains("acme/shop: ended the command: lost the lock"),
            "{theft}: {ran:?}"
        );
    }
}

#[test]
#[ignore = "needs script, which gives it a terminal"]
fn at_a_terminal_the_command_is_in_the_foreground() {
    let world = World::new();
    world.repo(SHOP);
    let typed = |script: &str, keys: &str| {
        let file = world.beside("script.sh");
        write(&file, script);
        let ours = format!(
            "exec {} exec {SHOP} -- sh {}",
            env!("CARGO_BIN_EXE_treewarden"),
            file.display()
        );
        world.program(
            "sh",
            &["-c", &format!("{keys} | script -qefc '{ours}' /dev/null")],
        )
    };
    let ran = typed("read line; echo got $line", "echo hello");
    assert!(
        ran.code == 0 && ran.out.contains("got hello"),
        "it reads from the terminal: {ran:?}"
    );
    // The key is pressed only once the command has begun, however slow the machine is.
    let ctrl_c = |mark: &str| {
        let mark = world.beside(mark);
        let key = format!(
            "{{ until [ -e {0} ]; do sleep 0.1; done; sleep 0.5; printf '\\003'; sleep 5; }}",
            mark.display()
        );
        (mark, key)
    };
    let (mark, key) = ctrl_c("trapped");
    let script = format!(
        "n=0; i=0; trap 'n=$((n+1))' INT; touch {}; \
         while [ $n = 0 ] && [ $i -lt 99 ]; do sleep 0.5; i=$((i+1)); done; sleep 2; \
         exit $((40+n))",
        mark.display()
    );
    let ran = typed(&script, &key);
    assert_eq!(ran.code, 41, "Ctrl-C reaches it once: {ran:?}");
    let (mark, key) = ctrl_c("asleep");
    let ran = typed(&format!("touch {}; sleep 60", mark.display()), &key);
    assert_eq!((ran.code, is_free(&world)), (130, true), "{ran:?}");
}
