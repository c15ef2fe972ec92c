//! `rewrite`: longer prompts, written by a language model at an OpenAI-compatible endpoint.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serde_with::skip_serializing_none;

use crate::artifact::{Artifact, Kind, Sample};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Context, Input, Output, Ports, Stage};
use crate::stage_params::StageParams;
use crate::yaml::Node;
use nextscale_files::curl;

/// The environment variable with the key, if `key-env` is absent.
const KEY_ENV: &str = "OPENAI_API_KEY";

/// The instruction to the language model, if `instruction` is absent.
const INSTRUCTION: &str = "You prepare prompts for a model that paints pictures. Turn what the user writes into one \
     description of one picture, in English, in at most 80 words: subject, surroundings, composition, light, colours, \
     style. Keep everything that the user asks for, and keep words in quotation marks exactly as they are. Answer with the \
     description and nothing else.";

/// Longest answer that is accepted as a prompt, in characters.
const LONGEST: usize = 8000;

/// Lets a language model rewrite each prompt. It is the only stage that calls another computer, and no built-in pipeline
/// has it.
#[skip_serializing_none]
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RewriteParams {
    /// Address of the endpoint, including its version: `http://localhost:8000/v1`.
    pub url: String,
    /// The language model, as the endpoint calls it.
    pub language_model: String,
    /// The instruction that says how to rewrite a prompt.
    pub instruction: Option<String>,
    /// Sampling temperature; with 0 the same prompt gets the same answer, if the endpoint supports it.
    #[serde(default = "default_temperature")]
    pub temperature: f64,
    /// The environment variable with the key of the endpoint. If it is not set, no key is sent.
    pub key_env: Option<String>,
    /// Timeout in seconds.
    #[serde(default = "default_timeout")]
    pub timeout: u32,
    /// The rewritten prompt, as images record it; the endpoint is not called.
    pub answer: Option<String>,
}

fn default_temperature() -> f64 {
    0.7
}

fn default_timeout() -> u32 {
    60
}

impl RewriteParams {
    /// For an endpoint and a language model, with the defaults of YAML.
    pub fn new(url: impl Into<String>, language_model: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            language_model: language_model.into(),
            instruction: None,
            temperature: default_temperature(),
            key_env: None,
            timeout: default_timeout(),
            answer: None,
        }
    }
}

impl StageParams for RewriteParams {
    const STAGE: &'static str = "rewrite";
}

pub(crate) struct Rewrite {
    name: String,
    params: RewriteParams,
    /// The last prompt and its rewritten form, which the samples of one prompt share.
    last: Option<(String, String)>,
}

impl Rewrite {
    pub(crate) fn new(params: RewriteParams, setup: &Setup) -> Result<Self, PipelineError> {
        let RewriteParams {
            url, temperature, ..
        } = &params;
        if !url.starts_with("http://") && !url.starts_with("https://") {
            let message = format!("`{url}` is not the address of an endpoint");
            let hint = "such as http://localhost:8000/v1";
            return Err(setup.refuse("url", message).hint(hint).into());
        }
        if !(0.0..=2.0).contains(temperature) {
            let message = format!("a temperature of {temperature} is not from 0 to 2");
            return Err(setup.refuse("temperature", message).into());
        }
        if params.timeout == 0 {
            let message = "`timeout` should be at least 1 second";
            return Err(setup.refuse("timeout", message).into());
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

    /// The rewritten form of a prompt.
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
        let key = std::env::var(self.params.key_env.as_deref().unwrap_or(KEY_ENV));
        let mut settings = key.map(|key| curl::bearer(&key)).unwrap_or_default();
        settings += &curl::setting("header", "Content-Type: application/json");
        settings += &curl::setting("data-raw", &question.to_string());
        let timeout = self.params.timeout.to_string();
        let args = ["-sS", "--fail-with-body", "--max-time", &timeout, &url];
        let answer = curl::run(&args, &settings, false).map_err(|e| failed(e.to_string()))?;
        let answer: Value = serde_json::from_slice(&answer)
            .map_err(|_| failed("its answer is not JSON".to_owned()))?;
        let text = answer["choices"][0]["message"]["content"].as_str();
        let text = text.ok_or_else(|| failed("its answer has no text".to_owned()))?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let prompt = words.join(" ");
        match prompt.chars().count() {
            0 => Err(failed("its answer is empty".to_owned())),
            n if n > LONGEST => Err(failed(format!(
                "an answer of {n} characters is too long for a prompt"
            ))),
            _ => Ok(prompt),
        }
    }
}

impl Stage for Rewrite {
    fn ports(&self) -> Ports {
        Ports::one("prompt", Kind::Prompt, Kind::Prompt)
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let sample = &input.sample;
        if sample.story.len() > 1 {
            let message = "the prompts of a story cannot be rewritten one by one";
            return Err(input.context.failed(message));
        }
        let prompt = match &self.last {
            Some((from, to)) if *from == sample.prompt => to.clone(),
            _ => self.rewritten(&sample.prompt, &input.context)?,
        };
        self.last = Some((sample.prompt.clone(), prompt.clone()));
        let mut pins = sample.pins.clone();
        let place = ["stages", &self.name, "answer"].map(str::to_owned);
        pins.push((place.to_vec(), Node::from_data(&prompt, "record")?));
        let sample = Sample {
            prompt,
            pins,
            ..(**sample).clone()
        };
        out.sample(sample, Artifact::Prompt)
    }
}
