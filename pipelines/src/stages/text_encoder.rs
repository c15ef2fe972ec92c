//! `text-encoder`: prompts to text features.

use std::sync::Arc;

use nextscale_text::TextEncoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::latent_types::with_fingerprint;
use super::video::length::VideoLength;
use super::video::params::TextToVideoParams;
use crate::artifact::{Artifact, ArtifactType, Kind, Message, Text};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Context, Event, Input, Output, Ports, Stage};
use crate::stage_params::StageParams;
use nextscale_models::bundle::{Bundle, Model, StarBundle, TEXT};
use nextscale_models::memory::HEAVY;

/// Encodes prompts as text features.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextEncoderParams {
    /// The model whose text encoder is used, instead of the pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// With a video model: number of frames, since the length of the video is part of the prompt. That of the
    /// `text-to-video` stage that this one feeds if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<usize>,
    /// Append the released code's words for pleasant faces to prompts that mention people.
    #[serde(
        default,
        rename = "positive-prompt",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub positive_prompt: bool,
}

/// Words by which the released code knows that a prompt speaks of people; they count within other words too
/// (`aug_with_positive_prompt` in `tools/run_infinity.py`).
const PEOPLE: [&str; 22] = [
    "man",
    "woman",
    "men",
    "women",
    "boy",
    "girl",
    "child",
    "person",
    "human",
    "adult",
    "teenager",
    "employee",
    "employer",
    "worker",
    "mother",
    "father",
    "sister",
    "brother",
    "grandmother",
    "grandfather",
    "son",
    "daughter",
];

/// What it then puts behind the prompt.
const FACES: &str =
    ". very smooth faces, good looking faces, face to the camera, perfect facial features";

/// The prompt with the released code's words for faces, if it speaks of people.
fn with_faces(prompt: &str) -> String {
    match PEOPLE.iter().any(|word| prompt.contains(word)) {
        true => format!("{prompt}{FACES}"),
        false => prompt.to_owned(),
    }
}

/// The model that the prompts are for.
enum Reader {
    Pictures(Arc<Bundle>),
    /// With the number of frames.
    Videos(Arc<StarBundle>, usize),
}

impl StageParams for TextEncoderParams {
    const STAGE: &'static str = "text-encoder";
}

/// The stage.
pub(crate) struct TextEncoderStage {
    params: TextEncoderParams,
    reader: Reader,
    encoder: Option<TextEncoder>,
    /// What is sent when the encoder is gone, if it does not stay.
    kept_back: Option<Vec<Message>>,
    /// The last prompt with its features: the pictures of a batch share them.
    last: Option<(String, String, Text)>,
}

impl Reader {
    fn new(params: &TextEncoderParams, setup: &Setup) -> Result<Self, PipelineError> {
        let Model::Video(bundle) = setup.model(params.model.as_deref())? else {
            return setup
                .text_model(params.model.as_deref())
                .map(Self::Pictures);
        };
        let frames = match (params.frames, setup.fed::<TextToVideoParams>()) {
            (None, Some(video)) => {
                // What is wrong with it, the fed stage reports itself.
                let length = VideoLength::of(&video).resolve(bundle.manifest(), setup);
                length.unwrap_or(bundle.manifest().frames.default)
            }
            (frames, _) => {
                let length = VideoLength {
                    frames,
                    ..VideoLength::default()
                };
                length.resolve(bundle.manifest(), setup)?
            }
        };
        Ok(Self::Videos(bundle, frames))
    }

    /// The prompt as the model is used to it.
    fn apply(&self, prompt: &str) -> String {
        match self {
            Self::Pictures(bundle) => bundle.manifest().prompt.apply(prompt),
            Self::Videos(bundle, frames) => bundle.manifest().prompt(prompt, *frames),
        }
    }

    /// What the encoder takes in memory.
    fn bytes(&self) -> u64 {
        let config = match self {
            Self::Pictures(bundle) => &bundle.manifest().text,
            Self::Videos(bundle, _) => &bundle.manifest().text,
        };
        config.parameters() as u64 * 4
    }

    fn load(&self, context: &Context) -> Result<TextEncoder, PipelineError> {
        Ok(match self {
            Self::Pictures(bundle) => bundle.text_encoder(&context.device)?,
            Self::Videos(bundle, _) => bundle.text_encoder(&context.device)?,
        })
    }

    fn output(&self) -> ArtifactType {
        let (channels, print) = match self {
            Self::Pictures(bundle) => (bundle.manifest().text.d_model, bundle.fingerprint_of(TEXT)),
            Self::Videos(bundle, _) => {
                (bundle.manifest().text.d_model, bundle.fingerprint_of(TEXT))
            }
        };
        let text = ArtifactType::new(Kind::Text).constraint("channels", channels);
        let text = with_fingerprint(text, "the text encoder", print);
        match self {
            Self::Videos(bundle, frames) if bundle.manifest().duration_tag => {
                text.constraint("frames", frames)
            }
            _ => text,
        }
    }
}

impl TextEncoderStage {
    pub(crate) fn new(params: TextEncoderParams, setup: &Setup) -> Result<Self, PipelineError> {
        let reader = Reader::new(&params, setup)?;
        let stays = setup.settings.keep_loaded || reader.bytes() < HEAVY;
        Ok(Self {
            params,
            reader,
            encoder: None,
            kept_back: (!stays).then(Vec::new),
            last: None,
        })
    }

    /// Sends features, or keeps them until the encoder is gone.
    fn hand_on(
        &mut self,
        text: Text,
        input: &Input,
        out: &mut Output,
    ) -> Result<(), PipelineError> {
        let artifact = Artifact::Text(text);
        let Some(kept_back) = &mut self.kept_back else {
            return out.send(input, artifact);
        };
        kept_back.push(Message {
            sample: input.sample.clone(),
            preview: input.preview,
            artifact,
        });
        Ok(())
    }

    fn encode(
        &self,
        prompt: &str,
        context: &Context,
    ) -> Result<burn::tensor::Tensor<3>, PipelineError> {
        let Some(encoder) = &self.encoder else {
            return Err(context.failed("it was not loaded"));
        };
        let prompt = self.reader.apply(prompt);
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
        let output = Some(self.reader.output());
        Ports { inputs, output }
    }

    fn resolved(&self) -> serde_json::Value {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        self.encoder = Some(self.reader.load(context)?);
        if context.joins {
            self.kept_back = None;
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
            return self.hand_on(text, input, out);
        }
        let without = negative.trim().is_empty();
        let text = Text {
            prompt: match self.params.positive_prompt {
                true => self.encode(&with_faces(prompt), &input.context)?,
                false => self.encode(prompt, &input.context)?,
            },
            negative: (!without)
                .then(|| self.encode(negative, &input.context))
                .transpose()?,
        };
        self.last = Some((prompt.clone(), negative.clone(), text.clone()));
        self.hand_on(text, input, out)
    }

    fn finish(&mut self, out: &mut Output) -> Result<(), PipelineError> {
        let kept_back = self.kept_back.take().unwrap_or_default();
        if !kept_back.is_empty() {
            self.encoder = None;
        }
        kept_back
            .into_iter()
            .try_for_each(|message| out.message(message))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::graph::Pipeline;
    use crate::registry::Registry;
    use crate::spec::PipelineSpec;
    use crate::stage::Cancel;

    /// What happens when ten prompts, more than wait between two stages, go through an encoder that is, or is not, sent away before its texts are: the names of
    /// the stages that are done with a prompt, and of the next one when it gets its first.
    fn order(sent_away: bool, joins: bool) -> Vec<String> {
        let mut registry = Registry::builtin();
        registry.register(
            "encoder",
            move |params: TextEncoderParams, setup: &Setup| {
                let mut stage = TextEncoderStage::new(params, setup)?;
                assert!(stage.kept_back.is_none(), "the embedded encoder is small");
                stage.kept_back = sent_away.then(Vec::new);
                Ok(stage)
            },
        );
        registry.register("end", move |_: Nothing, _: &Setup| Ok(End(joins)));
        let yaml = "stages:\n  p: { stage: prompts, prompts: [a, b, c, d, e, f, g, h, i, j] }\n  text: { stage: encoder, from: p }\n  end: { stage: end, from: text }\n";
        let inputs = match joins {
            true => "{ text: text, again: text }",
            false => "text",
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
    fn nothing_is_kept_back_by_a_small_one_or_where_a_stage_waits_for_several() {
        for seen in [order(true, true), order(false, false)] {
            assert_eq!((seen.len(), seen[10].as_str()), (11, "text"));
        }
    }

    #[test]
    fn prompts_of_people_get_words_for_faces() {
        assert_eq!(with_faces("a red apple"), "a red apple");
        let with = with_faces("two women and a dog");
        assert!(
            with.starts_with("two women and a dog. very smooth faces"),
            "{with}"
        );
        // As in the released code, a word counts within another one.
        assert_ne!(with_faces("a lesson"), "a lesson");
    }
}
