#[path = "../tests/it/support/fuse/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::disallowed_methods)]
mod fuse;
#[path = "../benches/night/volume.rs"]
#[allow(dead_code)]
mod volume;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n = |i: usize| a[i].parse().unwrap();
    volume::Volume::make(
        std::path::Path::new(&a[1]),
        volume::Shape { repos: n(2), trees: n(3), tracked: n(4), installed: n(5), idle: true },
    );
}
