//! The config as it was typed: every key optional, nothing filled in, unknown keys refused.
//!
//! The one user of `serde_yaml`. Values are checked only for their form. A value that can't be read
//! is noted and taken out, and the rest is read on, so that all mistakes are found.

use super::problem::{KeyPath, Notes, Problem, Step};
use super::tree::{Seek, Tree};
use super::units::{Amount, Bytes, ClassAge, Count, Percent, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_path_to_error::Segment;
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// Nobody reads more problems than this at once, and each costs another pass over the file.
const MOST_PROBLEMS: usize = 100;

/// A list of texts. An item may be empty here, so that taking one out keeps the numbers of the
/// others.
pub(super) type List = Vec<Option<String>>;

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["volume", "repos"]))]
pub(super) struct Config {
    /// The shared volume.
    pub(super) volume: Mapping<Volume>,
    /// When caches are evicted, and how far.
    pub(super) eviction: Mapping<Eviction>,
    /// How a run behaves.
    pub(super) run: Mapping<Run>,
    /// What holds for every repo, unless the repo says otherwise.
    pub(super) defaults: Mapping<Settings>,
    /// The persistent checkouts; `[]` maintains caches alone.
    pub(super) repos: Option<Vec<Mapping<Repo>>>,
    /// The package caches; without this list none is ever evicted.
    pub(super) caches: Option<Vec<Mapping<Cache>>>,
    /// Where each run's page is put.
    pub(super) report: Mapping<Report>,
    /// Where a run's outcome is sent.
    pub(super) alerts: Mapping<Alerts>,
}

/// `volume`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["root"]))]
pub(super) struct Volume {
    /// The volume, at the absolute path that the agents see.
    pub(super) root: Option<String>,
    /// The directory of locks, trash and journal, inside the root. Default: .treewarden
    pub(super) state: Option<String>,
    /// What must be free: 5GiB, or {bytes: 5GiB, inodes: 10000}. If less is, runs, `worktree add`
    /// and `exec` make room. Default: none
    pub(super) floor: Option<Amount>,
}

/// `eviction`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Eviction {
    /// Eviction starts when one of these is passed. Default: 85% of each
    pub(super) high: Mapping<Marks>,
    /// Eviction stops when both are reached. Default: 75% of each
    pub(super) low: Mapping<Marks>,
    /// Above one of these it is urgent.
    pub(super) critical: Mapping<Critical>,
    /// A cap on everything under the root, such as 25GiB. Default: none
    pub(super) budget: Option<Bytes>,
    /// What was used within this time stays. Default: 24h
    pub(super) min_age: Option<Time>,
    /// What lock files of live trees name stays (`keep`), or goes last (`last`). Default: keep
    pub(super) in_use: Option<String>,
}

/// `eviction.high` and `eviction.low`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Marks {
    /// Of its bytes.
    pub(super) bytes: Option<Percent>,
    /// Of its inodes.
    pub(super) inodes: Option<Percent>,
}

/// `eviction.critical`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Critical {
    /// Of its bytes. Default: 95%
    pub(super) bytes: Option<Percent>,
    /// Of its inodes. Default: 95%
    pub(super) inodes: Option<Percent>,
    /// Idle for this long, a worktree may lose its build output, or go before its age if its work
    /// is elsewhere, when caches alone can't make room. Default: 1h
    pub(super) min_idle: Option<ClassAge>,
}

/// `run`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Run {
    /// Repos in work at once. Default: 4
    pub(super) repos_in_parallel: Option<Count>,
    /// Threads that scan and delete. Default: 32
    pub(super) io_threads: Option<Count>,
    /// The whole run's time. Default: 4h
    pub(super) deadline: Option<Time>,
    /// If a run would remove more worktrees than this, it holds repos back. Default: 50
    pub(super) max_reaped: Option<Count>,
}

/// `defaults`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// How long to wait for an agent that holds the repo's lock. Default: 10m
    pub(super) lock_wait: Option<Time>,
    /// Where worktrees stand, and how long each class stays.
    pub(super) worktrees: Mapping<Worktrees>,
    /// How the repo is repacked.
    pub(super) gc: Mapping<Gc>,
    /// A command that knows whether agents are at work: exit code 0 is busy, 1 is idle.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) busy_probe: Option<List>,
}

/// One of `repos`: its name, path, address and clones, and any of [`Settings`] (serde can't both
/// flatten and refuse unknown keys).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "path"]))]
pub(super) struct Repo {
    /// The repo's name, such as acme/shop.
    pub(super) name: Option<String>,
    /// Its checkout, relative to the root or absolute and inside it.
    pub(super) path: Option<String>,
    /// Its address, as for `git clone`, without passwords and tokens.
    pub(super) url: Option<String>,
    /// Globs below the root that match loose clones of its origin: they go as worktrees do.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) clones: Option<List>,
    /// How long to wait for an agent that holds the repo's lock. Default: 10m
    pub(super) lock_wait: Option<Time>,
    /// Where worktrees stand, and how long each class stays.
    pub(super) worktrees: Mapping<Worktrees>,
    /// How the repo is repacked.
    pub(super) gc: Mapping<Gc>,
    /// A command that knows whether agents are at work: exit code 0 is busy, 1 is idle.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) busy_probe: Option<List>,
}

impl Repo {
    /// The repo's own settings.
    pub(super) fn settings(&self) -> Settings {
        let Self {
            lock_wait,
            worktrees,
            gc,
            busy_probe,
            ..
        } = self.clone();
        Settings {
            lock_wait,
            worktrees,
            gc,
            busy_probe,
        }
    }
}

/// `worktrees`, in the defaults and in a repo.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Worktrees {
    /// Idle time after which a clean tree whose work is in the default branch goes. Default: 1d
    pub(super) landed: Option<ClassAge>,
    /// Idle time after which a clean tree whose commits are on a branch goes. Default: 7d
    pub(super) saved: Option<ClassAge>,
    /// Idle time after which a tree with work of its own is rescued and goes. Default: 30d
    pub(super) unsaved: Option<ClassAge>,
    /// Idle time after which a tree without a commit of its own goes. Default: as `saved`
    pub(super) fresh: Option<ClassAge>,
    /// How long the lock of a dead process still counts. Default: never (it always counts)
    pub(super) dead_locks: Option<ClassAge>,
    /// Worktrees that no run removes, as globs of their paths, names or branches.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) keep: Option<List>,
    /// Over this many worktrees, landed and then saved ones go before their age. Default: no cap
    pub(super) max_trees: Option<Count>,
    /// Over these bytes of worktrees, they go likewise. Default: no cap
    pub(super) max_bytes: Option<Bytes>,
    /// The tools whose layouts are searched for worktrees. Default: `[afk]`
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) presets: Option<List>,
    /// More places of worktrees, as globs relative to the root.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) roots: Option<List>,
    /// The largest rescue; a tree that holds more stays. Default: 200MiB
    pub(super) rescue_max: Option<Bytes>,
    /// How long a rescue is kept. Default: 30d
    pub(super) rescue_keep: Option<Time>,
    /// What all rescues of a repo may hold together. Default: 2GiB
    pub(super) rescue_budget: Option<Bytes>,
    /// More directories, files and links that tools make again.
    pub(super) made_again: Option<Vec<Mapping<MadeAgain>>>,
}

/// One of `worktrees.made_again`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub(super) struct MadeAgain {
    /// The directory's or file's name.
    pub(super) name: Option<String>,
    /// What stands beside it.
    pub(super) beside: Option<String>,
    /// What the directory holds.
    pub(super) holds: Option<String>,
}

/// `gc`, in the defaults and in a repo.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Gc {
    /// `auto` decides by counts, `git-gc` does what `git gc` would, `off` does nothing. Default: auto
    pub(super) strategy: Option<String>,
}

/// One of `caches`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["kind"]))]
pub(super) struct Cache {
    /// The tool whose layout it has, `folder`, or `build-output`.
    pub(super) kind: Option<String>,
    /// For the report and the metrics. Default: the kind
    pub(super) name: Option<String>,
    /// Its directory, relative to the root or absolute and inside it; none for build-output.
    pub(super) path: Option<String>,
    /// It stands outside of the root, and its path is absolute. Default: false
    pub(super) outside: Option<bool>,
    /// For kind folder: how deep its units stand. Default: 1
    pub(super) depth: Option<Count>,
    /// What was used within this time stays. Default: `eviction.min_age`
    pub(super) min_age: Option<Time>,
    /// This much always stays. Default: 0
    pub(super) reserve: Option<Amount>,
    /// What it may hold, however empty the volume is. Default: no cap
    pub(super) budget: Option<Amount>,
}

/// `report`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Report {
    /// The file that each run replaces by its HTML report, below the root or an absolute path.
    pub(super) html_file: Option<String>,
}

/// `alerts`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Alerts {
    /// What metrics and alerts call this volume. Default: its root
    pub(super) volume: Option<String>,
    /// The page that alerts link to.
    pub(super) runbook: Option<String>,
    /// The Pushgateway that the metrics are pushed to.
    pub(super) pushgateway: Option<String>,
    /// The file of the metrics for node-exporter's textfile collector.
    pub(super) textfile: Option<String>,
    /// The Alertmanager that the alerts are sent to.
    pub(super) alertmanager: Option<String>,
    /// A message to a chat or to any listener.
    pub(super) webhook: Option<Mapping<Webhook>>,
    /// A dead man's switch: an address that expects a sign of each run, as healthchecks.io does.
    pub(super) ping: Option<Mapping<Ping>>,
    /// A line for `kubectl describe pod`, into a file that is there already.
    pub(super) termination_log: Option<String>,
}

/// `alerts.webhook`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Webhook {
    /// The environment variable that holds the address.
    pub(super) url_env: Option<String>,
    /// The file that holds the address.
    pub(super) url_file: Option<String>,
    /// `slack` is {"text": ..}, `json` the run and its alerts. Default: slack
    pub(super) format: Option<String>,
    /// The events that send a message. Default: all
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) when: Option<List>,
}

/// `alerts.ping`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ping {
    /// The environment variable that holds the address.
    pub(super) url_env: Option<String>,
    /// The file that holds the address.
    pub(super) url_file: Option<String>,
}

/// A mapping, or nothing: a section whose keys are all commented out. Serde's own structs would
/// also accept a list, by position, and `high: [85%, 75%]` must not pass.
#[derive(Debug, Clone, Default)]
pub(super) struct Mapping<T>(T);

impl<T> Deref for Mapping<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Mapping<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(MappingVisitor(PhantomData))
            .map(Self)
    }
}

/// As its keys', or nothing.
impl<T: JsonSchema> JsonSchema for Mapping<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }

    fn inline_schema() -> bool {
        true
    }
}

struct MappingVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for MappingVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys with values, as in {key: value}")
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries))
    }
}

/// Reads a config's text, and notes every key and value whose form is wrong.
///
/// # Errors
/// The one [`Problem`] of a text that is no YAML.
pub(super) fn read(text: &str) -> Result<(Config, Notes), Problem> {
    let mut notes = Notes::default();
    let yaml = serde_yaml::Deserializer::from_str(text);
    let mut tree = Tree::new(&mut notes)
        .deserialize(yaml)
        .map_err(|error| no_yaml(&error))?;
    for _ in 0..MOST_PROBLEMS {
        match serde_path_to_error::deserialize::<_, Mapping<Config>>(&tree) {
            Ok(config) => return Ok((config.0, notes)),
            Err(error) => {
                let at = KeyPath(error.path().iter().map_while(step).collect());
                take_out(&mut tree, &at.0);
                notes.take_out(at, reworded(&error.inner().to_string()));
            }
        }
    }
    // There are too many problems to judge the rest, so only these are reported.
    notes.take_out(
        KeyPath::default(),
        format!("more than {MOST_PROBLEMS} keys or values can't be read; fix these first"),
    );
    Ok((Config::default(), notes))
}

/// Returns the line of `key`, or of its nearest existing parent.
pub(super) fn line(text: &str, key: &KeyPath) -> usize {
    (1..=key.0.len())
        .rev()
        .find_map(|depth| line_of(text, &key.0[..depth]))
        .unwrap_or(1)
}

/// Returns the line of a key; none if it isn't there.
pub(super) fn line_of(text: &str, steps: &[Step]) -> Option<usize> {
    let found = Cell::new(false);
    let error = Seek {
        steps,
        found: &found,
    }
    .deserialize(serde_yaml::Deserializer::from_str(text))
    .err()?;
    error
        .location()
        .filter(|_| found.get())
        .map(|location| location.line())
}

fn no_yaml(error: &serde_yaml::Error) -> Problem {
    let told = error.to_string();
    let cause = told.split(" at line ").next().unwrap_or_default();
    let what = if cause.contains("more than one document") {
        "holds more than one YAML document; keep one, without `---` lines".to_owned()
    } else {
        format!(
            "no valid YAML: {cause}; look for a wrong indent, a tab, or a missing quote or bracket"
        )
    };
    Problem {
        line: error.location().map_or(1, |location| location.line()),
        key: String::new(),
        what,
    }
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Seq { index } => Some(Step::Item(*index)),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// Takes the value at `steps` out of the tree: a key is removed, an item is emptied, so that the
/// others keep their numbers.
fn take_out(tree: &mut Value, steps: &[Step]) {
    match (steps, tree) {
        ([], tree) => *tree = Value::Null,
        ([Step::Key(key)], Value::Object(map)) => drop(map.remove(key)),
        ([Step::Key(key), rest @ ..], Value::Object(map)) => map
            .get_mut(key)
            .into_iter()
            .for_each(|value| take_out(value, rest)),
        ([Step::Item(index), rest @ ..], Value::Array(list)) => {
            list.get_mut(*index)
                .into_iter()
                .for_each(|value| take_out(value, rest));
        }
        _ => {}
    }
}

/// Rewords serde's message about a wrong form. What was typed is left out: it may be a secret.
fn reworded(told: &str) -> String {
    let Some((found, expected)) = told.rsplit_once(", expected ") else {
        return told.to_owned();
    };
    if found.starts_with("unknown field") {
        return format!(
            "unknown key; known here: {}",
            expected.trim_start_matches("one of ")
        );
    }
    let found = found
        .trim_start_matches("invalid type: ")
        .split(['`', '"'])
        .next()
        .unwrap_or_default()
        .trim_end();
    format!(
        "found {}; write {}",
        with_article(found),
        with_article(expected)
    )
}

fn with_article(form: &str) -> &str {
    match form {
        "map" => "a mapping",
        "sequence" => "a list",
        "a sequence" => "a list, as in [a, b]",
        "string" => "text",
        "a string" => "text (quotes make it text)",
        "integer" | "floating point" => "a number",
        "boolean" => "a yes or no",
        "a boolean" => "true or false",
        "null" => "nothing",
        other => other,
    }
}
