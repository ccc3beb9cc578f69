//! The proof before a deletion: nothing that is to go is reachable from what the repo's files name.
//!
//! It is the other hand: git decided what to write, and this walks from roots that were read again,
//! by our own code, over a view with only what stays. An object that was missing before is no loss;
//! if one would be lost, nothing goes. Git's own idea of what is reachable doesn't count, and a
//! walk that ends early is a failure.

use crate::fs::stop::Stop;
use crate::survey::packs::Objects;
use crate::survey::roots::{Id, hex, id};
use git2::{ErrorCode, ObjectType, Odb, Oid};
use std::collections::HashSet;

/// Objects that were written meanwhile, or are missing. More take more memory than anybody has.
const MOST_OTHERS: usize = 16 << 20;
/// Bytes. No well-formed commit or tree is larger: a tree of 64 MiB has a million entries.
const LARGEST: usize = 64 << 20;
/// Objects between two checks whether to stop.
const AT_ONCE: usize = 4096;

/// Why nothing may be deleted.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// It would be lost.
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
    /// The run is to stop.
    #[error("{0}")]
    Stopped(String),
}

/// What is to be proven: that from `roots` nothing of `gone` is reached.
pub struct Claim<'a> {
    /// What the repo's files name.
    pub roots: &'a [&'a [Id]],
    /// The objects that stay, in packs and loose, its own and borrowed ones.
    pub stays: &'a [Objects],
    /// The objects that are to go.
    pub gone: &'a Objects,
    /// Holds what stays, and nothing else.
    pub view: &'a Odb<'a>,
}

impl Claim<'_> {
    /// Proves it.
    ///
    /// # Errors
    /// [`ProofError`]: nothing of it may be deleted.
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
    /// For each object of each pack, whether it was met.
    bits: Vec<Vec<u64>>,
    /// Those that were met elsewhere: written meanwhile, or missing.
    others: HashSet<Id>,
    /// Commits, trees and tags to read.
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

    /// Visits a root. A file may name an object of any kind; a blob leads nowhere.
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

    /// A missing object is no loss: it was not there before, or it would have been found among what
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
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    /// A store in memory.
    fn store() -> Odb<'static> {
        let odb = Odb::new().unwrap();
        odb.add_new_mempack_backend(1).unwrap();
        odb
    }

    fn write(odb: &Odb, kind: ObjectType, data: impl AsRef<[u8]>) -> Id {
        odb.write(kind, data.as_ref())
            .unwrap()
            .as_bytes()
            .try_into()
            .unwrap()
    }

    fn blob(odb: &Odb, content: &str) -> Id {
        write(odb, ObjectType::Blob, content)
    }

    fn tree(odb: &Odb, entries: &[(&str, Id)]) -> Id {
        let data: Vec<u8> = entries
            .iter()
            .flat_map(|(entry, id)| [entry.as_bytes(), b"\0", id].concat())
            .collect();
        write(odb, ObjectType::Tree, data)
    }

    /// `lines` are `KIND ID`; `message` leads nowhere.
    fn commit(odb: &Odb, lines: &[(&str, Id)], message: &str) -> Id {
        let head = lines
            .iter()
            .map(|(kind, id)| format!("{kind} {}\n", hex(id)))
            .collect::<Vec<_>>()
            .concat();
        write(
            odb,
            ObjectType::Commit,
            format!("{head}author a <a> 0 +0000\n\n{message}"),
        )
    }

    fn tag(odb: &Odb, of: Id) -> Id {
        write(
            odb,
            ObjectType::Tag,
            format!("object {}\ntype commit\ntag a\n\na", hex(&of)),
        )
    }

    /// A walk without an end fails.
    fn a_minute() -> Stop {
        Stop::after(Duration::from_mins(1), Arc::default())
    }

    /// The proof's result in short.
    fn proven(odb: &Odb, roots: &[Id], stays: &[Id], gone: &[Id]) -> String {
        let (one, other): (Vec<Id>, Vec<Id>) = stays.iter().partition(|id| id[0] < 128);
        let stays = [one, other].map(Objects::of);
        let claim = Claim {
            roots: &[&[], roots],
            stays: &stays,
            gone: &Objects::of(gone.to_vec()),
            view: odb,
        };
        match claim.prove(&a_minute()) {
            Ok(()) => "proven".into(),
            Err(ProofError::Lost(id)) => format!("lost {}", hex(&id)),
            Err(ProofError::Unreadable { id, why }) => format!("unreadable {}: {why}", hex(&id)),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn whatever_a_root_leads_to_would_be_lost_and_nothing_else_would() {
        let odb = store();
        let (file, other, nowhere) = (blob(&odb, "file"), blob(&odb, "other"), [7; 20]);
        let leaf = tree(&odb, &[("100644 a b", other), ("100755 c", file)]);
        let old = commit(&odb, &[("tree", leaf)], "old");
        let cases = [
            ("itself", file, file, true),
            ("a file of a tree", leaf, file, true),
            (
                "a tree in a tree",
                tree(&odb, &[("100644 a", other), ("40000 b", leaf)]),
                file,
                true,
            ),
            (
                "a tree in a tree, as old gits wrote it",
                tree(&odb, &[("040000 b", leaf), ("100644 a", other)]),
                file,
                true,
            ),
            (
                "the tree itself",
                tree(&odb, &[("40000 b", leaf)]),
                leaf,
                true,
            ),
            (
                "a submodule",
                tree(&odb, &[("160000 b", old), ("100644 a", other)]),
                old,
                false,
            ),
            (
                "what stands after a submodule",
                tree(&odb, &[("160000 b", old), ("100644 c", file)]),
                file,
                true,
            ),
            ("a link", tree(&odb, &[("120000 b", file)]), file, true),
            ("a commit's tree", old, leaf, true),
            ("a file of a commit", old, file, true),
            (
                "a parent",
                commit(
                    &odb,
                    &[("tree", nowhere), ("parent", nowhere), ("parent", old)],
                    "",
                ),
                old,
                true,
            ),
            (
                "a parent's file",
                commit(&odb, &[("tree", nowhere), ("parent", old)], ""),
                file,
                true,
            ),
            (
                "what a message names",
                commit(
                    &odb,
                    &[("tree", leaf)],
                    &format!("parent {}\n", hex(&nowhere)),
                ),
                nowhere,
                false,
            ),
            (
                "what another line names",
                commit(&odb, &[("tree", leaf), ("gpgsig", nowhere)], ""),
                nowhere,
                false,
            ),
            ("a tag's commit", tag(&odb, old), old, true),
            ("a file of a tag's commit", tag(&odb, old), file, true),
            ("a tag's tag", tag(&odb, tag(&odb, old)), file, true),
            ("a tag's file", tag(&odb, file), file, true),
            (
                "what a file says",
                blob(&odb, &format!("tree {}\n", hex(&other))),
                other,
                false,
            ),
            (
                "a file that is named as a tree",
                tree(&odb, &[("40000 a", other)]),
                file,
                false,
            ),
        ];
        for (what, root, gone, is_lost) in cases {
            let expected = if is_lost {
                format!("lost {}", hex(&gone))
            } else {
                "proven".into()
            };
            // An object that isn't known to stay may have been written meanwhile.
            assert_eq!(proven(&odb, &[root], &[], &[gone]), expected, "{what}");
            assert_eq!(
                proven(&odb, &[other, other, root], &[root, other], &[gone]),
                if root == gone { "proven" } else { &*expected },
                "{what}"
            );
            assert_eq!(proven(&odb, &[root], &[], &[[9; 20]]), "proven", "{what}");
        }
        assert_eq!(proven(&odb, &[], &[], &[file]), "proven");
    }

    #[test]
    fn each_object_is_followed_once_and_none_is_taken_for_another() {
        let odb = store();
        let file = blob(&odb, "file");
        // Two ways from each commit to the next one: 2^300 in all.
        let mut tip = commit(
            &odb,
            &[("tree", tree(&odb, &[("100644 a", file)]))],
            "first",
        );
        let mut commits = vec![tip];
        for number in 0..300 {
            let between = commit(&odb, &[("parent", tip)], &number.to_string());
            tip = commit(&odb, &[("parent", tip), ("parent", between)], "");
            commits.extend([between, tip]);
        }
        for stays in [&[][..], &commits] {
            assert_eq!(
                proven(&odb, &[tip], stays, &[file]),
                format!("lost {}", hex(&file))
            );
            assert_eq!(proven(&odb, &[tip], stays, &[[9; 20]]), "proven");
        }
    }

    #[test]
    fn what_makes_no_sense_proves_nothing() {
        let odb = store();
        let whole = [&b"100644 a\0"[..], &[7; 20]].concat();
        let hexed = "1".repeat(40);
        for (kind, data) in [
            (ObjectType::Commit, b"tree 1234\n".to_vec()),
            (
                ObjectType::Commit,
                format!("tree {hexed}\nparent {hexed}1\n").into_bytes(),
            ),
            (ObjectType::Tag, b"".to_vec()),
            (
                ObjectType::Tag,
                format!("type commit\nobject {hexed}\n").into_bytes(),
            ),
            (
                ObjectType::Tag,
                format!("object {}", &hexed[1..]).into_bytes(),
            ),
            (ObjectType::Tree, b"100644".to_vec()),
            (ObjectType::Tree, b"100644 a".to_vec()),
            (ObjectType::Tree, whole[..whole.len() - 1].to_vec()),
            (ObjectType::Tree, [&whole[..], b"1"].concat()),
        ] {
            let odd = write(&odb, kind, &data);
            assert_eq!(
                proven(&odb, &[odd], &[], &[]),
                format!("unreadable {}: it makes no sense", hex(&odd)),
                "{kind} {data:?}"
            );
        }
        assert_eq!(
            proven(&odb, &[write(&odb, ObjectType::Tree, whole)], &[], &[]),
            "proven"
        );
        assert_eq!(
            proven(&odb, &[write(&odb, ObjectType::Tree, "")], &[], &[]),
            "proven"
        );
    }

    #[test]
    fn what_is_not_there_is_no_loss_unless_it_should_be() {
        let (top, odb) = (tempfile::tempdir().unwrap(), store());
        odb.add_disk_alternate(top.path().to_str().unwrap())
            .unwrap();
        let (missing, corrupt) = ([7; 20], [8; 20]);
        let place = top.path().join("08");
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("08".repeat(19)), "garbage").unwrap();
        for (what, id, is_unreadable, is_unreadable_of_what_stays) in [
            ("missing", missing, false, true),
            ("corrupt", corrupt, true, true),
        ] {
            let ways = [
                id,
                tag(&odb, id),
                commit(&odb, &[("tree", id)], ""),
                tree(&odb, &[("40000 a", id)]),
            ];
            for (stays, is_unreadable) in [
                (&[][..], is_unreadable),
                (&[[6; 20], id, [9; 20]], is_unreadable_of_what_stays),
            ] {
                for root in ways {
                    let told = proven(&odb, &[root], stays, &[]);
                    let as_expected = if is_unreadable {
                        told.starts_with(&format!("unreadable {}: ", hex(&id)))
                    } else {
                        told == "proven"
                    };
                    assert!(as_expected, "{what}: {told}");
                }
                // A blob is not read.
                assert_eq!(
                    proven(&odb, &[tree(&odb, &[("100644 a", id)])], stays, &[]),
                    "proven",
                    "{what}"
                );
            }
        }
    }

    #[test]
    fn no_honest_commit_or_tree_is_larger_than_what_is_read() {
        let odb = store();
        let head = "author a <a> 0 +0000\n\n";
        let large = |more: usize| {
            write(
                &odb,
                ObjectType::Commit,
                format!("{head}{}", "x".repeat(LARGEST - head.len() + more)),
            )
        };
        assert_eq!(proven(&odb, &[large(0)], &[], &[]), "proven");
        assert_eq!(
            proven(&odb, &[large(1)], &[], &[]),
            "the repo holds more than can be looked at"
        );
    }

    #[test]
    fn a_run_that_is_to_stop_proves_nothing() {
        let odb = store();
        let (file, signalled) = (blob(&odb, "file"), Arc::new(AtomicBool::new(true)));
        let stop = Stop::after(Duration::from_hours(1), signalled);
        let claim = Claim {
            roots: &[&[tree(&odb, &[("100644 a", file)])]],
            stays: &[],
            gone: &Objects::of(Vec::new()),
            view: &odb,
        };
        let proof = claim.prove(&stop);
        assert_eq!(proof.unwrap_err().to_string(), "a signal asked to stop");
    }
}
