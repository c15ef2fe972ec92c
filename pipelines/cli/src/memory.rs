//! The memory of this program.

/// Bytes that it has now, if the system says so.
pub(crate) fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// Bytes that it had at most, if the system says so.
pub(crate) fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// A value of `/proc/self/status`, which only Linux has.
fn status(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// A number of bytes for people.
pub(crate) fn text(bytes: u64) -> String {
    match bytes as f64 / f64::from(1 << 20) {
        mebibytes if mebibytes < 1000.0 => format!("{mebibytes:.0} MiB"),
        mebibytes => format!("{:.1} GiB", mebibytes / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_is_at_least_what_is_there() {
        let (now, most) = (resident().unwrap(), peak().unwrap());
        assert!(now > 1 << 20 && most >= now, "{now} {most}");
        assert_eq!(text(3 << 20), "3 MiB");
        assert_eq!(text(5 << 29), "2.5 GiB");
    }
}
