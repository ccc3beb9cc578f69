//! The config as it was typed: every key optional, nothing filled in, unknown keys refused.
//!
//! The one user of `serde_yaml`. Values are checked only for their form. A value that can't be read
//! is noted and taken out, and the rest is read on, so that all mistakes are found.

use super::problem::{KeyPath, Notes, Problem, Step};
use super::tree::{Seek, Tree};
use super::units::{Amount, Bytes, ClassAge, Count, Percent, Time};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_path_to_error::Segment;
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
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    pub(super) volume: Mapping<Volume>,
    pub(super) eviction: Mapping<Eviction>,
    pub(super) run: Mapping<Run>,
    pub(super) defaults: Mapping<Settings>,
    pub(super) repos: Option<Vec<Mapping<Repo>>>,
    pub(super) caches: Option<Vec<Mapping<Cache>>>,
    pub(super) alerts: Mapping<Alerts>,
}

/// `volume`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Volume {
    pub(super) root: Option<String>,
    pub(super) state: Option<String>,
}

/// `eviction`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Eviction {
    pub(super) high: Mapping<Marks>,
    pub(super) low: Mapping<Marks>,
    pub(super) budget: Option<Bytes>,
    pub(super) min_age: Option<Time>,
    pub(super) in_use: Option<String>,
}

/// `eviction.high` and `eviction.low`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Marks {
    pub(super) bytes: Option<Percent>,
    pub(super) inodes: Option<Percent>,
}

/// `run`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Run {
    pub(super) repos_in_parallel: Option<Count>,
    pub(super) io_threads: Option<Count>,
    pub(super) deadline: Option<Time>,
    pub(super) max_reaped: Option<Count>,
}

/// `defaults`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) lock_wait: Option<Time>,
    pub(super) worktrees: Mapping<Worktrees>,
    pub(super) gc: Mapping<Gc>,
    pub(super) busy_probe: Option<List>,
}

/// One of `repos`: its name, path and address, and any of [`Settings`] (serde can't both flatten
/// and refuse unknown keys).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Repo {
    pub(super) name: Option<String>,
    pub(super) path: Option<String>,
    pub(super) url: Option<String>,
    pub(super) lock_wait: Option<Time>,
    pub(super) worktrees: Mapping<Worktrees>,
    pub(super) gc: Mapping<Gc>,
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
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Worktrees {
    pub(super) landed: Option<ClassAge>,
    pub(super) saved: Option<ClassAge>,
    pub(super) unsaved: Option<ClassAge>,
    pub(super) fresh: Option<ClassAge>,
    pub(super) dead_locks: Option<ClassAge>,
    pub(super) keep: Option<List>,
    pub(super) max_trees: Option<Count>,
    pub(super) max_bytes: Option<Bytes>,
    pub(super) presets: Option<List>,
    pub(super) roots: Option<List>,
    pub(super) rescue_max: Option<Bytes>,
    pub(super) rescue_keep: Option<Time>,
    pub(super) rescue_budget: Option<Bytes>,
    pub(super) made_again: Option<Vec<Mapping<MadeAgain>>>,
}

/// One of `worktrees.made_again`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MadeAgain {
    pub(super) name: Option<String>,
    pub(super) beside: Option<String>,
    pub(super) holds: Option<String>,
}

/// `gc`, in the defaults and in a repo.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Gc {
    pub(super) strategy: Option<String>,
}

/// One of `caches`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Cache {
    pub(super) kind: Option<String>,
    pub(super) name: Option<String>,
    pub(super) path: Option<String>,
    pub(super) outside: Option<bool>,
    pub(super) depth: Option<Count>,
    pub(super) min_age: Option<Time>,
    pub(super) reserve: Option<Amount>,
    pub(super) budget: Option<Amount>,
}

/// `alerts`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Alerts {
    pub(super) volume: Option<String>,
    pub(super) runbook: Option<String>,
    pub(super) pushgateway: Option<String>,
    pub(super) textfile: Option<String>,
    pub(super) alertmanager: Option<String>,
    pub(super) webhook: Option<Mapping<Webhook>>,
    pub(super) termination_log: Option<String>,
}

/// `alerts.webhook`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Webhook {
    pub(super) url_env: Option<String>,
    pub(super) url_file: Option<String>,
    pub(super) format: Option<String>,
    pub(super) when: Option<List>,
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

fn line_of(text: &str, steps: &[Step]) -> Option<usize> {
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
