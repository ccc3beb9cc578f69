//! The resource limits of one repack, as git's settings: several run at once, and together they
//! must stay below the memory limit.
//!
//! Half of the memory is left for git's object tables, which no setting bounds, for ourselves and
//! for the file system; the repacks share the other half. Git needs a multiple of a large file:
//! both sides of a delta, and an index of one. So a file that is large for its share is packed
//! without a delta. No limit is above git's own default.

/// The resource limits of one repack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceLimits {
    /// Threads for deltas.
    pub threads: usize,
    /// Memory in bytes.
    pub memory: u64,
}

/// The memory that is assumed if no limit is known.
const MEMORY: u64 = 4 << 30;
/// With less than this, git reads in tiny pieces.
const LEAST: u64 = 1 << 20;

/// With less, a repo of some ten thousand files can't be surveyed. An idle run itself uses twice as
/// much.
const LEAST_FOR_A_REPO: u64 = 32 << 20;

/// Returns how many bytes libgit2 may cache for all repos together: at most its own default.
pub fn objects(memory: Option<u64>) -> usize {
    usize::try_from((memory.unwrap_or(MEMORY) / 16).min(256 << 20)).unwrap_or(usize::MAX)
}

impl ResourceLimits {
    /// Returns how many bytes the survey of a repo may use: the same share, since the repo isn't
    /// repacked meanwhile.
    pub fn held(self) -> u64 {
        self.memory.max(LEAST_FOR_A_REPO)
    }

    /// Returns the limits of each repack if `repos` of them share `memory` bytes and so many
    /// processors.
    pub fn of(processors: usize, memory: Option<u64>, repos: usize) -> Self {
        let threads = processors.checked_div(repos).unwrap_or(processors).max(1);
        let memory = memory.unwrap_or(MEMORY) / 2;
        Self {
            threads,
            memory: memory.checked_div(repos as u64).unwrap_or(memory),
        }
    }

    /// Returns them as settings for git's `-c`.
    pub fn settings(self) -> Vec<String> {
        let part = |of: u64, most: u64| {
            self.memory
                .checked_div(of)
                .unwrap_or(self.memory)
                .clamp(LEAST, most)
        };
        let of_each = |of: u64, most: u64| part(of.saturating_mul(self.threads as u64), most);
        vec![
            format!("pack.threads={}", self.threads),
            // Per thread.
            format!("pack.windowMemory={}", of_each(4, 1 << 30)),
            format!("pack.deltaCacheSize={}", part(8, 256 << 20)),
            format!("core.deltaBaseCacheLimit={}", part(8, 96 << 20)),
            format!("core.packedGitLimit={}", part(4, 32 << 30)),
            format!("core.packedGitWindowSize={}", part(16, 1 << 30)),
            format!("core.bigFileThreshold={}", of_each(16, 512 << 20)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_half() {
        let share = ResourceLimits::of(8, Some(2 << 30), 4);
        assert_eq!(
            share,
            ResourceLimits {
                threads: 2,
                memory: 256 << 20
            }
        );
        let expected = [
            "pack.threads=2",
            "pack.windowMemory=33554432",
            "pack.deltaCacheSize=33554432",
            "core.deltaBaseCacheLimit=33554432",
            "core.packedGitLimit=67108864",
            "core.packedGitWindowSize=16777216",
            "core.bigFileThreshold=8388608",
        ];
        assert_eq!(share.settings(), expected);
        assert_eq!(
            ResourceLimits::of(1, None, 4),
            ResourceLimits {
                threads: 1,
                memory: 512 << 20
            }
        );
    }

    #[test]
    fn a_sixteenth_of_the_memory_is_for_objects_and_no_more_than_git_would_take() {
        let table = [
            (Some(0), 0),
            (Some(1 << 30), 64 << 20),
            (Some(4 << 30), 256 << 20),
            (Some(1 << 40), 256 << 20),
            (None, 256 << 20),
        ];
        for (memory, expected) in table {
            assert_eq!(objects(memory), expected, "{memory:?}");
        }
    }

    #[test]
    fn however_little_there_is_a_repo_can_be_looked_at_and_git_reads_no_crumbs() {
        let of = |memory| ResourceLimits { threads: 1, memory };
        assert_eq!(
            [0, 32 << 20, 33 << 20].map(|memory| of(memory).held()),
            [32 << 20, 32 << 20, 33 << 20]
        );
        assert!(
            of(0).settings()[1..]
                .iter()
                .all(|setting| setting.ends_with("=1048576")),
            "{:?}",
            of(0).settings()
        );
    }

    #[test]
    fn with_all_the_memory_there_is_git_keeps_its_own_bounds() {
        let settings = ResourceLimits::of(4, Some(1 << 40), 1).settings();
        assert!(
            settings.contains(&"core.bigFileThreshold=536870912".to_owned()),
            "{settings:?}"
        );
        assert!(
            settings.contains(&"pack.deltaCacheSize=268435456".to_owned()),
            "{settings:?}"
        );
    }
}
