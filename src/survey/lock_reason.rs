//! Who holds a `git worktree lock`, by its reason: `claude agent fix-cart (pid 4299)`.
//!
//! The reason is free text. So if it names several processes, any of them may hold the lock, and if
//! it names another machine, nothing on this one proves that the holder is dead.

/// Returns the processes that a reason names, as `pid 4299`, `pid: 4299`, `PID=4299` or `pid
/// #4299`; none if it names a machine other than `host`, as `host NAME`, `hostname=NAME`, `pid
/// 4299@NAME` or `pid 4299 on NAME`.
pub fn holders(reason: &str, host: &str) -> Vec<u32> {
    let lower = reason.to_ascii_lowercase();
    let mut pids = Vec::new();
    for rest in after_word(&lower, "pid") {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (digits, behind) = rest.split_at(digits);
        let Some(pid) = digits.parse().ok().filter(|pid: &u32| *pid > 0) else {
            continue;
        };
        let on = behind.strip_prefix('@').or(behind.strip_prefix(" on "));
        if on.is_some_and(|on| !is_host(on, host)) {
            return Vec::new();
        }
        pids.push(pid);
    }
    let hosts = ["host", "hostname"];
    let mut hosts = hosts.into_iter().flat_map(|word| after_word(&lower, word));
    if hosts.any(|named| !is_host(named, host)) {
        return Vec::new();
    }
    pids
}

/// Returns what follows each `word` that stands alone, behind at least one separator.
fn after_word<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(word).filter_map(move |(at, _)| {
        let (before, from) = text.split_at_checked(at)?;
        let behind = from.strip_prefix(word)?;
        let rest = behind.trim_start_matches([' ', ':', '=', '#']);
        let alone = !before.ends_with(|c: char| c.is_ascii_alphanumeric());
        (alone && rest.len() < behind.len()).then_some(rest)
    })
}

/// Returns whether a text begins with this machine's name, with or without its domain.
fn is_host(text: &str, host: &str) -> bool {
    let end = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    let named = text
        .split(end)
        .next()
        .unwrap_or_default()
        .trim_end_matches('.');
    let host = host.to_ascii_lowercase();
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    named == host || named == short(&host) || short(named) == host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_its_processes_unless_they_are_another_machines() {
        for (reason, pids) in [
            ("claude agent fix-cart (pid 4299)", &[4299][..]),
            ("claude session fix-pid-12 (pid 4299 start 88)", &[4299]),
            ("claude session fix pid 12 (pid 4299)", &[12, 4299]),
            ("agent pid: 7", &[7]),
            ("held by pid #99", &[99]),
            ("PID=12, host node-7", &[12]),
            ("PID=12, Hostname: NODE-7.example.net.", &[12]),
            ("pid 12@node-7", &[12]),
            ("pid 12 on node-7 since May", &[12]),
            ("the ghost of (pid 12)", &[12]),
            ("PID=12, host node-8", &[]),
            ("host node-7.other.net, PID=12", &[12]),
            ("host=node-70, PID=12", &[]),
            ("pid 12@node-8", &[]),
            ("(pid 12 on node-8)", &[]),
            ("pid 12 on node-7, pid 13 on node-8", &[]),
            ("pid 12, host", &[12]),
            ("pid 12, host ?", &[]),
            ("a rapid 12 of them", &[]),
            ("pid", &[]),
            ("pid 0", &[]),
            ("pid 99999999999", &[]),
            ("pid12 of the plan", &[]),
            ("shown at the fair until Friday", &[]),
        ] {
            assert_eq!(holders(reason, "node-7"), pids, "{reason}");
        }
    }
}
