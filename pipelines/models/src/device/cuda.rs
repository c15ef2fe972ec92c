//! CUDA cards, asked for before the tensor library touches them: it would panic in a thread of its own.

use std::fmt;

/// What was found when looking for CUDA cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cuda {
    /// This program was built without the `cuda` feature.
    NotBuilt,
    /// The driver library is not installed.
    NoDriver,
    /// The driver is there, but refuses or finds no card.
    NoCard,
    /// The cards, in the order of their numbers.
    Cards(Vec<Card>),
}

/// A CUDA card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its memory in bytes.
    pub memory: u64,
    /// Its compute capability, such as 9.0.
    pub capability: (i32, i32),
    /// The newest version of CUDA that the driver knows, such as 12.8.
    pub driver: (i32, i32),
}

impl Cuda {
    /// Why there is no card, as a sentence; `None` if there is one.
    pub fn missing(&self) -> Option<&'static str> {
        match self {
            Self::NotBuilt => Some("this program was built without CUDA"),
            Self::NoDriver => Some("there is no CUDA driver on this machine"),
            Self::NoCard => Some("the CUDA driver finds no card on this machine"),
            Self::Cards(_) => None,
        }
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = self.memory as f64 / (1u64 << 30) as f64;
        let ((major, minor), (cuda, minor_cuda)) = (self.capability, self.driver);
        write!(
            f,
            "{}, {gib:.1} GiB, compute capability {major}.{minor}, driver for CUDA {cuda}.{minor_cuda}",
            self.name
        )
    }
}

/// Looks for the CUDA driver and its cards, without creating anything on them.
pub fn find() -> Cuda {
    driver::cards()
}

/// Bytes of a card's memory that nothing uses, if the driver tells. Creates the context of the card that the tensor library
/// uses too.
pub(super) fn free_memory(card: usize) -> Option<u64> {
    driver::free_memory(card)
}

#[cfg(feature = "cuda")]
mod driver {
    use cudarc::driver::{DriverError, result, sys};
    use sys::CUdevice_attribute_enum as Attribute;

    use crate::device::cuda::{Card, Cuda};

    pub(super) fn cards() -> Cuda {
        // SAFETY: the driver's library has no unsafe initialisers.
        if !unsafe { sys::is_culib_present() } {
            return Cuda::NoDriver;
        }
        let cards = || -> Result<Vec<Card>, DriverError> {
            result::init()?;
            (0..result::device::get_count()?).map(card).collect()
        };
        match cards() {
            Ok(cards) if !cards.is_empty() => Cuda::Cards(cards),
            _ => Cuda::NoCard,
        }
    }

    fn card(number: i32) -> Result<Card, DriverError> {
        let device = result::device::get(number)?;
        let mut version = 0;
        // SAFETY: the device was just returned by the driver, and the place of the version is valid.
        unsafe {
            sys::cuDriverGetVersion(&mut version).result()?;
            let attribute = |which| result::device::get_attribute(device, which);
            Ok(Card {
                name: result::device::get_name(device)?,
                memory: result::device::total_mem(device)? as u64,
                capability: (
                    attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                    attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
                ),
                driver: (version / 1000, version % 1000 / 10),
            })
        }
    }

    pub(super) fn free_memory(card: usize) -> Option<u64> {
        let free = || -> Result<usize, DriverError> {
            result::init()?;
            let device = result::device::get(card as i32)?;
            let before = result::ctx::get_current()?;
            // SAFETY: the device was just returned by the driver. Its primary context is retained while it is current, and
            // released when the thread has its former context back.
            unsafe {
                let context = result::primary_ctx::retain(device)?;
                let free = result::ctx::set_current(context).and_then(|()| result::mem_get_info());
                result::ctx::set_current(before.unwrap_or(std::ptr::null_mut()))?;
                result::primary_ctx::release(device)?;
                free.map(|(free, _)| free)
            }
        };
        free().ok().map(|bytes| bytes as u64)
    }
}

#[cfg(not(feature = "cuda"))]
mod driver {
    use crate::device::cuda::Cuda;

    pub(super) fn cards() -> Cuda {
        Cuda::NotBuilt
    }

    pub(super) fn free_memory(_: usize) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_described() {
        let card = Card {
            name: "NVIDIA H100 80GB HBM3".into(),
            memory: 85_045_149_696,
            capability: (9, 0),
            driver: (12, 8),
        };
        assert_eq!(
            card.to_string(),
            "NVIDIA H100 80GB HBM3, 79.2 GiB, compute capability 9.0, driver for CUDA 12.8"
        );
    }
}
