//! A store's repack by two hands (`docs/design/architecture.md#two-hands`): git writes packs and
//! deletes nothing; what they hold is counted by us, proven, and only then the old ones go.
//!
//! At every point a kill leaves objects twice, never not at all, and the next repack finishes it.
//! It must never delete what it has not seen elsewhere, or proven to be reached by nothing.

use super::{DATE, FULL, GEOMETRIC, GcError, Git, LIMIT, PACK_LOOSE};
use crate::apply::proof::prove;
use crate::apply::repo::RepoExecutor;
use crate::fs::atomic;
use crate::fs::openat::{self, found};
use crate::fs::volume_path::VolumePath;
use crate::lock::StillHeld;
use crate::plan::gc::rolled_up;
use crate::plan::grace::Cutoff;
use crate::survey::packs::{self, Objects, Pack};
use crate::survey::roots::{self, Id, Roots, hex, id};
use rustix::fs::Stat;
use std::collections::HashSet;
use std::io;

/// What a multi-pack-index is called: it lists packs that may go, and git takes it at its word.
const OVER_ALL: &str = "multi-pack-index";

/// A store and who works on it.
pub(super) struct Store<'a> {
    executor: &'a RepoExecutor<'a>,
    objects: VolumePath,
    settings: Vec<String>,
    /// What could not be deleted and waits in the trash.
    pub(super) left: Vec<String>,
}

/// A store's packs, and which of them a repack wrote.
struct Written {
    written: Vec<Pack>,
    /// Those that were there before.
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
            .map_err(io::Error::other)?;
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

    /// Everything that is reachable into one pack, the rest into a cruft pack, but for what is
    /// older than `cutoff`.
    pub(super) fn full(&mut self, cutoff: Cutoff) -> Result<(), GcError> {
        let before = self.packs()?;
        let loose = packs::loose(&self.objects)?;
        let promisor = self.is_partial(&before);
        let rooted = {
            let tips = self.tips(&before, &loose)?;
            self.executor
                .shadow
                .rooted(tips.iter().map(hex), promisor)?
        };
        let date = cutoff.map(|cutoff| format!("--cruft-expiration={}", cutoff.format(DATE)));
        let command: Vec<&str> = FULL.iter().copied().chain(date.as_deref()).collect();
        self.executor.lock.still_held()?;
        self.git(rooted.git(self.executor.stop, LIMIT))
            .change(&command)?;
        drop(rooted);

        let Written { written, old } = self.written(&before)?;
        let objects: Vec<Objects> = self.objects_of(&written)?;
        let (mut stay, mut go) = (written.clone(), Vec::new());
        for pack in old {
            // What somebody wrote again meanwhile he may need, reached or not.
            let stays = pack.kept
                || before
                    .iter()
                    .any(|before| before.stem == pack.stem && before.touched != pack.touched);
            let may_go =
                !stays && (!pack.promisor || self.is_promised(&pack, &written, &objects)?);
            if may_go { &mut go } else { &mut stay }.push(pack);
        }
        let (of_written, mut known) = (written.len(), objects);
        known.extend(self.objects_of(stay.get(of_written..).unwrap_or_default())?);
        let (mut gone, mut expired) = (Vec::new(), Vec::new());
        let is_known =
            |known: &[Objects], id: &Id| known.iter().any(|pack| pack.find(id).is_some());
        let (mut loose_stay, has_loose) = (Vec::new(), Objects::of(loose.clone()));
        for id in has_loose.iter().filter(|id| !is_known(&known, id)) {
            if self.is_old(&id, cutoff)? {
                &mut expired
            } else {
                &mut loose_stay
            }
            .push(id);
        }
        known.push(Objects::of(loose_stay));
        for pack in &go {
            let objects = pack.objects(&self.objects, self.executor.stop)?;
            gone.extend(objects.iter().filter(|id| !is_known(&known, id)));
        }
        gone.extend(&expired);
        if let Err(error) = self.proven(gone, known, &stay) {
            self.take_back(&before, written)?;
            return Err(error);
        }
        self.delete(&go, &expired, cutoff)?;
        self.prune_packed()
    }

    /// What git wrote goes again, but for what is nowhere else: somebody may have fetched
    /// meanwhile.
    fn take_back(&mut self, before: &[Pack], written: Vec<Pack>) -> Result<(), GcError> {
        let (anew, mut new): (Vec<Pack>, Vec<Pack>) = written
            .into_iter()
            .partition(|pack| before.iter().any(|old| old.stem == pack.stem));
        let mut known = self.objects_of(&self.written(before)?.old)?;
        known.extend(self.objects_of(&anew)?);
        known.push(Objects::of(packs::loose(&self.objects)?));
        for pack in std::mem::take(&mut new) {
            let is_known = |id: Id| known.iter().any(|known| known.find(&id).is_some());
            if pack
                .objects(&self.objects, self.executor.stop)?
                .iter()
                .all(is_known)
            {
                new.push(pack);
            }
        }
        self.delete(&new, &[], None)
    }

    /// Loose objects and small packs into larger ones, so that each is at least twice as large as
    /// the next smaller one. Nothing is dropped.
    pub(super) fn geometric(&mut self) -> Result<(), GcError> {
        let before = self.packs()?;
        let partial = self.is_partial(&before);
        self.executor.lock.still_held()?;
        // Git can't keep promised objects apart when it rolls packs up, so where there are any,
        // only what is loose is packed.
        let rooted = partial
            .then(|| self.executor.shadow.rooted(std::iter::empty(), true))
            .transpose()?;
        match &rooted {
            Some(rooted) => self
                .git(rooted.git(self.executor.stop, LIMIT))
                .change(PACK_LOOSE)?,
            None => self
                .git(self.executor.shadow.git(self.executor.stop, LIMIT))
                .change(GEOMETRIC)?,
        }
        if partial {
            return self.prune_packed();
        }
        let Written { written, mut old } = self.written(&before)?;
        let mut counted = Vec::new();
        for pack in old.extract_if(.., |pack| !pack.kept && !pack.cruft && !pack.promisor) {
            counted.push((pack.count(&self.objects)?, pack));
        }
        counted.sort_by_key(|(count, _)| *count);
        let counts: Vec<u64> = counted.iter().map(|(count, _)| u64::from(*count)).collect();
        let rolled_up = rolled_up(&counts);
        let large = counted.split_off(rolled_up);
        let rolled: Vec<Pack> = counted.into_iter().map(|(_, pack)| pack).collect();
        let objects = self.objects_of(&written)?;
        // Read only when something isn't in the new pack: git leaves out what another pack or a
        // lender has.
        let mut others: Option<Vec<Objects>> = None;
        let mut go = Vec::new();
        for pack in rolled {
            let mut stays = false;
            for id in pack
                .objects(&self.objects, self.executor.stop)?
                .iter()
                .filter(|id| objects.iter().all(|new| new.find(id).is_none()))
            {
                if others.is_none() {
                    let rest: Vec<Pack> = old
                        .iter()
                        .cloned()
                        .chain(large.iter().map(|(_, pack)| pack.clone()))
                        .collect();
                    let mut all = self.objects_of(&rest)?;
                    all.extend(self.borrowed()?);
                    others = Some(all);
                }
                stays |= others
                    .iter()
                    .flatten()
                    .all(|other| other.find(&id).is_none());
            }
            if !stays {
                go.push(pack);
            }
        }
        if go.is_empty() && written.is_empty() && rolled_up > 1 {
            // Git couldn't list them, say, and said nothing of it.
            return Err(GcError::NothingDone {
                loose: packs::loose(&self.objects)?.len() as u64,
                packs: rolled_up as u64,
            });
        }
        self.delete(&go, &[], None)?;
        self.prune_packed()
    }

    /// Loose objects that nothing reaches and that are older than `cutoff` go.
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
            .filter(|id| known.iter().all(|known| known.find(id).is_none()))
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

    /// What others lend.
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

    /// What git must be told of: what it can't see, and is there. What is gone already can't be
    /// kept.
    fn tips(&self, packs: &[Pack], loose: &[Id]) -> Result<Vec<Id>, GcError> {
        let mut known = self.objects_of(packs)?;
        known.push(Objects::of(loose.to_vec()));
        known.extend(self.borrowed()?);
        let Roots { mut hidden, .. } = self.roots()?;
        hidden.retain(|id| known.iter().any(|known| known.find(id).is_some()));
        Ok(hidden)
    }

    /// What git wrote since `before`: of a new name, or under an old one anew.
    fn written(&self, before: &[Pack]) -> Result<Written, GcError> {
        let is_old = |pack: &Pack| {
            before
                .iter()
                .any(|old| old.stem == pack.stem && old.written == pack.written)
        };
        let (old, written) = self.packs()?.into_iter().partition(is_old);
        Ok(Written { written, old })
    }

    /// Whether all that a promised pack holds is in one that was written as such.
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

    /// Whether nobody wrote a loose object since; with no cutoff nothing is old, nor what is gone.
    fn is_old(&self, id: &Id, cutoff: Cutoff) -> Result<bool, GcError> {
        let touched = touched(&packs::place(&self.objects, id)?)?;
        Ok(touched
            .zip(cutoff)
            .is_some_and(|(touched, cutoff)| touched.st_mtime < cutoff.timestamp()))
    }

    /// Proves that what is `gone` from everywhere is reached by nothing; `stay` are the packs that
    /// do. Mostly nothing is, and that is the proof.
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
        gone.retain(|id| borrowed.iter().all(|lent| lent.find(id).is_none()));
        known.extend(borrowed);
        let Roots { hidden, seen, .. } = self.roots()?;
        let view = self
            .executor
            .shadow
            .view(stay.iter().map(|pack| pack.stem.as_str()))?;
        prove(
            &[&hidden, &seen],
            &known,
            &Objects::of(gone),
            &view.odb,
            self.executor.stop,
        )
        .map_err(GcError::Proof)
    }

    /// The deleting hand: by way of the trash, an index first, for a pack without one is none and
    /// can have it again.
    ///
    /// Git writes no object that it finds: it touches the file instead, and counts on it from then
    /// on. In the trash it finds it no more, so what was touched before it came there goes back,
    /// and so does what can't be looked at.
    fn delete(&mut self, packs: &[Pack], loose: &[Id], cutoff: Cutoff) -> Result<(), GcError> {
        if packs.is_empty() && loose.is_empty() {
            return Ok(());
        }
        let folder = self.objects.join("pack").map_err(io::Error::other)?;
        // What was written must outlive what goes: new packs by their names here, directories of
        // loose objects by theirs in the one above.
        rustix::fs::fsync(openat::dir(&folder)?).map_err(io::Error::from)?;
        atomic::sync_folder(&folder)?;
        let bin = self.executor.trash.bin(None)?;
        let mut names = Vec::new();
        if !packs.is_empty() {
            let all = openat::list(openat::dir(&folder)?).map_err(io::Error::from)?;
            names.extend(
                all.into_iter()
                    .filter_map(|(name, _)| name.into_string().ok())
                    .filter(|name| name.starts_with(OVER_ALL)),
            );
        }
        for name in names {
            bin.take(
                self.executor.lock,
                &folder.join(name).map_err(io::Error::other)?,
            )?;
        }
        let mut unseen = None;
        for pack in packs {
            let rest = pack
                .endings
                .iter()
                .map(String::as_str)
                .filter(|ending| !matches!(*ending, "idx" | "pack"));
            let mut taken = Vec::new();
            let mut again = false;
            for ending in ["idx", "pack"].into_iter().chain(rest) {
                let from = folder
                    .join(format!("{}.{ending}", pack.stem))
                    .map_err(io::Error::other)?;
                let to = bin.take(self.executor.lock, &from)?;
                again |= ending == "pack"
                    && seen(&to, &mut unseen)
                        .is_none_or(|stat| packs::touched(&stat) != pack.touched);
                taken.push((to, from));
            }
            // The index last: it makes a pack of them again.
            for (to, from) in taken.iter().rev().filter(|_| again) {
                bin.give_back_object(to, from)?;
            }
        }
        for id in loose {
            let from = packs::place(&self.objects, id)?;
            let to = bin.take(self.executor.lock, &from)?;
            if seen(&to, &mut unseen)
                .zip(cutoff)
                .is_none_or(|(stat, cutoff)| stat.st_mtime >= cutoff.timestamp())
            {
                bin.give_back_object(&to, &from)?;
            }
        }
        self.left.extend(bin.empty(self.executor.stop)?.left);
        unseen.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Loose objects that are in a pack as well.
    fn prune_packed(&self) -> Result<(), GcError> {
        self.executor.lock.still_held()?;
        Ok(self
            .git(self.executor.shadow.git(self.executor.stop, LIMIT))
            .change(&["prune-packed", "--quiet"])?)
    }
}

/// The same, for what goes back to its store if it can't be looked at: then somebody is to hear why.
fn seen(place: &VolumePath, unseen: &mut Option<io::Error>) -> Option<Stat> {
    let told = |error: io::Error| {
        let why =
            format!("failed to look at `{place}`: {error}; it went back, the next run tries again");
        io::Error::new(error.kind(), why)
    };
    touched(place).unwrap_or_else(|error| {
        *unseen = Some(told(error));
        None
    })
}

/// The file as its server sees it now: opened, for by its name alone a client of NFS may tell what
/// it remembers.
fn touched(place: &VolumePath) -> io::Result<Option<Stat>> {
    found(openat::file(place).and_then(|file| Ok(rustix::fs::fstat(file)?)))
}
