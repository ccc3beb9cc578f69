//! Literal queues, and seeded random worlds in which every promise of the ladder must hold.

use super::*;
use crate::config::policy::{Eviction, InUse, Marks};
use crate::facts::volume::Usage;
use crate::facts::worktree::Worktree;
use crate::plan::caps::tests::{any_rules, any_tree};
use crate::plan::evict::urgent;
use crate::plan::repo::plan;
use crate::plan::repo::tests::{now, policy as any_repo, repo};
use crate::plan::worktree::{Verdict, verdict};
use chrono::TimeDelta;

const HOUR: Duration = Duration::from_hours(1);

fn eviction(min_idle: Age) -> Eviction {
    let marks = |part| Marks {
        bytes: part,
        inodes: part,
    };
    Eviction {
        high: marks(0.85),
        low: marks(0.75),
        critical: marks(0.95),
        min_idle,
        floor: Size::default(),
        budget: Some(1),
        min_age: HOUR,
        in_use: InUse::Keep,
    }
}

/// A volume of a thousand bytes and a thousand inodes.
fn usage(bytes: u64, inodes: u64) -> Usage {
    Usage {
        total_bytes: 1000,
        used_bytes: bytes,
        free_bytes: 1000 - bytes,
        total_inodes: 1000,
        used_inodes: inodes,
        standing_bytes: Some(7000),
    }
}

fn size(bytes: u64, inodes: u64) -> Size {
    Size { bytes, inodes }
}

#[test]
fn the_upper_rungs_are_for_a_volume_that_is_still_above_high() {
    let policy = eviction(Age::After(HOUR));
    // used before and after the lower rungs, in bytes and inodes -> what is still to be freed
    let table = [
        // They sufficed, even if they fell short of the low watermarks.
        ((999, 999), (850, 850), None),
        ((860, 10), (700, 10), None),
        // They fell short, and it was not critical: no further than high.
        ((949, 10), (900, 10), Some(size(50, 0))),
        ((10, 950), (10, 851), Some(size(0, 1))),
        // It was critical: on to low, of both.
        ((951, 10), (900, 10), Some(size(150, 0))),
        ((951, 800), (851, 800), Some(size(101, 50))),
        ((10, 951), (800, 860), Some(size(50, 110))),
    ];
    for (before, now, expected) in table {
        let [before, now] = [before, now].map(|(bytes, inodes)| usage(bytes, inodes));
        assert_eq!(
            urgent(&before, &now, &policy),
            expected,
            "{before:?} {now:?}"
        );
        assert_eq!(urgent(&before, &now, &eviction(Age::Never)), None);
    }
}

#[test]
fn only_caches_in_trees_have_output_and_it_is_as_young_as_an_agents_break() {
    let text = "volume: {root: /data}\nrepos: []\ncaches: [{kind: npm, path: npm}, \
                {kind: build-output, min_age: 9d, reserve: 5, budget: 9}]";
    let caches = crate::config::parse("c.yaml", text).unwrap().caches;
    let found = output(&caches, HOUR);
    let said = |cache: &Cache| {
        (
            cache.name.clone(),
            cache.min_age,
            cache.reserve,
            cache.budget,
        )
    };
    assert_eq!(
        found.iter().map(said).collect::<Vec<_>>(),
        [("build-output".to_owned(), HOUR, size(5, 0), None)]
    );
}

/// Returns what goes of these trees, each by class, hours of idleness, name and bytes.
fn go(trees: &[(Class, i64, &'static str, u64)], wanted: Size, most: usize) -> Vec<&'static str> {
    let candidate = |&(class, hours, tree, _): &(Class, i64, &'static str, u64)| Candidate {
        class,
        active: now() - TimeDelta::hours(hours),
        tree,
    };
    let bytes = |name| trees.iter().find(|tree| tree.2 == name).unwrap().3;
    let mut queue = TreeQueue::new(trees.iter().map(candidate).collect(), wanted, most);
    let mut gone = Vec::new();
    while let Some(next) = queue.next_due() {
        if queue.goes(size(bytes(next.tree), 1)) {
            gone.push(next.tree);
        }
    }
    gone
}

#[test]
fn the_longest_idle_go_first_and_only_as_many_as_it_takes() {
    use Class::{Fresh, Landed, Saved, Unsaved};
    let trees = [
        (Saved, 9, "c", 10),
        (Landed, 9, "b", 10),
        (Unsaved, 99, "work", 500),
        (Fresh, 99, "fresh", 500),
        (Landed, 20, "a", 10),
        (Landed, 9, "d", 10),
    ];
    for (wanted, expected) in [
        (size(0, 0), &[][..]),
        (size(1, 0), &["a"]),
        (size(10, 0), &["a"]),
        (size(0, 2), &["a", "b"]),
        (size(31, 0), &["a", "b", "d", "c"]),
        (size(999, 0), &["a", "b", "d", "c"]),
    ] {
        assert_eq!(go(&trees, wanted, 9), expected, "{wanted:?}");
    }
    assert_eq!(go(&trees, size(999, 0), 2), ["a", "b"]);
    assert_eq!(go(&trees, size(999, 0), 0), [""; 0]);
    // What can't be measured stays.
    let mut queue = TreeQueue::new(vec![], size(1, 0), 1);
    assert_eq!(queue.next_due(), None::<Candidate<u8>>);
    assert!(!queue.goes(size(0, 0)) && queue.goes(size(1, 0)));
}

/// The rules of a random world.
struct World {
    before: Usage,
    now: Usage,
    policy: Eviction,
    min_idle: Duration,
    most: usize,
    trees: Vec<Worktree>,
    rules: crate::config::policy::Repo,
}

fn any_world(random: &mut fastrand::Rng) -> World {
    let before = usage(random.u64(700..1000), random.u64(700..1000));
    let caches = random.u64(..200);
    let now = usage(
        before.used_bytes - caches,
        before.used_inodes - random.u64(..200),
    );
    let min_idle = Duration::from_hours(random.u64(1..30));
    let trees = (0..random.usize(..12)).map(|id| any_tree(random, id));
    let trees = trees.collect();
    World {
        before,
        now,
        policy: eviction(match random.u8(..9) {
            0 => Age::Never,
            _ => Age::After(min_idle),
        }),
        min_idle,
        most: random.usize(..6),
        trees,
        rules: any_rules(random),
    }
}

/// Climbs the last rung as a run does. Returns what went with what each freed, and all that could.
fn climb(world: &World) -> (Vec<(Worktree, u64)>, Vec<Worktree>) {
    let Some(wanted) = urgent(&world.before, &world.now, &world.policy) else {
        return (Vec::new(), Vec::new());
    };
    let rules = crate::config::policy::Repo {
        worktrees: before_their_age(&world.rules.worktrees, world.min_idle),
        ..any_repo()
    };
    let planned = plan(&repo(world.trees.clone()), &rules, u64::MAX, now());
    let due: Vec<(Worktree, Class)> = planned
        .trees
        .into_iter()
        .filter_map(|(tree, decided)| match decided {
            Verdict::Reap(work) => Some((tree, work.class)),
            _ => None,
        })
        .collect();
    let candidates = due.iter().map(|(tree, class)| Candidate {
        class: *class,
        active: tree.active,
        tree: tree.id.clone(),
    });
    let mut queue = TreeQueue::new(candidates.collect(), wanted, world.most);
    let mut gone = Vec::new();
    while let Some(next) = queue.next_due() {
        let (tree, _) = due.iter().find(|(tree, _)| tree.id == next.tree).unwrap();
        let bytes = tree.bytes.unwrap_or(0);
        if queue.goes(size(bytes, u64::from(bytes > 0))) {
            gone.push((tree.clone(), bytes));
        }
    }
    (gone, due.into_iter().map(|(tree, _)| tree).collect())
}

/// Whatever the numbers: the ladder takes no work and nothing younger than `min_idle`, nothing that
/// could not go by its class later, the longest idle first, no more than it takes, and nothing at
/// all if the lower rungs sufficed.
#[test]
fn in_random_worlds_the_ladder_keeps_its_promises() {
    let mut random = fastrand::Rng::with_seed(19);
    let (mut taken, mut calm) = (0, 0);
    for _ in 0..4000 {
        let world = any_world(&mut random);
        let (gone, could) = climb(&world);
        let is_above = world.now.used_bytes > 850 || world.now.used_inodes > 850;
        if !is_above || world.policy.min_idle == Age::Never {
            assert!(gone.is_empty());
            calm += 1;
            continue;
        }
        let by_class = Worktrees {
            max_trees: None,
            max_bytes: None,
            ..world.rules.worktrees.clone()
        };
        let later = now() + TimeDelta::days(365);
        for (tree, _) in &gone {
            taken += 1;
            let Verdict::Reap(work) = verdict(tree, &by_class, None, later) else {
                panic!("it would never have gone: {tree:?}");
            };
            assert!(
                matches!(work.class, Class::Landed | Class::Saved),
                "{tree:?}"
            );
            let idle = (now() - tree.active).to_std().unwrap();
            assert!(idle >= world.min_idle, "{tree:?}");
            assert!(tree.in_use.is_none() && tree.locked.is_none(), "{tree:?}");
        }
        let last = gone.last().map(|(tree, _)| tree.active);
        let is_passed_over = |tree: &&Worktree| {
            tree.bytes.is_some_and(|bytes| bytes > 0)
                && gone.iter().all(|(other, _)| other.id != tree.id)
        };
        let mut passed_over = could.iter().filter(is_passed_over);
        assert!(passed_over.all(|tree| last.is_none_or(|last| tree.active >= last)));
        assert!(gone.len() <= world.most);
        let wanted = urgent(&world.before, &world.now, &world.policy).unwrap();
        if let Some((_, but_for_the_last)) = gone.split_last() {
            let bytes: u64 = but_for_the_last.iter().map(|(_, bytes)| bytes).sum();
            let inodes = but_for_the_last.len() as u64;
            assert!(bytes < wanted.bytes || inodes < wanted.inodes, "{gone:?}");
        }
    }
    assert!(taken > 500 && calm > 500, "{taken} {calm}");
}

/// What is said of a tree beforehand is what the last rung does: not a second earlier, and never to
/// work.
#[test]
fn a_trees_turn_comes_when_it_is_said_to() {
    let mut random = fastrand::Rng::with_seed(20);
    let (mut due, mut later, mut never) = (0, 0, 0);
    for _ in 0..2000 {
        let mut world = any_world(&mut random);
        world.min_idle *= random.u32(1..30);
        let rules = turn::Rules {
            worktrees: &world.rules.worktrees,
            busy: None,
            caches: &[],
            eviction: &eviction(Age::After(world.min_idle)),
            now: now(),
        };
        let early = before_their_age(&world.rules.worktrees, world.min_idle);
        for tree in &world.trees {
            let goes = |then| matches!(verdict(tree, &early, None, then), Verdict::Reap(_));
            match rules.tree(tree) {
                Some(turn::Turn::From(rung, from)) => {
                    assert_eq!(rung, Rung::Worktrees);
                    assert!(goes(from), "{tree:?}");
                    let before = from - TimeDelta::seconds(1);
                    assert!(from == now() || !goes(before), "{tree:?}");
                    due += usize::from(from == now());
                    later += usize::from(from > now());
                }
                Some(turn::Turn::Never(_)) => {
                    let in_a_year = now() + TimeDelta::days(365);
                    assert!(!goes(now()) && !goes(in_a_year), "{tree:?}");
                    never += 1;
                }
                None => assert!(!goes(now() + TimeDelta::days(365)), "{tree:?}"),
            }
        }
    }
    assert!(
        due > 500 && later > 500 && never > 500,
        "{due} {later} {never}"
    );
}
