//! `text-encoder`: prompts to text features.

use std::sync::Arc;

use nextscale_text::TextEncoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::with_print;
use crate::artifact::{Artifact, ArtifactType, Kind, Text};
use crate::bundle::{Bundle, TEXT};
use crate::error::PipelineError;
use crate::registry::Setup;
use crate::stage::{Context, Emit, Event, Job, Ports, Stage};

/// Turns prompts into text features.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextEncoderParams {
    /// The model to take the text encoder of, instead of the pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
}

/// The stage.
pub(crate) struct TextEncoderStage {
    params: TextEncoderParams,
    bundle: Arc<Bundle>,
    encoder: Option<TextEncoder>,
    /// The last prompt with its features: the pictures of a batch share them.
    last: Option<(String, String, Text)>,
}

impl TextEncoderStage {
    pub(crate) fn new(params: TextEncoderParams, setup: &Setup) -> Result<Self, PipelineError> {
        let bundle = setup.text_model(params.model.as_deref())?;
        let (encoder, last) = (None, None);
        Ok(Self {
            params,
            bundle,
            encoder,
            last,
        })
    }

    fn encode(
        &self,
        prompt: &str,
        context: &Context,
    ) -> Result<burn::tensor::Tensor<3>, PipelineError> {
        let Some(encoder) = &self.encoder else {
            return Err(context.failed("it was not loaded"));
        };
        let prompt = self.bundle.manifest().prompt.apply(prompt);
        let features = encoder.encode(&[&prompt]).map_err(|e| context.failed(e))?;
        if features.truncated().next().is_some() {
            let (all, kept) = (features.untruncated[0], features.lens[0]);
            let message =
                format!("a prompt of {all} tokens was cut to {kept}: its end has no effect");
            (context.observer)(Event::Warning { message });
        }
        Ok(features.features)
    }
}

impl Stage for TextEncoderStage {
    fn ports(&self) -> Ports {
        let inputs = vec![("prompt", ArtifactType::new(Kind::Prompt))];
        let channels = self.bundle.manifest().text.d_model;
        let output = ArtifactType::new(Kind::Text).fact("channels", channels);
        let output = Some(with_print(
            output,
            "the text encoder",
            self.bundle.fingerprint_of(TEXT),
        ));
        Ports { inputs, output }
    }

    fn resolved(&self) -> serde_json::Value {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        self.encoder = Some(self.bundle.text_encoder(&context.device)?);
        Ok(())
    }

    fn run(&mut self, job: &Job, out: &mut Emit) -> Result<(), PipelineError> {
        let (prompt, negative) = (&job.ticket.prompt, &job.ticket.negative);
        if let Some((p, n, text)) = &self.last
            && p == prompt
            && n == negative
        {
            return out.send(job, Artifact::Text(text.clone()));
        }
        let without = negative.trim().is_empty();
        let text = Text {
            prompt: self.encode(prompt, &job.context)?,
            negative: (!without)
                .then(|| self.encode(negative, &job.context))
                .transpose()?,
        };
        self.last = Some((prompt.clone(), negative.clone(), text.clone()));
        out.send(job, Artifact::Text(text))
    }
}
