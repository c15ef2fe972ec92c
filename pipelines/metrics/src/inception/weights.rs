//! Reading Inception-v3. The batch norms, whose epsilon is 0.001, are folded into the convolutions.

use std::path::Path as File;

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::Result;
use crate::inception::layout::{Branch, Conv, DIMS, STEM, Variant, blocks};
use crate::inception::network::{Layer, Path};
use crate::source::Source;

/// What the file should be, and where people get it.
pub const WEIGHTS: &str = "FID needs pt_inception-2015-12-05-6726825d.pth, https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth, or torchvision's https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth";

const EPSILON: f64 = 1e-3;

/// All weights.
#[derive(Debug)]
pub(super) struct Weights {
    pub variant: Variant,
    /// Each with whether a halving follows.
    pub stem: Vec<(Layer, bool)>,
    pub blocks: Vec<Vec<Path>>,
    /// `[2048, classes]`.
    pub classifier: Tensor<2>,
    /// `[classes]`.
    pub bias: Tensor<1>,
}

/// Reads the weights; heads that are only for training (`AuxLogits`) are left out.
///
/// # Errors
/// If the file cannot be read, or is none of Inception-v3.
pub(super) fn read(path: &File, device: &Device) -> Result<Weights> {
    let source = Source::open("inception", path, WEIGHTS)?;
    let [classes, _] = source.shape_of("fc.weight")?;
    let variant = Variant::of_classes(classes).ok_or_else(|| {
        let path = source.path();
        source.wrong(format!(
            "{path} has {classes} classes, and not 1008 or 1000 as Inception-v3"
        ))
    })?;
    let classifier = source.tensor("fc.weight", [classes, DIMS], device)?;
    let bias = source.tensor("fc.bias", [classes], device)?;
    let reader = Reader { source, device };
    let (stem, mut channels) = reader.stem()?;
    let mut all = Vec::new();
    for (name, branches) in blocks(variant) {
        let mut paths = Vec::new();
        let mut joined = 0;
        for branch in branches {
            let (path, made) = reader.path(name, &branch, channels)?;
            paths.push(path);
            joined += made;
        }
        all.push(paths);
        channels = joined;
    }
    Ok(Weights {
        variant,
        stem,
        blocks: all,
        classifier: classifier.transpose(),
        bias,
    })
}

struct Reader<'a> {
    source: Source,
    device: &'a Device,
}

impl Reader<'_> {
    /// The first convolutions, and how many channels the last one has.
    fn stem(&self) -> Result<(Vec<(Layer, bool)>, usize)> {
        let (mut from, mut layers) = (3, Vec::new());
        for (name, to, kernel, stride, padding, halving) in STEM {
            let layer = self.layer(name, from, (name, to, [kernel; 2], stride))?;
            let padding = [padding; 2];
            layers.push((Layer { padding, ..layer }, halving));
            from = to;
        }
        Ok((layers, from))
    }

    /// A way through the block `name`, and how many channels it gives.
    fn path(&self, name: &str, branch: &Branch, channels: usize) -> Result<(Path, usize)> {
        let (mut from, mut layers) = (channels, Vec::new());
        for conv in &branch.convs {
            layers.push(self.layer(&format!("{name}.{}", conv.0), from, *conv)?);
            from = conv.1;
        }
        let one = |conv: &Conv| self.layer(&format!("{name}.{}", conv.0), from, *conv);
        let fork: Vec<Layer> = branch.fork.iter().map(one).collect::<Result<_>>()?;
        let made: usize = branch.fork.iter().map(|conv| conv.1).sum();
        let made = if fork.is_empty() { from } else { made };
        let path = Path {
            pool: branch.pool,
            layers,
            fork,
        };
        Ok((path, made))
    }

    fn layer(&self, name: &str, from: usize, conv: Conv) -> Result<Layer> {
        let (_, to, [height, width], stride) = conv;
        let read =
            |part: &str, shape: &[usize]| self.source.values(&format!("{name}.{part}"), shape);
        let mut weight = read("conv.weight", &[to, from, height, width])?;
        let [gamma, beta, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|part| read(&format!("bn.{part}"), &[to]));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let mut bias = Vec::with_capacity(to);
        for (channel, kernel) in weight.chunks_exact_mut(from * height * width).enumerate() {
            let deviation = (f64::from(variance[channel]) + EPSILON).sqrt();
            let factor = f64::from(gamma[channel]) / deviation;
            for value in kernel {
                *value = (f64::from(*value) * factor) as f32;
            }
            let shift = f64::from(beta[channel]) - f64::from(mean[channel]) * factor;
            bias.push(shift as f32);
        }
        let padding = match stride {
            1 => [height / 2, width / 2],
            _ => [0, 0],
        };
        let shape = [to, from, height, width];
        Ok(Layer {
            weight: Tensor::from_data(TensorData::new(weight, shape), self.device),
            bias: Tensor::from_data(TensorData::new(bias, [to]), self.device),
            stride,
            padding,
        })
    }
}
