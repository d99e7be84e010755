//! Whether the kernel killed a process of a container for its memory limit: asked of the cgroup between
//! the end of the container and the deletion of its task, which removes the cgroup.

use std::fs;
use std::path::Path;

/// `cgroups_path` as in the runtime specification. False when the cgroup cannot be read.
pub(crate) fn was_killed(cgroups_path: &str) -> bool {
    let relative = cgroups_path.trim_start_matches('/');
    let v1 = Path::new("/sys/fs/cgroup/memory")
        .join(relative)
        .join("memory.oom_control");
    let v2 = Path::new("/sys/fs/cgroup")
        .join(relative)
        .join("memory.events");
    [v1, v2]
        .iter()
        .any(|file| fs::read_to_string(file).is_ok_and(|text| kills(&text) > 0))
}

/// Both versions write a line `oom_kill <count>`.
fn kills(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_both_cgroup_versions() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(
            kills("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n"),
            1
        );
        assert_eq!(kills("oom_kill_disable 0\n"), 0);
    }
}
