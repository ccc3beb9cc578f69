//! Every seed of the fuzz targets, including each input that once failed: what must hold for all
//! inputs must hold for these.

use std::fs;
use std::path::Path;

#[expect(
    clippy::disallowed_methods,
    reason = "a target lays out files anew for each input"
)]
#[expect(unreachable_pub, reason = "elsewhere it is a library of its own")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

#[test]
fn what_must_hold_for_every_input_holds_for_the_seeds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut named: Vec<String> = fs::read_dir(&seeds)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    named.sort();
    let mut known = targets::TARGETS.map(|(name, _)| name.to_owned());
    known.sort();
    assert_eq!(named, known, "a directory of seeds for each target");
    for (name, target) in targets::TARGETS {
        for seed in fs::read_dir(seeds.join(name))
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            println!("{}", seed.display());
            target(&fs::read(seed).unwrap());
        }
    }
}
