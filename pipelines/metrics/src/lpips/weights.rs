//! The weights of the networks and of the channels, from the files that users have.
//!
//! | file | convolution | weights of the channels |
//! |---|---|---|
//! | `vgg16-397923af.pth` of torchvision | `features.0.weight` | none |
//! | `alexnet-owt-7be5be79.pth` of torchvision | `features.0.weight` | none |
//! | `lpips/weights/v0.1/vgg.pth` and `alex.pth` of the package `lpips` | none | `lin0.model.1.weight` |
//! | the state of a whole `lpips.LPIPS` | `net.slice1.0.weight` | `lin0.model.1.weight`, again as `lins.0.model.1.weight` |
//!
//! Which network a file holds is told by its first convolution.

use std::path::Path;

use burn::tensor::{Device, Tensor};

use crate::error::Result;
use crate::lpips::network::{Backbone, Frozen, Network, Shape};
use crate::source::Source;

/// What the file of the network should be.
const VGG: &str = "`vgg` is torchvision's VGG16, such as https://download.pytorch.org/models/vgg16-397923af.pth (or AlexNet, https://download.pytorch.org/models/alexnet-owt-7be5be79.pth)";
/// What the file of the channels should be.
const LINS: &str = "`lins` is weights/v0.1/vgg.pth (or alex.pth) of the Python package lpips, https://github.com/richzhang/PerceptualSimilarity";

/// Reads the convolutions of `vgg`, and the weights of the channels of `lins`, or of `vgg` if there is none.
///
/// # Errors
/// If a file cannot be read, or lacks a tensor, or one has another shape or numbers that are not finite.
pub(super) fn read(
    vgg: &Path,
    lins: Option<&Path>,
    device: &Device,
) -> Result<(Backbone, Vec<Tensor<1>>)> {
    let convolutions = Source::open("vgg", vgg, VGG)?;
    let channels = Source::open("lins", lins.unwrap_or(vgg), LINS)?;
    let network = network(&convolutions);
    let levels = levels(&convolutions, network, device)?;
    let read_lin = |(level, channel_count): (usize, usize)| {
        let name = format!("lin{level}.model.1.weight");
        let weights = channels.tensor(&name, [1, channel_count, 1, 1], device)?;
        Ok(weights.reshape([channel_count]))
    };
    let lins = network.channels().into_iter().enumerate();
    let lins = lins.map(read_lin).collect::<Result<_>>()?;
    Ok((Backbone { network, levels }, lins))
}

/// The network whose first convolution the file has; VGG16 if it has none, so that the error names what is missing.
fn network(source: &Source) -> Network {
    let name = format!("{}.weight", prefix(source, 0, 0));
    match source.shape(&name).as_deref() {
        Some([64, 3, 11, 11]) => Network::Alex,
        _ => Network::Vgg,
    }
}

/// All convolutions, by level.
fn levels(source: &Source, network: Network, device: &Device) -> Result<Vec<Vec<Frozen>>> {
    let mut from = 3;
    let mut one = |level: usize, shape: &Shape| {
        let (name, to, k) = (
            prefix(source, level, shape.at),
            shape.channels,
            shape.kernel,
        );
        let weight = source.tensor(&format!("{name}.weight"), [to, from, k, k], device)?;
        let bias = source.tensor(&format!("{name}.bias"), [to], device)?;
        from = to;
        Ok(Frozen {
            weight,
            bias,
            stride: shape.stride,
            padding: shape.padding,
        })
    };
    let levels = network.shapes().into_iter().enumerate();
    levels
        .map(|(level, shapes)| shapes.iter().map(|shape| one(level, shape)).collect())
        .collect()
}

/// The name of the convolution at position `at`: that of `lpips.LPIPS` if the file has it, else torchvision's.
fn prefix(source: &Source, level: usize, at: usize) -> String {
    let package = format!("net.slice{}.{at}", level + 1);
    match source.shape(&format!("{package}.weight")) {
        Some(_) => package,
        None => format!("features.{at}"),
    }
}
