//! Which repos keep their trees if more are due than one run may remove.
//!
//! If many trees are due at once, a mistake is more likely than so many stale trees. A mistake in
//! one repo keeps back only that repo's trees. If it seems to be everywhere, no tree is removed.

/// Up to this many repos may each have a mistake of their own. If more are kept back, and more than
/// half of those with due trees, the mistake is the whole volume's.
const FEW: usize = 3;

/// Why a due tree of such a repo stays.
pub const TOO_MANY: &str = "kept, because too many trees of this repo would go at once";

/// Returns how many due trees a repo may have without being kept back. `due` contains the number of
/// each repo. If they total at most `most`, no repo is kept back. Otherwise those with the most
/// trees are, ties included, until the rest totals at most `most`. If that means more than three
/// repos, and more than half of those with any, all are kept back.
pub fn most_of_one(due: impl Iterator<Item = usize>, most: usize) -> usize {
    let due: Vec<usize> = due.collect();
    let sum = |limit: usize| {
        due.iter()
            .filter(|count| **count <= limit)
            .fold(0, |sum: usize, count| sum.saturating_add(*count))
    };
    let mut limits = due.clone();
    limits.push(0);
    limits.sort_unstable();
    limits.dedup();
    let limit = limits
        .into_iter()
        .rev()
        .find(|limit| sum(*limit) <= most)
        .unwrap_or_default();
    let (held, of) = (
        due.iter().filter(|count| **count > limit).count(),
        due.iter().filter(|count| **count > 0).count(),
    );
    if held > FEW && held > of / 2 {
        0
    } else {
        limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_exceeds_his_part_is_held_back_and_the_others_go_on() {
        let table: [(&[usize], usize, &[usize]); 15] = [
            (&[], 50, &[]),
            (&[50], 50, &[]),
            (&[51], 50, &[0]),
            (&[51, 3, 5], 50, &[0]),
            (&[9, 51, 9, 9, 9, 9], 50, &[1]),
            (&[30, 30], 50, &[0, 1]),
            (&[30, 29], 50, &[0]),
            (&[40, 40, 3], 50, &[0, 1]),
            (&[40, 40, 40, 3], 50, &[0, 1, 2]),
            // More than a few: the mistake is the volume's.
            (&[40, 40, 40, 40, 3], 50, &[0, 1, 2, 3, 4]),
            (&[2; 4], 3, &[0, 1, 2, 3]),
            (&[0, 1, 0], 0, &[1]),
            (&[usize::MAX, usize::MAX, 1], 50, &[0, 1]),
            (&[10, 10, 10, 10, 1, 1, 1, 1, 1, 0], 9, &[0, 1, 2, 3]),
            // Repos without such trees don't count.
            (&[10, 10, 10, 10, 1, 0, 0, 0, 0], 9, &[0, 1, 2, 3, 4]),
        ];
        for (due, most, expected) in table {
            let limit = most_of_one(due.iter().copied(), most);
            let held: Vec<usize> = (0..due.len()).filter(|&at| due[at] > limit).collect();
            assert_eq!(held, expected, "{due:?}");
        }
    }

    #[test]
    fn no_more_goes_than_may() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let due: Vec<usize> = (0..random.usize(..12))
                .map(|_| random.usize(..20))
                .collect();
            let most = random.usize(..60);
            let limit = most_of_one(due.iter().copied(), most);
            let goes: usize = due.iter().filter(|count| **count <= limit).sum();
            assert!(goes <= most, "{due:?} {most}");
            assert!(
                due.iter().sum::<usize>() > most || due.iter().all(|count| *count <= limit),
                "{due:?} {most}"
            );
        }
    }
}
