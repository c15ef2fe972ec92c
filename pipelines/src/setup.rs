//! What a stage sees while a pipeline is checked: its own parameters, the settings, and models.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use nextscale_models::search::SearchPath;
use nextscale_models::{Architecture, BlockStorage, Model, device};
use nextscale_models::{LoraChoice, ModelError};

use crate::error::{Diagnostic, Mark, PipelineError};
use crate::settings::Settings;
use crate::spec::StageSpec;
use crate::stage_params::StageParams;
use crate::yaml::Node;

/// The models that were opened while a pipeline is checked, each only once.
#[derive(Default)]
pub(crate) struct Models(RefCell<HashMap<String, Arc<Model>>>);

/// What the factory of a stage sees.
pub struct Setup<'a> {
    /// The stage as it was written.
    pub stage: &'a StageSpec,
    /// The settings of the pipeline.
    pub settings: &'a Settings,
    /// All stages of the pipeline.
    pub(crate) stages: &'a [StageSpec],
    /// Where the settings were written.
    pub(crate) root: &'a Node,
    pub(crate) models: &'a Models,
}

impl Setup<'_> {
    /// Where a parameter was written; the stage's name if it is absent.
    pub fn mark(&self, key: &str) -> &Mark {
        let own = self.stage.params.get(key).or_else(|| self.root.get(key));
        own.map_or(&self.stage.mark, |node| &node.mark)
    }

    /// An error at a parameter.
    pub fn refuse(&self, key: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.mark(key), message)
    }

    /// An error of a model or a file, reported at the parameter that names it.
    pub fn refuse_error(&self, key: &str, error: &PipelineError) -> Diagnostic {
        let mut diagnostic = self.refuse(key, error.to_string());
        diagnostic.hint = error.hint().map(str::to_owned);
        diagnostic
    }

    /// Refuses a model other than the one with the recorded fingerprint.
    pub(crate) fn check_fingerprint(
        &self,
        expected: Option<&String>,
        model: &Model,
    ) -> Result<(), Diagnostic> {
        if expected.is_none() || expected == model.fingerprint().as_ref() {
            return Ok(());
        }
        let name = model.name();
        let message = format!("the model `{name}` is not the one with this fingerprint");
        let hint = "name the folder of the same model, or drop `fingerprint` to use another";
        Err(self.refuse("fingerprint", message).hint(hint))
    }

    /// How the transformer of a stage stores its blocks; with `stream` they stay in their file.
    pub(crate) fn blocks(&self, stream: bool) -> Result<BlockStorage, PipelineError> {
        let blocks = device::blocks(self.settings.dtype);
        if !stream {
            return Ok(blocks);
        }
        if blocks == BlockStorage::Int8 {
            let message =
                "streamed blocks keep the number type of their file, and dtype int8 converts them";
            let hint = "use one of the two";
            return Err(self.refuse("stream", message).hint(hint).into());
        }
        Ok(BlockStorage::Streamed)
    }

    /// The parameters of the first stage of type `P` that this stage feeds; none if there is no such stage, or if its
    /// parameters are wrong, which it reports itself.
    pub(crate) fn fed<P: StageParams>(&self) -> Option<P> {
        let own = self.stage.name.as_str();
        let feeds = |stage: &&StageSpec| stage.wires.iter().any(|wire| wire.from == own);
        let mut fed = self.stages.iter().filter(feeds);
        fed.find(|stage| stage.kind == P::STAGE)?.params.read().ok()
    }

    /// The parameters of all stages of type `P` that can be read.
    pub(crate) fn all<P: StageParams>(&self) -> impl Iterator<Item = P> {
        let stages = self.stages.iter().filter(|stage| stage.kind == P::STAGE);
        stages.filter_map(|stage| stage.params.read().ok())
    }

    /// Opens a model: reads its description and the headers of its weights, not the weights.
    ///
    /// # Errors
    /// No such model, or one whose parts do not fit, at the place of the key `model`.
    pub fn model(&self, model: Option<&str>) -> Result<Arc<Model>, PipelineError> {
        let name = model.unwrap_or(&self.settings.model);
        if name.is_empty() {
            let message = "no model is named: the pipeline comes out of a file, and a path in it does not count";
            let hint =
                "name the model: --set model=PATH; or run it with --trust, if you trust the file";
            return Err(self.refuse("model", message).hint(hint).into());
        }
        if let Some(model) = self.models.0.borrow().get(name) {
            return Ok(Arc::clone(model));
        }
        let settings = self.settings;
        for (key, path) in [
            ("tokenizer", &settings.tokenizer),
            ("text-encoder", &settings.text_encoder),
        ] {
            if let Some(path) = path.as_ref().filter(|path| !path.exists()) {
                let message = format!("`{}` does not exist", path.display());
                return Err(self.refuse(key, message).into());
            }
        }
        let search_path = SearchPath::new(settings.models_dir.as_deref())
            .with_tokenizer(settings.tokenizer.as_deref())
            .with_text_encoder(settings.text_encoder.as_deref())
            .with_weights(settings.weights.into());
        let model = Model::open_in(name, &search_path).map_err(|error| match error {
            ModelError::Refused { .. } => PipelineError::from(error),
            error => self.refuse_error("model", &error.into()).into(),
        })?;
        let model = Arc::new(self.adapted(model, name)?);
        let mut models = self.models.0.borrow_mut();
        models.insert(name.to_owned(), Arc::clone(&model));
        Ok(model)
    }

    /// The model of the settings with their adapters; another one as it is.
    fn adapted(&self, model: Model, name: &str) -> Result<Model, PipelineError> {
        if name != self.settings.model {
            return Ok(model);
        }
        let loras: Vec<LoraChoice> = self.settings.lora.iter().map(LoraChoice::from).collect();
        if let Some(lora) = loras.iter().find(|lora| !lora.path.exists()) {
            let message = format!("there is no adapter `{}`", lora.path.display());
            return Err(self.refuse("lora", message).into());
        }
        let adapted = model.with_loras(&loras);
        adapted.map_err(|error| self.refuse_error("lora", &error.into()).into())
    }

    /// Opens a model of images from prompts.
    pub(crate) fn text_model(&self, model: Option<&str>) -> Result<Arc<Model>, PipelineError> {
        let model = self.image_model(model)?;
        let hint = "give a class: --class NAME, or the stages `classes` and `class-to-image`";
        let fits = model.architecture() == Architecture::Infinity;
        self.only_if(fits, model, "from classes, not from prompts", hint)
    }

    /// Opens a model of images from classes.
    pub(crate) fn class_model(&self, model: Option<&str>) -> Result<Arc<Model>, PipelineError> {
        let model = self.image_model(model)?;
        let hint = "name a class-conditional model, such as var-d16, or give a prompt";
        let fits = model.architecture() == Architecture::Var;
        self.only_if(fits, model, "from prompts, not from classes", hint)
    }

    /// Opens a model of images, from prompts or classes.
    pub(crate) fn image_model(&self, model: Option<&str>) -> Result<Arc<Model>, PipelineError> {
        let model = self.model(model)?;
        let hint = "use `nextscale video`, with `--seconds 0` for an image";
        let fits = model.architecture() != Architecture::InfinityStar;
        self.only_if(fits, model, "videos, not images", hint)
    }

    /// Opens a model of videos.
    pub(crate) fn video_model(&self, model: Option<&str>) -> Result<Arc<Model>, PipelineError> {
        let model = self.model(model)?;
        let hint = "name a video model, such as sprites or infinitystar-8b-480p, or use `nextscale generate`";
        let fits = model.architecture() == Architecture::InfinityStar;
        self.only_if(fits, model, "images, not videos", hint)
    }

    /// The model if it fits; otherwise an error at the key `model` that says what it generates.
    fn only_if(
        &self,
        fits: bool,
        model: Arc<Model>,
        generates: &str,
        hint: &str,
    ) -> Result<Arc<Model>, PipelineError> {
        if fits {
            return Ok(model);
        }
        let message = format!("the model `{}` generates {generates}", model.name());
        Err(self.refuse("model", message).hint(hint).into())
    }
}
