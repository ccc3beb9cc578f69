//! Whose trees go when more would go than one run may take.
//!
//! Many trees at once are more likely a mistake than stale. Where the mistake is one repo's, it
//! must not keep the others from theirs; where it seems to be everybody's, nobody's may go. It must
//! never let more go in all than the run may take.

/// So many repos may each have a mistake of their own; where more of them do, and more than half,
/// it is the whole volume's.
const FEW: usize = 3;

/// How many trees a repo may have to go without being held back, of repos with so many each. If all
/// of them together are no more than `most`, none is held back. Else those that have the most are,
/// and those that have as many, until the rest is no more than `most`; and all of them, when that
/// would be more than three, and more than half of those which have any.
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
            // More than a few: it is the volume's.
            (&[40, 40, 40, 40, 3], 50, &[0, 1, 2, 3, 4]),
            (&[2; 4], 3, &[0, 1, 2, 3]),
            (&[0, 1, 0], 0, &[1]),
            (&[usize::MAX, usize::MAX, 1], 50, &[0, 1]),
            (&[10, 10, 10, 10, 1, 1, 1, 1, 1, 0], 9, &[0, 1, 2, 3]),
            // Those that have none don't count.
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
