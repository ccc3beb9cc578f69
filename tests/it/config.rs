//! The config file: what is accepted, what it turns into, and how every mistake in it is reported.
//! All configs are literals, and no test needs a volume.

use std::path::Path;
use std::time::Duration;
use treewarden::config::policy::{
    Age, GcStrategy, HtmlFile, InUse, Policy, UrlFrom, WebhookFormat,
};
use treewarden::config::{ConfigError, load, parse};
use treewarden::ecosystems::kind;
use treewarden::facts::cache::Size;
use treewarden::fs::volume_path::VolumePath;

const EXAMPLE: &str = include_str!("../../config/treewarden.yaml");
const DAY: Duration = Duration::from_hours(24);
const GIB: u64 = 1 << 30;

fn accepted(text: &str) -> Policy {
    parse("c.yaml", text).unwrap_or_else(|error| panic!("{error}\n---\n{text}"))
}

fn refused(text: &str) -> String {
    parse("c.yaml", text)
        .map(|policy| panic!("accepted as {policy:?}:\n{text}"))
        .unwrap_err()
        .to_string()
}

/// Refuses a config that is correct except for `lines`, which start on line 3.
fn refused_with(lines: &str) -> String {
    refused(&format!(
        "volume: {{root: /data}}\nrepos: [{{name: acme/shop, path: acme__shop}}]\n{lines}"
    ))
}

/// Returns the example with every optional key uncommented.
pub(crate) fn example_with_all_keys() -> String {
    let is_key = |rest: &str| {
        rest.starts_with("- {")
            || rest
                .split_once(": ")
                .is_some_and(|(key, _)| EXAMPLE_OPTIONS.contains(&key))
    };
    let line = |line: &str| match line.split_once("# ") {
        Some((indent, rest)) if indent.trim().is_empty() && is_key(rest) => {
            format!("{indent}{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(line).collect()
}

const EXAMPLE_OPTIONS: [&str; 11] = [
    "floor",
    "clones",
    "budget",
    "max_trees",
    "max_bytes",
    "html_file",
    "pushgateway",
    "textfile",
    "alertmanager",
    "webhook",
    "termination_log",
];

#[test]
fn the_contracts_example_is_understood() {
    let policy = accepted(
        r"
volume:
  root: /data                  # the same path that the agents see
  state: .treewarden           # locks, trash, journal, ledger; inside root
eviction:
  high: {bytes: 85%, inodes: 85%}
  low:  {bytes: 75%, inodes: 75%}
  budget: 25GiB                # optional: cap on what stands under root; over it, eviction goes on to 90 % of it
  min_age: 24h
run:
  repos_in_parallel: 4         # repacks are CPU and memory bound
  io_threads: 32               # scans and deletions wait on the network
  deadline: 4h
  max_reaped: 50               # more than this in one run is refused and alerted
defaults:                      # every repo may override any of these
  lock_wait: 10m
  worktrees: {landed: 1d, saved: 7d, unsaved: 30d, presets: [afk], roots: [], rescue_max: 200MiB, rescue_keep: 30d, rescue_budget: 2GiB}
  gc: {strategy: auto}         # auto | git-gc | off
  busy_probe: []               # optional command: exit 0 busy, 1 idle, anything else unknown (and unknown is busy)
repos:
  - name: acme/shop
    path: acme__shop
caches:
  - {kind: npm, path: caches/npm}
  - {kind: folder, name: models, path: caches/models, depth: 1, min_age: 7d, reserve: 2GiB}
alerts:
  pushgateway: http://pushgateway.monitoring:9091
  textfile: /metrics/treewarden.prom
  alertmanager: http://alertmanager.monitoring:9093
  webhook: {url_env: TREEWARDEN_WEBHOOK_URL, when: [failed, shortfall, evicted, refused]}
  termination_log: /dev/termination-log
",
    );
    assert_eq!(*policy.volume.root, *Path::new("/data"));
    assert_eq!(policy.volume.state.path(), Path::new("/data/.treewarden"));
    assert_eq!(policy.eviction.budget, Some(25 * GIB));
    assert_eq!(policy.repos[0].name, "acme/shop");
    assert_eq!(policy.repos[0].place.path(), Path::new("/data/acme__shop"));
    let none = Size::default();
    let caches: Vec<_> = policy
        .caches
        .iter()
        .map(|c| (c.name.as_str(), c.kind, c.depth, c.min_age, c.reserve))
        .collect();
    assert_eq!(
        caches,
        [
            ("npm", kind("npm").unwrap(), 1, DAY, none),
            (
                "models",
                kind("folder").unwrap(),
                1,
                7 * DAY,
                Size {
                    bytes: 2 * GIB,
                    inodes: 0
                }
            )
        ]
    );
    let webhook = policy.alerts.webhook.expect("it was typed");
    let (from, format) = (
        UrlFrom::Env("TREEWARDEN_WEBHOOK_URL".into()),
        WebhookFormat::Slack,
    );
    assert_eq!(
        (webhook.url, webhook.format, webhook.when.len()),
        (from, format, 4)
    );
}

#[test]
fn the_defaults_are_the_contracts() {
    let policy = accepted("volume: {root: /data}\nrepos: [{name: acme/shop, path: acme__shop}]");
    assert_eq!(policy.volume.state.relative(), Path::new(".treewarden"));
    let (high, low) = (policy.eviction.high, policy.eviction.low);
    let critical = policy.eviction.critical;
    let marks = [high, low, critical].map(|mark| format!("{:.3} {:.3}", mark.bytes, mark.inodes));
    assert_eq!(marks, ["0.850 0.850", "0.750 0.750", "0.950 0.950"]);
    assert_eq!(
        (
            policy.eviction.budget,
            policy.eviction.min_age,
            policy.eviction.in_use
        ),
        (None, DAY, InUse::Keep)
    );
    let run = policy.run;
    assert_eq!(
        (
            run.repos_in_parallel,
            run.io_threads,
            run.deadline,
            run.max_reaped
        ),
        (4, 32, DAY / 6, 50)
    );
    let repo = &policy.repos[0];
    assert_eq!(
        (repo.lock_wait, repo.gc, repo.busy_probe.len()),
        (Duration::from_mins(10), GcStrategy::Auto, 0)
    );
    let trees = &repo.worktrees;
    assert_eq!(
        [trees.landed, trees.saved, trees.unsaved],
        [1, 7, 30].map(|days| Age::After(days * DAY))
    );
    assert_eq!(
        trees.roots,
        ["acme__shop/.worktrees/*", "worktrees/acme__shop/*"]
    );
    assert_eq!(
        (trees.rescue_max, trees.rescue_keep, trees.rescue_budget),
        (200 << 20, 30 * DAY, 2 * GIB)
    );
    assert_eq!(
        (policy.caches, policy.alerts),
        (Vec::new(), treewarden::config::policy::Alerts::default())
    );
}

#[test]
fn the_commented_example_shows_the_defaults() {
    let mut example = accepted(EXAMPLE);
    let minimal = accepted("volume: {root: /data}\nrepos: [{name: acme/shop, path: acme__shop}]");
    // Without its caches.
    example.repos[0].assigned = minimal.repos[0].assigned.clone();
    assert_eq!(
        Policy {
            caches: Vec::new(),
            ..example
        },
        minimal
    );
}

#[test]
fn the_commented_example_shows_every_key() {
    let policy = accepted(&example_with_all_keys());
    assert_eq!(policy.eviction.budget, Some(25 * GIB));
    assert_eq!(policy.eviction.floor.bytes, 5 * GIB);
    assert_eq!(policy.repos.len(), 2);
    let caps = |repo: &treewarden::config::policy::Repo| {
        (repo.worktrees.max_trees, repo.worktrees.max_bytes)
    };
    assert_eq!(caps(&policy.repos[0]), (Some(20), Some(40 * GIB)));
    assert_eq!(policy.repos[0].clones, ["clones/*", "tasks/*/shop"]);
    assert_eq!(policy.caches.len(), 4);
    let alerts = policy.alerts;
    assert!(
        alerts.pushgateway.is_some() && alerts.alertmanager.is_some() && alerts.textfile.is_some()
    );
    assert!(alerts.termination_log.is_some() && alerts.webhook.is_some());
    let page = VolumePath::new(&policy.volume.root, Path::new("report.html")).unwrap();
    assert_eq!(policy.report.html_file, Some(HtmlFile::OnVolume(page)));

    // The error for an unknown key lists the known ones, so the list is complete.
    let bad = "x: 1\nvolume: {x: 1}\neviction: {x: 1, high: {x: 1}, critical: {x: 1}}\nrun: {x: 1}\ndefaults: {x: 1, worktrees: {x: 1}, gc: {x: 1}}
repos: [{x: 1}]\ncaches: [{x: 1}]\nreport: {x: 1}\nalerts: {x: 1, webhook: {x: 1}}";
    let told = refused(bad);
    let known: Vec<&str> = told
        .lines()
        .filter_map(|line| line.split_once("known here: "))
        .flat_map(|(_, keys)| keys.split('`').skip(1).step_by(2))
        .collect();
    assert!(known.len() > 40, "{told}");
    let missing: Vec<_> = known
        .into_iter()
        .filter(|key| {
            !EXAMPLE.contains(&format!("{key}:")) && !EXAMPLE.contains(&format!("#   {key} "))
        })
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn a_caches_limits_are_bytes_or_bytes_and_inodes() {
    let caches = "[{kind: npm, path: a, reserve: {inodes: 3}, budget: 1MiB}, {kind: pip, path: b, budget: {bytes: 1MiB, inodes: 70}}]";
    let policy = accepted(&format!(
        "volume: {{root: /data}}\nrepos: []\neviction: {{in_use: last}}\ncaches: {caches}"
    ));
    let limits: Vec<_> = policy
        .caches
        .iter()
        .map(|cache| (cache.reserve, cache.budget))
        .collect();
    let size = |bytes, inodes| Size { bytes, inodes };
    assert_eq!(
        limits,
        [
            (size(0, 3), Some(size(1 << 20, u64::MAX))),
            (size(0, 0), Some(size(1 << 20, 70)))
        ]
    );
    assert_eq!(policy.eviction.in_use, InUse::Last);
}

#[test]
fn a_repo_overrides_single_keys_of_the_defaults() {
    let policy = accepted(
        "
volume: {root: /data}
defaults: {lock_wait: 5m, worktrees: {landed: 2d, saved: never, presets: [claude], roots: ['trees/<repo>/*']}, busy_probe: [busy, -q]}
repos:
  - {name: a, path: a}
  - {name: b, path: b, worktrees: {saved: 3d, presets: [codex, custom]}, gc: {strategy: off}, busy_probe: []}
  - {name: c, path: src/c, lock_wait: 0s, worktrees: {roots: [], rescue_max: 1GiB}}
",
    );
    let [a, b, c] = &policy.repos[..] else {
        panic!("three repos")
    };
    assert_eq!(
        (a.worktrees.landed, a.worktrees.saved, a.worktrees.unsaved),
        (Age::After(2 * DAY), Age::Never, Age::After(30 * DAY))
    );
    assert_eq!(
        (b.worktrees.landed, b.worktrees.saved, b.worktrees.unsaved),
        (
            Age::After(2 * DAY),
            Age::After(3 * DAY),
            Age::After(30 * DAY)
        )
    );
    assert_eq!(a.worktrees.roots, ["a/.claude/worktrees/*", "trees/a/*"]);
    assert_eq!(
        b.worktrees.roots,
        ["worktrees/*/b", ".codex/worktrees/*/b", "trees/b/*"]
    );
    assert_eq!(c.worktrees.roots, ["src/c/.claude/worktrees/*"]);
    assert_eq!(
        [a.gc, b.gc, c.gc],
        [GcStrategy::Auto, GcStrategy::Off, GcStrategy::Auto]
    );
    assert_eq!(
        [a.busy_probe.len(), b.busy_probe.len(), c.busy_probe.len()],
        [2, 0, 2]
    );
    assert_eq!(
        [a.lock_wait, b.lock_wait, c.lock_wait].map(|wait| wait.as_secs()),
        [300, 300, 0]
    );
    assert_eq!(
        [a.worktrees.rescue_max, c.worktrees.rescue_max],
        [200 << 20, GIB]
    );
}

#[test]
fn roots_are_globs_below_the_volume() {
    let roots = "['./trees//<repo-basename>/*', '/data/x/<repo>-*', 'w/{a,b}?/*', 'trees/s[h]op/*', 'w/{a,b}?/*']";
    let text = format!(
        "volume: {{root: /data/}}\nrepos: [{{name: a, path: 'src/s*p', worktrees: {{presets: [custom], roots: {roots}}}}}]"
    );
    assert_eq!(accepted(&text).volume.root.as_os_str(), "/data");
    assert_eq!(
        accepted(&text).repos[0].worktrees.roots,
        [
            "trees/s[*]p/*",
            "x/src/s[*]p-*",
            "w/{a,b}?/*",
            "trees/s[h]op/*"
        ]
    );
}

#[test]
fn what_is_typed_loosely_is_still_understood() {
    for text in [
        "volume: {root: /data}\nrepos: []",
        "\u{feff}volume: {root: /data}\nrepos: []",
        "---\nvolume: {root: /data}\nrepos: []\n...\n",
        "volume: {root: /data, state: }\neviction:\nrun:\ndefaults: {worktrees: , gc: }\nrepos: []\ncaches:\nalerts:",
        "volume: {root: /data}\nrepos: []\nrun: {max_reaped: 0}\neviction: {budget: 1073741824, min_age: 0, high: {bytes: 100%}, low: {inodes: 0.5 %}}",
        "volume: {root: /data}\nrepos: [{name: a, path: /data/a}]\ncaches: [{kind: build-output}, {kind: uv, path: b}]",
        "volume: {root: /data}\nrepos: []\ndefaults: {worktrees: {rescue_max: 2GiB, rescue_budget: 2GiB}}",
        "volume: {root: &r /data}\nrepos: [{name: a, path: a, worktrees: &w {landed: 1h}}, {name: b, path: b, worktrees: *w}]",
    ] {
        assert_eq!(*accepted(text).volume.root, *Path::new("/data"), "{text}");
    }
}

#[test]
fn every_mistake_of_a_file_is_told_at_once_in_the_order_of_its_lines() {
    let told = refused(
        "\
volume:
  root: data
  rot: /data
eviction:
  high: {bytes: 85%, inodes: 850%}
  low: {bytes: 90%, inodes: 75%}
  min_age: 24
run:
  repos_in_parallel: 0
  io_threads: -1
  io_threads: 32
defaults:
  worktrees: {landed: 0s, presets: [afkk], roots: [../x]}
  gc: {strategy: fast}
  busy_probe: ''
repos:
  - acme/shop
  - {name: acme__shop, path: ../acme}
  - name: acme/shop
    path: shop
  - name: ok
    path: shop/sub
    worktrees:
      rescue_max: 3GiB
caches:
  - {kind: npm}
  - {kind: build-output, path: x, depth: 2}
  - {kind: maven, path: shop}
alerts:
  webhook: {url_env: 'https://hooks.example/SECRET', when: [often]}
  pushgateway: me:SECRET@host
",
    );
    let wanted = "\
c.yaml:2: volume.root: `data` is no plain absolute path; write the one that the agents see, for instance /data
c.yaml:3: volume.rot: unknown key; known here: `root`, `state`, `floor`
c.yaml:5: eviction.high.inodes: `850%` is not above 0% and up to 100%; write a percentage such as 85%
c.yaml:6: eviction.low.bytes: 90% is above high (85%); set it below
c.yaml:7: eviction.min_age: `24` is no time; write a time such as 90m, 1d12h, 2 weeks or 36 hours
c.yaml:9: run.repos_in_parallel: `0` is not between 1 and 1024; write a number such as 4
c.yaml:10: run.io_threads: is there more than once; keep one
c.yaml:10: run.io_threads: `-1` is no count; write a whole number such as 4
c.yaml:13: defaults.worktrees.landed: `0s` would take a worktree the moment it is made; write a time such as 12h, 1d12h, 2 weeks or 36 hours, or never
c.yaml:13: defaults.worktrees.presets[0]: `afkk` is unknown; write one of afk, t3, claude, codex, cursor, grok, vibe-kanban, superset, conductor, crystal, custom, and give any other layout as a glob in roots
c.yaml:13: defaults.worktrees.roots[0]: `../x` holds `..`; write the glob from the volume's root
c.yaml:14: defaults.gc.strategy: `fast` is unknown; write one of auto, git-gc, off
c.yaml:15: defaults.busy_probe: found text; write a list, as in [a, b]
c.yaml:17: repos[0]: found text; write keys with values, as in {key: value}
c.yaml:18: repos[1].path: `../acme` is no directory below volume.root; write its path from there, without `..`
c.yaml:19: repos[2].name: `acme/shop` would share a lock file with `acme__shop`; rename one of them
c.yaml:22: repos[3].path: `shop/sub` lies inside repos[2].path (`shop`); give each a directory of its own, side by side
c.yaml:24: repos[3].worktrees.rescue_max: rescue_max (3.0 GiB) is above rescue_budget (2.0 GiB); raise the budget or lower the cap
c.yaml:26: caches[0].path: is missing; write the directory's path below volume.root, for instance caches/npm
c.yaml:27: caches[1].path: build-output is in the worktrees and has no path; take the key out
c.yaml:27: caches[1].depth: is for the kind folder only; take the key out
c.yaml:28: caches[2].kind: `maven` is unknown; write one of pip, uv, go-mod, go-build, pnpm, yarn, bun, deno, npm, cargo, cargo-target, ccache, sccache, turbo, bazel, huggingface, folder, build-output
c.yaml:28: caches[2].path: `shop` is also repos[2].path (`shop`); give each a directory of its own, side by side
c.yaml:30: alerts.webhook.url_env: is no environment variable's name, and an address doesn't belong here; write the name of the variable \
that holds the address, for instance TREEWARDEN_WEBHOOK_URL
c.yaml:30: alerts.webhook.when[0]: is unknown; write one of failed, shortfall, evicted, refused
c.yaml:31: alerts.pushgateway: is no address; write one that starts with http:// or https://";
    assert_eq!(told, wanted);
}

/// Each row: lines of an otherwise correct config, and how each problem reported for them begins.
const MISTAKES: &[(&str, &[&str])] = &[
    (
        "evicton: {}",
        &["3: evicton: unknown key; known here: `volume`, `eviction`, `run`"],
    ),
    ("1: 2\n~: 3", &["3: 1: unknown key", "4: ~: unknown key"]),
    ("run:\n\n  # why\n  nice: 1", &["6: run.nice: unknown key"]),
    (
        "eviction: {high: {bytes: 70%}}",
        &["3: eviction.low.bytes: 75% is above high (70%)"],
    ),
    (
        "eviction: {low: {inodes: 85%}}",
        &["3: eviction.low.inodes: 85% equals high (85%)"],
    ),
    (
        "eviction: {critical: {bytes: 84%, inodes: 85%}}",
        &["3: eviction.critical.bytes: 84% is below high (85%); set it above"],
    ),
    // If high can't be read, low isn't judged.
    (
        "eviction: {high: {bytes: 8}, low: {bytes: 99%}}",
        &["3: eviction.high.bytes: `8` is no percentage"],
    ),
    (
        "eviction: {high: [85%, 85%]}",
        &["3: eviction.high: found a list"],
    ),
    (
        "caches:\n\n  kind: npm",
        &["3: caches: found a mapping; write a list"],
    ),
    ("eviction: {high: 85%}", &["3: eviction.high: found text"]),
    (
        "eviction: {budget: 0}",
        &["3: eviction.budget: 0 would empty every cache"],
    ),
    (
        "eviction: {budget: .inf}",
        &["3: eviction.budget: `inf` is no size"],
    ),
    (
        "run: {io_threads: 1025}",
        &["3: run.io_threads: `1025` is not between 1 and 1024"],
    ),
    (
        "run: {max_reaped: -1}",
        &["3: run.max_reaped: `-1` is no count"],
    ),
    (
        "run: {max_reaped: 99999999999999999999999}",
        &["3: run.max_reaped: `99999999999999999999999` is no count"],
    ),
    (
        "run: {max_reaped: 1.0}",
        &["3: run.max_reaped: `1.0` is no count"],
    ),
    (
        "run: {max_reaped: true}",
        &["3: run.max_reaped: found a yes or no; write a whole number"],
    ),
    (
        "run: {deadline: 0s}",
        &["3: run.deadline: 0 leaves a run no time"],
    ),
    ("defaults: {gc: off}", &["3: defaults.gc: found text"]),
    ("defaults: {name: x}", &["3: defaults.name: unknown key"]),
    (
        "defaults: {busy_probe: ['', busy]}",
        &["3: defaults.busy_probe[0]: is empty"],
    ),
    (
        "defaults: {worktrees: {rescue_keep: 0s}}",
        &["3: defaults.worktrees.rescue_keep: 0 would drop every rescue"],
    ),
    (
        "defaults: {worktrees: {rescue_budget: 1MiB}}",
        &[
            "3: defaults.worktrees.rescue_budget: rescue_max (200.0 MiB) is above rescue_budget (1.0 MiB)",
        ],
    ),
    (
        "defaults: {worktrees: {made_again: [{name: dist}]}}",
        &["3: defaults.worktrees.made_again[0]: says nothing but a name"],
    ),
    (
        "defaults: {worktrees: {made_again: [{beside: a/b, holds: .., as: x}, dist]}}",
        &[
            "3: defaults.worktrees.made_again[0].as: unknown key; known here: `name`, `beside`, `holds`",
            "3: defaults.worktrees.made_again[1]: found text",
            "3: defaults.worktrees.made_again[0].beside: `a/b` is no plain name",
            "3: defaults.worktrees.made_again[0].holds: `..` is no plain name",
            "3: defaults.worktrees.made_again[0].name: is missing",
        ],
    ),
    (
        "defaults: {worktrees: {made_again: [{name: .Git, beside: x}]}}",
        &["3: defaults.worktrees.made_again[0].name: `.Git` is no plain name"],
    ),
    (
        "defaults: {worktrees: {roots: ['', ~]}}",
        &[
            "3: defaults.worktrees.roots[0]: is empty",
            "3: defaults.worktrees.roots[1]: is empty",
        ],
    ),
    (
        "defaults: {worktrees: {roots: ['a/**/b']}}",
        &["3: defaults.worktrees.roots[0]: `a/**/b` reaches any depth"],
    ),
    (
        "defaults: {worktrees: {keep: ['', '!a', '~/src/a', /elsewhere/a, '../a', 'a[', 'a/<who>', a]}}",
        &[
            "3: defaults.worktrees.keep[0]: is empty",
            "3: defaults.worktrees.keep[1]: `!a` would take back",
            "3: defaults.worktrees.keep[2]: `~/src/a` begins with `~`",
            "3: defaults.worktrees.keep[3]: `/elsewhere/a` is not below volume.root",
            "3: defaults.worktrees.keep[4]: `../a` holds `..`",
            "3: defaults.worktrees.keep[5]: `a[` is no glob",
            "3: defaults.worktrees.keep[6]: `a/<who>` holds a placeholder",
        ],
    ),
    (
        "defaults: {worktrees: {max_trees: 0, max_bytes: 0}}",
        &[
            "3: defaults.worktrees.max_trees: 0 would let no worktree stay",
            "3: defaults.worktrees.max_bytes: 0 would let no worktree stay",
        ],
    ),
    (
        "defaults: {worktrees: {max_trees: 1.5, max_bytes: many, saved: 3M}}",
        &[
            "3: defaults.worktrees.max_bytes: `many` is no size",
            "3: defaults.worktrees.max_trees: `1.5` is no count",
            "3: defaults.worktrees.saved: `3M` says M",
        ],
    ),
    (
        "defaults: {worktrees: {roots: ['/etc/*']}}",
        &["3: defaults.worktrees.roots[0]: `/etc/*` is not below volume.root"],
    ),
    (
        "defaults: {worktrees: {roots: ['/data/.']}}",
        &["3: defaults.worktrees.roots[0]: `/data/.` names the volume's root itself"],
    ),
    (
        "defaults: {worktrees: {roots: ['a/{b,..}/*']}}",
        &["3: defaults.worktrees.roots[0]: `a/{b,..}/*` holds `..`"],
    ),
    (
        "defaults: {worktrees: {roots: ['a\\*']}}",
        &["3: defaults.worktrees.roots[0]: `a\\*` holds a control character or a backslash"],
    ),
    (
        "defaults: {worktrees: {roots: ['<rep>/*']}}",
        &["3: defaults.worktrees.roots[0]: `<rep>/*` holds a placeholder that is unknown"],
    ),
    (
        "defaults: {worktrees: {roots: ['{a']}}",
        &["3: defaults.worktrees.roots[0]: `{a` is no glob"],
    ),
    (
        "eviction: {in_use: never}",
        &["3: eviction.in_use: `never` is unknown; write one of keep, last"],
    ),
    (
        "caches: [{kind: npm, path: a, budget: 0}]",
        &["3: caches[0].budget: 0 would empty the cache"],
    ),
    (
        "caches: [{kind: npm, path: a, budget: {inodes: 0}}]",
        &["3: caches[0].budget: 0 would empty the cache"],
    ),
    (
        "caches: [{kind: npm, path: a, budget: {files: 1}}]",
        &["3: caches[0].budget.files: unknown key; known here: `bytes` or `inodes`"],
    ),
    (
        "caches: [{kind: npm, path: a, budget: many}]",
        &["3: caches[0].budget: `many` is no size"],
    ),
    (
        "caches: [{kind: npm, path: a, budget: 1GiB, reserve: 2GiB}]",
        &["3: caches[0].reserve: is more than the cache's budget"],
    ),
    ("caches: [{}]", &["3: caches[0].kind: is missing"]),
    (
        "caches: [{kind: npm, path: .treewarden/npm}]",
        &["3: caches[0].path: `.treewarden/npm` lies inside volume.state"],
    ),
    (
        "caches: [{kind: npm, path: /database}]",
        &["3: caches[0].path: `/database` is no directory below volume.root"],
    ),
    (
        "caches: [{kind: npm, path: npm, outside: true}]",
        &["3: caches[0].path: `npm` is no plain absolute path"],
    ),
    (
        "caches: [{kind: npm, outside: true}]",
        &["3: caches[0].path: is missing; write the cache's whole path"],
    ),
    (
        "caches: [{kind: npm, path: /data/npm, outside: true}]",
        &["3: caches[0].path: `/data/npm` lies below volume.root; take `outside` out"],
    ),
    (
        "caches: [{kind: folder, path: /var/lib, outside: true}]",
        &["3: caches[0].path: `/var/lib` belongs to the system, or holds more than one cache"],
    ),
    (
        "caches: [{kind: npm, path: /mnt/a, outside: true}, {kind: pip, path: /mnt/a/b, outside: true}]",
        &["3: caches[1].path: `/mnt/a/b` lies inside caches[0].path (`/mnt/a`)"],
    ),
    (
        "caches: [{kind: build-output, outside: true}]",
        &["3: caches[0].outside: build-output is in the worktrees; take the key out"],
    ),
    (
        "caches: [{kind: npm, path: /mnt/a, outside: 1}]",
        &["3: caches[0].outside: found a number; write true or false"],
    ),
    (
        "caches: [{kind: npm, path: 'a\\b'}]",
        &["3: caches[0].path: `a\\b` holds a control character or a backslash"],
    ),
    (
        "caches: [{kind: npm, path: a/b}, {kind: pip, path: a}]",
        &["3: caches[1].path: `a` holds caches[0].path (`a/b`)"],
    ),
    (
        "caches: [{kind: npm, path: a}, {kind: npm, path: b}]",
        &["3: caches[1].name: `npm` is the name of another cache already"],
    ),
    (
        "caches: [{kind: npm, path: a}, {kind: pip, name: npm, path: b}]",
        &["3: caches[1].name: `npm` is named twice"],
    ),
    (
        "caches: [{kind: npm, name: a b, path: a}]",
        &["3: caches[0].name: `a b` is no cache's name"],
    ),
    (
        "caches: [{kind: folder, path: worktrees}]",
        &["3: caches[0].path: `worktrees` holds worktrees of acme/shop"],
    ),
    (
        "caches: [{kind: folder, path: a, depth: 0}]",
        &["3: caches[0].depth: `0` is not between 1 and 16"],
    ),
    (
        "caches: [{kind: npm, path: a, depth: 1}]",
        &["3: caches[0].depth: is for the kind folder only"],
    ),
    (
        "caches: [{kind: build-output}, {kind: build-output, name: b}]",
        &["3: caches[1].kind: build-output is listed twice"],
    ),
    (
        "report: {html_file: ../report.html}",
        &["3: report.html_file: `../report.html` is no plain path of a file"],
    ),
    (
        "report: {html_file: /data}",
        &["3: report.html_file: `/data` is the volume itself"],
    ),
    (
        "report: {html_file: .treewarden/report.html}",
        &["3: report.html_file: `.treewarden/report.html` lies inside volume.state"],
    ),
    (
        "report: {html_file: caches/report.html}\ncaches: [{kind: npm, path: caches}]",
        &["3: report.html_file: `caches/report.html` lies inside caches[0].path"],
    ),
    (
        "report: {html_file: /elsewhere/npm/a.html}\ncaches: [{kind: npm, path: /elsewhere/npm, outside: true}]",
        &["3: report.html_file: `/elsewhere/npm/a.html` lies in the cache"],
    ),
    (
        "alerts: {textfile: prom}",
        &["3: alerts.textfile: is no absolute path"],
    ),
    (
        "alerts: {alertmanager: 'http://'}",
        &["3: alerts.alertmanager: is no address"],
    ),
    (
        "alerts: {webhook: }\nrun: {x: 1}",
        &["4: run.x: unknown key"],
    ),
    (
        "alerts: {webhook: {when: []}}",
        &[
            "3: alerts.webhook.url_env: is missing",
            "3: alerts.webhook.when: is empty",
        ],
    ),
    (
        "alerts: {webhook: {url_env: A, url_file: /a}}",
        &["3: alerts.webhook.url_file: can't be combined with url_env"],
    ),
    (
        "alerts: {webhook: {url_file: a, format: xml}}",
        &[
            "3: alerts.webhook.url_file: is no absolute",
            "3: alerts.webhook.format: is unknown",
        ],
    ),
    (
        "alerts: {volume: ' ', runbook: x}",
        &[
            "3: alerts.volume: is no name",
            "3: alerts.runbook: is no address",
        ],
    ),
    (
        "alerts: {alertmanager: 'http://me:pw@host'}",
        &["3: alerts.alertmanager: holds a name or a password"],
    ),
];

#[test]
fn each_mistake_is_told_with_its_line_its_key_and_the_remedy() {
    for (lines, wanted) in MISTAKES {
        let told = refused_with(lines);
        let matches = told.lines().count() == wanted.len()
            && told.lines().zip(*wanted).all(|(told, start)| {
                told.starts_with(&format!("c.yaml:{start}")) && told.contains("; ")
            });
        assert!(matches, "{lines}\nwanted: {wanted:#?}\ntold:\n{told}");
    }
}

#[test]
fn a_repos_name_makes_a_lock_file_of_its_own() {
    for name in ["acme/shop", "a", "A.b_c-d/e/f", "-", "..."] {
        accepted(&format!(
            "volume: {{root: /data}}\nrepos: [{{name: '{name}', path: x}}]"
        ));
    }
    for name in [
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "a/..",
        "a b",
        "ä",
        "a\\b",
        "volume",
        &"a".repeat(121),
    ] {
        let told = refused(&format!(
            "volume: {{root: /data}}\nrepos:\n- path: x\n  name: '{name}'"
        ));
        assert!(
            told.starts_with("c.yaml:4: repos[0].name: ") && !told.contains('\n'),
            "{told}"
        );
    }
}

#[test]
fn the_root_is_a_plain_absolute_path() {
    for root in [
        "''",
        "/",
        "//",
        "data",
        "./data",
        "/data/../etc",
        "\"/da\\0ta\"",
        "5",
        "[/data]",
        "",
    ] {
        let told = refused(&format!(
            "volume:\n  root: {root}\nrepos: [{{name: a, path: /data/a}}]"
        ));
        assert!(
            told.starts_with("c.yaml:2: volume.root: ") && !told.contains('\n'),
            "{told}"
        );
    }
}

#[test]
fn what_is_no_config_at_all_is_one_problem_with_its_line() {
    for (text, wanted) in [
        ("- a\n- b", "c.yaml:1: found a list; write keys with values"),
        ("text", "c.yaml:1: found text; write keys with values"),
        (
            "volume: {root: /data}\n---\nrepos: []",
            "c.yaml:1: holds more than one YAML document; keep one",
        ),
        ("volume:\n\troot: /data", "c.yaml:2: no valid YAML: "),
        ("volume:\n  root: 'x", "c.yaml:2: no valid YAML: "),
        (
            "volume:\n  root: *nowhere",
            "c.yaml:2: no valid YAML: unknown anchor; ",
        ),
        (
            "volume: &me\n  root: *me",
            "c.yaml:1: no valid YAML: recursion limit exceeded; ",
        ),
        (
            "volume:\n  root: !tag /data",
            "c.yaml:2: no valid YAML: volume.root: a tag (!name) means nothing here; ",
        ),
        ("volume:\n  [a]: 1", "c.yaml:2: no valid YAML: "),
        ("\0", "c.yaml:1: no valid YAML: "),
    ] {
        let told = refused(text);
        assert!(
            told.starts_with(wanted) && !told.contains('\n'),
            "{text:?}\nwanted: {wanted}\ntold:   {told}"
        );
    }
    for empty in ["", "\n\n", "# nothing", "~", "{}", "---"] {
        let told = refused(empty);
        assert!(
            told.contains("volume.root: is missing; ")
                && told.contains("\nc.yaml:1: repos: is missing; "),
            "{empty:?}\n{told}"
        );
    }
}

#[test]
fn a_hundred_unreadable_keys_are_enough() {
    let told = refused(
        &(0..300)
            .map(|n| format!("x{n}: 1"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    assert_eq!(told.lines().count(), 101);
    assert!(
        told.contains("more than 100 keys or values can't be read; fix these first"),
        "{told}"
    );
}

#[test]
fn an_address_is_never_told() {
    for lines in [
        "alerts: https://me:SECRET@host",
        "alerts: {https://me:SECRET@host: }",
        "alerts: {webhook: https://SECRET}",
        "alerts: {webhook: {https://SECRET}}",
        "alerts: {webhook: {hooks.example/SECRET: 1}}",
        "alerts: {webhook: {url: https://SECRET}}",
        "alerts: {webhook: {url_env: https://SECRET, when: [https://SECRET]}}",
        "alerts: {webhook: {url_env: https://SECRET, url_env: https://SECRET}}",
        "alerts: {webhook: {url_env: W, when: https://SECRET}}",
        "alerts: {pushgateway: 'ftp://me:SECRET@host', alertmanager: ['https://SECRET'], textfile: 'https://SECRET'}",
        "alerts: {pushgateway: !SECRET x}",
        "alerts: {pushgateway: 'https://me:SECRET@host'}",
        "alerts: {webhook: {url_file: 'https://SECRET', format: SECRET}}",
        "alerts: {pushgateway: *SECRET }",
    ] {
        let told = refused_with(lines);
        assert!(!told.contains("SECRET"), "{lines}\n{told}");
    }
}

/// The example, cut and mangled in many ways, never causes a panic, and each reported line exists
/// (or is the one after the end).
#[test]
fn mangled_text_is_accepted_or_refused_but_never_a_panic() {
    let lines: Vec<&str> = EXAMPLE
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect();
    let example = lines.join("\n");
    let cuts = (0..example.len())
        .step_by(5)
        .filter_map(|end| example.get(..end))
        .map(str::to_owned);
    let without =
        (0..lines.len()).map(|out| [&lines[..out], &lines[out + 1..]].concat().join("\n"));
    let swapped = [
        "{", "]", ":", "- ", "\t", "&a", "*a", "!x", "|", "%", "'", "\"\\u{0}", "ä", "0x10", "<<",
        "? ",
    ];
    let replaced = swapped
        .iter()
        .flat_map(|by| [":", "{", "85%", "  ", "/"].map(|what| example.replacen(what, by, 3)));
    for text in cuts.chain(without).chain(replaced) {
        let Err(error) = parse("c.yaml", &text) else {
            continue;
        };
        let ConfigError::Refused { problems, .. } = error else {
            panic!("{error}")
        };
        let last = text.lines().count() + 1;
        assert!(
            !problems.is_empty() && problems.iter().all(|p| (1..=last).contains(&p.line)),
            "{problems:#?}\n{text}"
        );
    }
}

#[test]
fn a_file_is_read_and_one_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("treewarden.yaml");
    let told = load(&file).expect_err("it isn't there").to_string();
    assert!(
        told.starts_with(&format!("failed to read `{}`: ", file.display()))
            && told.contains("; check that"),
        "{told}"
    );
    std::fs::write(&file, EXAMPLE).expect("a temporary file");
    assert_eq!(load(&file).expect("the example"), accepted(EXAMPLE));
}

#[test]
fn clones_are_globs_below_the_root() {
    let with = |clones: &str| {
        format!(
            "volume: {{root: /data}}\nrepos: [{{name: a/shop, path: shop, clones: {clones}}}]\n"
        )
    };
    let policy = accepted(&with(
        "[/data/clones/*, ./tasks/*/<repo-basename>, 'clones/*']",
    ));
    assert_eq!(policy.repos[0].clones, ["clones/*", "tasks/*/shop"]);
    let told = refused(&with("['', 'a/**', /elsewhere/a, '../a', .]"));
    for wrong in [
        "2: repos[0].clones[0]: is empty",
        "2: repos[0].clones[1]: `a/**` reaches any depth",
        "2: repos[0].clones[2]: `/elsewhere/a` is not below volume.root",
        "2: repos[0].clones[3]: `../a` holds `..`",
        "2: repos[0].clones[4]: `.` names the volume's root itself",
    ] {
        assert!(told.contains(wrong), "{wrong}: {told}");
    }
}
