//! GPUs that wgpu reaches through Vulkan, Metal or Direct3D 12, asked for before the tensor library touches them.

#[cfg(feature = "wgpu")]
mod driver;

use std::fmt;

use burn::tensor::Device;

use crate::error::ModelError;

/// What was found when looking for GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gpus {
    /// This program was built without the `wgpu` feature.
    NotBuilt,
    /// No driver offers one.
    None,
    /// The GPUs in the order of their numbers: those with memory of their own first, software last.
    Found(Vec<Gpu>),
}

/// A GPU, or software that takes the place of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its name, such as `AMD Radeon RX 7900 XTX`.
    pub name: String,
    /// What it is.
    pub kind: GpuKind,
    /// What it is reached through: `Vulkan`, `Metal` or `Direct3D 12`.
    pub api: &'static str,
    /// Its driver, such as `radv Mesa 24.1.0`; empty if it does not tell.
    pub driver: String,
}

/// What a GPU is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuKind {
    /// A card with memory of its own.
    Discrete,
    /// Part of the processor, whose memory it shares.
    Integrated,
    /// A part of a GPU that a virtual machine was given.
    Virtual,
    /// No GPU: the processor does its work, slower than `cpu`.
    Software,
}

impl Gpus {
    /// The number of the first one that is not software.
    pub fn hardware(&self) -> Option<usize> {
        let Self::Found(gpus) = self else {
            return None;
        };
        gpus.iter().position(|gpu| gpu.kind != GpuKind::Software)
    }

    /// Why there is no GPU, as a sentence; `None` if there is one.
    pub fn missing(&self) -> Option<&'static str> {
        match self {
            Self::NotBuilt => Some("this program was built without wgpu"),
            Self::None => {
                Some("no driver for Vulkan, Metal or Direct3D 12 offers a GPU on this machine")
            }
            Self::Found(_) if self.hardware().is_none() => {
                Some("the only driver on this machine is software, slower than the CPU")
            }
            Self::Found(_) => None,
        }
    }

    /// The number that `--device gpu` or `--device gpu:N` means.
    ///
    /// # Errors
    /// If there is none of this number, or without a number none that is hardware.
    pub fn numbered(&self, number: Option<usize>) -> Result<usize, ModelError> {
        match (self, number) {
            (Self::Found(gpus), Some(number)) if number < gpus.len() => Ok(number),
            (Self::Found(gpus), Some(number)) => Err(ModelError::refused_with(
                format!(
                    "there is no GPU {number}: the numbers go from 0 to {}",
                    gpus.len() - 1
                ),
                "`nextscale devices` lists the GPUs",
            )),
            _ => self.hardware().ok_or_else(|| {
                ModelError::refused_with(
                    format!(
                        "--device gpu is not possible: {}",
                        self.missing().unwrap_or_default()
                    ),
                    self.way_out(),
                )
            }),
        }
    }

    /// What to do if there is no hardware.
    fn way_out(&self) -> &'static str {
        match self {
            Self::NotBuilt => {
                "build it with `--features nextscale/wgpu`, or use `--device cpu`, or `auto` to take a GPU only where there is one"
            }
            Self::None => "use `--device cpu`, or `auto` to take a GPU only where there is one",
            Self::Found(_) => "use `--device cpu`, or `gpu:0` to take it all the same",
        }
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            kind,
            api,
            driver,
        } = self;
        write!(f, "{name}, {kind}, {api}")?;
        if driver.is_empty() {
            Ok(())
        } else {
            write!(f, ", driver {driver}")
        }
    }
}

impl fmt::Display for GpuKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Software => "software, slower than cpu",
        })
    }
}

/// Looks for drivers and their GPUs, without creating anything on them. What is found the first time holds for the process.
pub fn find() -> Gpus {
    driver::gpus()
}

/// The GPU of a number that [`find`] gave.
///
/// # Errors
/// If its driver refuses.
pub(super) fn open(number: usize) -> Result<Device, ModelError> {
    driver::open(number).map_err(|why| {
        ModelError::refused_with(
            format!("the GPU {number} cannot be opened: {why}"),
            "`nextscale devices` lists the GPUs; or compute without one: --device cpu",
        )
    })
}

#[cfg(not(feature = "wgpu"))]
mod driver {
    use burn::tensor::Device;

    use crate::device::gpu::Gpus;

    pub(super) fn gpus() -> Gpus {
        Gpus::NotBuilt
    }

    pub(super) fn open(_: usize) -> Result<Device, String> {
        Err("this program was built without wgpu".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(name: &str, kind: GpuKind) -> Gpu {
        Gpu {
            name: name.into(),
            kind,
            api: "Vulkan",
            driver: "Mesa 24.1.0".into(),
        }
    }

    #[test]
    fn hardware_is_taken_by_itself_and_software_by_its_number() {
        let software = gpu("llvmpipe", GpuKind::Software);
        let only = Gpus::Found(vec![software.clone()]);
        let both = Gpus::Found(vec![gpu("Iris", GpuKind::Integrated), software]);
        assert_eq!(both.numbered(None).unwrap(), 0);
        assert_eq!(both.numbered(Some(1)).unwrap(), 1);
        assert_eq!(only.numbered(Some(0)).unwrap(), 0);
        assert_eq!((both.missing(), only.hardware()), (None, None));
        let message = |gpus: &Gpus, number| gpus.numbered(number).unwrap_err().to_string();
        assert_eq!(
            message(&both, Some(2)),
            "there is no GPU 2: the numbers go from 0 to 1"
        );
        for (gpus, why) in [
            (&only, "the only driver on this machine is software"),
            (&Gpus::None, "no driver for Vulkan"),
            (&Gpus::NotBuilt, "this program was built without wgpu"),
        ] {
            let message = message(gpus, None);
            assert!(
                message.starts_with("--device gpu is not possible: "),
                "{message}"
            );
            assert!(message.contains(why), "{message}");
        }
        assert!(message(&Gpus::None, Some(1)).contains("no driver for Vulkan"));
    }

    #[test]
    fn a_gpu_is_described() {
        assert_eq!(
            gpu("AMD Radeon RX 7900 XTX", GpuKind::Discrete).to_string(),
            "AMD Radeon RX 7900 XTX, discrete, Vulkan, driver Mesa 24.1.0"
        );
    }
}
