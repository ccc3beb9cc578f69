//! The JSON Schemas of what programs read: a run's report and the history. They are derived from the
//! types that are written, descriptions included.

use super::RunReport;
use super::history::History;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

/// Returns the schema of `treewarden.report/1`.
pub fn report() -> Schema {
    of::<RunReport>(super::SCHEMA)
}

/// Returns the schema of `treewarden.history/1`.
pub fn history() -> Schema {
    of::<History<'_>>(super::history::SCHEMA)
}

fn of<T: JsonSchema>(title: &str) -> Schema {
    let settings = SchemaSettings::draft07().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema
}
