//! Laps of a round, each once the device has done its work, and the memory that was held at their ends.

use std::time::Instant;

use burn::tensor::Device;
use nextscale_models::device;

use crate::error::EvalError;

/// Measures laps.
pub(super) struct Clock<'a> {
    device: &'a Device,
    start: Instant,
    /// Seconds from the start to the end of the last lap.
    pub elapsed: f64,
    /// The most bytes of a card's memory at the end of a lap.
    pub card: Option<u64>,
}

impl<'a> Clock<'a> {
    pub fn start(device: &'a Device) -> Self {
        Self {
            device,
            start: Instant::now(),
            elapsed: 0.0,
            card: None,
        }
    }

    /// Seconds since the last lap.
    pub fn lap(&mut self) -> Result<f64, EvalError> {
        let synced = self.device.sync();
        synced.map_err(|e| EvalError::Device(format!("{e:?}")))?;
        let now = self.start.elapsed().as_secs_f64();
        self.card = self.card.max(device::reserved_memory(self.device));
        Ok(now - std::mem::replace(&mut self.elapsed, now))
    }
}
