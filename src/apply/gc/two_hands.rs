//! A store's repack by two hands (`docs/design/architecture.md#two-hands`): git writes packs and
//! deletes nothing; we count their objects, prove them, and only then delete the old ones.
//!
//! A kill at any point leaves objects twice but loses none, and the next repack finishes the work.
//! An object is deleted only if it was seen elsewhere, or is proven to be unreachable.

use super::deletion::{Deletion, touched};
use super::{DATE, FULL, GEOMETRIC, GcError, Git, LIMIT, PACK_LOOSE};
use crate::apply::proof::Claim;
use crate::apply::repo::RepoExecutor;
use crate::fs::atomic;
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use crate::lock::StillHeld;
use crate::plan::gc::rolled_up;
use crate::plan::grace::Cutoff;
use crate::survey::packs::{self, Objects, Pack};
use crate::survey::roots::{self, Id, Roots, hex, id};
use std::collections::HashSet;
use std::io;

/// A store, and the executor that works on it.
pub(super) struct Store<'a> {
    executor: &'a RepoExecutor<'a>,
    objects: VolumePath,
    settings: Vec<String>,
    /// What could not be deleted and waits in the trash.
    pub(super) left: Vec<String>,
}

/// A store's packs, split by whether a repack wrote them.
struct Written {
    written: Vec<Pack>,
    /// Packs that were there before.
    old: Vec<Pack>,
}

impl<'a> Store<'a> {
    pub(super) fn of(
        executor: &'a RepoExecutor<'a>,
        settings: Vec<String>,
    ) -> Result<Self, GcError> {
        let objects = executor
            .shadow
            .git_dir()
            .join("objects")
            .map_err(io::Error::from)?;
        Ok(Self {
            executor,
            objects,
            settings,
            left: Vec::new(),
        })
    }

    fn git<'b>(&'b self, git: Git<'b>) -> Git<'b> {
        self.settings.iter().cloned().fold(git, Git::with)
    }

    /// Packs everything reachable into one pack, and the rest into a cruft pack, except what is
    /// older than `cutoff`.
    pub(super) fn full(&mut self, cutoff: Cutoff) -> Result<(), GcError> {
        let before = self.packs()?;
        let loose = packs::loose(&self.objects)?;
        self.write_full(&before, &loose, cutoff)?;

        let Written { written, old } = self.written(&before)?;
        let mut known = self.objects_of(&written)?;
        let (go, kept) = self.replaced(old, &before, &written, &known)?;
        known.extend(self.objects_of(&kept)?);
        let (expired, loose) = self.expired(loose, &known, cutoff)?;
        known.push(Objects::of(loose));
        let mut gone = Vec::new();
        for pack in &go {
            let objects = pack.objects(&self.objects, self.executor.stop)?;
            gone.extend(objects.iter().filter(|id| !is_in(&known, id)));
        }
        gone.extend(&expired);
        let stay = [written.clone(), kept].concat();
        if let Err(error) = self.proven(gone, known, &stay) {
            self.take_back(&before, written)?;
            return Err(error);
        }
        self.delete(&go, &expired, cutoff)?;
        self.prune_packed()
    }

    /// Makes git write the new packs.
    fn write_full(&self, before: &[Pack], loose: &[Id], cutoff: Cutoff) -> Result<(), GcError> {
        let promisor = self.is_partial(before);
        let rooted = {
            let tips = self.tips(before, loose)?;
            self.executor
                .shadow
                .rooted(tips.iter().map(hex), promisor)?
        };
        let date = cutoff.map(|cutoff| format!("--cruft-expiration={}", cutoff.format(DATE)));
        let command: Vec<&str> = FULL.iter().copied().chain(date.as_deref()).collect();
        self.executor.lock.still_held()?;
        Ok(self
            .git(rooted.git(self.executor.stop, LIMIT))
            .change(&command)?)
    }

    /// Splits the old packs into those that the written ones replace, and those that stay.
    /// `objects` are those of the written ones.
    fn replaced(
        &self,
        old: Vec<Pack>,
        before: &[Pack],
        written: &[Pack],
        objects: &[Objects],
    ) -> Result<(Vec<Pack>, Vec<Pack>), GcError> {
        let (mut go, mut stay) = (Vec::new(), Vec::new());
        for pack in old {
            // Somebody wrote one of its objects again, and may need it, reachable or not.
            let stays = pack.kept
                || before
                    .iter()
                    .any(|before| before.stem == pack.stem && before.touched != pack.touched);
            let may_go = !stays && (!pack.promisor || self.is_promised(&pack, written, objects)?);
            if may_go { &mut go } else { &mut stay }.push(pack);
        }
        Ok((go, stay))
    }

    /// Splits the loose objects that are in no pack into those that are old, and those that stay.
    fn expired(
        &self,
        loose: Vec<Id>,
        packed: &[Objects],
        cutoff: Cutoff,
    ) -> Result<(Vec<Id>, Vec<Id>), GcError> {
        let (mut expired, mut stay) = (Vec::new(), Vec::new());
        for id in Objects::of(loose).iter().filter(|id| !is_in(packed, id)) {
            if self.is_old(&id, cutoff)? {
                &mut expired
            } else {
                &mut stay
            }
            .push(id);
        }
        Ok((expired, stay))
    }

    /// Deletes the new packs that contain nothing new: somebody may have fetched meanwhile.
    fn take_back(&mut self, before: &[Pack], written: Vec<Pack>) -> Result<(), GcError> {
        let (anew, mut new): (Vec<Pack>, Vec<Pack>) = written
            .into_iter()
            .partition(|pack| before.iter().any(|old| old.stem == pack.stem));
        let mut known = self.objects_of(&self.written(before)?.old)?;
        known.extend(self.objects_of(&anew)?);
        known.push(Objects::of(packs::loose(&self.objects)?));
        for pack in std::mem::take(&mut new) {
            if pack
                .objects(&self.objects, self.executor.stop)?
                .iter()
                .all(|id| is_in(&known, &id))
            {
                new.push(pack);
            }
        }
        self.delete(&new, &[], None)
    }

    /// Combines loose objects and small packs into larger ones, so that each is at least twice as
    /// large as the next smaller one. Nothing is dropped.
    pub(super) fn geometric(&mut self) -> Result<(), GcError> {
        let before = self.packs()?;
        self.executor.lock.still_held()?;
        // Git can't keep promised objects apart when it rolls packs up, so in a partial clone only
        // loose objects are packed.
        if self.is_partial(&before) {
            let rooted = self.executor.shadow.rooted(std::iter::empty(), true)?;
            self.git(rooted.git(self.executor.stop, LIMIT))
                .change(PACK_LOOSE)?;
            return self.prune_packed();
        }
        self.git(self.executor.shadow.git(self.executor.stop, LIMIT))
            .change(GEOMETRIC)?;
        let Written { written, old } = self.written(&before)?;
        let (rolled, rest) = self.rolled_up(old)?;
        let packs = rolled.len();
        let go = self.moved(rolled, &written, &rest)?;
        if go.is_empty() && packs > 1 {
            // For example, git couldn't list them, packed only loose objects, and didn't say so.
            return Err(GcError::NothingDone {
                loose: packs::loose(&self.objects)?.len() as u64,
                packs: packs as u64,
            });
        }
        self.delete(&go, &[], None)?;
        self.prune_packed()
    }

    /// Splits the old packs into those that a geometric repack rolls up, and the rest.
    fn rolled_up(&self, mut old: Vec<Pack>) -> Result<(Vec<Pack>, Vec<Pack>), GcError> {
        let mut counted = Vec::new();
        for pack in old.extract_if(.., |pack| !pack.kept && !pack.cruft && !pack.promisor) {
            counted.push((pack.count(&self.objects)?, pack));
        }
        counted.sort_by_key(|(count, _)| *count);
        let counts: Vec<u64> = counted.iter().map(|(count, _)| u64::from(*count)).collect();
        let large = counted.split_off(rolled_up(&counts));
        old.extend(large.into_iter().map(|(_, pack)| pack));
        Ok((counted.into_iter().map(|(_, pack)| pack).collect(), old))
    }

    /// Returns the packs of which every object is in a written pack, in `rest` or at a lender.
    fn moved(
        &self,
        packs: Vec<Pack>,
        written: &[Pack],
        rest: &[Pack],
    ) -> Result<Vec<Pack>, GcError> {
        let objects = self.objects_of(written)?;
        // Read only if an object isn't in the new pack: git leaves out what another pack or a
        // lender has.
        let mut others: Option<Vec<Objects>> = None;
        let mut moved = Vec::new();
        for pack in packs {
            let mut stays = false;
            for id in pack
                .objects(&self.objects, self.executor.stop)?
                .iter()
                .filter(|id| !is_in(&objects, id))
            {
                if others.is_none() {
                    let mut all = self.objects_of(rest)?;
                    all.extend(self.borrowed()?);
                    others = Some(all);
                }
                stays |= !is_in(others.as_deref().unwrap_or_default(), &id);
            }
            if !stays {
                moved.push(pack);
            }
        }
        Ok(moved)
    }

    /// Deletes unreachable loose objects that are older than `cutoff`.
    pub(super) fn prune(&mut self, cutoff: Cutoff) -> Result<(), GcError> {
        let Some(date) = cutoff else { return Ok(()) };
        let all = self.packs()?;
        let loose = packs::loose(&self.objects)?;
        let listed = {
            let tips = self.tips(&all, &loose)?;
            let rooted = self
                .executor
                .shadow
                .rooted(tips.iter().map(hex), self.is_partial(&all))?;
            let date = format!("--expire={}", date.format(DATE));
            self.executor.lock.still_held()?;
            self.git(rooted.git(self.executor.stop, LIMIT))
                .run(&["prune", "-n", &date])?
        };
        let named: HashSet<Id> = listed
            .split(|&byte| byte == b'\n')
            .filter_map(|line| id(line.get(..40)?))
            .collect();
        let (mut expired, mut stay) = (Vec::new(), Vec::new());
        for id in loose {
            if named.contains(&id) && self.is_old(&id, cutoff)? {
                &mut expired
            } else {
                &mut stay
            }
            .push(id);
        }
        if expired.is_empty() {
            return Ok(());
        }
        let mut known = self.objects_of(&all)?;
        known.push(Objects::of(stay));
        let gone = expired
            .iter()
            .copied()
            .filter(|id| !is_in(&known, id))
            .collect();
        self.proven(gone, known, &all)?;
        self.delete(&[], &expired, cutoff)
    }

    pub(super) fn packs(&self) -> Result<Vec<Pack>, GcError> {
        Ok(packs::list(&self.objects)?)
    }

    fn objects_of(&self, packs: &[Pack]) -> Result<Vec<Objects>, GcError> {
        packs
            .iter()
            .map(|pack| Ok(pack.objects(&self.objects, self.executor.stop)?))
            .collect()
    }

    pub(super) fn is_partial(&self, packs: &[Pack]) -> bool {
        self.executor.shadow.is_promised() || packs.iter().any(|pack| pack.promisor)
    }

    /// Returns the objects of lenders.
    fn borrowed(&self) -> Result<Vec<Objects>, GcError> {
        let mut borrowed = Vec::new();
        for lender in self.executor.shadow.alternates() {
            for pack in packs::list(lender)? {
                borrowed.push(pack.objects(lender, self.executor.stop)?);
            }
            borrowed.push(Objects::of(packs::loose(lender)?));
        }
        Ok(borrowed)
    }

    fn roots(&self) -> Result<Roots, GcError> {
        let mut roots = roots::read(self.executor.shadow.git_dir(), self.executor.stop);
        if roots.unread.is_empty() {
            Ok(roots)
        } else {
            Err(GcError::Roots(roots.unread.swap_remove(0)))
        }
    }

    /// Returns the tips that git must be given: those that it can't see, and that exist. A missing
    /// one can't be kept.
    fn tips(&self, packs: &[Pack], loose: &[Id]) -> Result<Vec<Id>, GcError> {
        let mut known = self.objects_of(packs)?;
        known.push(Objects::of(loose.to_vec()));
        known.extend(self.borrowed()?);
        let Roots { mut hidden, .. } = self.roots()?;
        hidden.retain(|id| is_in(&known, id));
        Ok(hidden)
    }

    /// Splits off what git wrote since `before`: under a new name, or again under an old one.
    fn written(&self, before: &[Pack]) -> Result<Written, GcError> {
        let is_old = |pack: &Pack| {
            before
                .iter()
                .any(|old| old.stem == pack.stem && old.written == pack.written)
        };
        let (old, written) = self.packs()?.into_iter().partition(is_old);
        Ok(Written { written, old })
    }

    /// Checks whether all objects of a promisor pack are in written promisor packs.
    fn is_promised(
        &self,
        pack: &Pack,
        written: &[Pack],
        objects: &[Objects],
    ) -> Result<bool, GcError> {
        let promised = || {
            written
                .iter()
                .zip(objects)
                .filter(|(pack, _)| pack.promisor)
        };
        let all = pack.objects(&self.objects, self.executor.stop)?;
        Ok(all
            .iter()
            .all(|id| promised().any(|(_, objects)| objects.find(&id).is_some())))
    }

    /// Checks whether a loose object was last written before `cutoff`. Without a cutoff nothing is
    /// old, and a missing object isn't either.
    fn is_old(&self, id: &Id, cutoff: Cutoff) -> Result<bool, GcError> {
        let touched = touched(&packs::place(&self.objects, id)?)?;
        Ok(touched
            .zip(cutoff)
            .is_some_and(|(touched, cutoff)| touched.st_mtime < cutoff.timestamp()))
    }

    /// Proves that nothing reaches the objects that are `gone` from everywhere; `stay` are the
    /// packs that stay. Usually nothing is gone, and nothing has to be proven.
    fn proven(
        &self,
        mut gone: Vec<Id>,
        mut known: Vec<Objects>,
        stay: &[Pack],
    ) -> Result<(), GcError> {
        if gone.is_empty() {
            return Ok(());
        }
        let borrowed = self.borrowed()?;
        gone.retain(|id| !is_in(&borrowed, id));
        known.extend(borrowed);
        let Roots { hidden, seen, .. } = self.roots()?;
        let view = self
            .executor
            .shadow
            .view(stay.iter().map(|pack| pack.stem.as_str()))?;
        let claim = Claim {
            roots: &[&hidden, &seen],
            stays: &known,
            gone: &Objects::of(gone),
            view: &view.odb,
        };
        claim.prove(self.executor.stop).map_err(GcError::Proof)
    }

    /// Deletes packs and loose objects by way of the trash, each pack's index first: a pack without
    /// an index is unused, and can get it back.
    ///
    /// If an object exists, git doesn't write it again: it touches the file, and relies on it from
    /// then on. But git can't find it in the trash. So a file that was touched before it was moved
    /// there is put back, and so is one that can't be inspected.
    fn delete(&mut self, packs: &[Pack], loose: &[Id], cutoff: Cutoff) -> Result<(), GcError> {
        if packs.is_empty() && loose.is_empty() {
            return Ok(());
        }
        let directory = self.objects.join("pack").map_err(io::Error::from)?;
        // New files must be on the disk before old ones are deleted: the names of new packs are
        // synced here, those of directories of loose objects in the directory above.
        rustix::fs::fsync(openat::dir(&directory)?).map_err(io::Error::from)?;
        atomic::sync_directory(&directory)?;
        let bin = self.executor.trash.bin(None)?;
        let mut deletion = Deletion::into(bin, self.executor.lock);
        if !packs.is_empty() {
            deletion.indexes_over_all(&directory)?;
        }
        for pack in packs {
            self.executor.stop.beat();
            deletion.pack(&directory, pack)?;
        }
        for id in loose {
            self.executor.stop.beat();
            deletion.loose(&packs::place(&self.objects, id)?, cutoff)?;
        }
        let Deletion { bin, unseen, .. } = deletion;
        self.left.extend(bin.empty(self.executor.stop).left);
        unseen.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Deletes loose objects that are in a pack as well.
    fn prune_packed(&self) -> Result<(), GcError> {
        self.executor.lock.still_held()?;
        Ok(self
            .git(self.executor.shadow.git(self.executor.stop, LIMIT))
            .change(&["prune-packed", "--quiet"])?)
    }
}

/// Checks whether one of the packs contains the object.
fn is_in(packs: &[Objects], id: &Id) -> bool {
    packs.iter().any(|pack| pack.find(id).is_some())
}
