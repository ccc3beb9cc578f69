//! Which of several machines maintains which repo, and which one of them evicts.
//!
//! Repos are distributed by rendezvous hashing: each shard draws a number for each repo, and the
//! highest wins. So adding or removing a repo moves no other, and another shard takes only its own
//! part. The numbers are the same on every machine and in every version, so the hash is written out
//! here.

use std::fmt;
use std::str::FromStr;

/// More machines than this would only wait for one another.
const MOST: u32 = 1000;

/// One of `count` machines that share a run, counted from 0 as in `JOB_COMPLETION_INDEX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// Returns shard `index` of `count`; none if there is no such shard.
    pub fn new(index: u32, count: u32) -> Option<Self> {
        (index < count && count <= MOST).then_some(Self { index, count })
    }

    /// Returns its number, from 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Returns the number of shards.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Checks whether it maintains this repo.
    pub fn has(self, repo: &str) -> bool {
        // If numbers are equal, the first shard wins.
        (0..self.count).max_by_key(|&index| (drawn(repo, index), std::cmp::Reverse(index)))
            == Some(self.index)
    }

    /// Returns the shard that ends the run: it waits for the others, empties the trash and evicts.
    /// It is the last, because an Indexed Job starts it last.
    #[must_use]
    pub fn last(self) -> Self {
        Self {
            index: self.count.saturating_sub(1),
            ..self
        }
    }

    /// Checks whether it is the last.
    pub fn is_last(self) -> bool {
        self == self.last()
    }

    /// Returns all shards but itself.
    pub fn others(self) -> impl Iterator<Item = Self> {
        (0..self.count)
            .filter(move |index| *index != self.index)
            .map(move |index| Self { index, ..self })
    }

    /// Returns its part of a number that all share: the parts add up to that number.
    pub fn part(self, of: usize) -> usize {
        let (count, index) = (self.count as usize, self.index as usize);
        let [all, rest] =
            [of.checked_div(count), of.checked_rem(count)].map(Option::unwrap_or_default);
        all.saturating_add(usize::from(index < rest))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// The error for text that isn't a shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no shard; write I/N, counted from 0: of 4 shards the first is 0/4, and the last 3/4 (at most {MOST} shards)"
)]
pub struct NoShard(String);

impl FromStr for Shard {
    type Err = NoShard;

    fn from_str(typed: &str) -> Result<Self, NoShard> {
        let number = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| text.parse().ok())
                .flatten()
        };
        let read = |(index, count)| Self::new(number(index)?, number(count)?);
        typed
            .split_once('/')
            .and_then(read)
            .ok_or_else(|| NoShard(typed.to_owned()))
    }
}

/// Returns the number that a shard draws for a repo: FNV-1a over the name and the shard's number (4
/// bytes, lowest first), then `MurmurHash3`'s finalizer, since in FNV alone the last bytes hardly
/// change the high bits.
fn drawn(repo: &str, index: u32) -> u64 {
    let bytes = repo.bytes().chain(index.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(repo: &str, count: u32) -> u32 {
        let owners: Vec<u32> = (0..count)
            .filter(|&index| Shard::new(index, count).unwrap().has(repo))
            .collect();
        assert_eq!(owners.len(), 1, "{repo} has one owner: {owners:?}");
        owners[0]
    }

    fn repos() -> Vec<String> {
        (0..4000)
            .map(|number| format!("owner-{}/repo-{number}", number % 7))
            .collect()
    }

    #[test]
    fn what_is_typed_and_what_is_told() {
        let shard: Shard = "3/8".parse().unwrap();
        assert_eq!(
            (
                shard.index(),
                shard.count(),
                shard.is_last(),
                shard.to_string().as_str()
            ),
            (3, 8, false, "3/8")
        );
        assert_eq!(
            (shard.last().to_string().as_str(), shard.last().is_last()),
            ("7/8", true)
        );
        assert_eq!(
            "1/3"
                .parse::<Shard>()
                .unwrap()
                .others()
                .map(|other| other.to_string())
                .collect::<Vec<_>>(),
            ["0/3", "2/3"]
        );
        for wrong in [
            "",
            "/",
            "1",
            "8/8",
            "0/0",
            "-1/2",
            "+1/2",
            "1/+2",
            "1/2/3",
            " 1/2",
            "a/b",
            "0/1001",
            "0/4294967296",
        ] {
            assert!(
                wrong
                    .parse::<Shard>()
                    .unwrap_err()
                    .to_string()
                    .contains("write I/N, counted from 0"),
                "{wrong}"
            );
        }
    }

    /// Pods of two versions may share a run, and a volume's history is read by shard, so the split
    /// must not change.
    #[test]
    fn the_split_is_the_same_everywhere_and_for_ever() {
        let split = [
            "acme/shop",
            "acme/site",
            "acme/tools",
            "beta/api",
            "volume",
            "",
        ]
        .map(|repo| owner(repo, 8));
        assert_eq!(split, [1, 1, 7, 3, 2, 4]);
        assert_eq!(drawn("acme/shop", 3), 0x8e3f_993c_4af1_2465);
    }

    #[test]
    fn one_more_shard_takes_its_part_and_moves_nothing_else() {
        let repos = repos();
        for count in 1..12 {
            let moved: Vec<u32> = repos
                .iter()
                .map(|repo| (owner(repo, count), owner(repo, count + 1)))
                .filter(|(a, b)| a != b)
                .map(|(_, b)| b)
                .collect();
            assert!(
                moved.iter().all(|&to| to == count),
                "from {count}: some went to a shard that was there"
            );
            let fair = repos.len() / (count as usize + 1);
            assert!(
                moved.len().abs_diff(fair) < fair * 15 / 100,
                "from {count}: {} moved, and not {fair}",
                moved.len()
            );
        }
    }

    #[test]
    fn shards_are_of_one_size() {
        let repos = repos();
        for count in [2, 3, 8, 16] {
            let mut sizes = vec![0; count as usize];
            for repo in &repos {
                sizes[owner(repo, count) as usize] += 1;
            }
            let fair = repos.len() / count as usize;
            assert!(
                sizes
                    .iter()
                    .all(|size| (fair * 3 / 4..fair * 5 / 4).contains(size)),
                "{sizes:?}"
            );
        }
    }

    #[test]
    fn together_they_have_the_whole_and_no_more() {
        for (whole, count) in [(50, 8), (3, 8), (0, 4), (8, 8), (usize::MAX, 1000)] {
            let parts: Vec<usize> = (0..count)
                .map(|index| Shard::new(index, count).unwrap().part(whole))
                .collect();
            assert_eq!(parts.iter().sum::<usize>(), whole);
            assert!(
                parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1,
                "{parts:?}"
            );
        }
    }
}
