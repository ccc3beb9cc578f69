#[path = "../tests/it/support/fuse/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::disallowed_methods)]
mod fuse;
use std::time::{Duration, Instant};
// fusemount VOLUME_FOLDER DELAY_US -- runs commands from argv each on a fresh mount
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let mountpoint = std::path::PathBuf::from(&a[1]);
    let backing = mountpoint.with_extension("backing");
    if !backing.exists() {
        std::fs::rename(&mountpoint, &backing).unwrap();
        std::fs::create_dir(&mountpoint).unwrap();
    }
    let manners = fuse::Manners { cache: Duration::from_secs(60), ..fuse::Manners::LOCAL };
    for round in 0..a[3].parse::<u32>().unwrap() {
        for cmd in &a[4..] {
            let server = fuse::Mounted::mount(&backing, &mountpoint, manners);
            server.delay(Duration::from_micros(a[2].parse().unwrap()));
            let began = Instant::now();
            let ok = std::process::Command::new("sh").arg("-c").arg(cmd).stdout(std::process::Stdio::null()).status().unwrap();
            println!("{round} {:8.1} ms {} {:?} {cmd:.60}", began.elapsed().as_secs_f64() * 1e3, ok.success(), server.calls());
        }
    }
}
