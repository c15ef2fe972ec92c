//! Arguments of `nextscale eval fid`, `is`, `precision-recall`, `clip-score` and `psnr-ssim-lpips`.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};
use nextscale_eval::scores::{
    ClipOptions, FidOptions, ImageSet, ManifoldOptions, ModelSet, NetworkOptions, PairOptions,
    ScoreOptions,
};
use nextscale_metrics::inception::Preparation;
use nextscale_models::device::{DeviceChoice, Dtype};

use crate::eval::options::prompts_of;
use crate::options::{at_least_one, choice};

/// A model that generates the images, in place of a folder.
#[derive(Debug, Args)]
pub(super) struct ModelOptions {
    /// Generate the images with this model, as for `generate`, instead of reading a folder
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Number of images that the model generates; prompts or classes take turns
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = at_least_one())]
    count: usize,
    /// Seed of the first generated image
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Class name or number, for class-conditional models; repeat for more [default: all classes]
    #[arg(long, conflicts_with = "prompts", requires = "model")]
    class: Vec<String>,
    /// File with one prompt per line
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Guidance scale; 1 turns guidance off [default: the model's]
    #[arg(long, value_name = "N", requires = "model")]
    cfg_scale: Option<f64>,
    /// Temperature [default: the model's]
    #[arg(long, value_name = "N", requires = "model")]
    temperature: Option<f64>,
    /// Number type of the transformer's weights
    #[arg(long, value_parser = choice::<Dtype>(), default_value = "auto", requires = "model")]
    dtype: Dtype,
}

impl ModelOptions {
    fn prompts(&self) -> anyhow::Result<Vec<String>> {
        let file = self.prompts.as_deref();
        Ok(file.map(prompts_of).transpose()?.unwrap_or_default())
    }

    /// The images of the model if there is one.
    fn set(&self, device: DeviceChoice) -> anyhow::Result<Option<ImageSet>> {
        let Some(model) = self.model.clone() else {
            return Ok(None);
        };
        let mut conditions = self.prompts()?;
        conditions.extend(self.class.iter().cloned());
        Ok(Some(ImageSet::Model(ModelSet {
            model,
            count: self.count,
            seed: self.seed,
            conditions,
            cfg_scale: self.cfg_scale,
            temperature: self.temperature,
            device,
            dtype: self.dtype,
        })))
    }

    /// The generated images and what else is named: with a model, all of `paths`; without one, all but the first.
    fn first_of<'a>(
        &self,
        device: DeviceChoice,
        paths: &'a [PathBuf],
    ) -> anyhow::Result<(ImageSet, &'a [PathBuf])> {
        match (self.set(device)?, paths) {
            (Some(set), rest) => Ok((set, rest)),
            (None, [first, rest @ ..]) => Ok((ImageSet::Path(first.clone()), rest)),
            (None, []) => bail!("name a folder of images, or a model with --model NAME|PATH"),
        }
    }
}

/// How images are brought to the 299 x 299 pixels of Inception-v3.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Resize {
    /// Bilinear, without anti-aliasing
    PytorchFid,
    /// Bilinear from the corners of pixels, as TensorFlow 1, torch-fidelity and ADM's evaluator do
    TorchFidelity,
    /// Bicubic with anti-aliasing, as clean-fid does
    CleanFid,
}

/// The network.
#[derive(Debug, Args)]
pub(super) struct NetworkArgs {
    /// Weights of Inception-v3: pt_inception-2015-12-05-6726825d.pth of pytorch-fid, or torchvision's
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// For data that Inception-v3 does not know: the run of a classifier of such data, as `nextscale train classifier` made it
    #[arg(long, value_name = "RUN", conflicts_with_all = ["weights", "resize"])]
    classifier: Option<PathBuf>,
    /// Whose way to resize images is followed; figures of different ways must not be compared
    #[arg(long, value_enum, default_value = "pytorch-fid")]
    resize: Resize,
    /// Images per batch
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = at_least_one())]
    batch: usize,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

impl NetworkArgs {
    fn options(&self) -> NetworkOptions {
        NetworkOptions {
            weights: self.weights.clone(),
            classifier: self.classifier.clone(),
            preparation: match self.resize {
                Resize::PytorchFid => Preparation::PytorchFid,
                Resize::TorchFidelity => Preparation::TorchFidelity,
                Resize::CleanFid => Preparation::CleanFid,
            },
            batch: self.batch,
            device: self.device,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct FidArgs {
    /// Generated images (not with --model), then real ones: a folder, a data set (its training images), or a .npz file of statistics or of images
    #[arg(value_name = "FOLDER|FILE.npz", num_args = 0..=2)]
    sets: Vec<PathBuf>,
    /// Write mean and covariance of the generated images, or of the only ones that are named, as pytorch-fid and clean-fid read them
    #[arg(long, value_name = "FILE.npz")]
    save_statistics: Option<PathBuf>,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    pub(super) network: NetworkArgs,
}

impl FidArgs {
    pub(super) fn options(&self) -> anyhow::Result<FidOptions> {
        let (images, rest) = self.model.first_of(self.network.device, &self.sets)?;
        let reference = match rest {
            [] if self.save_statistics.is_none() => {
                bail!("name the real images after the generated ones: a folder or a .npz file")
            }
            [] => None,
            [reference] => Some(ImageSet::Path(reference.clone())),
            _ => bail!("with --model only the real images are named"),
        };
        Ok(FidOptions {
            images,
            reference,
            save_statistics: self.save_statistics.clone(),
            network: self.network.options(),
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct IsArgs {
    /// Images: a folder, or a .npz file of images
    #[arg(value_name = "FOLDER|FILE.npz", conflicts_with = "model")]
    images: Option<PathBuf>,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    pub(super) network: NetworkArgs,
}

impl IsArgs {
    pub(super) fn options(&self) -> anyhow::Result<ScoreOptions> {
        let (images, _) = self
            .model
            .first_of(self.network.device, self.images.as_slice())?;
        Ok(ScoreOptions {
            images,
            network: self.network.options(),
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct PrecisionRecallArgs {
    /// Generated images (not with --model), then real ones: a folder, a data set (its training images), or a .npz file of images
    #[arg(value_name = "FOLDER|FILE.npz", num_args = 0..=2)]
    sets: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    pub(super) network: NetworkArgs,
}

impl PrecisionRecallArgs {
    pub(super) fn options(&self) -> anyhow::Result<ManifoldOptions> {
        let (images, rest) = self.model.first_of(self.network.device, &self.sets)?;
        let [reference] = rest else {
            bail!("name one folder or .npz file of real images after the generated ones");
        };
        Ok(ManifoldOptions {
            images,
            reference: ImageSet::Path(reference.clone()),
            network: self.network.options(),
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct ClipScoreArgs {
    /// Images: a folder, with the prompt of each beside it as NAME.txt unless there is --prompts
    #[arg(value_name = "FOLDER", conflicts_with = "model")]
    images: Option<PathBuf>,
    /// Weights of CLIP: OpenAI's ViT-B-32.pt or ViT-L-14.pt, or their state dict
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Vocabulary of CLIP: bpe_simple_vocab_16e6.txt.gz, tokenizer.json, or a folder with vocab.json and merges.txt
    #[arg(long, value_name = "PATH")]
    vocabulary: Option<PathBuf>,
    #[command(flatten)]
    model: ModelOptions,
    /// Images per batch
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = at_least_one())]
    batch: usize,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

impl ClipScoreArgs {
    pub(super) fn options(&self) -> anyhow::Result<ClipOptions> {
        let (images, _) = self.model.first_of(self.device, self.images.as_slice())?;
        let prompts = match images {
            ImageSet::Model(_) => vec![],
            ImageSet::Path(_) => self.model.prompts()?,
        };
        Ok(ClipOptions {
            images,
            prompts,
            weights: self.weights.clone(),
            vocabulary: self.vocabulary.clone(),
            batch: self.batch,
            device: self.device,
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// A folder of images
    images: PathBuf,
    /// A folder of images of the same names
    reference: PathBuf,
    /// Weights of LPIPS: torchvision's AlexNet or VGG16; without them only PSNR and SSIM are measured
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Weights of the channels: alex.pth or vgg.pth of the package lpips, unless --weights has them
    #[arg(long, value_name = "FILE", requires = "weights")]
    lins: Option<PathBuf>,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Write the result as JSON, with the figures of each pair
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

impl PairArgs {
    pub(super) fn options(&self) -> PairOptions {
        PairOptions {
            images: self.images.clone(),
            reference: self.reference.clone(),
            weights: self.weights.clone(),
            lins: self.lins.clone(),
            device: self.device,
        }
    }
}
