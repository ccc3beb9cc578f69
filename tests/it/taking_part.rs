//! Agents that take the lock without treewarden, with the code of `docs/agents.md` verbatim: a
//! shell's `flock`, Python's `fcntl.flock`, a pod.
//!
//! The lock's holder excludes all others, in both directions, without any wrapper of ours.

use super::support::{World, map, same, until, write};
use serde_yaml::Value;

const LOCK: &str = ".treewarden/locks/acme__shop.lock";
const OURS: &str = env!("CARGO_BIN_EXE_treewarden");

/// Returns the page's code block with this language and these words, adapted to this volume;
/// `npm test` becomes a script that runs `inside`.
fn page(world: &World, language: &str, words: &str, inside: &str) -> String {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/agents.md")).unwrap();
    let begins = format!("\n```{language}\n");
    let mut blocks = page
        .split(&begins)
        .skip(1)
        .filter_map(|after| after.split("\n```").next());
    let block = blocks
        .find(|block| block.contains(words))
        .unwrap_or_else(|| panic!("docs/agents.md has no such {language}"));
    let script = world.beside("test.sh");
    write(&script, inside);
    let (bare, listed) = (
        format!("sh {}", script.display()),
        format!("[\"sh\", \"{}\"]", script.display()),
    );
    block
        .replace("/data/", &format!("{}/", world.root.display()))
        .replace("[\"npm\", \"test\"]", &listed)
        .replace("npm test", &bare)
}

/// Returns a script that tries `exec`, `flock` and a run for the lock, and notes the results.
fn others(world: &World) -> String {
    let (lock, said) = (world.at(LOCK), world.beside("said"));
    format!(
        "{{ {OURS} exec acme/shop --no-wait -- true 2>/dev/null; echo exec $?; flock --nonblock --conflict-exit-code 99 {} true; echo flock $?; \
         {OURS} run --format json | grep -c '\"outcome\": \"busy\"'; {OURS} locks | grep acme/shop; }} >{}\n",
        lock.display(),
        said.display()
    )
}

fn said(world: &World) -> String {
    let text = std::fs::read_to_string(world.beside("said")).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_page_s_shell_takes_part() {
    let world = World::new();
    world.repo("acme/shop");
    let script = page(&world, "sh", "flock 9", &others(&world));
    let ran = world.program("bash", &["-euc", &script]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        said(&world),
        "exec 75 flock 99 1 held acme/shop left no name"
    );
    // The other way round: it doesn't get a lock that we hold.
    let theirs = script.replace("flock 9 ", "flock --nonblock 9 || exit 98 ");
    assert_ne!(theirs, script);
    assert_eq!(
        world
            .treewarden(&["exec", "acme/shop", "--", "bash", "-euc", &theirs])
            .code,
        98
    );
    let one = format!(
        "flock --nonblock --conflict-exit-code 99 {} true",
        world.at(LOCK).display()
    );
    assert_eq!(
        world
            .treewarden(&["exec", "acme/shop", "--", "sh", "-c", &one])
            .code,
        99
    );
    assert_eq!(world.program("sh", &["-c", &one]).code, 0);
}

#[test]
#[ignore = "needs Python"]
fn the_page_s_python_takes_part() {
    let world = World::new();
    world.repo("acme/shop");
    // A background process that it leaves behind still holds the lock.
    let go = world.beside("go");
    let leaves = format!(
        "{}(until [ -e {} ]; do sleep 0.01; done) &",
        others(&world),
        go.display()
    );
    let script = page(&world, "python", "fcntl.flock", &leaves);
    let ran = world.program("python3", &["-c", &script]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let (said, host) = (
        said(&world),
        rustix::system::uname()
            .nodename()
            .to_str()
            .unwrap()
            .to_owned(),
    );
    assert!(
        said.starts_with(&format!("exec 75 flock 99 1 held acme/shop {host} "))
            && said.contains(" agent "),
        "{said}"
    );
    assert!(world.try_hold("acme__shop").is_none());
    write(&go, "");
    until("the lock is free", || {
        world.try_hold("acme__shop").is_some()
    });
    let theirs = script.replace("fcntl.LOCK_EX", "fcntl.LOCK_EX | fcntl.LOCK_NB");
    let ran = world.treewarden(&["exec", "acme/shop", "--", "python3", "-c", &theirs]);
    assert!(
        ran.code == 1 && ran.err.contains("BlockingIOError"),
        "{ran:?}"
    );
}

#[test]
fn the_page_s_pod_sees_what_the_night_sees() {
    let world = World::new();
    let pod: Value = serde_yaml::from_str(&page(&world, "yaml", "kind: Pod", "")).unwrap();
    let night = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/cronjobs/base/cronjob.yaml"
    ))
    .unwrap();
    let night: Value = serde_yaml::from_str(&night).unwrap();
    let night = &night["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    let (agent, spec) = (&pod["spec"]["containers"][0], &pod["spec"]);
    let volume = |spec: &Value| {
        let volumes = spec["volumes"].as_sequence().unwrap();
        volumes
            .iter()
            .find_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
            .unwrap()
            .to_owned()
    };
    let found = map(&[
        ("claim", &volume(spec)),
        (
            "user",
            &format!("{:?}", spec["securityContext"]["runAsUser"]),
        ),
        ("lock", agent["command"][1].as_str().unwrap()),
        (
            "environment",
            agent["envFrom"][0]["configMapRef"]["name"]
                .as_str()
                .unwrap(),
        ),
    ]);
    let expected = map(&[
        ("claim", &volume(night)),
        (
            "user",
            &format!("{:?}", night["securityContext"]["runAsUser"]),
        ),
        ("lock", world.at(LOCK).to_str().unwrap()),
        ("environment", "treewarden-env"),
    ]);
    same("the pod", &found, &expected);
    assert_eq!(
        agent["volumeMounts"][0]["mountPath"].as_str(),
        Some("/data")
    );
}
