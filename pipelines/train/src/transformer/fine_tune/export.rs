//! A fine-tune as files for others: adapters in the conventions of PEFT and kohya, a transformer in its official layout, or a model
//! folder.

use std::path::Path;

use burn::tensor::Device;
use nextscale_files::atomic_file;
use nextscale_models::{Architecture, Model, TRANSFORMER};
use nextscale_var_core::blocks::Transformer as _;
use nextscale_var_core::train::{Adapters, Checkpoint, LoraConfig};
use nextscale_weights::{LoraExport, LoraStyle, block_name, rewrite_as_pytorch};

use super::config::FineTuneConfig;
use super::family::Family;
use super::infinity::InfinityFamily;
use super::infinity_star::StarFamily;
use super::tuned::TunedModel;
use super::var::VarFamily;
use crate::config;
use crate::error::{Result, TrainError, ensure};
use crate::run_folder::CONFIG;

/// The weights of an adapter folder of PEFT.
const PEFT_WEIGHTS: &str = "adapter_model.safetensors";
/// Its description.
const PEFT_CONFIG: &str = "adapter_config.json";

/// Writes a checkpoint of the run `from`.
///
/// | out | adapters | a whole transformer |
/// |---|---|---|
/// | a folder | PEFT's two files | a model folder |
/// | `.safetensors` | kohya's names | official names |
/// | `.pth` | | official names, for `torch.load` |
pub(crate) fn export(from: &Path, checkpoint: &Checkpoint, out: &Path) -> Result<()> {
    let config: FineTuneConfig = config::read(&from.join(CONFIG))?;
    let model = config.open()?;
    match model.architecture() {
        Architecture::Infinity => of_family::<InfinityFamily>(&config, &model, checkpoint, out),
        Architecture::Var => of_family::<VarFamily>(&config, &model, checkpoint, out),
        Architecture::InfinityStar => of_family::<StarFamily>(&config, &model, checkpoint, out),
    }
}

fn of_family<F: Family>(
    config: &FineTuneConfig,
    model: &Model,
    checkpoint: &Checkpoint,
    out: &Path,
) -> Result<()> {
    let device = Device::flex();
    let fresh = F::fresh(model, &device)?;
    let ending = out.extension().and_then(|ending| ending.to_str());
    if let Some(lora) = &config.lora {
        ensure!(
            ending != Some("pth"),
            "adapters are written as a folder or a .safetensors file, not as `{}`",
            out.display()
        );
        let trained = blank_adapters::<F>(lora, &fresh, &device)?;
        let TunedModel::Adapters(trained) =
            checkpoint.average(TunedModel::<F::Transformer>::Adapters(trained))?
        else {
            unreachable!("a checkpoint has what it is read into");
        };
        let chosen = layers::<F>(lora, &fresh)?;
        let export = adapters(config, F::blocks_of(model)?, &chosen, &trained);
        return write_adapters(&export, out, ending == Some("safetensors"));
    }
    let TunedModel::Whole(trained) = checkpoint.average(TunedModel::Whole(fresh))? else {
        unreachable!("a checkpoint has what it is read into");
    };
    match ending {
        Some("safetensors") => whole_file(out, |path| F::save(model, &trained, path)),
        Some("pth") => whole_file(out, |path| {
            let plain = atomic_file::hidden_for(out).map_err(TrainError::io("write", out))?;
            F::save(model, &trained, plain.path())?;
            Ok(rewrite_as_pytorch(plain.path(), path)?)
        }),
        _ => write_folder::<F>(config, model, &trained, out),
    }
}

/// Writes a file under another name first, and then gives it its own, like any other file of the user's.
fn whole_file(out: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let hidden = atomic_file::hidden_for(out).map_err(TrainError::io("write", out))?;
    write(hidden.path())?;
    atomic_file::persist(hidden, out).map_err(TrainError::io("write", out))?;
    atomic_file::make_usual(out).map_err(TrainError::io("write", out))
}

/// Adapters whose numbers are to be read.
fn blank_adapters<F: Family>(
    lora: &LoraConfig,
    fresh: &F::Transformer,
    device: &Device,
) -> Result<Adapters> {
    let block = fresh.block(0).into_owned();
    let blank = Adapters::init(lora, &block, fresh.depth(), device);
    blank.map_err(|message| TrainError::setting("lora", message))
}

fn layers<F: Family>(lora: &LoraConfig, fresh: &F::Transformer) -> Result<Vec<&'static str>> {
    let layers = lora.layers(&*fresh.block(0));
    layers.map_err(|message| TrainError::setting("lora", message))
}

/// Trained adapters under official names; `blocks` are the model's, and the chunks in which their names count them.
pub(super) fn adapters(
    config: &FineTuneConfig,
    (depth, chunks): (usize, usize),
    chosen: &[&str],
    trained: &Adapters,
) -> LoraExport {
    let lora = config.lora.clone().unwrap_or_default();
    let names = (0..depth).flat_map(|i| {
        let block = block_name(i, depth, chunks);
        chosen.iter().map(move |layer| format!("{block}{layer}"))
    });
    let layers = names.zip(&trained.layers).map(|(name, adapter)| {
        let both = [&adapter.down, &adapter.up];
        let both = both.map(|matrix| matrix.val().transpose().into_data());
        (name, both)
    });
    LoraExport {
        alpha: lora.alpha(),
        rank: lora.rank,
        base_model: config.from.clone(),
        layers: layers.collect(),
    }
}

fn write_adapters(export: &LoraExport, out: &Path, is_file: bool) -> Result<()> {
    let write = |path: &Path, bytes: &[u8]| {
        atomic_file::write(path, bytes).map_err(TrainError::io("write", path))
    };
    if is_file {
        return write(out, &export.to_bytes(LoraStyle::Kohya, out)?);
    }
    std::fs::create_dir_all(out).map_err(TrainError::io("create", out))?;
    let weights = out.join(PEFT_WEIGHTS);
    write(&weights, &export.to_bytes(LoraStyle::Peft, &weights)?)?;
    write(&out.join(PEFT_CONFIG), export.config().as_bytes())
}

fn write_folder<F: Family>(
    config: &FineTuneConfig,
    model: &Model,
    trained: &F::Transformer,
    out: &Path,
) -> Result<()> {
    std::fs::create_dir_all(out).map_err(TrainError::io("create", out))?;
    F::save(model, trained, &out.join(TRANSFORMER))?;
    let (name, about) = (config.name.as_deref(), config.about.as_deref());
    model.complete_folder(out, name, about)?;
    Ok(())
}
