//! `treewarden schema`: what an editor knows of the config is what the parser knows, and reports
//! are what their schema says.

use super::report::nights;
use super::support::World;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use treewarden::config;
use treewarden::report::history::History;
use treewarden::report::json;
use walkdir::WalkDir;

/// The schema beside the commented example, for editors.
const BESIDE: &str = "config/treewarden.schema.json";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn printed(of: &str) -> String {
    let ran = World::unprepared().treewarden(&["schema", of]);
    assert!(ran.code == 0 && ran.err.is_empty(), "{ran:?}");
    ran.out
}

#[test]
fn the_example_has_its_schema_beside_it() {
    let (path, is) = (here(BESIDE), printed("config"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &is).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == is, "`{BESIDE}` differs: see UPDATE_GOLDEN");
    let example = std::fs::read_to_string(here("config/treewarden.yaml")).unwrap();
    let line = "# yaml-language-server: $schema=treewarden.schema.json\n";
    assert!(example.starts_with(line));
}

/// Returns each mapping of the schema, by its path as problems name it: its keys.
fn keys(root: &Value, at: &str, schema: &Value, found: &mut BTreeMap<String, BTreeSet<String>>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/definitions/").unwrap();
        return keys(root, at, &root["definitions"][name], found);
    }
    for any in schema["anyOf"].as_array().into_iter().flatten() {
        keys(root, at, any, found);
    }
    if schema["items"].is_object() {
        keys(root, &format!("{at}[0]"), &schema["items"], found);
    }
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        let dot = if at.is_empty() { "" } else { "." };
        keys(root, &format!("{at}{dot}{key}"), below, found);
        found.entry(at.to_owned()).or_default().insert(key.clone());
    }
}

#[test]
fn the_configs_schema_has_the_parsers_keys() {
    let schema: Value = serde_json::from_str(&printed("config")).unwrap();
    let mut found = BTreeMap::new();
    keys(&schema, "", &schema, &mut found);
    // The error for an unknown key lists the known ones.
    let strange = "x: 1\nvolume: {x: 1, floor: {x: 1}}\neviction: {x: 1, high: {x: 1}, low: {x: 1}, critical: {x: 1}}\nrun: {x: 1}\n\
        defaults: {x: 1, worktrees: {x: 1, made_again: [{x: 1}]}, gc: {x: 1}}\n\
        repos: [{x: 1, worktrees: {x: 1, made_again: [{x: 1}]}, gc: {x: 1}}]\n\
        caches: [{x: 1, reserve: {x: 1}, budget: {x: 1}}]\nreport: {x: 1}\nalerts: {x: 1, webhook: {x: 1}, ping: {x: 1}}";
    let told = config::parse("x", strange).unwrap_err().to_string();
    let known: BTreeMap<String, BTreeSet<String>> = told
        .lines()
        .filter_map(|line| line.split_once(": unknown key; known here: "))
        .map(|(place, keys)| {
            let at = place.rsplit_once(' ').map_or(place, |(_, at)| at);
            let at = at.strip_suffix(".x").unwrap_or_default();
            let keys = keys.split('`').skip(1).step_by(2).map(str::to_owned);
            (at.to_owned(), keys.collect())
        })
        .collect();
    assert_eq!(found, known);
}

#[test]
fn every_key_of_the_config_is_described() {
    let schema: Value = serde_json::from_str(&printed("config")).unwrap();
    let definitions = schema["definitions"].as_object().unwrap();
    let all = definitions.iter().map(|(name, of)| (name.as_str(), of));
    let bare: Vec<String> = all
        .chain([("", &schema)])
        .flat_map(|(name, of)| {
            of["properties"]
                .as_object()
                .unwrap()
                .iter()
                .map(move |key| (name, key))
        })
        .filter(|(_, (_, key))| key["description"].as_str().is_none())
        .map(|(name, (key, _))| format!("{name}.{key}"))
        .collect();
    assert_eq!(bare, [""; 0], "write a doc comment in src/config/raw.rs");
}

/// Checks files against a schema with Python's check-jsonschema. Returns what it says.
fn check(world: &World, schema: &Path, files: &[PathBuf]) -> super::support::Ran {
    let mut arguments = vec!["--schemafile", schema.to_str().unwrap()];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
    world.program("check-jsonschema", &arguments)
}

/// Writes a file beside the volume and returns its path.
fn beside(world: &World, name: &str, text: &str) -> PathBuf {
    let path = world.beside(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Returns every config that people are shown: files, and the blocks of the documents.
fn shown(world: &World) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for directory in ["config", "cronjobs", "docs", "README.md"] {
        for entry in WalkDir::new(here(directory)) {
            let path = entry.unwrap().into_path();
            if path.ends_with("treewarden.yaml") {
                files.push(path);
            } else if path.extension().is_some_and(|is| is == "md") {
                let text = std::fs::read_to_string(&path).unwrap();
                let blocks = text.split("```yaml\n").skip(1);
                let whole = blocks.filter(|block| block.starts_with("volume:"));
                for block in whole {
                    let name = format!("block-{}.yaml", files.len());
                    files.push(beside(world, &name, block.split("```").next().unwrap()));
                }
            }
        }
    }
    files
}

#[test]
#[ignore = "needs check-jsonschema"]
fn every_example_and_every_report_is_as_its_schema_says() {
    let world = World::new();
    let repo = world.repo("acme/shop");
    repo.tree("landed").age(2.0);
    let [of_config, of_report, of_history] =
        ["config", "report", "history"].map(|of| beside(&world, of, &printed(of)));
    let all = [&of_config, &of_report, &of_history].map(|path| path.to_str().unwrap());
    let ran = world.program(
        "check-jsonschema",
        &[&["--check-metaschema"][..], &all].concat(),
    );
    assert_eq!(ran.code, 0, "{ran:?}");

    let mut configs = shown(&world);
    assert!(configs.len() >= 6, "{configs:?}");
    let every_key = super::config::example_with_all_keys();
    configs.push(beside(&world, "every-key.yaml", &every_key));
    configs.push(world.config());
    world.treewarden(&["demo", "--at", world.beside("demo").to_str().unwrap()]);
    configs.push(world.beside("demo/treewarden.yaml"));
    let ran = check(&world, &of_config, &configs);
    assert_eq!(ran.code, 0, "{ran:?}");
    let wrong = [
        ("rot: 1", "'rot' was unexpected"),
        ("eviction: {low: {bytes: 75}}", "low.bytes"),
        ("caches: [{kind: nmp, path: a}]", "'nmp'"),
        ("defaults: {worktrees: {presets: [t4]}}", "'t4'"),
    ];
    for (typed, said) in wrong {
        let text = format!("volume: {{root: /data}}\nrepos: []\n{typed}\n");
        let ran = check(&world, &of_config, &[beside(&world, "wrong.yaml", &text)]);
        assert!(ran.code == 1 && ran.out.contains(said), "{typed}: {ran:?}");
    }

    let golden = super::report::all();
    let mut reports: Vec<PathBuf> = golden
        .iter()
        .enumerate()
        .map(|(n, report)| beside(&world, &format!("report-{n}.json"), &json::pretty(report)))
        .collect();
    for typed in [
        &["report", "--format", "json"][..],
        &["run", "--format", "json"],
    ] {
        let text = world.treewarden(typed).out;
        reports.push(beside(&world, &format!("{}.json", typed[0]), &text));
    }
    let ran = check(&world, &of_report, &reports);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lacking = json::pretty(&nights::rich()).replace("\"outcome\"", "\"out\"");
    let ran = check(
        &world,
        &of_report,
        &[beside(&world, "wrong.json", &lacking)],
    );
    assert!(
        ran.code == 1 && ran.out.contains("'outcome' is a required"),
        "{ran:?}"
    );

    let past = json::pretty(&History::of(&golden, 1));
    let now = world.treewarden(&["history", "--format", "json"]).out;
    let histories = [("past.json", past), ("now.json", now)];
    let histories = histories.map(|(name, text)| beside(&world, name, &text));
    let ran = check(&world, &of_history, &histories);
    assert_eq!(ran.code, 0, "{ran:?}");
}
