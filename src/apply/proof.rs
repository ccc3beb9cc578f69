//! The proof before a deletion: nothing that is to go is reachable from what the repo's files name.
//!
//! It is the other hand: git decided what to write, and this walks from roots that were read anew,
//! by our own code, over a view that holds only what stays. An object that was missing before is no
//! loss; one that would go is, and then nothing goes. It must never rest on what git took for
//! reachable, nor end early with success.

use crate::fs::stop::Stop;
use crate::git::shadow::rooted::View;
use crate::survey::packs::Objects;
use crate::survey::roots::{Id, hex, id};
use git2::{ErrorCode, ObjectType, Oid};
use std::collections::HashSet;

/// Objects that were written meanwhile, or are missing. More take more memory than anybody has.
const MOST_OTHERS: usize = 16 << 20;
/// No honest commit or tree is larger: a tree of 64 MiB holds a million files.
const LARGEST: usize = 64 << 20;
/// How many objects are looked at before somebody asks whether to stop.
const AT_ONCE: usize = 4096;

/// Why nothing may be deleted.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// It would be lost.
    #[error("{} would have been lost, though the repo's files still lead to it", hex(.0))]
    Lost(Id),
    /// What leads on can't be read.
    #[error("{}: {why}", hex(.id))]
    Unreadable {
        /// Which object.
        id: Id,
        /// Why.
        why: String,
    },
    /// There is too much to look at.
    #[error("the repo holds more than can be looked at")]
    TooMuch,
    /// The run is to stop.
    #[error("{0}")]
    Stopped(String),
}

/// Proves that from `roots` nothing of `gone` is reached. `stays` are the objects that stay, in
/// packs and loose, its own and borrowed ones.
///
/// # Errors
/// [`ProofError`]: nothing of it may be deleted.
pub fn prove(
    roots: &[&[Id]],
    stays: &[Objects],
    gone: &Objects,
    view: &View,
    stop: &Stop,
) -> Result<(), ProofError> {
    let bits = stays
        .iter()
        .map(|pack| vec![0; pack.len().div_ceil(64)])
        .collect();
    let mut walk = Walk {
        stays,
        gone,
        view,
        bits,
        others: HashSet::new(),
        next: Vec::new(),
    };
    let mut seen = 0_usize;
    for &root in roots.iter().copied().flatten() {
        if !walk.is_new(root)? {
            continue;
        }
        walk.root(root)?;
        while let Some(object) = walk.next.pop() {
            if seen.is_multiple_of(AT_ONCE)
                && let Some(why) = stop.reached()
            {
                return Err(ProofError::Stopped(why.to_owned()));
            }
            seen = seen.saturating_add(1);
            walk.follow(object)?;
        }
    }
    Ok(())
}

struct Walk<'a> {
    stays: &'a [Objects],
    gone: &'a Objects,
    view: &'a View,
    /// For each object of each pack, whether it was met.
    bits: Vec<Vec<u64>>,
    /// Those that were met elsewhere: written meanwhile, or nowhere.
    others: HashSet<Id>,
    /// Commits, trees and tags to be read.
    next: Vec<Id>,
}

impl Walk<'_> {
    /// Whether the object was not met before.
    fn is_new(&mut self, id: Id) -> Result<bool, ProofError> {
        for (pack, bits) in self.stays.iter().zip(&mut self.bits) {
            if let Some(number) = pack.find(&id) {
                let bit = 1 << (number % 64);
                // There is a word for each 64 of its objects.
                let Some(word) = bits.get_mut(number / 64) else {
                    return Err(ProofError::TooMuch);
                };
                let is_new = *word & bit == 0;
                *word |= bit;
                return Ok(is_new);
            }
        }
        if self.gone.find(&id).is_some() {
            return Err(ProofError::Lost(id));
        }
        if self.others.len() >= MOST_OTHERS {
            return Err(ProofError::TooMuch);
        }
        Ok(self.others.insert(id))
    }

    /// What a file names may be of any kind; a file's content leads nowhere.
    fn root(&mut self, root: Id) -> Result<(), ProofError> {
        match self.view.odb.read_header(oid(root)) {
            Ok((_, ObjectType::Blob)) => Ok(()),
            Ok(_) => {
                self.next.push(root);
                Ok(())
            }
            Err(error) => self.unread(root, &error),
        }
    }

    /// Meets what an object names.
    fn follow(&mut self, from: Id) -> Result<(), ProofError> {
        let object = match self.view.odb.read(oid(from)) {
            Ok(object) => object,
            Err(error) => return self.unread(from, &error),
        };
        let data = object.data();
        if data.len() > LARGEST && object.kind() != ObjectType::Blob {
            return Err(ProofError::TooMuch);
        }
        let nonsense = || ProofError::Unreadable {
            id: from,
            why: "it makes no sense".to_owned(),
        };
        match object.kind() {
            ObjectType::Commit => {
                for line in data
                    .split(|&byte| byte == b'\n')
                    .take_while(|line| !line.is_empty())
                {
                    if let Some(named) = line
                        .strip_prefix(b"tree ")
                        .or_else(|| line.strip_prefix(b"parent "))
                    {
                        self.meet(id(named).ok_or_else(nonsense)?)?;
                    }
                }
            }
            ObjectType::Tag => {
                let named = data
                    .strip_prefix(b"object ")
                    .and_then(|rest| id(rest.get(..40)?))
                    .ok_or_else(nonsense)?;
                if self.is_new(named)? {
                    self.root(named)?;
                }
            }
            ObjectType::Tree => {
                let mut rest = data;
                while !rest.is_empty() {
                    let (entry, named, after) = entry(rest).ok_or_else(nonsense)?;
                    rest = after;
                    match entry {
                        Entry::Submodule => {}
                        Entry::Tree => self.meet(named)?,
                        Entry::File => {
                            self.is_new(named)?;
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn meet(&mut self, id: Id) -> Result<(), ProofError> {
        if self.is_new(id)? {
            self.next.push(id);
        }
        Ok(())
    }

    /// What isn't there is no loss: it was not there before, or it would have been found among what
    /// goes.
    fn unread(&self, id: Id, error: &git2::Error) -> Result<(), ProofError> {
        let is_here = self.stays.iter().any(|pack| pack.find(&id).is_some());
        if error.code() == ErrorCode::NotFound && !is_here {
            return Ok(());
        }
        Err(ProofError::Unreadable {
            id,
            why: error.message().to_owned(),
        })
    }
}

enum Entry {
    Tree,
    Submodule,
    File,
}

/// The first entry of a tree, what it names, and the rest: `MODE NAME`, a NUL, an id.
fn entry(tree: &[u8]) -> Option<(Entry, Id, &[u8])> {
    let (mode, named) = tree.split_at_checked(tree.iter().position(|&byte| byte == b' ')?)?;
    let (_name, behind) = named.split_at_checked(named.iter().position(|&byte| byte == 0)?)?;
    let (id, rest) = behind.strip_prefix(b"\0")?.split_first_chunk()?;
    let kind = match mode {
        b"40000" | b"040000" => Entry::Tree,
        b"160000" => Entry::Submodule,
        _ => Entry::File,
    };
    Some((kind, *id, rest))
}

fn oid(id: Id) -> Oid {
    Oid::from_bytes(&id).unwrap_or(Oid::ZERO_SHA1)
}
