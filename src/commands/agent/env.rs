//! The cache environment: the variables that send each package manager to its directory on the
//! volume.
//!
//! `ecosystems` defines the variables. Each was verified with the tool, and `tests/it/env.rs`
//! verifies them again. `docs/eviction.md` lists them.

use crate::config::policy::Policy;
use crate::ecosystems;
use crate::facts::cache::CacheKind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How the environment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `export NAME='value'`, for `eval` in any POSIX shell
    Shell,
    /// `NAME=value`, for `docker --env-file`, systemd and dotenv libraries
    Dotenv,
    /// One JSON object
    Json,
    /// A `ConfigMap` for `envFrom`, as `kubectl apply -f -` reads it
    Configmap,
}

/// A path that a format can't express.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to write {name} as dotenv: `{value}` holds a quote, which each of its readers takes in its own way; use another --format"
)]
pub struct Unsayable {
    name: &'static str,
    value: String,
}

/// Returns the variables by name. If two caches have one kind, the first in the config counts;
/// `folder` and `build-output` have no tool.
pub fn variables(policy: &Policy) -> BTreeMap<&'static str, String> {
    let mut variables = BTreeMap::new();
    for (cache, place) in policy
        .caches
        .iter()
        .filter_map(|cache| Some((cache, cache.place.as_ref()?.path())))
    {
        for (name, path) in of(cache.kind, &place) {
            // The config is text, and so are all its paths.
            variables
                .entry(name)
                .or_insert_with(|| path.display().to_string());
        }
    }
    variables
}

/// Returns the variables that make the tool of that kind use the directory `place`.
fn of(kind: CacheKind, place: &Path) -> Vec<(&'static str, PathBuf)> {
    ecosystems::layout(kind).map_or_else(Vec::new, |layout| (layout.variables)(place))
}

/// Returns the environment as text.
///
/// # Errors
/// [`Unsayable`], only for dotenv.
pub fn render(
    variables: &BTreeMap<&'static str, String>,
    format: Format,
) -> Result<String, Unsayable> {
    let lines = |line: fn(&'static str, &str) -> Result<String, Unsayable>| {
        variables
            .iter()
            .map(|(name, value)| line(name, value))
            .collect()
    };
    match format {
        Format::Shell => lines(|name, value| Ok(format!("export {name}={}\n", shell(value)))),
        Format::Dotenv => lines(dotenv),
        Format::Json => Ok(json(variables)),
        Format::Configmap => {
            let data: Vec<String> = variables
                .iter()
                .map(|(name, value)| format!("\n  {name}: {}", json(value).trim_end()))
                .collect();
            let data = if data.is_empty() {
                " {}".to_owned()
            } else {
                data.concat()
            };
            Ok(format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: treewarden-env\ndata:{data}\n"
            ))
        }
    }
}

/// Returns JSON, which is valid YAML as well.
fn json(what: &impl serde::Serialize) -> String {
    crate::report::json::pretty(what)
}

/// Returns whether every reader of these formats takes the value literally.
fn is_plain(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@%:,".contains(&byte))
}

/// Returns one word of a POSIX shell's command line.
pub fn shell(value: &str) -> String {
    if is_plain(value) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

/// Quotes a value only if it needs it: Docker takes quotes for a part of the value.
fn dotenv(name: &'static str, value: &str) -> Result<String, Unsayable> {
    match value {
        plain if is_plain(plain) => Ok(format!("{name}={plain}\n")),
        // The config refuses backslashes and line ends, the other problematic characters.
        odd if odd.contains('\'') => Err(Unsayable {
            name,
            value: odd.to_owned(),
        }),
        quoted => Ok(format!("{name}='{quoted}'\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(root: &str, caches: &str) -> Policy {
        crate::config::parse(
            "test",
            &format!(
                "volume: {{root: {}}}\nrepos: []\ncaches: [{caches}]\n",
                json(&root).trim()
            ),
        )
        .unwrap()
    }

    #[test]
    fn the_directory_is_named_as_its_tool_means_it() {
        let caches = "{kind: pnpm, path: a/pnpm/v10}, {kind: yarn, path: a/yarn/cache}, {kind: npm, path: one}, \
                      {kind: npm, name: other, path: two}, {kind: folder, name: models, path: models}, {kind: build-output}";
        let expected = BTreeMap::from([
            ("YARN_CACHE_FOLDER", "/data/a/yarn/cache".to_owned()),
            ("YARN_GLOBAL_FOLDER", "/data/a/yarn".to_owned()),
            ("npm_config_cache", "/data/one".to_owned()),
            ("npm_config_store_dir", "/data/a/pnpm".to_owned()),
            ("pnpm_config_store_dir", "/data/a/pnpm".to_owned()),
        ]);
        assert_eq!(variables(&policy("/data", caches)), expected);
    }

    #[test]
    fn an_empty_environment_is_well_formed_too() {
        let none = BTreeMap::new();
        let all = [
            Format::Shell,
            Format::Dotenv,
            Format::Json,
            Format::Configmap,
        ]
        .map(|format| render(&none, format).unwrap());
        assert_eq!(
            all,
            [
                "",
                "",
                "{}\n",
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: treewarden-env\ndata: {}\n"
            ]
        );
    }

    #[test]
    fn what_dotenv_can_not_say_is_refused() {
        let variables = variables(&policy("/it's", "{kind: npm, path: npm}"));
        assert!(
            render(&variables, Format::Dotenv)
                .unwrap_err()
                .to_string()
                .contains("npm_config_cache")
        );
        assert_eq!(
            render(&variables, Format::Shell).unwrap(),
            "export npm_config_cache='/it'\\''s/npm'\n"
        );
    }
}
