//! What a run starts from: the run of a tokenizer, or a model whose parts are trained on.

use std::fs;
use std::path::Path;

use burn::module::Module as _;
use burn::tensor::{Device, FloatDType};
use nextscale_bitwise::vae::{BsqVae, BsqVaeConfig};
use nextscale_models::manifest::InfinityManifest;
use nextscale_models::{Manifest, Model, Placement};
use nextscale_tokenizer::ScaleSchedule;
use nextscale_var_core::blocks::BlockStorage;
use nextscale_weights::WeightDtype;

use crate::error::{Result, TrainError, ensure};
use crate::run_folder;
use crate::tokenizer::bsq::BsqRun;
use crate::tokenizer::import::{TOKENIZER_WEIGHTS, import_tokenizer};
use crate::transformer::infinity::config::{InfinityRun, TextToImageModel};

/// The description of the model that a run starts from.
const FROM: &str = "from.json";

/// The auto-encoder of a run.
pub(super) struct Tokenizer {
    pub vae: BsqVae,
    pub config: BsqVaeConfig,
    /// The scales that it was trained for, in cells.
    pub cells: ScaleSchedule,
}

impl InfinityRun {
    /// The auto-encoder; the first time, it is copied into the run's folder `out`.
    pub(super) fn open_tokenizer(&self, out: &Path, device: &Device) -> Result<Tokenizer> {
        let tokenizer = match (&self.tokenizer, &self.from) {
            (Some(run), None) => {
                let (vae, run) = import_tokenizer::<BsqRun>(out, run, device)?;
                let cells = run.schedule()?;
                let config = run.model;
                Tokenizer { vae, config, cells }
            }
            (None, Some(model)) => self.tokenizer_of(model, out, device)?,
            _ => {
                let message = "give the folder of a tokenizer's run here, or that of a model under `from`, not both";
                return Err(TrainError::setting("tokenizer", message));
            }
        };
        self.check_tokenizer(&tokenizer.cells)?;
        Ok(tokenizer)
    }

    fn tokenizer_of(&self, from: &Path, out: &Path, device: &Device) -> Result<Tokenizer> {
        let (description, weights) = (out.join(FROM), out.join(TOKENIZER_WEIGHTS));
        if !weights.is_file() {
            let model = open(from)?;
            infinity(model.manifest(), from)?;
            let json = serde_json::to_vec(model.manifest()).expect("a description is JSON");
            run_folder::write(&description, &json)?;
            let vae = model.load_bsq_vae(&Placement::cpu())?;
            vae.save(&weights, WeightDtype::F32)?;
        }
        let json = fs::read(&description).map_err(TrainError::io("read", &description))?;
        let manifest: Manifest = serde_json::from_slice(&json)
            .map_err(|error| TrainError::io("read", &description)(error.into()))?;
        let manifest = infinity(&manifest, from)?;
        let scales = manifest
            .sizes
            .iter()
            .find(|size| size.scales == self.sides());
        ensure!(
            scales.is_some() && manifest.patching == self.patching,
            "from: `{}` has other scales or another patching than this configuration",
            from.display()
        );
        Ok(Tokenizer {
            vae: manifest.vae.init(device).load(&weights)?,
            config: manifest.vae.clone(),
            cells: self.patching.cells(&self.schedule()?),
        })
    }

    /// The scales as a model's description has them.
    fn sides(&self) -> Vec<[usize; 2]> {
        self.scales.iter().map(|&(h, w)| [h, w]).collect()
    }

    /// The text encoder and the transformer of the model `from`, on an autodiff device.
    pub(super) fn model_of(
        &self,
        from: &Path,
        bits: usize,
        size: usize,
        device: &Device,
    ) -> Result<TextToImageModel> {
        let model = open(from)?;
        let manifest = infinity(model.manifest(), from)?;
        let (text, transformer) = (self.text.config(size), self.model_config(bits));
        ensure!(
            manifest.text == text && manifest.transformer == transformer,
            "from: the text encoder or the transformer of `{}` has other sizes than this configuration",
            from.display()
        );
        let fresh = TextToImageModel {
            text: text.init(device),
            transformer: transformer.init(device),
        };
        let placement = Placement {
            device: device.clone().inner(),
            dtype: FloatDType::F32,
            blocks: BlockStorage::Loaded,
        };
        let loaded = TextToImageModel {
            text: model.load_text_encoder(&placement.device)?.t5,
            transformer: model.load_infinity(&placement)?,
        };
        let loaded = fresh.try_load_record(loaded.into_record());
        loaded.map_err(|error| TrainError::setting("from", error))
    }
}

fn open(from: &Path) -> Result<Model> {
    Ok(Model::open(&from.display().to_string())?)
}

fn infinity<'a>(manifest: &'a Manifest, from: &Path) -> Result<&'a InfinityManifest> {
    match manifest {
        Manifest::Infinity(manifest) => Ok(manifest),
        _ => Err(TrainError::setting(
            "from",
            format!("`{}` is no model of `kind: infinity`", from.display()),
        )),
    }
}
