//! VAR's tokenizer: a convolutional auto-encoder whose latent is written as a pyramid of codebook indices
//! (arXiv 2404.02905, section 3.2; `vqvae.py`, `quant.py` and `basic_vae.py` of the reference).

mod parts;

use std::collections::BTreeMap;
use std::path::Path;

use burn::{
    module::Module,
    store::ModuleSnapshot,
    tensor::{DType, Device, Tensor},
};
use nextscale_weights::{Export, Layout, WeightDtype, WeightError, WeightFile, shapes};
use serde::{Deserialize, Serialize};

pub use parts::{Decoder, Down, Encoder, Mid, Up};

use crate::{
    Codes, Pyramid, Resize, ScaleSchedule, conv::Conv, phi::Phi, pyramid::Encoded, vq::Codebook,
};

/// What fixes the auto-encoder's shapes and mathematics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VqVaeConfig {
    /// Vectors of the codebook, V.
    pub vocabulary: usize,
    /// Channels of the latent, c.
    pub channels: usize,
    /// Channels of the finest level.
    pub base_channels: usize,
    /// Channels of each level as multiples of `base_channels`, fine to coarse. Levels but the last halve the sides.
    pub mult: Vec<usize>,
    /// Residual blocks of an encoder level; a decoder level has one more.
    pub blocks: usize,
    /// Convolutions that refine the scales, shared among neighbours.
    pub phis: usize,
    /// Their share in the result.
    pub phi_ratio: f64,
    /// Groups of every norm.
    pub norm_groups: usize,
}

impl VqVaeConfig {
    /// The released tokenizer `vae_ch160v4096z32.pth` of all VAR models, stride 16.
    pub fn released() -> Self {
        Self {
            vocabulary: 4096,
            channels: 32,
            base_channels: 160,
            mult: vec![1, 1, 2, 2, 4],
            blocks: 2,
            phis: 4,
            phi_ratio: 0.5,
            norm_groups: 32,
        }
    }

    /// What a checkpoint in the official layout is, from the shapes of its tensors. Share of phi and groups of the
    /// norms leave no trace there: they are those of the released tokenizer.
    ///
    /// # Errors
    /// If the file cannot be read, or is no such checkpoint.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self, WeightError> {
        let path = path.as_ref();
        let shapes = WeightFile::open(path)?.shapes();
        let no = |name: &str| format!("it is no VAR tokenizer: there is no `{name}`");
        let shape = |name: &str| {
            shapes
                .get(name)
                .filter(|s| s.len() > 1)
                .ok_or_else(|| no(name))
        };
        let count = |of: &dyn Fn(usize) -> String| {
            (0..).take_while(|&i| shapes.contains_key(&of(i))).count()
        };
        let read = || -> Result<Self, String> {
            let book = shape(CODEBOOK)?;
            let base = shape("encoder.conv_in.weight")?[0].max(1);
            let levels = count(&|l| format!("encoder.down.{l}.block.0.conv2.weight"));
            let width = |l| Ok(shape(&format!("encoder.down.{l}.block.0.conv2.weight"))?[0]);
            let widths: Result<Vec<usize>, String> = (0..levels).map(width).collect();
            let shared = count(&|i| format!("{PHI}{i}.weight"));
            let own = count(&|i| format!("quantize.quant_resi.{i}.weight"));
            let config = Self {
                vocabulary: book[0],
                channels: book[1],
                base_channels: base,
                mult: widths?.iter().map(|width| width / base).collect(),
                blocks: count(&|b| format!("encoder.down.0.block.{b}.conv2.weight")),
                phis: shared.max(own).max(1),
                ..Self::released()
            };
            let groups = config.norm_groups;
            match base.is_multiple_of(groups) && levels > 0 {
                true => Ok(config),
                false => Err(format!(
                    "{base} channels do not split into the {groups} groups of the released norms"
                )),
            }
        };
        read().map_err(|message| WeightError::read(path, message))
    }

    /// What a file of the weights holds: official names and shapes. The statistics of code usage, `quantize.ema_vocab_hit_SV`,
    /// may be there as well.
    pub fn keys(&self) -> BTreeMap<String, Vec<usize>> {
        let ours = shapes(&self.init(&Device::flex())).into_iter();
        ours.map(|(name, shape)| (official_name(&name), shape))
            .collect()
    }

    /// Pixels of a latent cell's side.
    pub fn stride(&self) -> usize {
        1 << (self.mult.len() - 1)
    }

    /// Only the codes, with random weights.
    pub fn init_codes(&self, device: &Device) -> VqCodes {
        VqCodes {
            codebook: Codebook::init(self.vocabulary, self.channels, device),
            phi: Phi::init(self.phis, self.channels, self.phi_ratio, device),
        }
    }

    /// An auto-encoder with random weights.
    ///
    /// # Panics
    /// If there is no level, or norm groups do not divide a level's channels.
    pub fn init(&self, device: &Device) -> VqVae {
        assert!(!self.mult.is_empty(), "an auto-encoder needs a level");
        let c = self.channels;
        let VqCodes { codebook, phi } = self.init_codes(device);
        VqVae {
            encoder: Encoder::init(self, device),
            decoder: Decoder::init(self, device),
            codebook,
            phi,
            quant_conv: Conv::init(c, c, 3, device),
            post_quant_conv: Conv::init(c, c, 3, device),
            stride: self.stride(),
        }
    }
}

/// What generation needs of an auto-encoder: its codes and how scales of them add up, without encoder and decoder.
#[derive(Module, Debug)]
pub struct VqCodes {
    /// The vectors of the codes.
    pub codebook: Codebook,
    /// What refines a scale at full size.
    pub phi: Phi,
}

impl VqCodes {
    /// The residual pyramid, as [`VqVae::pyramid`].
    pub fn pyramid(&self) -> Pyramid<'_, Codebook, Phi> {
        pyramid(&self.codebook, &self.phi)
    }

    /// Loads them from the official weights of a whole auto-encoder, as [`VqVae::load`] does.
    ///
    /// # Errors
    /// As for [`VqVae::load`].
    pub fn load(mut self, path: impl AsRef<Path>) -> Result<Self, WeightError> {
        let mut file = WeightFile::open(path.as_ref())?;
        file.forget(|name| !name.starts_with("quantize."));
        fill(&mut self, file)?;
        Ok(self)
    }
}

/// Area down, bicubic up, phi behind it, area down for the transformer's input.
fn pyramid<'a>(quantizer: &'a Codebook, refine: &'a Phi) -> Pyramid<'a, Codebook, Phi> {
    Pyramid {
        quantizer,
        refine,
        up: Resize::Bicubic,
        down: Resize::Area,
        input_down: Resize::Area,
    }
}

/// The auto-encoder.
#[derive(Module, Debug)]
pub struct VqVae {
    /// Pixels to latent.
    pub encoder: Encoder,
    /// Latent to pixels.
    pub decoder: Decoder,
    /// The vectors of the codes.
    pub codebook: Codebook,
    /// What refines a scale at full size.
    pub phi: Phi,
    /// Behind the encoder.
    pub quant_conv: Conv,
    /// In front of the decoder.
    pub post_quant_conv: Conv,
    /// Pixels of a cell's side, s.
    pub stride: usize,
}

/// What a training step needs.
#[derive(Debug, Clone)]
pub struct Quantised {
    /// The latent that the decoder sees, `[b, c, 1, h, w]`: its gradient goes straight to the encoder.
    pub latent: Tensor<5>,
    /// Codebook and commitment loss, the mean over the scales, `[1]`.
    pub loss: Tensor<1>,
    /// The codes of each scale.
    pub codes: Vec<Codes>,
    /// What each scale turned into codes, `[b, c, 1, h_k, w_k]`, without gradient.
    pub cells: Vec<Tensor<5>>,
}

impl VqVae {
    /// The residual pyramid: area down, bicubic up, phi behind it, area down for the transformer's input.
    pub fn pyramid(&self) -> Pyramid<'_, Codebook, Phi> {
        pyramid(&self.codebook, &self.phi)
    }

    /// Pixels `[b, 3, h, w]` in [-1, 1] to the continuous latent `[b, c, 1, h/s, w/s]`.
    ///
    /// # Panics
    /// If the sides are no multiples of the stride.
    pub fn encode(&self, image: Tensor<4>) -> Tensor<5> {
        let [_, _, h, w] = image.dims();
        assert!(
            h.is_multiple_of(self.stride) && w.is_multiple_of(self.stride),
            "a picture of {h}x{w} against a stride of {}",
            self.stride
        );
        let latent = self.quant_conv.forward(self.encoder.forward(image));
        latent.unsqueeze_dim(2)
    }

    /// Latent `[b, c, 1, h, w]` to pixels `[b, 3, h s, w s]`, clamped to [-1, 1].
    pub fn decode(&self, latent: Tensor<5>) -> Tensor<4> {
        self.reconstruct(latent).clamp(-1.0, 1.0)
    }

    /// As [`VqVae::decode`], but not clamped: for training, where a clamp would stop the gradient.
    pub fn reconstruct(&self, latent: Tensor<5>) -> Tensor<4> {
        let cells = self.post_quant_conv.forward(latent.squeeze_dim(2));
        self.decoder.forward(cells)
    }

    /// Pixels to the codes of every scale of `schedule`, and their sum.
    pub fn encode_codes(&self, image: Tensor<4>, schedule: &ScaleSchedule) -> Encoded {
        self.pyramid().encode(self.encode(image), schedule)
    }

    /// Codes of the first scales (all of them, or fewer for a preview) to pixels in [-1, 1].
    pub fn decode_codes(&self, codes: &[Codes], schedule: &ScaleSchedule) -> Tensor<4> {
        self.decode(self.pyramid().decode(codes, schedule))
    }

    /// The quantiser in training: `latent` `[b, c, 1, h, w]` to its codes and back, with the loss
    /// `mean_k beta |sg(f_k) - f|^2 + |f_k - sg(f)|^2` over the running sums `f_k` (`VectorQuantizer2.forward`).
    pub fn quantise(&self, latent: Tensor<5>, schedule: &ScaleSchedule, beta: f64) -> Quantised {
        let pyramid = self.pyramid();
        let still = latent.clone().detach();
        let (mut codes, mut seen, mut losses) = (Vec::new(), Vec::new(), Vec::new());
        let sum = pyramid.descend_observed(
            still.clone(),
            schedule,
            |_, cells| {
                use crate::Quantizer as _;
                let cells = cells.detach();
                let scale = self.codebook.quantize(cells.clone());
                seen.push(cells);
                let vectors = self.codebook.embed(&scale);
                codes.push(scale);
                vectors
            },
            |sum| {
                let commitment = (sum.clone().detach() - latent.clone()).square().mean();
                let codebook = (sum.clone() - still.clone()).square().mean();
                losses.push(commitment * beta + codebook);
            },
        );
        Quantised {
            latent: (sum.detach() - still.clone()) + latent.clone(),
            loss: Tensor::cat(losses, 0).mean(),
            codes,
            cells: seen,
        }
    }

    /// Loads official weights, a `.safetensors` or PyTorch file, as f32. The file's statistics of code usage are
    /// ignored.
    ///
    /// # Errors
    /// If the file cannot be read, or a tensor is missing, unknown, of another shape or not finite.
    pub fn load(mut self, path: impl AsRef<Path>) -> Result<Self, WeightError> {
        fill(&mut self, WeightFile::open(path.as_ref())?)?;
        Ok(self)
    }

    /// Writes the weights as safetensors under the official names. An existing file is replaced.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, dtype: WeightDtype) -> Result<(), WeightError> {
        let mut export = Export::new(self, path.as_ref(), Layout::Burn, dtype);
        export.add_rest(official_name)?;
        export.write()
    }
}

/// Fills `module` with official weights, as f32.
fn fill<M: ModuleSnapshot>(module: &mut M, mut file: WeightFile) -> Result<(), WeightError> {
    file.forget(|name| name == USAGE);
    let file = file.renamed(field_name).in_dtype(DType::F32);
    file.apply_as(module, Layout::Burn, official_name)
}

/// How often each code was used while the released tokenizer was trained.
const USAGE: &str = "quantize.ema_vocab_hit_SV";
const CODEBOOK: &str = "quantize.embedding.weight";
const PHI: &str = "quantize.quant_resi.qresi_ls.";

fn field_name(official: &str) -> String {
    if official == CODEBOOK {
        return "codebook.embedding".to_owned();
    }
    // Shared among neighbours, one for all, or one a scale.
    let rest = official.strip_prefix("quantize.quant_resi.");
    match rest.map(|rest| rest.strip_prefix("qresi_ls.").unwrap_or(rest)) {
        Some(rest) => match rest.strip_prefix("qresi.") {
            Some(parameter) => format!("phi.convs.0.{parameter}"),
            None => format!("phi.convs.{rest}"),
        },
        None => official.to_owned(),
    }
}

fn official_name(ours: &str) -> String {
    match ours.strip_prefix("phi.convs.") {
        Some(rest) => format!("{PHI}{rest}"),
        None if ours == "codebook.embedding" => CODEBOOK.to_owned(),
        None => ours.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    fn tiny() -> VqVaeConfig {
        VqVaeConfig {
            vocabulary: 12,
            channels: 4,
            base_channels: 8,
            mult: vec![1, 2],
            blocks: 1,
            phis: 4,
            phi_ratio: 0.5,
            norm_groups: 4,
        }
    }

    #[test]
    fn training_moves_encoder_codebook_and_phi() {
        let device = Device::flex().autodiff();
        let vae = tiny().init(&device);
        let schedule = ScaleSchedule::square(&[1, 2, 4]).unwrap();
        let image = Tensor::random([2, 3, 8, 8], Distribution::Uniform(-1.0, 1.0), &device);
        let quantised = vae.quantise(vae.encode(image.clone()), &schedule, 0.25);
        assert_eq!(quantised.codes.len(), 3);
        let error = (vae.reconstruct(quantised.latent) - image).square().mean();
        let grads = (error + quantised.loss).backward();
        let moved = |gradient: Option<Tensor<4>>| {
            let size: f32 = gradient.expect("a gradient").abs().sum().into_scalar();
            assert!(size > 0.0 && size.is_finite());
        };
        moved(vae.encoder.conv_in.weight.grad(&grads));
        moved(vae.decoder.conv_out.weight.grad(&grads));
        moved(vae.phi.convs[0].weight.grad(&grads));
        let codebook = vae.codebook.embedding.grad(&grads).expect("a gradient");
        assert!(codebook.abs().sum().into_scalar::<f32>() > 0.0);
    }

    #[test]
    fn codes_reproduce_the_sum_and_pictures_need_not_be_square() {
        let device = Device::flex();
        let vae = tiny().init(&device);
        let scales = vec![
            crate::Scale::image(1, 2),
            crate::Scale::image(2, 3),
            crate::Scale::image(3, 5),
        ];
        let schedule = ScaleSchedule::new(scales).unwrap();
        let image = Tensor::random([1, 3, 6, 10], Distribution::Uniform(-1.0, 1.0), &device);
        let encoded = vae.encode_codes(image, &schedule);
        let sum = vae.pyramid().decode(&encoded.codes, &schedule);
        sum.into_data().assert_eq(&encoded.sum.into_data(), true);
        let picture = vae.decode_codes(&encoded.codes[..2], &schedule);
        assert_eq!(picture.dims(), [1, 3, 6, 10]);
    }

    #[test]
    fn names_go_both_ways() {
        for name in [
            "quantize.embedding.weight",
            "quantize.quant_resi.qresi_ls.2.bias",
            "encoder.down.4.attn.0.norm.weight",
        ] {
            assert_eq!(official_name(&field_name(name)), name);
        }
        let shared = field_name("quantize.quant_resi.qresi.weight");
        assert_eq!(shared, "phi.convs.0.weight");
        let own = field_name("quantize.quant_resi.3.weight");
        assert_eq!(own, "phi.convs.3.weight");
    }
}
