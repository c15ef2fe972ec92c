//! The tokenizer of a transformer's run, which copies it from a tokenizer's run: so it can be resumed and exported when
//! that run is gone.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use nextscale_bitwise::vae::BsqVae;
use nextscale_tokenizer::VqVae;
use nextscale_var_core::train::latest;
use nextscale_video::InfinityStarVae;
use nextscale_weights::WeightDtype;

use crate::config;
use crate::error::{Result, TrainError, ensure};
use crate::run::Run;
use crate::run_folder::{self, CONFIG, checkpoint, no_checkpoint};
use crate::tokenizer::{TokenizerKind, bsq::BsqRun, causal::CausalRun, vq::VqRun};

/// The configuration of the imported tokenizer.
const TOKENIZER_CONFIG: &str = "tokenizer.yaml";
/// The weights of the imported tokenizer.
pub(crate) const TOKENIZER_WEIGHTS: &str = "vae.safetensors";

/// The configuration of a tokenizer that can be imported.
pub(crate) trait TokenizerRun: Run {
    /// The kind that the configuration names.
    const KIND: TokenizerKind;
    /// The auto-encoder that a run trains. Averages in checkpoints are without the discriminator.
    type Vae: Module;

    /// An auto-encoder with random weights.
    fn init(&self, device: &Device) -> Vae<Self>;

    /// Writes an auto-encoder in f32 under the official key names.
    fn save(vae: &Vae<Self>, path: &Path) -> Result<()>;

    /// Reads the weights that [`save`](Self::save) wrote.
    fn load(vae: Vae<Self>, path: &Path) -> Result<Vae<Self>>;
}

/// The auto-encoder that a tokenizer's run trains.
pub(crate) type Vae<R> = <R as TokenizerRun>::Vae;

macro_rules! tokenizer_runs {
    ($($run:ty: $kind:ident, $vae:ty;)*) => {$(
        impl TokenizerRun for $run {
            const KIND: TokenizerKind = TokenizerKind::$kind;
            type Vae = $vae;

            fn init(&self, device: &Device) -> Vae<Self> {
                self.model.init(device)
            }

            fn save(vae: &Vae<Self>, path: &Path) -> Result<()> {
                Ok(vae.save(path, WeightDtype::F32)?)
            }

            fn load(vae: Vae<Self>, path: &Path) -> Result<Vae<Self>> {
                Ok(vae.load(path)?)
            }
        }
    )*};
}
tokenizer_runs!(
    BsqRun: Bsq, BsqVae;
    VqRun: Vq, VqVae;
    CausalRun: Causal, InfinityStarVae;
);

/// The averaged auto-encoder of a tokenizer's run, and its configuration.
pub(crate) fn trained_tokenizer<R: TokenizerRun>(folder: &Path) -> Result<(Vae<R>, R)> {
    let checkpoint = checkpoint(folder)?;
    let run: R = config::read(&folder.join(CONFIG))?;
    let vae = checkpoint.average(run.init(&Device::flex()))?;
    Ok((vae, run))
}

/// Whether two runs have the same frozen weight. Its average drifts by rounding, so equal means nearly equal.
pub(crate) fn is_same<const D: usize>(ours: &Param<Tensor<D>>, theirs: &Param<Tensor<D>>) -> bool {
    let (ours, theirs) = (ours.val(), theirs.val());
    ours.dims() == theirs.dims() && (ours - theirs).abs().max().into_scalar::<f32>() < 1e-4
}

/// The tokenizer of the transformer's run `out` and its configuration; the first time, they are copied from the
/// tokenizer's run `from`.
pub(crate) fn import_tokenizer<R: TokenizerRun>(
    out: &Path,
    from: &Path,
    device: &Device,
) -> Result<(Vae<R>, R)> {
    let (config, weights) = (out.join(TOKENIZER_CONFIG), out.join(TOKENIZER_WEIGHTS));
    if !weights.is_file() {
        copy_tokenizer::<R>(from, &config, &weights, device)?;
    }
    let run: R = config::read(&config)?;
    let vae = R::load(run.init(device), &weights)?;
    Ok((vae, run))
}

fn copy_tokenizer<R: TokenizerRun>(
    from: &Path,
    config: &Path,
    weights: &Path,
    device: &Device,
) -> Result<()> {
    let checkpoint = latest(from)?.ok_or_else(|| {
        let reason = no_checkpoint(from);
        TrainError::setting(
            "tokenizer",
            format!("{reason}; `nextscale train tokenizer` makes one"),
        )
    })?;
    let original = from.join(CONFIG);
    ensure!(
        config::kind::<TokenizerKind>(&original)? == R::KIND,
        "tokenizer: `{}` is of another kind: a transformer of classes takes `kind: vq`, one of prompts `kind: bsq`, one of videos `kind: causal`",
        from.display()
    );
    run_folder::copy(&original, config)?;
    let run: R = config::read(config)?;
    R::save(&checkpoint.average(run.init(device))?, weights)
}
