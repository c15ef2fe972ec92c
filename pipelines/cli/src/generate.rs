//! `nextscale generate`: from nothing, behind the first scales of a picture, or as a variation of one.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::options::{self, GenerateArgs, Options};
use nextscale_models::ModelError;
use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::spec::read_tree;
use nextscale_pipelines::yaml::{Node, Value};

/// Arguments of `nextscale generate`: those that `edit` has too, and where to start.
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    #[command(flatten)]
    paint: GenerateArgs,
    /// Take the first scales, its layout and colours, from this picture: PNG, JPEG or WebP
    #[arg(short, long, value_name = "FILE")]
    init_image: Option<PathBuf>,
    /// Paint another version of this picture, which nextscale painted: its prompt, its settings and its first scales
    #[arg(long, value_name = "FILE", conflicts_with_all = ["init_image", "prompt", "prompt_file", "class", "negative_prompt", "smooth"])]
    variation_of: Option<PathBuf>,
    /// How many scales of that picture are taken over; half of them if absent
    #[arg(long, value_name = "K")]
    from_scale: Option<usize>,
}

pub(super) fn run(args: &StartArgs) -> anyhow::Result<()> {
    options::finish(&args.paint, build(args)?)
}

fn build(args: &StartArgs) -> Result<Node, PipelineError> {
    let from = args.from_scale;
    if let Some(picture) = &args.variation_of {
        return variation(picture, from, &args.paint);
    }
    let Some(image) = &args.init_image else {
        if from.is_some() {
            let hint = "name the picture: --init-image FILE or --variation-of FILE";
            return Err(PipelineError::refused_with(
                "--from-scale has no picture",
                hint,
            ));
        }
        return options::build(&args.paint);
    };
    let mut root = options::build(&args.paint)?;
    let start = match from {
        Some(from) => serde_json::json!({ "image": image, "from-scale": from }),
        None => serde_json::json!({ "image": image }),
    };
    let painter = options::painter(&args.paint);
    Options(&mut root).stage(painter, "start", "--init-image", &Some(start))?;
    Ok(root)
}

/// The pipeline of a picture with its first scales from its own seed, and the others from another one.
fn variation(
    picture: &Path,
    from: Option<usize>,
    args: &GenerateArgs,
) -> Result<Node, PipelineError> {
    let mut root = read_tree(picture)?;
    let refused = |message: &str, hint: &str| {
        PipelineError::Model(ModelError::Content {
            path: picture.to_owned(),
            message: message.to_owned(),
            hint: Some(hint.to_owned()),
        })
    };
    let seed = match root.remove("seed").map(|node| node.value) {
        Some(Value::Int(seed)) => u64::try_from(seed).ok(),
        _ => None,
    };
    let Some(mut seed) = seed else {
        return Err(refused(
            "says no seed",
            "vary a picture that nextscale painted",
        ));
    };
    let stages = root.get("stages").map(Node::entries).unwrap_or_default();
    let painters = ["text-to-image", "class-to-image"];
    let kind = |node: &Node| node.get("stage").and_then(Node::as_str).map(str::to_owned);
    let found = stages.iter().find_map(|entry| {
        let kind = kind(&entry.node)?;
        let painter = *painters.iter().find(|painter| **painter == kind)?;
        Some((painter, &entry.node))
    });
    let Some((painter, stage)) = found else {
        return Err(refused(
            "was painted by no stage that can vary it",
            "vary a picture of prompts or classes",
        ));
    };
    if let Some(before) = stage.get("variation") {
        // The first scales of a variation are from the seed of the original.
        let number = |key: &str| match before.get(key).map(|node| &node.value) {
            Some(Value::Int(value)) => u64::try_from(*value).ok(),
            _ => None,
        };
        let shared = number("from-scale").unwrap_or_default();
        match (number("seed"), from) {
            (Some(original), Some(from)) if from as u64 <= shared => seed = original,
            _ => {
                let message =
                    format!("is a variation itself, of which {shared} scales are the original's");
                let hint =
                    format!("vary the original, or take at most these: --from-scale {shared}");
                return Err(refused(&message, &hint));
            }
        }
    }
    let variation = match from {
        Some(from) => serde_json::json!({ "seed": seed, "from-scale": from }),
        None => serde_json::json!({ "seed": seed }),
    };
    // Where the original was written and what it showed on the way is no part of another picture.
    root.remove("output");
    root.remove("preview");
    Options(&mut root).stage(painter, "variation", "--variation-of", &Some(variation))?;
    options::apply(args, painter, &mut root)?;
    Ok(root)
}
