//! `--shard`, and the environment of an Indexed Job, which can replace it.
//!
//! A count without an index is refused: a pod that took itself for the only one would block all.

use super::{Exit, usage};
use crate::plan::shard::Shard;
use clap::Args;
use std::env::{VarError, var};

/// How many there are, and which one this is: the latter as Kubernetes tells every pod of an
/// Indexed Job.
const COUNT: &str = "TREEWARDEN_SHARDS";
const INDEX: &str = "JOB_COMPLETION_INDEX";

/// Which of several machines this is.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Work on this machine's share of the repos: one of N, counted from 0, so `0/4` to `3/4`. The
    /// last one also waits for the others and evicts for all [default: from `TREEWARDEN_SHARDS` (N)
    /// and `JOB_COMPLETION_INDEX` (I) where the former is set, else all repos]
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
}

impl Asked {
    /// Returns the shard that was typed, or that the environment names.
    pub(super) fn shard(&self) -> Result<Option<Shard>, Exit> {
        if self.shard.is_some() {
            return Ok(self.shard);
        }
        let Some(count) = variable(COUNT)? else {
            return Ok(None);
        };
        let index = variable(INDEX)?.ok_or_else(|| {
            usage(format!(
                "{COUNT} is set and {INDEX} is not: run it in an Indexed Job, or say which of the {count} shards this is by --shard"
            ))
        })?;
        format!("{index}/{count}")
            .parse()
            .map(Some)
            .map_err(|wrong| usage(format!("{INDEX} and {COUNT}: {wrong}")))
    }
}

fn variable(name: &str) -> Result<Option<String>, Exit> {
    match var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(error) => Err(usage(format!("{name}: {error}"))),
    }
}
