//! Compares several ways to do one thing, in one run, round by round.
//!
//! In each round every way works on a new world, in an order that moves on by one each round, so
//! that a machine that gets slower is slow for all. What counts is the ratio within each round. It
//! must never be used as a timed test: it prints figures, and its reader judges them.

#![allow(dead_code, unreachable_pub, reason = "each bench uses its part")]

use std::time::{Duration, Instant};

/// A way to do it: its name, and what is timed.
pub(crate) struct Way<'a, World> {
    /// Its name in the table.
    pub(crate) name: &'a str,
    /// The work, on a world from the contest's `prepare`.
    pub(crate) run: Box<dyn FnMut(&mut World) + 'a>,
}

impl<'a, World> Way<'a, World> {
    /// Returns a way with a name.
    pub(crate) fn new(name: &'a str, run: impl FnMut(&mut World) + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }
}

/// The result of one way.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The way's name.
    pub(crate) name: String,
    /// Fastest, median and slowest round.
    pub(crate) times: [Duration; 3],
    /// The median of its time over the first way's, round by round.
    pub(crate) ratio: f64,
}

/// Runs all ways `rounds` times, and prints a table. Ratios are to the first way. `prepare` gets
/// the way's name and is not timed.
pub(crate) fn contest<World>(
    title: &str,
    rounds: usize,
    mut prepare: impl FnMut(&str) -> World,
    mut ways: Vec<Way<'_, World>>,
) -> Vec<Row> {
    let mut times = vec![Vec::new(); ways.len()];
    for round in 0..rounds {
        for turn in 0..ways.len() {
            let way = (round + turn) % ways.len();
            let mut world = prepare(ways[way].name);
            let began = Instant::now();
            (ways[way].run)(&mut world);
            times[way].push(began.elapsed());
        }
    }
    let ratios = |of: &[Duration]| {
        median(
            of.iter()
                .zip(&times[0])
                .map(|(one, first)| one.as_secs_f64() / first.as_secs_f64())
                .collect(),
        )
    };
    let rows: Vec<Row> = ways
        .iter()
        .zip(&times)
        .map(|(way, times)| {
            let seconds = |at: f64| Duration::from_secs_f64(at);
            let all: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
            let (least, most) = all
                .iter()
                .fold((f64::MAX, 0.0_f64), |(least, most), &time| {
                    (least.min(time), most.max(time))
                });
            Row {
                name: way.name.to_owned(),
                times: [seconds(least), seconds(median(all)), seconds(most)],
                ratio: ratios(times),
            }
        })
        .collect();
    print(title, rounds, &rows);
    rows
}

fn print(title: &str, rounds: usize, rows: &[Row]) {
    println!(
        "\n{title} ({rounds} rounds)\n\n{:34} {:>11} {:>11} {:>11} {:>8}",
        "", "fastest", "median", "slowest", "ratio"
    );
    for Row { name, times, ratio } in rows {
        let [least, mid, most] = times.map(|time| format!("{:.1} ms", 1e3 * time.as_secs_f64()));
        println!("{name:34} {least:>11} {mid:>11} {most:>11} {ratio:>8.2}");
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    match of.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => of[len / 2],
        len => f64::midpoint(of[len / 2 - 1], of[len / 2]),
    }
}
