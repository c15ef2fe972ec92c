//! The weights of VGG16 and of the channels, from the files that users have.
//!
//! | file | convolution | weights of the channels |
//! |---|---|---|
//! | `vgg16-397923af.pth` of torchvision | `features.0.weight` | none |
//! | `lpips/weights/v0.1/vgg.pth` of the package `lpips` | none | `lin0.model.1.weight` |
//! | the state of a whole `lpips.LPIPS` | `net.slice1.0.weight` | `lin0.model.1.weight`, again as `lins.0.model.1.weight` |

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use nextscale_weights::WeightFile;

use crate::error::{Result, TrainError};
use crate::tokenizer::perceptual::vgg::{CHANNELS, DEPTHS, Frozen, Vgg};

/// What the setting `loss.perceptual.vgg` names.
const VGG: &str =
    "`vgg` is torchvision's VGG16, such as https://download.pytorch.org/models/vgg16-397923af.pth";
/// What the setting `loss.perceptual.lins` names.
const LINS: &str = "`lins` is weights/v0.1/vgg.pth of the Python package lpips, https://github.com/richzhang/PerceptualSimilarity";

/// Reads the convolutions of `vgg`, and the weights of the channels of `lins`, or of `vgg` if there is none.
///
/// # Errors
/// If a file cannot be read, or lacks a tensor, or one has another shape or numbers that are not finite.
pub(super) fn read(
    vgg: &Path,
    lins: Option<&Path>,
    device: &Device,
) -> Result<(Vgg, Vec<Tensor<1>>)> {
    let convolutions = Source::open("vgg", vgg, VGG)?;
    let channels = Source::open("lins", lins.unwrap_or(vgg), LINS)?;
    let levels = convolutions.levels(device)?;
    let read_lin = |level: usize| {
        let name = format!("lin{level}.model.1.weight");
        let values = channels.read(&name, &[1, CHANNELS[level], 1, 1])?;
        let weights = Tensor::<4>::from_data(values, device);
        Ok(weights.reshape([CHANNELS[level]]))
    };
    let lins = (0..CHANNELS.len()).map(read_lin).collect::<Result<_>>()?;
    Ok((Vgg { levels }, lins))
}

/// A file that a setting names.
struct Source {
    file: WeightFile,
    key: &'static str,
    /// What the setting should name.
    hint: &'static str,
}

impl Source {
    fn open(key: &'static str, path: &Path, hint: &'static str) -> Result<Self> {
        let file = WeightFile::open(path).map_err(|error| wrong(key, error, hint))?;
        Ok(Self { file, key, hint })
    }

    /// All convolutions, by level.
    fn levels(&self, device: &Device) -> Result<Vec<Vec<Frozen>>> {
        // Position in torchvision's list, which also counts the activations and poolings.
        let (mut at, mut from, mut levels) = (0, 3, Vec::new());
        for (level, (&to, depth)) in CHANNELS.iter().zip(DEPTHS).enumerate() {
            let mut convolutions = Vec::new();
            for _ in 0..depth {
                let name = self.prefix(level, at);
                let weight = self.read(&format!("{name}.weight"), &[to, from, 3, 3])?;
                let bias = self.read(&format!("{name}.bias"), &[to])?;
                convolutions.push(Frozen {
                    weight: Tensor::from_data(weight, device),
                    bias: Tensor::from_data(bias, device),
                });
                (at, from) = (at + 2, to);
            }
            levels.push(convolutions);
            at += 1;
        }
        Ok(levels)
    }

    /// The name of the convolution at position `at`: that of `lpips.LPIPS` if the file has it, else torchvision's.
    fn prefix(&self, level: usize, at: usize) -> String {
        let package = format!("net.slice{}.{at}", level + 1);
        match self.file.shape(&format!("{package}.weight")) {
            Some(_) => package,
            None => format!("features.{at}"),
        }
    }

    /// The tensor `name` in f32.
    fn read(&self, name: &str, shape: &[usize]) -> Result<TensorData> {
        let path = self.file.path().display();
        let found = self.file.shape(name).ok_or_else(|| {
            let message = format!("{path} has no tensor `{name}`");
            wrong(self.key, message, self.hint)
        })?;
        if found != shape {
            let message = format!("`{name}` in {path} has shape {found:?}, not {shape:?}");
            return Err(wrong(self.key, message, self.hint));
        }
        let data = self.file.read(name);
        let data = data.map_err(|error| wrong(self.key, error, self.hint))?;
        let data = data.convert::<f32>();
        if !data.iter::<f32>().all(f32::is_finite) {
            let message = format!("`{name}` in {path} has numbers that are not finite");
            return Err(wrong(self.key, message, self.hint));
        }
        Ok(data)
    }
}

fn wrong(key: &str, reason: impl std::fmt::Display, hint: &str) -> TrainError {
    let key = format!("loss.perceptual.{key}");
    TrainError::setting(&key, format!("{reason}; {hint}"))
}
