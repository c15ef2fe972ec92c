//! How long ranks wait for each other at the start.

use std::time::Duration;

/// The variable with the seconds to wait for the other ranks at the start.
const TIMEOUT: &str = "NEXTSCALE_RANK_TIMEOUT";
/// Those seconds, if it is not set.
const DEFAULT_TIMEOUT: u64 = 300;
/// The first rank names who is missing, so the others wait longer than it.
const LONGER: Duration = Duration::from_secs(5);

/// How long the first rank waits for the others: `NEXTSCALE_RANK_TIMEOUT` seconds, or 300.
pub(crate) fn of_first() -> Duration {
    let seconds = std::env::var(TIMEOUT)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(DEFAULT_TIMEOUT))
}

/// How long another rank waits, where the first waits for `limit`.
pub(crate) fn of_others(limit: Duration) -> Duration {
    limit.saturating_add(LONGER)
}
