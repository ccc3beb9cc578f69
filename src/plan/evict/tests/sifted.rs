//! Units that pass a shortlist are evicted as if all units had been in memory at once. The queues
//! are the random ones of `tests.rs`, larger than one shortlist.

use super::*;

/// Decides the same, with few units in memory at a time.
fn decide_sifted(
    caches: &[Cache],
    wanted: Wanted,
    most: usize,
    by_size: bool,
) -> (Eviction, usize) {
    let policies: Vec<policy::Cache> = caches
        .iter()
        .map(|cache| policy_of(cache.clone()))
        .collect();
    let names = HashMap::new();
    let survey = |after, wanted| {
        let shortlist = LruShortlist::new(&names, InUse::Keep, at(NOW), most, after);
        let shortlist = if by_size {
            shortlist.enough(wanted)
        } else {
            shortlist
        };
        let all = caches.iter().cloned();
        let listed: Vec<Cache> = all
            .map(|mut cache| {
                cache.units = cache
                    .units
                    .into_iter()
                    .filter_map(|unit| shortlist.sift(&policies, unit))
                    .collect();
                cache
            })
            .collect();
        (listed, shortlist.sifted())
    };
    let (listed, sifted) = survey(
        None,
        Size {
            bytes: wanted.bytes,
            inodes: wanted.inodes,
        },
    );
    let mut queue = order(listed, wanted, InUse::Keep, at(NOW));
    queue.add(sifted);
    let (mut chosen, mut surveys) = (Vec::new(), 1);
    loop {
        while let Some(batch) = queue.next_batch() {
            queue.choose(batch, Vec::new());
        }
        chosen.extend(queue.take_chosen());
        let Some(after) = queue.wants_after() else {
            break;
        };
        queue.add(survey(Some(after), queue.wants()).1);
        surveys += 1;
    }
    (
        Eviction {
            units: chosen,
            ..queue.finish()
        },
        surveys,
    )
}

fn policy_of(cache: Cache) -> policy::Cache {
    let Cache {
        name,
        kind,
        reserve,
        budget,
        ..
    } = cache;
    policy::Cache {
        name,
        kind,
        place: None,
        outside: None,
        depth: 1,
        min_age: Duration::ZERO,
        reserve,
        budget,
    }
}

#[test]
fn what_is_sifted_goes_as_if_all_had_been_held() {
    let mut most_surveys = 0;
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut caches = dice.caches();
        if seed % 3 == 0 {
            caches
                .iter_mut()
                .flat_map(|cache| &mut cache.units)
                .step_by(7)
                .for_each(|unit| *unit = link(unit.clone(), seed));
        }
        let wanted = Wanted {
            bytes: dice.below(20_000),
            inodes: dice.below(800),
            ..Wanted::default()
        };
        let most = usize::try_from(dice.below(500)).unwrap();
        let (found, surveys) = decide_sifted(&caches, wanted.clone(), most, seed % 2 == 0);
        assert!(
            found == decide(caches, wanted, InUse::Keep),
            "seed {seed}, {most} at a time"
        );
        most_surveys = most_surveys.max(surveys);
    }
    assert!(most_surveys > 5, "nothing was surveyed twice");
}
