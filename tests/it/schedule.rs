//! `treewarden schedule`: what systemd makes of the units, with a user manager of the test's own.

use super::support::{Ran, World, write};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Characters that mean something to systemd or a shell.
const ODD: &str = "50%h $HOME ${x} é";
const UNITS: [&str; 2] = ["treewarden.service", "treewarden.timer"];
const HOURLY: [&str; 2] = ["treewarden-hourly.service", "treewarden-hourly.timer"];

/// A home directory beside the volume, and the directory of its user's sockets.
struct Home<'a> {
    world: &'a World,
    units: PathBuf,
}

impl<'a> Home<'a> {
    fn beside(world: &'a World) -> Self {
        let [home, sockets] = ["home", "sockets"].map(|name| world.beside(name));
        fs::create_dir(&home).unwrap();
        fs::create_dir(&sockets).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        world.set_variable("HOME", text(&home));
        world.set_variable("XDG_RUNTIME_DIR", text(&sockets));
        Self {
            world,
            units: home.join(".config/systemd/user"),
        }
    }

    /// Returns each file of the user's units, and what it holds or leads to.
    fn files(&self) -> BTreeMap<String, String> {
        let files = fs::read_dir(&self.units).into_iter().flatten();
        let files = files.map(|entry| entry.unwrap().path());
        let content = |path: &Path| match fs::read_link(path) {
            Ok(target) => format!("-> {}", target.display()),
            Err(_) if path.is_dir() => format!("{} entries", fs::read_dir(path).unwrap().count()),
            Err(_) => fs::read_to_string(path).unwrap(),
        };
        files
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, content(&path))
            })
            .collect()
    }

    fn ask(&self, arguments: &[&str]) -> Ran {
        self.world
            .program("systemctl", &[&["--user"][..], arguments].concat())
    }

    /// Returns properties of a unit, as the manager understood them.
    fn properties(&self, unit: &str, names: &[&str]) -> Vec<String> {
        let names: Vec<String> = names
            .iter()
            .map(|name| format!("--property={name}"))
            .collect();
        let mut arguments = vec!["show", unit];
        arguments.extend(names.iter().map(String::as_str));
        let mut lines: Vec<String> = self
            .ask(&arguments)
            .out
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }
}

/// systemd's user manager, in a mount namespace where systemd seems to run the machine.
struct Manager(
    Child,
    #[expect(dead_code, reason = "held until the end")] MutexGuard<'static, ()>,
);

/// They share a control group, and each removes there what it takes for its own.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Manager {
    fn start(home: &Home<'_>) -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/system \
                      && exec /lib/systemd/systemd --user --log-target=null";
        #[expect(clippy::disallowed_methods, reason = "a real user manager")]
        let child = Command::new("unshare")
            .args(["--mount", "--fork", "--kill-child", "sh", "-c", script])
            .env("HOME", home.world.beside("home"))
            .env("XDG_RUNTIME_DIR", home.world.beside("sockets"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs root and systemd");
        let manager = Self(child, alone);
        let socket = home.world.beside("sockets/systemd/private");
        super::support::until("the manager answers", || {
            socket.exists() && home.ask(&["list-units"]).code == 0
        });
        manager
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Returns the printed units by name.
fn printed(world: &World) -> BTreeMap<String, String> {
    let units = |typed: &[&str]| {
        let ran = world.treewarden(&[&["schedule", "systemd"], typed].concat());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        let mut units = BTreeMap::new();
        for text in ran.out.split("# treewarden").skip(1) {
            let (name, text) = text.split_once('\n').unwrap();
            let text = text.trim_end().to_owned() + "\n";
            units.insert(format!("treewarden{name}"), text);
        }
        units
    };
    let (nightly, all) = (units(&[]), units(&["--hourly"]));
    assert!(nightly.keys().eq(UNITS), "{nightly:?}");
    assert!(all.keys().eq([HOURLY, UNITS].concat().iter()), "{all:?}");
    assert!(nightly.iter().all(|(name, text)| all[name] == *text));
    all
}

#[test]
fn without_a_manager_nothing_is_touched() {
    let world = World::new();
    let home = Home::beside(&world);
    for typed in ["--install", "--uninstall"] {
        let ran = world.treewarden(&["schedule", "systemd", typed]);
        assert!(
            ran.code == 2
                && ran.out.is_empty()
                && ran.err.contains("failed to ask systemd's user manager: ")
                && ran.err.contains("Nothing was touched.")
                && ran.err.contains("loginctl enable-linger")
                && ran.err.contains("treewarden schedule cron"),
            "{typed}: {ran:?}"
        );
    }
    assert!(!home.units.exists());
    let both = world.treewarden(&["schedule", "systemd", "--install", "--uninstall"]);
    assert!(
        both.code == 2 && both.err.contains("cannot be used with"),
        "{both:?}"
    );
}

#[test]
fn a_config_with_a_mistake_is_not_scheduled() {
    let world = World::new();
    let broken = world.beside("broken.yaml");
    write(&broken, "volume: {root: /data, rot: 1}\n");
    for kind in [&["systemd"][..], &["systemd", "--install"], &["cron"]] {
        let config = ["--config", broken.to_str().unwrap()];
        let ran = world.treewarden(&[&["schedule"][..], kind, &config].concat());
        assert!(
            ran.code == 2 && ran.out.is_empty() && ran.err.contains("volume.rot: unknown key"),
            "{kind:?}: {ran:?}"
        );
    }
}

#[test]
fn the_printed_line_is_what_cron_runs() {
    let world = World::new();
    let ran = world.treewarden(&["schedule", "cron"]);
    let line = format!(
        "17 3 * * * nice -n 19 ionice -c 3 {} run --config {}\n",
        env!("CARGO_BIN_EXE_treewarden"),
        world.config().display()
    );
    assert_eq!((ran.code, &ran.out), (0, &line));
    let ran = world.treewarden(&["schedule", "cron", "--hourly"]);
    let hourly = format!(
        "47 0-2,8-23 * * * nice {} run --when high --only reap,evict --config {} >/dev/null\n",
        env!("CARGO_BIN_EXE_treewarden"),
        world.config().display()
    );
    assert_eq!((ran.code, ran.out), (0, line + &hourly));
}

#[test]
fn the_packaged_units_say_when_and_how() {
    let world = World::new();
    let units = printed(&world);
    let has = |name: &str, lines: &[&str]| {
        let missing: Vec<&&str> = lines
            .iter()
            .filter(|line| units[name].lines().all(|found| found != **line))
            .collect();
        assert!(
            missing.is_empty(),
            "{name} lacks {missing:?}:\n{}",
            units[name]
        );
    };
    has(
        UNITS[0],
        &[
            "ConditionACPower=true",
            "IOSchedulingClass=idle",
            "CPUSchedulingPolicy=idle",
            "TimeoutStopSec=300",
        ],
    );
    has(UNITS[1], &["Persistent=true", "RandomizedDelaySec=1h"]);
    has(HOURLY[0], &["SuccessExitStatus=4", "TimeoutStopSec=300"]);
    has(HOURLY[1], &["OnCalendar=*-*-* 00..02,08..23:47:00"]);
    // A node that is drained gives a run as long to stop.
    let pod = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/cronjobs/base/cronjob.yaml"
    ));
    assert!(
        pod.unwrap()
            .contains("terminationGracePeriodSeconds: 300\n")
    );
}

/// `systemd-analyze verify` prints nothing about these units, nor about those of the package.
#[test]
#[ignore = "needs systemd"]
fn systemd_finds_nothing_wrong_with_the_units() {
    let world = World::new();
    let _home = Home::beside(&world);
    let directory = world.beside("units");
    for (name, text) in printed(&world) {
        write(&directory.join(name), &text);
    }
    let files = [UNITS, HOURLY].concat();
    let files: Vec<PathBuf> = files.iter().map(|name| directory.join(name)).collect();
    let files: Vec<&str> = files.iter().map(|path| path.to_str().unwrap()).collect();
    let verify = [&["--user", "verify"][..], &files].concat();
    let ran = world.program("systemd-analyze", &verify);
    assert_eq!((ran.code, ran.out + &ran.err), (0, String::new()));
    // It would tell of a mistake.
    let text = fs::read_to_string(files[0]).unwrap();
    write(
        &directory.join(UNITS[0]),
        text.replace("KillMode=mixed", "KillMode=mild"),
    );
    let ran = world.program("systemd-analyze", &verify);
    assert!(ran.err.contains("kill mode"), "{ran:?}");
}

#[test]
#[ignore = "needs root and systemd"]
fn a_user_manager_runs_it_until_it_is_uninstalled() {
    let world = World::new();
    world.repo("acme/shop");
    let home = Home::beside(&world);
    let _manager = Manager::start(&home);
    // A program and a config whose paths must be quoted.
    let program = world.beside(format!("bin {ODD}/treewarden"));
    write(&program, "");
    fs::copy(env!("CARGO_BIN_EXE_treewarden"), &program).unwrap();
    let config = world.beside(format!("it's {ODD} \"b\" \\n.yaml"));
    fs::copy(world.config(), &config).unwrap();
    let schedule = |typed: &str| {
        let [program, config] = [&program, &config].map(|path| path.to_str().unwrap());
        world.program(program, &["schedule", "systemd", typed, "--config", config])
    };
    let ran = schedule("--install");
    assert!(
        ran.code == 0
            && ran.err.is_empty()
            && ran.out.matches("wrote `").count() == 2
            && ran.out.contains("it runs next on "),
        "{ran:?}"
    );
    let installed = home.files();
    assert!(ran.out.contains("loginctl enable-linger"), "{ran:?}");

    // What the manager made of them.
    assert_eq!(
        home.properties(
            UNITS[0],
            &[
                "CPUSchedulingPolicy",
                "IOSchedulingClass",
                "KillMode",
                "TimeoutStopUSec",
                "Type"
            ]
        ),
        [
            "CPUSchedulingPolicy=5",
            "IOSchedulingClass=3",
            "KillMode=mixed",
            "TimeoutStopUSec=5min",
            "Type=oneshot"
        ]
    );
    assert_eq!(
        home.properties(
            UNITS[1],
            &[
                "ActiveState",
                "Persistent",
                "RandomizedDelayUSec",
                "Unit",
                "UnitFileState"
            ]
        ),
        [
            "ActiveState=active",
            "Persistent=yes",
            "RandomizedDelayUSec=1h",
            "Unit=treewarden.service",
            "UnitFileState=enabled"
        ]
    );

    // It runs.
    let ran = home.ask(&["start", UNITS[0]]);
    assert_eq!(ran.code, 0, "{ran:?} {:?}", home.ask(&["status", UNITS[0]]));
    assert_eq!(world.history().len(), 1);

    // Said twice, it changes nothing; a line of somebody else's is told of.
    let again = schedule("--install");
    assert_eq!(again.out.matches("nothing changed").count(), 2, "{again:?}");
    assert_eq!(home.files(), installed);
    write(
        &home.units.join(UNITS[1]),
        installed[UNITS[1]].replace("03:00:00", "05:00:00"),
    );
    let replaced = schedule("--install");
    assert!(
        replaced
            .out
            .contains("these lines are gone:\n    OnCalendar=*-*-* 05:00:00\n"),
        "{replaced:?}"
    );
    assert_eq!(home.files(), installed);

    let ran = schedule("--uninstall");
    assert_eq!(
        (ran.code, ran.out.matches("removed `").count()),
        (0, 2),
        "{ran:?}"
    );
    assert_eq!(home.files(), BTreeMap::new());
    assert_eq!(
        home.properties(UNITS[1], &["LoadState"]),
        ["LoadState=not-found"]
    );
    let ran = schedule("--uninstall");
    assert_eq!(
        (ran.code, ran.out.matches("is not there").count()),
        (0, 2),
        "{ran:?}"
    );
}

#[test]
#[ignore = "needs root and systemd"]
fn the_hourly_timer_is_installed_if_asked_and_removed_with_the_nightly_one() {
    let world = World::new();
    world.repo("acme/shop");
    let home = Home::beside(&world);
    let _manager = Manager::start(&home);
    let ran = world.treewarden(&["schedule", "systemd", "--install", "--hourly"]);
    let enabled = "enabled treewarden.timer and treewarden-hourly.timer";
    assert!(ran.code == 0 && ran.out.contains(enabled), "{ran:?}");
    assert_eq!(
        home.properties(HOURLY[1], &["ActiveState", "UnitFileState"]),
        ["ActiveState=active", "UnitFileState=enabled"]
    );
    assert_eq!(home.ask(&["start", HOURLY[0]]).code, 0);
    assert_eq!(world.history(), [], "the volume is calm");
    let ran = world.treewarden(&["schedule", "systemd", "--uninstall"]);
    assert_eq!(
        (ran.code, ran.out.matches("removed `").count()),
        (0, 4),
        "{ran:?}"
    );
    assert_eq!(home.files(), BTreeMap::new());
}

#[test]
#[ignore = "needs root and systemd"]
fn what_is_not_ours_is_neither_replaced_nor_removed() {
    let world = World::new();
    let home = Home::beside(&world);
    let _manager = Manager::start(&home);
    let timer = home.units.join(UNITS[1]);
    let theirs: [&dyn Fn(); 3] = [
        &|| write(&timer, "[Timer]\nOnCalendar=daily\n"),
        &|| std::os::unix::fs::symlink("/dev/null", &timer).unwrap(),
        &|| fs::create_dir(&timer).unwrap(),
    ];
    fs::create_dir_all(&home.units).unwrap();
    for plant in theirs {
        plant();
        let before = home.files();
        for typed in ["--install", "--uninstall"] {
            let ran = world.treewarden(&["schedule", "systemd", typed]);
            assert!(
                ran.code == 2
                    && ran
                        .err
                        .contains("treewarden did not write it. Nothing was touched.")
                    && ran.err.contains(timer.to_str().unwrap()),
                "{typed}: {ran:?}"
            );
            assert_eq!(home.files(), before);
        }
        super::support::remove(&timer);
    }
}

/// A shutdown, or `systemctl stop`: it ends by itself, and that is no failure.
#[test]
#[ignore = "needs root and systemd"]
fn a_run_that_is_stopped_early_has_not_failed() {
    let world = World::new();
    world.repo("acme/shop");
    let begun = world.beside("begun");
    world.enrol(
        "acme/shop",
        &format!(
            "busy_probe: [sh, -c, 'touch {}; sleep 5; exit 1']",
            begun.display()
        ),
    );
    let home = Home::beside(&world);
    let _manager = Manager::start(&home);
    let ran = world.treewarden(&["schedule", "systemd", "--install"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(home.ask(&["start", "--no-block", UNITS[0]]).code, 0);
    super::support::until("the run is at work", || begun.exists());
    assert_eq!(home.ask(&["stop", UNITS[0]]).code, 0);
    assert_eq!(
        home.properties(UNITS[0], &["ActiveState", "ExecMainStatus", "Result"]),
        ["ActiveState=inactive", "ExecMainStatus=4", "Result=success"]
    );
    assert_eq!(world.history().len(), 1);
}
