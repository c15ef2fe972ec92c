//! The memory that this process may use.

use std::fs::read_to_string;
use std::path::Path;

/// The memory of this machine in bytes, or the part of it that a container allows, where the system reports them.
pub(crate) fn total() -> Option<u64> {
    let all = [physical(), container_limit()];
    all.into_iter().flatten().min()
}

/// The limit of the control group of this process (of version 2 or 1), or of one above it.
fn container_limit() -> Option<u64> {
    let groups = read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().flat_map(|line| {
        let (_, rest) = line.split_once(':').unwrap_or_default();
        let (controllers, group) = rest.split_once(':').unwrap_or_default();
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return vec![],
        };
        let group = Path::new(group.trim_start_matches('/'));
        // Inside a container, its own group is often the root.
        let groups = group
            .ancestors()
            .map(|group| Path::new(root).join(group).join(file));
        groups
            .filter_map(|file| limit(&read_to_string(file).ok()?))
            .collect()
    });
    limits.min()
}

/// A limit in bytes; `max` is none.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// What is built in.
fn physical() -> Option<u64> {
    let text = read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_machine_has() {
        assert_eq!((limit("4096\n"), limit("max\n")), (Some(4096), None));
        if let (Some(total), Some(physical)) = (total(), physical()) {
            assert!(0 < total && total <= physical);
        }
    }
}
