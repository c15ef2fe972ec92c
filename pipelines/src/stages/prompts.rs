//! `prompts`: the source of a text-to-image pipeline.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use smart_default::SmartDefault;

use nextscale_files::{atomic_file, bounded};

use super::batch::one;
use super::prompt_text::{check, decode, foreign_syntax};
use crate::artifact::{Artifact, Kind, Sample};
use crate::error::{Diagnostic, Mark, PipelineError};
use crate::file_path::FilePath;
use crate::setup::Setup;
use crate::stage::{Context, Input, Output, Ports, Stage};
use crate::stage_params::StageParams;

/// Prompts: a list, a file with one prompt per line, or standard input.
#[skip_serializing_none]
#[derive(Debug, Clone, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptsParams {
    /// The prompts themselves.
    #[serde(default)]
    pub prompts: Vec<String>,
    /// A file with one prompt per line.
    pub file: Option<FilePath>,
    /// The negative prompt: what the images should not show.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub negative: String,
    /// Number of images or videos per prompt.
    #[default(1)]
    #[serde(default = "one::<u32>")]
    pub count: u32,
    /// Seed of each prompt's first result, in the order of the prompts, instead of one that counts up from the pipeline's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
    /// All prompts together make one video, a clip for each: for models that continue their own videos, and for interactive ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub story: bool,
}

impl StageParams for PromptsParams {
    const STAGE: &'static str = "prompts";
}

impl PromptsParams {
    /// Whether two results have one seed, as `seeds` can say.
    pub(super) fn repeats_seeds(&self) -> bool {
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        let close = |pair: &[u64]| pair[1] - pair[0] < u64::from(self.count);
        seeds.windows(2).any(close)
    }
}

pub(crate) struct Prompts {
    name: String,
    params: PromptsParams,
    /// From the list or the file; none for standard input.
    prompts: Option<Vec<String>>,
}

impl Prompts {
    pub(crate) fn new(params: PromptsParams, setup: &Setup) -> Result<Self, PipelineError> {
        let refuse = |key, message: &str| Err(setup.refuse(key, message).into());
        if params.count == 0 {
            return refuse("count", "`count` should be at least 1");
        }
        check_shared(&params, setup)?;
        let prompts = match &params.file {
            Some(_) if !params.prompts.is_empty() => {
                let message = "prompts come from `prompts` or from `file`, not from both";
                return refuse("file", message);
            }
            Some(file) if file.as_os_str() == "-" => None,
            Some(file) => Some(read_file(file, setup)?),
            None if setup.stage.params.get("prompts").is_none() => None,
            None => Some(params.prompts.clone()),
        };
        if params.file.is_none() {
            let empty = params.prompts.iter().position(|p| p.trim().is_empty());
            if let Some(index) = empty {
                return refuse("prompts", &format!("prompt number {} is empty", index + 1));
            }
        }
        for (index, prompt) in params.prompts.iter().enumerate() {
            let written = setup.stage.params.get("prompts");
            let written = written.and_then(|node| node.items().get(index));
            check(
                prompt,
                written.map_or(setup.mark("prompts"), |node| &node.mark),
            )?;
        }
        check(&params.negative, setup.mark("negative"))?;
        if prompts.as_ref().is_some_and(Vec::is_empty) {
            return refuse("prompts", "there is no prompt");
        }
        let count = prompts.as_ref().map_or(0, Vec::len);
        if !params.seeds.is_empty() && (params.story || params.seeds.len() != count) {
            let given = params.seeds.len();
            let message = format!("`seeds` has {given} numbers for {count} prompts");
            return refuse("seeds", &message);
        }
        if params.story && params.count > 1 {
            return refuse("count", "a story is one video: leave out `count`");
        }
        let name = setup.stage.name.clone();
        Ok(Self {
            name,
            params,
            prompts,
        })
    }

    /// Sends all prompts as the turns of one video.
    fn send_story(
        &self,
        prompts: Vec<String>,
        seed: u64,
        out: &mut Output,
    ) -> Result<(), PipelineError> {
        let story: Arc<[String]> = prompts.clone().into();
        for (turn, prompt) in prompts.iter().enumerate() {
            let sample = Sample {
                total: 1,
                prompt: prompt.clone(),
                turn,
                story: story.clone(),
                ..self.sample(prompts.clone(), seed)?
            };
            out.sample(sample, Artifact::Prompt)?;
        }
        Ok(())
    }

    /// What all samples have in common; `prompts` are what the record of this one needs.
    fn sample(&self, prompts: Vec<String>, seed: u64) -> Result<Sample, PipelineError> {
        let alone = PromptsParams {
            prompts,
            file: None,
            count: 1,
            seeds: vec![],
            ..self.params.clone()
        };
        Ok(Sample {
            negative: self.params.negative.clone(),
            seed,
            pins: alone.pins(&self.name, seed)?,
            ..Sample::default()
        })
    }
}

/// Refuses prompts that several processes cannot all read: what one has taken from a pipe is gone for the others.
fn check_shared(params: &PromptsParams, setup: &Setup) -> Result<(), Diagnostic> {
    let is_stream = |file: &FilePath| file.as_os_str() == "-" || atomic_file::is_stream(file);
    let is_read_once = match &params.file {
        Some(file) => is_stream(file),
        None => setup.stage.params.get("prompts").is_none(),
    };
    let processes = setup.settings.share.of();
    if processes == 1 || !is_read_once {
        return Ok(());
    }
    let message = format!(
        "prompts from standard input or a pipe cannot be shared by {processes} processes: each needs all of them"
    );
    let hint = "write them to a file that all can read: --prompt-file FILE";
    Err(setup.refuse("file", message).hint(hint))
}

fn read_file(file: &Path, setup: &Setup) -> Result<Vec<String>, PipelineError> {
    let bytes = bounded::read(file, bounded::MOST_TEXT).map_err(|e| {
        let message = format!("cannot read the prompt file `{}`: {e}", file.display());
        setup.refuse("file", message)
    })?;
    read_prompts(&bytes, &file.display().to_string())
}

/// The prompts of a file, one a line, in UTF-8 or, with its mark, UTF-16; `origin` is what an error calls the file.
///
/// # Errors
/// Another encoding, an empty line between prompts, a prompt that no file can hold, or no prompt at all.
pub fn read_prompts(bytes: &[u8], origin: &str) -> Result<Vec<String>, PipelineError> {
    lines(&decode(bytes, origin)?, origin)
}

/// Says once if prompts have the syntax of other programs.
fn notice(prompts: &[String], context: &Context) {
    if let Some(piece) = prompts.iter().find_map(|prompt| foreign_syntax(prompt)) {
        let message =
            format!("`{piece}` has no effect of its own here: prompts are taken literally");
        context.warn(message);
    }
}

/// One prompt per line. Empty lines at the end are ignored; one in the middle would silently shift
/// the indices of all samples after it, so it is refused.
fn lines(text: &str, origin: &str) -> Result<Vec<String>, PipelineError> {
    let prompts: Vec<String> = text
        .trim_end()
        .lines()
        .map(|l| l.trim().to_owned())
        .collect();
    if let Some(index) = prompts.iter().position(String::is_empty) {
        let line = index as u64 + 1;
        let mark = Mark {
            origin: origin.into(),
            line,
            column: 1,
        };
        let all = prompts.len();
        let message = format!("line {line} of {all} is empty, and each line should be a prompt");
        return Err(Diagnostic::new(&mark, message)
            .hint("delete the line")
            .into());
    }
    if prompts.is_empty() {
        return Err(Diagnostic::new(&Mark::origin(origin), "there is no prompt").into());
    }
    for (line, prompt) in (1..).zip(&prompts) {
        let (origin, column) = (origin.into(), 1);
        check(
            prompt,
            &Mark {
                origin,
                line,
                column,
            },
        )?;
    }
    Ok(prompts)
}

impl Stage for Prompts {
    fn ports(&self) -> Ports {
        Ports::source(Kind::Prompt)
    }

    fn prepare(&mut self, context: &Context) -> Result<(), PipelineError> {
        notice(self.prompts.as_deref().unwrap_or_default(), context);
        Ok(())
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        let prompts = match self.prompts.take() {
            Some(prompts) => prompts,
            None => {
                let mut bytes = vec![];
                let read = std::io::stdin().read_to_end(&mut bytes);
                read.map_err(PipelineError::io("read", "standard input"))?;
                let prompts = lines(&decode(&bytes, "standard input")?, "standard input")?;
                notice(&prompts, &input.context);
                prompts
            }
        };
        let first = input.context.settings.seed.unwrap_or_default();
        if self.params.story {
            return self.send_story(prompts, first, out);
        }
        let count = self.params.count as usize;
        let total = prompts.len() * count;
        for index in 0..total {
            let prompt = &prompts[index / count];
            let (first, step) = match self.params.seeds.get(index / count) {
                Some(&own) => (own, index % count),
                None => (first, index),
            };
            // Past the largest seed it continues from 0, so that every number can be the first.
            let seed = first.wrapping_add(step as u64);
            let sample = Sample {
                index,
                total,
                prompt: prompt.clone(),
                ..self.sample(vec![prompt.clone()], seed)?
            };
            out.sample(sample, Artifact::Prompt)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_empty_line_among_ten_thousand_is_named() {
        let mut text: Vec<String> = (0..10_000).map(|i| format!("prompt {i}")).collect();
        for end in ["", "\n\n"] {
            let read = lines(&(text.join("\n") + end), "p.txt").unwrap();
            assert_eq!(read.len(), 10_000);
        }
        text[4321] = "  ".into();
        let error = lines(&text.join("\n"), "p.txt").unwrap_err().to_string();
        let expected = "p.txt:4322:1: line 4322 of 10000 is empty";
        assert!(error.starts_with(expected), "{error}");
        assert!(lines("\n\n", "p.txt").is_err());
    }

    #[test]
    fn seeds_repeat_within_the_results_of_a_prompt() {
        let repeats = |seeds: &[u64], count| {
            let seeds = seeds.to_vec();
            let params = PromptsParams {
                seeds,
                count,
                ..PromptsParams::default()
            };
            params.repeats_seeds()
        };
        assert!(!repeats(&[], 9) && !repeats(&[10, 0, 5], 5));
        assert!(repeats(&[3, 7, 3], 1) && repeats(&[10, 0, 5], 6));
    }
}
