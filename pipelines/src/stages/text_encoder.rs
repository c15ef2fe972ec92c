//! `text-encoder`: prompts to text features.

use std::sync::Arc;

use burn::tensor::Tensor;
use nextscale_models::generator::PromptEncoder;
use nextscale_models::manifest::InfinityStarManifest;
use nextscale_models::memory::LARGE_TEXT_ENCODER_BYTES;
use nextscale_models::prompt::with_positive_prompt;
use nextscale_models::{Manifest, Model};
use nextscale_text::Replaced;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::latent_types::text_features;
use super::video::length::VideoLength;
use super::video::params::TextToVideoParams;
use crate::artifact::{Artifact, Kind, Message, Text};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Context, Input, Output, Ports, Stage};
use crate::stage_params::StageParams;

/// Encodes prompts as text features.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TextEncoderParams {
    /// The model whose text encoder is used, instead of the pipeline's.
    pub model: Option<String>,
    /// With a video model: number of frames, since the length of the video is part of the prompt. That of the
    /// `text-to-video` stage that this one feeds if absent.
    pub frames: Option<usize>,
    /// Append the released code's words for pleasant faces to prompts that mention people.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub positive_prompt: bool,
}

impl StageParams for TextEncoderParams {
    const STAGE: &'static str = "text-encoder";
}

pub(crate) struct TextEncoderStage {
    params: TextEncoderParams,
    model: Arc<Model>,
    /// Number of frames of the video; 1 for an image.
    frames: usize,
    encoder: Option<Arc<PromptEncoder>>,
    /// Messages that are sent after the encoder is dropped; none if it stays.
    buffered: Option<Vec<Message>>,
    /// The last prompt with its features: the images of a batch share them.
    last: Option<(String, String, Text)>,
}

/// Number of frames of the video, since the prompt states its length.
fn video_frames(
    params: &TextEncoderParams,
    manifest: &InfinityStarManifest,
    setup: &Setup,
) -> Result<usize, PipelineError> {
    if let (None, Some(video)) = (params.frames, setup.fed::<TextToVideoParams>()) {
        // The stage that it belongs to reports a wrong length.
        let frames = VideoLength::of(&video, setup).resolve(manifest, setup);
        return Ok(frames.unwrap_or(manifest.frames.default));
    }
    let length = VideoLength {
        frames: params.frames,
        ..VideoLength::default()
    };
    length.resolve(manifest, setup)
}

impl TextEncoderStage {
    pub(crate) fn new(params: TextEncoderParams, setup: &Setup) -> Result<Self, PipelineError> {
        let model = setup.model(params.model.as_deref())?;
        let frames = match model.manifest() {
            Manifest::InfinityStar(manifest) => video_frames(&params, manifest, setup)?,
            _ => setup.text_model(params.model.as_deref()).map(|_| 1)?,
        };
        let config = model.manifest().text();
        let bytes = config.map_or(0, |config| config.parameters() as u64 * 4);
        let stays = setup.settings.keep_loaded || bytes < LARGE_TEXT_ENCODER_BYTES;
        Ok(Self {
            params,
            model,
            frames,
            encoder: None,
            buffered: (!stays).then(Vec::new),
            last: None,
        })
    }

    /// Sends features, or buffers them until the encoder is dropped.
    fn send(&mut self, text: Text, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let artifact = Artifact::Text(text);
        let Some(buffered) = &mut self.buffered else {
            return out.send(input, artifact);
        };
        buffered.push(Message {
            sample: input.sample.clone(),
            preview: input.preview,
            artifact,
        });
        Ok(())
    }

    fn encode(&self, prompt: &str, context: &Context) -> Result<Tensor<3>, PipelineError> {
        let Some(encoder) = &self.encoder else {
            return Err(context.failed("it was not loaded"));
        };
        let encoded = encoder.encode(prompt, self.frames);
        let encoded = encoded.map_err(|e| context.failed(e))?;
        let [_, kept, _] = encoded.features.dims();
        if kept < encoded.tokens {
            let all = encoded.tokens;
            let message =
                format!("a prompt of {all} tokens was cut to {kept}: its end has no effect");
            context.warn(message);
        }
        if let Some(Replaced { word, by }) = &encoded.replaced {
            let what = if word.contains(char::is_whitespace) {
                ""
            } else {
                "the word "
            };
            context.warn(format!(
                "this model does not know {what}`{word}`: `{by}` stands for it"
            ));
        }
        if !encoded.unknown.is_empty() {
            let notice = unknown_words(prompt, &encoded.unknown, encoded.left_out);
            context.warn(notice);
        }
        Ok(encoded.features)
    }
}

/// The notice of words that the model does not know, which were left out or not.
fn unknown_words(prompt: &str, unknown: &[String], left_out: bool) -> String {
    const SHOWN: usize = 8;
    let all = prompt.split_whitespace().count();
    let mut named: Vec<String> = vec![];
    for word in unknown.iter().map(|word| format!("`{word}`")) {
        if !named.contains(&word) {
            named.push(word);
        }
    }
    let more = match named.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    named.truncate(SHOWN);
    let (count, named) = (unknown.len(), named.join(", "));
    match count {
        1 if left_out => format!("this model does not know the word {named}: it is left out"),
        1 => format!("this model does not know the word {named}: it has little or no effect"),
        _ => {
            let out = if left_out { ", which are left out" } else { "" };
            format!("this model does not know {count} of the {all} words: {named}{more}{out}")
        }
    }
}

impl Stage for TextEncoderStage {
    fn ports(&self) -> Ports {
        let output = text_features(&self.model, Some(self.frames));
        Ports::one("prompt", Kind::Prompt, output)
    }

    fn gathers(&self) -> bool {
        self.buffered.is_some()
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        let encoder = context.parts.prompt_encoder(&self.model, &context.device)?;
        self.encoder = Some(encoder);
        if context.joins {
            self.buffered = None;
        }
        Ok(())
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let (prompt, negative) = (&input.sample.prompt, &input.sample.negative);
        if let Some((p, n, text)) = &self.last
            && p == prompt
            && n == negative
        {
            let text = text.clone();
            return self.send(text, input, out);
        }
        let encode = |prompt: &str| self.encode(prompt, &input.context);
        let has_negative = !negative.trim().is_empty();
        let text = Text {
            prompt: if self.params.positive_prompt {
                encode(&with_positive_prompt(prompt))?
            } else {
                encode(prompt)?
            },
            negative: has_negative.then(|| encode(negative)).transpose()?,
        };
        self.last = Some((prompt.clone(), negative.clone(), text.clone()));
        self.send(text, input, out)
    }

    fn finish(&mut self, out: &mut Output) -> Result<(), PipelineError> {
        let buffered = self.buffered.take().unwrap_or_default();
        if !buffered.is_empty() {
            let encoder = self.encoder.take().and_then(Arc::into_inner);
            encoder.into_iter().for_each(PromptEncoder::unload);
        }
        buffered
            .into_iter()
            .try_for_each(|message| out.message(message))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::artifact::ArtifactType;
    use crate::graph::Pipeline;
    use crate::registry::Registry;
    use crate::spec::PipelineSpec;
    use crate::stage::{Cancel, Event};

    /// Sends ten prompts, more than a queue holds, through an encoder that is, or is not, dropped before its texts are sent.
    /// Returns the names of the stages that finished a prompt, and of the next one when it gets its first.
    fn order(dropped: bool, joins: bool) -> Vec<String> {
        let mut registry = Registry::builtin();
        registry.register(
            "encoder",
            move |params: TextEncoderParams, setup: &Setup| {
                let mut stage = TextEncoderStage::new(params, setup)?;
                assert!(stage.buffered.is_none(), "the embedded encoder is small");
                stage.buffered = dropped.then(Vec::new);
                Ok(stage)
            },
        );
        registry.register("end", move |_: Nothing, _: &Setup| Ok(End(joins)));
        let yaml = "stages:\n  p: { stage: prompts, prompts: [a, b, c, d, e, f, g, h, i, j] }\n  text: { stage: encoder, from: p }\n  end: { stage: end, from: text }\n";
        let inputs = if joins {
            "{ text: text, again: text }"
        } else {
            "text"
        };
        let wired = yaml.replace("from: text", &format!("from: {inputs}"));
        let spec = PipelineSpec::from_yaml(&wired, "x.yaml").unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        let observer = Arc::new(move |event: Event| match event {
            Event::Done { stage, .. } if stage == "text" => into.lock().unwrap().push(stage),
            Event::Loading { stage } if stage == "end" => into.lock().unwrap().push(stage),
            _ => {}
        });
        let pipeline = Pipeline::with(spec, &registry).unwrap_or_else(|e| panic!("{e}"));
        pipeline.run_blocking(Cancel::default(), observer).unwrap();
        Arc::try_unwrap(seen).unwrap().into_inner().unwrap()
    }

    #[derive(Deserialize, JsonSchema)]
    struct Nothing {}

    /// Takes texts, once or twice.
    struct End(bool);

    impl Stage for End {
        fn ports(&self) -> Ports {
            let text = || ArtifactType::new(Kind::Text);
            let mut inputs = vec![("text", text())];
            if self.0 {
                inputs.push(("again", text()));
            }
            Ports {
                inputs,
                output: None,
            }
        }

        fn run(&mut self, _: &Input, _: &mut Output) -> Result<(), PipelineError> {
            Ok(())
        }
    }

    #[test]
    fn a_large_encoder_reads_all_prompts_and_is_gone_before_the_next_stage_loads() {
        let seen = order(true, false);
        assert_eq!((seen.len(), seen[10].as_str()), (11, "end"));
    }

    #[test]
    fn nothing_is_buffered_by_a_small_one_or_where_a_stage_waits_for_several() {
        for seen in [order(true, true), order(false, false)] {
            assert_eq!((seen.len(), seen[10].as_str()), (11, "text"));
        }
    }
}
