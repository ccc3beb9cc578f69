//! The proof before a deletion: the repo's files lead to no object that is to be deleted.
//!
//! This is the second hand: git decided what to write, and this walks from roots that our own code
//! has read again, over a view without the packs that are to be deleted. An object that was missing
//! before is no loss; if one would be lost, nothing is deleted. Git's own idea of what is reachable
//! doesn't count, and a walk that ends early is a failure.

use crate::fs::stop::Stop;
use crate::survey::packs::Objects;
use crate::survey::roots::{Id, hex, id};
use git2::{ErrorCode, ObjectType, Odb, Oid};
use std::collections::HashSet;

/// Objects that were written meanwhile, or are missing, at most. More would take too much memory.
const MOST_OTHERS: usize = 16 << 20;
/// Bytes. No well-formed commit or tree is larger: a tree of 64 MiB has a million entries.
const LARGEST: usize = 64 << 20;
/// Objects between two checks whether to stop.
const AT_ONCE: usize = 4096;

/// Why nothing may be deleted.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The object would be lost.
    #[error("{} would have been lost, though the repo's files still lead to it", hex(.0))]
    Lost(Id),
    /// An object on the way can't be read.
    #[error("{}: {why}", hex(.id))]
    Unreadable {
        /// Which object.
        id: Id,
        /// Why.
        why: String,
    },
    /// There are too many objects.
    #[error("the repo holds more than can be looked at")]
    TooMuch,
    /// The run has to stop.
    #[error("{0}")]
    Stopped(String),
}

/// The claim to prove: no object of `gone` is reachable from `roots`.
pub struct Claim<'a> {
    /// The objects that the repo's files name.
    pub roots: &'a [&'a [Id]],
    /// The objects that stay: packed and loose, the repo's own and borrowed ones.
    pub stays: &'a [Objects],
    /// The objects that are to be deleted.
    pub gone: &'a Objects,
    /// Reads what stays. The walk fails before it would read an object of `gone`.
    pub view: &'a Odb<'a>,
}

impl Claim<'_> {
    /// Proves the claim.
    ///
    /// # Errors
    /// [`ProofError`]: nothing of `gone` may be deleted.
    pub fn prove(&self, stop: &Stop) -> Result<(), ProofError> {
        let bits = self
            .stays
            .iter()
            .map(|pack| vec![0; pack.len().div_ceil(64)])
            .collect();
        let mut walk = Walk {
            stays: self.stays,
            gone: self.gone,
            view: self.view,
            bits,
            others: HashSet::new(),
            next: Vec::new(),
        };
        let mut seen = 0_usize;
        for &root in self.roots.iter().copied().flatten() {
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
}

struct Walk<'a> {
    stays: &'a [Objects],
    gone: &'a Objects,
    view: &'a Odb<'a>,
    /// For each object that stays, whether it was met.
    bits: Vec<Vec<u64>>,
    /// Other objects that were met: written meanwhile, or missing.
    others: HashSet<Id>,
    /// Commits, trees and tags to read.
    next: Vec<Id>,
}

impl Walk<'_> {
    /// Marks the object as met, and returns whether it is new.
    fn is_new(&mut self, id: Id) -> Result<bool, ProofError> {
        for (pack, bits) in self.stays.iter().zip(&mut self.bits) {
            if let Some(number) = pack.find(&id) {
                let bit = 1 << (number % 64);
                // There is one word for every 64 of its objects.
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

    /// Visits a root. A file may name an object of any kind; a blob names no others.
    fn root(&mut self, root: Id) -> Result<(), ProofError> {
        match self.view.read_header(oid(root)) {
            Ok((_, ObjectType::Blob)) => Ok(()),
            Ok(_) => {
                self.next.push(root);
                Ok(())
            }
            Err(error) => self.unread(root, &error),
        }
    }

    /// Visits the objects that an object names.
    fn follow(&mut self, from: Id) -> Result<(), ProofError> {
        let object = match self.view.read(oid(from)) {
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
            ObjectType::Commit => self.commit(data, nonsense),
            ObjectType::Tag => self.tag(data, nonsense),
            ObjectType::Tree => self.tree(data, nonsense),
            _ => Ok(()),
        }
    }

    fn commit(
        &mut self,
        commit: &[u8],
        nonsense: impl Fn() -> ProofError,
    ) -> Result<(), ProofError> {
        for line in commit
            .split(|&byte| byte == b'\n')
            .take_while(|line| !line.is_empty())
        {
            if let Some(named) = line
                .strip_prefix(b"tree ")
                .or_else(|| line.strip_prefix(b"parent "))
            {
                self.meet(id(named).ok_or_else(&nonsense)?)?;
            }
        }
        Ok(())
    }

    fn tag(&mut self, tag: &[u8], nonsense: impl Fn() -> ProofError) -> Result<(), ProofError> {
        let named = tag
            .strip_prefix(b"object ")
            .and_then(|rest| id(rest.get(..40)?))
            .ok_or_else(nonsense)?;
        if self.is_new(named)? {
            self.root(named)?;
        }
        Ok(())
    }

    fn tree(&mut self, tree: &[u8], nonsense: impl Fn() -> ProofError) -> Result<(), ProofError> {
        let mut rest = tree;
        while !rest.is_empty() {
            let (entry, named, after) = entry(rest).ok_or_else(&nonsense)?;
            rest = after;
            match entry {
                Entry::Submodule => {}
                Entry::Tree => self.meet(named)?,
                Entry::File => {
                    self.is_new(named)?;
                }
            }
        }
        Ok(())
    }

    fn meet(&mut self, id: Id) -> Result<(), ProofError> {
        if self.is_new(id)? {
            self.next.push(id);
        }
        Ok(())
    }

    /// Accepts a missing object unless it should be here: it was missing before, or the walk would
    /// have found it in `gone`.
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

/// Returns the first entry of a tree, its id, and the rest: `MODE NAME`, a NUL, an id.
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

#[cfg(test)]
mod tests;
