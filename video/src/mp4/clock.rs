//! The display times of frames, from timestamps that may be missing, jump or run backwards.

/// In containers whose clock may be reset (MPEG-TS), a step of more seconds than this is a reset.
const RESET: f64 = 10.0;
/// In other containers, frames may be shown for long: only a step of more seconds than this is an error.
const LONGEST: f64 = 3600.0;
/// A step backwards by more seconds than this is a reset, not the rounding of a container.
const BACK: f64 = 0.1;

/// Turns timestamps into seconds that never run backwards.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    /// Seconds of one tick of the stream's time base.
    tick: f64,
    /// Seconds of an average frame.
    frame: f64,
    longest_step: f64,
    /// What is added to the file's times after a jump.
    offset: f64,
    last: Option<f64>,
    jumps: usize,
}

impl Clock {
    pub(super) fn new(tick: f64, frame: f64, may_reset: bool) -> Self {
        Self {
            tick,
            frame,
            longest_step: if may_reset { RESET } else { LONGEST },
            offset: 0.0,
            last: None,
            jumps: 0,
        }
    }

    /// How often the file's clock jumped so far.
    pub(super) fn jumps(&self) -> usize {
        self.jumps
    }

    /// Whether a frame was shown.
    pub(super) fn is_running(&self) -> bool {
        self.last.is_some()
    }

    /// The display time of the next frame in seconds.
    pub(super) fn seconds(&mut self, ticks: Option<i64>) -> f64 {
        let found = ticks.map(|ticks| ticks as f64 * self.tick + self.offset);
        let seconds = match (self.last, found) {
            (None, found) => found.unwrap_or(0.0),
            (Some(last), None) => last + self.frame,
            (Some(last), Some(found)) if (-BACK..self.longest_step).contains(&(found - last)) => {
                found.max(last)
            }
            (Some(last), Some(found)) => {
                let expected = last + self.frame;
                self.offset += expected - found;
                self.jumps += 1;
                expected
            }
        };
        self.last = Some(seconds);
        seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(may_reset: bool, ticks: &[Option<i64>]) -> (Vec<f64>, usize) {
        let mut clock = Clock::new(0.1, 0.1, may_reset);
        let seconds = ticks.iter().map(|&ticks| clock.seconds(ticks)).collect();
        (seconds, clock.jumps())
    }

    fn close(found: &[f64], wanted: &[f64]) {
        let far = found.iter().zip(wanted).any(|(a, b)| (a - b).abs() > 1e-9);
        assert!(!far && found.len() == wanted.len(), "{found:?} {wanted:?}");
    }

    #[test]
    fn missing_times_follow_at_the_average_rate() {
        let (seconds, jumps) = times(false, &[None, None, Some(5), None]);
        close(&seconds, &[0.0, 0.1, 0.5, 0.6]);
        assert_eq!(jumps, 0);
    }

    #[test]
    fn a_reset_is_no_time() {
        let (seconds, jumps) = times(true, &[Some(0), Some(1), Some(900_000), Some(900_001)]);
        close(&seconds, &[0.0, 0.1, 0.2, 0.3]);
        assert_eq!(jumps, 1);
        let (seconds, _) = times(true, &[Some(500), Some(501), Some(0), Some(1)]);
        close(&seconds, &[50.0, 50.1, 50.2, 50.3]);
        // A slide show is none.
        let (seconds, jumps) = times(false, &[Some(0), Some(300)]);
        close(&seconds, &[0.0, 30.0]);
        assert_eq!(jumps, 0);
    }
}
