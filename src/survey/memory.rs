//! The memory that we may use: the pod's limit or, without one, the machine's. A value that can't
//! be read is left out.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Where the kernel mounts control groups.
const GROUPS: &str = "/sys/fs/cgroup";

/// Returns the bytes that we and our children may use; none if no limit is known.
pub fn limit() -> Option<u64> {
    let own = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total(&text));
    files(&own)
        .iter()
        .filter_map(|file| read_to_string(file).ok()?.trim().parse().ok())
        .chain(machine)
        .min()
}

/// Returns the files that may contain a limit: those of our group and the groups above it, in both
/// versions.
fn files(own: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in own.lines() {
        let (place, name) = match line.splitn(3, ':').collect::<Vec<_>>()[..] {
            ["0", "", _] => (PathBuf::from(GROUPS), "memory.max"),
            [_, "memory", _] => (Path::new(GROUPS).join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        let group = line
            .splitn(3, ':')
            .last()
            .unwrap_or_default()
            .trim_start_matches('/');
        // In a container the path may be the machine's, although only our own group is visible, at
        // the top.
        files.extend(
            Path::new(group)
                .ancestors()
                .map(|group| place.join(group).join(name)),
        );
    }
    files
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_both_versions_and_all_above_count() {
        let found = files("4:memory:/a/b\n3:cpuset:/\n0::/kube/pod\nodd\n");
        let expected = [
            "memory/a/b/memory.limit_in_bytes",
            "memory/a/memory.limit_in_bytes",
            "memory/memory.limit_in_bytes",
            "kube/pod/memory.max",
            "kube/memory.max",
            "memory.max",
        ];
        assert_eq!(found, expected.map(|file| Path::new(GROUPS).join(file)));
        assert_eq!(
            total("MemFree: 1 kB\nMemTotal:       24 kB\n"),
            Some(24 << 10)
        );
        assert!(limit().is_some_and(|bytes| bytes > 1 << 20));
    }
}
