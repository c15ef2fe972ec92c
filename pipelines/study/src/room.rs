//! Whether a model fits the memory.

use burn::tensor::Device;
use nextscale_tokenizer::cpu::is_cpu;
use sysinfo::System;

/// Whether so many bytes are free. Of a card it is not known beforehand.
pub(crate) fn fits(bytes: f64, device: &Device) -> bool {
    if !is_cpu(device) {
        return true;
    }
    let mut system = System::new();
    system.refresh_memory();
    bytes < system.available_memory() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_fits_and_a_lot_does_not() {
        let device = Device::flex();
        assert!(fits(1e6, &device) && !fits(1e16, &device));
    }
}
