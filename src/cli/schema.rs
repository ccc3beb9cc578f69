//! `treewarden schema`: JSON Schemas, for editors and for programs that read reports.

use super::{Exit, print};
use crate::config;
use crate::report;
use crate::report::json;
use clap::ValueEnum;

/// What there is a schema of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Of {
    /// The config: editors complete and check it by this
    Config,
    /// `treewarden run --format json`, and the journal's lines
    Report,
    /// `treewarden history --format json`
    History,
}

pub(super) fn print_schema(of: Of) -> Result<u8, Exit> {
    let schema = match of {
        Of::Config => config::schema(),
        Of::Report => report::schema::report(),
        Of::History => report::schema::history(),
    };
    print(&json::pretty(&schema))?;
    Ok(0)
}
