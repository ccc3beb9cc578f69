//! The config's JSON Schema, which editors complete and check a config by.
//!
//! Keys, nesting and descriptions are those of the types in `raw`; the names that a value may have
//! are the lists that it is checked by. Whether values make sense together, only the parser knows.

use super::{alerts, caches, policy, raw, resolve, roots, settings};
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Value, json};

/// Returns the schema. Draft 7, because the usual editors know no later one well.
///
/// # Panics
/// Never: a test makes it.
pub fn schema() -> Schema {
    // Nothing is filled in where a key is left out; what holds then, the descriptions say.
    let tidied = RecursiveTransform(|schema: &mut Schema| drop(schema.remove("default")));
    let mut schema = SchemaSettings::draft07()
        .with_transform(tidied)
        .into_generator()
        .into_root_schema_for::<raw::Config>();
    schema.insert("title".to_owned(), "treewarden's config".into());
    for (at, names) in named() {
        let (mapping, key) = at.split_once('.').expect("a mapping's key");
        let pointer = format!("/definitions/{mapping}/properties/{key}");
        let value = schema.pointer_mut(&pointer).expect("a key that is there");
        let is_list = !value["items"].is_null();
        if is_list {
            value["items"] = json!({ "enum": names });
        } else {
            let names = names.into_iter().map(Value::from).chain([Value::Null]);
            value["enum"] = names.collect();
        }
    }
    schema
}

/// Returns the keys whose values, or items, are names, and the names.
fn named() -> [(&'static str, Vec<&'static str>); 6] {
    [
        ("Cache.kind", names(&caches::kinds())),
        ("Eviction.in_use", names(&resolve::IN_USE)),
        ("Gc.strategy", names(&settings::STRATEGIES)),
        ("Worktrees.presets", names(&roots::PRESETS)),
        ("Webhook.format", names(&alerts::FORMATS)),
        ("Webhook.when", names(&policy::WEBHOOK_WHEN)),
    ]
}

fn names<T>(known: &[(&'static str, T)]) -> Vec<&'static str> {
    known.iter().map(|(name, _)| *name).collect()
}
