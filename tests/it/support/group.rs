//! A control group with a memory limit that the kernel enforces: a process above it is killed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A control group: of version 1 if the kernel has that for memory, or else of version 2.
pub(crate) struct Group {
    /// Its directory.
    pub(crate) path: PathBuf,
    kills: &'static str,
    peak: &'static str,
}

impl Group {
    /// Creates one with so many bytes.
    pub(crate) fn make(limit: u64) -> std::io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (first, second) = (
            Path::new("/sys/fs/cgroup/memory"),
            Path::new("/sys/fs/cgroup"),
        );
        let name = format!(
            "treewarden-test-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let (path, file, kills, peak) = if first.join("memory.limit_in_bytes").exists() {
            (
                first.join(name),
                "memory.limit_in_bytes",
                "memory.oom_control",
                "memory.max_usage_in_bytes",
            )
        } else {
            (
                second.join(name),
                "memory.max",
                "memory.events",
                "memory.peak",
            )
        };
        std::fs::create_dir(&path)?;
        let group = Self { path, kills, peak };
        std::fs::write(group.path.join(file), limit.to_string())?;
        Ok(group)
    }

    /// Returns a shell that enters the group and becomes the program, limited as in a pod.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#])
            .arg(&self.path)
            .arg(program);
        command
    }

    /// Returns how many processes the kernel killed in it.
    pub(crate) fn killed(&self) -> u64 {
        let told = std::fs::read_to_string(self.path.join(self.kills)).unwrap();
        let line = told.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.expect("this kernel counts them").parse().unwrap()
    }

    /// Returns the most memory that it used, including files that the kernel caches.
    pub(crate) fn peak(&self) -> Option<u64> {
        std::fs::read_to_string(self.path.join(self.peak))
            .ok()?
            .trim()
            .parse()
            .ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that was killed leaves it a moment later.
        let gone = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            std::fs::remove_dir(&self.path).is_ok()
        });
        if !gone {
            eprintln!("left behind: {}", self.path.display());
        }
    }
}
