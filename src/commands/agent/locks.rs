//! `treewarden locks`: who holds what, as the kernel reports it; a name that a dead holder left is
//! shown as that. It delays nobody: it asks without waiting, and releases at once.

use crate::config::policy::Policy;
use crate::lock::{self, LockError, Seen};
use crate::report::locks::{Holder, Lock, Locks, SCHEMA, State};
use crate::state::volume::{self, VolumeError};

/// Inspects the lock of the volume, of shards that are at work or died, and of each repo.
///
/// # Errors
/// [`VolumeError`]: the volume is not the one that the config means.
pub fn locks(policy: &Policy) -> Result<Locks, VolumeError> {
    volume::prove(&policy.volume)?;
    let directory = policy.volume.locks();
    let (shards, unreadable) = match lock::shards(&directory) {
        Ok(shards) => (shards, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let mut volume = lock_of(
        None,
        unreadable.map_or_else(|| lock::look_at(&directory, None), Err),
    );
    // Each shard holds it shared, so our own shared request succeeds.
    if shards.iter().any(|(_, seen)| seen.held) && volume.state != State::Unknown {
        volume = Lock {
            state: State::Held,
            holder: None,
            beat: None,
            ..volume
        };
    }
    let shards = shards.into_iter().map(|(shard, seen)| Lock {
        shard: Some(shard.to_string()),
        ..lock_of(None, Ok(seen))
    });
    let repos = policy.repos.iter().map(|repo| {
        lock_of(
            Some(&repo.name),
            lock::look_at(&directory, Some(&repo.name)),
        )
    });
    let locks = std::iter::once(volume)
        .chain(shards.filter(|shard| shard.state != State::Free))
        .chain(repos)
        .collect();
    Ok(Locks {
        schema: SCHEMA,
        locks,
    })
}

fn lock_of(name: Option<&str>, seen: Result<Seen, LockError>) -> Lock {
    let repo = name.map(ToOwned::to_owned);
    match seen {
        Err(error) => Lock {
            repo,
            shard: None,
            state: State::Unknown,
            holder: None,
            beat: None,
            error: Some(error.to_string()),
        },
        Ok(Seen {
            held,
            holder,
            written,
        }) => {
            let state = match (held, &holder) {
                (true, _) => State::Held,
                (false, Some(_)) => State::Left,
                (false, None) => State::Free,
            };
            // Only who wrote a record renews it.
            let has_record = holder.as_ref().is_some_and(|it| !it.token.is_empty());
            let beat = written.filter(|_| has_record);
            Lock {
                repo,
                shard: None,
                state,
                holder: holder.map(Holder::from),
                beat,
                error: None,
            }
        }
    }
}

impl From<lock::Holder> for Holder {
    fn from(holder: lock::Holder) -> Self {
        let lock::Holder {
            holder,
            pid,
            purpose,
            command,
            since,
            ..
        } = holder;
        Self {
            host: holder.rsplit('/').next().unwrap_or_default().to_owned(),
            holder,
            pid,
            purpose,
            command: command.map(String::from),
            since,
        }
    }
}
