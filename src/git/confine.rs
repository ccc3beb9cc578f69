//! The sandbox of git processes, enforced by the kernel: Landlock (Linux 5.13 and newer).
//!
//! The shadow git dir gives git no foreign config or hooks to obey. If anything slips through, or
//! is swapped while git runs, the sandbox stops it: git can change only its own repo and its
//! scratch space, read only the objects it borrows and the system's own files, start only git and
//! what the machine's library directories contain, and reach no network. A thread that enters the
//! sandbox can't leave it, so it does nothing else.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The newest rules that are requested. An older kernel enforces those that it knows.
const RULES: ABI = ABI::V6;

/// The directories of the loader, of libraries, and of git's own programs.
const LIBRARIES: [&str; 6] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/libexec",
    "/nix/store",
];
/// System files that any program may read.
const SYSTEM: [&str; 5] = [
    "/usr/share",
    "/etc",
    "/sys/devices/system/cpu",
    "/dev/urandom",
    "/dev/random",
];

/// The directories of one repo.
#[derive(Debug, Default)]
pub struct Reach {
    /// Git writes here.
    pub works_in: Vec<OwnedFd>,
    /// Git reads here: borrowed objects.
    pub reads: Vec<OwnedFd>,
}

impl Reach {
    /// Returns access to a scratch directory alone.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn of(scratch: &Path) -> io::Result<Self> {
        Ok(Self {
            works_in: vec![File::open(scratch)?.into()],
            reads: Vec::new(),
        })
    }

    /// Confines the calling thread, and every process that it starts, for good. Returns whether the
    /// kernel enforces it.
    ///
    /// # Errors
    /// The kernel has Landlock, and refused the rules.
    pub fn enter(&self) -> Result<bool, RulesetError> {
        let look: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
        let work = look
            | make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer});
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(RULES))?
            .handle_access(AccessNet::from_all(RULES))?
            .scope(Scope::from_all(RULES))?
            .create()?;
        let own = self
            .works_in
            .iter()
            .map(|directory| (directory, work))
            .chain(self.reads.iter().map(|directory| (directory, look)));
        for (directory, rights) in own {
            rules = rules.add_rule(PathBeneath::new(directory, rights))?;
        }
        for (place, rights) in machine() {
            rules = rules.add_rule(PathBeneath::new(place, *rights))?;
        }
        let RestrictionStatus { ruleset, .. } = rules.restrict_self()?;
        Ok(ruleset != RulesetStatus::NotEnforced)
    }
}

/// Returns whether this kernel confines git.
pub fn held() -> bool {
    let tried = std::thread::spawn(|| Reach::default().enter());
    matches!(tried.join(), Ok(Ok(true)))
}

/// Returns the machine's own files, opened once, and the rights to each.
fn machine() -> impl Iterator<Item = (BorrowedFd<'static>, &'static BitFlags<AccessFs>)> {
    use std::os::fd::AsFd;
    static MACHINE: OnceLock<Vec<(PathFd, BitFlags<AccessFs>)>> = OnceLock::new();
    let open = || {
        let look: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
        let run = look | AccessFs::Execute;
        let programs = git_program().into_iter().flat_map(|git| {
            let beside = git
                .ancestors()
                .nth(2)
                .map(PathBuf::from)
                .unwrap_or_default();
            [beside.join("lib"), beside.join("libexec"), git]
        });
        let places = programs
            .chain(LIBRARIES.map(PathBuf::from))
            .map(|place| (place, run));
        let places = places.chain(SYSTEM.map(|place| (place.into(), look)));
        let places = places.chain([("/dev/null".into(), look | AccessFs::WriteFile)]);
        // A path that this machine doesn't have isn't needed.
        places
            .filter_map(|(place, rights)| Some((PathFd::new(place).ok()?, rights)))
            .collect()
    };
    MACHINE
        .get_or_init(open)
        .iter()
        .map(|(place, rights)| (place.as_fd(), rights))
}

/// Returns the git on the `PATH`, with links resolved.
fn git_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join("git"))
        .find(|git| git.is_file())?
        .canonicalize()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_confined_thread_reaches_its_directories_and_nothing_else() {
        let (own, lent, other) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        for directory in [&own, &lent, &other] {
            fs::write(directory.path().join("there"), "text").unwrap();
        }
        let open = |directory: &tempfile::TempDir| {
            OwnedFd::from(fs::File::open(directory.path()).unwrap())
        };
        let reach = Reach {
            works_in: vec![open(&own)],
            reads: vec![open(&lent)],
        };
        if !held() {
            return;
        }
        let can = |directory: &std::path::Path| {
            (
                fs::read(directory.join("there")).is_ok(),
                fs::write(directory.join("new"), "").is_ok(),
                fs::write(directory.join("there"), "").is_ok(),
            )
        };
        let tried = std::thread::scope(|scope| {
            let confined = scope.spawn(|| {
                assert!(reach.enter().unwrap());
                [&own, &lent, &other].map(|directory| can(directory.path()))
            });
            confined.join().unwrap()
        });
        assert_eq!(
            tried,
            [
                (true, true, true),
                (true, false, false),
                (false, false, false)
            ]
        );
        assert_eq!(
            can(other.path()),
            (true, true, true),
            "only that thread is confined"
        );
    }
}
