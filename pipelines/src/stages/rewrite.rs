//! `rewrite`: prompts in more words, by a language model behind an OpenAI-compatible endpoint.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::artifact::{Artifact, ArtifactType, Kind, Message, Sample};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Context, Input, Output, Ports, Stage};
use crate::yaml::Node;
use nextscale_files::curl;

/// Where the key is, if `key-env` does not say otherwise.
const KEY: &str = "OPENAI_API_KEY";

/// What the language model is told, if `instruction` does not say otherwise.
const INSTRUCTION: &str = "You prepare prompts for a model that paints pictures. Turn what the user writes into one \
     description of one picture, in English, in at most 80 words: subject, surroundings, composition, light, colours, \
     style. Keep everything that the user asks for, and keep words in quotation marks exactly as they are. Answer with the \
     description and nothing else.";

/// Longest answer that is believed to be a prompt, in characters.
const LONGEST: usize = 8000;

/// Lets a language model write each prompt anew. It is the only stage that calls another computer, and no built-in pipeline
/// has it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RewriteParams {
    /// Where the endpoint is, up to and with its version: `http://localhost:8000/v1`.
    url: String,
    /// The language model, as the endpoint calls it.
    language_model: String,
    /// What it is told to make of a prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instruction: Option<String>,
    /// How freely it writes; 0 gives the same answer again where the endpoint can.
    #[serde(default = "default_temperature")]
    temperature: f64,
    /// The environment variable with the key to the endpoint. Without one that is set, no key is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_env: Option<String>,
    /// Seconds after which an answer no longer counts.
    #[serde(default = "default_timeout")]
    timeout: u32,
    /// A prompt that takes the place of every other, as pictures record it; nobody is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

fn default_temperature() -> f64 {
    0.7
}

fn default_timeout() -> u32 {
    60
}

/// The stage.
pub(crate) struct Rewrite {
    name: String,
    params: RewriteParams,
    /// The last prompt and what became of it: the pictures of a batch share it.
    last: Option<(String, String)>,
}

impl Rewrite {
    pub(crate) fn new(params: RewriteParams, setup: &Setup) -> Result<Self, PipelineError> {
        let RewriteParams {
            url, temperature, ..
        } = &params;
        if !url.starts_with("http://") && !url.starts_with("https://") {
            let message = format!("`{url}` is no address of an endpoint");
            let hint = "such as http://localhost:8000/v1";
            return Err(setup.refuse("url", message).hint(hint).into());
        }
        if !(0.0..=2.0).contains(temperature) {
            let message = format!("a temperature of {temperature} is not from 0 to 2");
            return Err(setup.refuse("temperature", message).into());
        }
        if params.timeout == 0 {
            return Err(setup
                .refuse("timeout", "no answer comes within 0 seconds")
                .into());
        }
        let key = params.key_env.as_ref();
        if let Some(key) = key.filter(|key| std::env::var_os(key).is_none()) {
            let message = format!("the environment variable `{key}` is not set");
            return Err(setup.refuse("key-env", message).into());
        }
        Ok(Self {
            name: setup.stage.name.clone(),
            params,
            last: None,
        })
    }

    /// What becomes of a prompt.
    fn rewritten(&self, prompt: &str, context: &Context) -> Result<String, PipelineError> {
        if let Some(answer) = &self.params.answer {
            return Ok(answer.clone());
        }
        let url = format!("{}/chat/completions", self.params.url.trim_end_matches('/'));
        let failed =
            |why: String| context.failed(format!("{url} did not rewrite the prompt: {why}"));
        let question = json!({
            "model": self.params.language_model,
            "temperature": self.params.temperature,
            "messages": [
                { "role": "system", "content": self.params.instruction.as_deref().unwrap_or(INSTRUCTION) },
                { "role": "user", "content": prompt },
            ],
        });
        let key = std::env::var(self.params.key_env.as_deref().unwrap_or(KEY));
        let mut settings = key.map(|key| curl::bearer(&key)).unwrap_or_default();
        settings += &curl::setting("header", "Content-Type: application/json");
        settings += &curl::setting("data-raw", &question.to_string());
        let timeout = self.params.timeout.to_string();
        let args = ["-sS", "--fail-with-body", "--max-time", &timeout, &url];
        let answer = curl::run(&args, &settings, false).map_err(|(_, why)| failed(why))?;
        let answer: Value = serde_json::from_slice(&answer)
            .map_err(|_| failed("its answer is no JSON".to_owned()))?;
        let text = answer["choices"][0]["message"]["content"].as_str();
        let text = text.ok_or_else(|| failed("its answer has no text".to_owned()))?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let prompt = words.join(" ");
        match prompt.chars().count() {
            0 => Err(failed("its answer is empty".to_owned())),
            n if n > LONGEST => Err(failed(format!("an answer of {n} characters is no prompt"))),
            _ => Ok(prompt),
        }
    }
}

impl Stage for Rewrite {
    fn ports(&self) -> Ports {
        let prompt = || ArtifactType::new(Kind::Prompt);
        Ports {
            inputs: vec![("prompt", prompt())],
            output: Some(prompt()),
        }
    }

    fn resolved(&self) -> Value {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let sample = &input.sample;
        if sample.story.len() > 1 {
            let message = "the prompts of a story cannot be rewritten one by one";
            return Err(input.context.failed(message));
        }
        let known = self
            .last
            .as_ref()
            .filter(|(from, _)| *from == sample.prompt);
        let prompt = match known {
            Some((_, to)) => to.clone(),
            None => self.rewritten(&sample.prompt, &input.context)?,
        };
        self.last = Some((sample.prompt.clone(), prompt.clone()));
        let mut pins = sample.pins.clone();
        let place = ["stages", &self.name, "answer"].map(str::to_owned);
        pins.push((place.to_vec(), Node::from_data(&prompt, "record")?));
        let sample = Arc::new(Sample {
            prompt,
            pins,
            ..(**sample).clone()
        });
        out.message(Message {
            sample,
            preview: None,
            artifact: Artifact::Prompt,
        })
    }
}
