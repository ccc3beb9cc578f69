//! A model of the lock's protocol, checked in every order of events: agents and runs take the lock,
//! work and die; a file server takes a lock away while its client is cut off; somebody replaces the
//! lock file.
//!
//! It models the protocol of `src/lock/mod.rs`, not its code, which `contention.rs` and
//! `state_files.rs` test. The second of grace between two syncs is one step here.

use stateright::{Checker, Model, Property};

/// A holder, its successor, and a third.
const ACTORS: usize = 3;

/// Destructive steps of one holder.
const STEPS: u8 = 3;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Actor {
    phase: Phase,
    /// Steps left.
    left: u8,
    /// Which lock file it has open; a replaced one has another number.
    file: u8,
    /// The server has taken its lock away.
    lost: bool,
    /// Steps since its last check that reached the server.
    unsynced: u8,
    /// Steps taken after it had lost the lock.
    late: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// Wants the lock.
    Idle,
    /// The kernel granted the lock.
    Locked,
    /// Its token is in the file.
    Named,
    /// As far as it can see, it still holds the lock: the next step may be destructive.
    Checked,
    /// Done, or it saw that another holds the lock.
    Ended,
    /// Killed: its descriptors are closed.
    Dead,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    actors: [Actor; ACTORS],
    /// The holder of each lock file, as the kernel or the server sees it.
    held: [Option<usize>; 2],
    /// The token in each file.
    written: [Option<usize>; 2],
    /// Which file is at the lock's path.
    file: u8,
    /// Outages and replacements still to come.
    mishaps: u8,
}

#[derive(Debug, Clone, PartialEq)]
enum Event {
    Take(usize),
    Name(usize),
    /// With a sync, or within a second of the last one.
    Check(usize, bool),
    Step(usize),
    End(usize),
    Kill(usize),
    /// The actor is cut off for longer than the lease.
    Lose(usize),
    /// Somebody replaces the lock file.
    Replace,
}

/// How much goes wrong besides kills.
struct Protocol {
    mishaps: u8,
}

impl Actor {
    fn is_at_work(&self) -> bool {
        matches!(self.phase, Phase::Locked | Phase::Named | Phase::Checked)
    }
}

impl World {
    /// Whether, according to the kernel or the server, `actor` holds the file at the lock's path.
    fn holds(&self, actor: usize) -> bool {
        self.actors[actor].file == self.file && self.held[usize::from(self.file)] == Some(actor)
    }

    fn let_go(&mut self, actor: usize) {
        let held = &mut self.held[usize::from(self.actors[actor].file)];
        if *held == Some(actor) {
            *held = None;
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let actor = Actor {
            phase: Phase::Idle,
            left: STEPS,
            file: 0,
            lost: false,
            unsynced: 0,
            late: 0,
        };
        vec![World {
            actors: std::array::from_fn(|_| actor.clone()),
            held: [None; 2],
            written: [None; 2],
            file: 0,
            mishaps: self.mishaps,
        }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        for (number, actor) in world.actors.iter().enumerate() {
            match actor.phase {
                Phase::Idle => events.push(Event::Take(number)),
                Phase::Locked => events.push(Event::Name(number)),
                Phase::Named if actor.left == 0 => events.push(Event::End(number)),
                Phase::Named => {
                    events.push(Event::Check(number, true));
                    if actor.unsynced == 0 {
                        events.push(Event::Check(number, false));
                    }
                }
                Phase::Checked => events.push(Event::Step(number)),
                Phase::Ended | Phase::Dead => continue,
            }
            events.push(Event::Kill(number));
            if world.mishaps > 0 && actor.phase != Phase::Idle && !actor.lost {
                events.push(Event::Lose(number));
            }
        }
        if world.mishaps > 0 && world.file == 0 {
            events.push(Event::Replace);
        }
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        match event {
            Event::Take(number) => {
                let file = world.file;
                if world.held[usize::from(file)].is_some() {
                    return None;
                }
                next.held[usize::from(file)] = Some(number);
                (next.actors[number].phase, next.actors[number].file) = (Phase::Locked, file);
            }
            Event::Name(number) => {
                let actor = &mut next.actors[number];
                // The sync reports a lost lock, and what was written never reaches the server.
                actor.phase = if actor.lost {
                    Phase::Ended
                } else {
                    Phase::Named
                };
                if !actor.lost {
                    next.written[usize::from(actor.file)] = Some(number);
                }
            }
            Event::Check(number, synced) => {
                let (file, now) = (world.file, &world.actors[number]);
                // Without a sync the client may answer from its cache: with its own token, long
                // after another was written.
                let replaced = now.file != file;
                let another = !now.lost && world.written[usize::from(now.file)] != Some(number);
                let seen = replaced || another || (synced && now.lost);
                let actor = &mut next.actors[number];
                actor.phase = if seen { Phase::Ended } else { Phase::Checked };
                actor.unsynced = u8::from(!synced);
                if seen {
                    next.let_go(number);
                }
            }
            Event::Step(number) => {
                let late = u8::from(!world.holds(number));
                let actor = &mut next.actors[number];
                (actor.phase, actor.left, actor.late) =
                    (Phase::Named, actor.left - 1, actor.late + late);
            }
            Event::End(number) => {
                next.let_go(number);
                next.actors[number].phase = Phase::Ended;
            }
            Event::Kill(number) => {
                next.let_go(number);
                next.actors[number].phase = Phase::Dead;
            }
            Event::Lose(number) => {
                next.let_go(number);
                next.actors[number].lost = true;
                next.mishaps -= 1;
            }
            Event::Replace => {
                next.file = 1;
                next.mishaps -= 1;
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "without a mishap, two are never at work",
                |model: &Self, world: &World| {
                    model.mishaps > 0
                        || world
                            .actors
                            .iter()
                            .filter(|actor| actor.is_at_work())
                            .count()
                            <= 1
                },
            ),
            Property::always(
                "without a mishap, no step is late",
                |model: &Self, world: &World| {
                    model.mishaps > 0 || world.actors.iter().all(|actor| actor.late == 0)
                },
            ),
            // One step that a check had already allowed, and one within the second before the next
            // sync.
            Property::always("a lock that is lost ends the work", |_, world: &World| {
                world.actors.iter().all(|actor| actor.late <= 2)
            }),
            Property::always(
                "nobody who is dead or done holds a lock",
                |_, world: &World| {
                    world
                        .held
                        .iter()
                        .flatten()
                        .all(|holder| world.actors[*holder].is_at_work())
                },
            ),
            Property::sometimes("all get their turn", |_, world: &World| {
                world.actors.iter().all(|actor| actor.left == 0)
            }),
            Property::sometimes(
                "the last one works though the others died",
                |_, world: &World| {
                    world.actors[1..]
                        .iter()
                        .all(|actor| actor.phase == Phase::Dead)
                        && world.actors[0].left == 0
                },
            ),
        ]
    }
}

#[test]
fn the_protocol_holds_in_every_order_of_events() {
    // A second mishap makes 130,000 states 900,000.
    let most = if std::env::var("TREEWARDEN_SWEEP").is_ok_and(|sweep| sweep == "all") {
        2
    } else {
        1
    };
    for mishaps in 0..=most {
        let checker = Protocol { mishaps }.checker().threads(2).spawn_bfs().join();
        checker.assert_properties();
        println!("{mishaps} mishaps: {} states", checker.unique_state_count());
        assert!(checker.unique_state_count() > 500);
    }
}
