//! The request that a pipeline fulfils, if it is one of those that requests make.

use nextscale_pipelines::yaml::{Node, Value};
use serde::de::DeserializeOwned;

use super::settings::{Generate, Variation};
use crate::adapters::named;

/// Stages that say what is generated.
const SOURCES: [&str; 2] = ["prompts", "classes"];
/// Stages that generate it.
const GENERATORS: [&str; 3] = ["text-to-image", "class-to-image", "text-to-video"];

impl Generate {
    /// Reads the settings of a pipeline; none if it has no stage that generates, or several.
    pub fn read(root: &Node) -> Option<Self> {
        let source = only(root, &SOURCES)?;
        let generator = only(root, &GENERATORS)?;
        let prompts: Option<Vec<String>> = value(source, "prompts");
        let is_story = value(source, "story").unwrap_or(false);
        let (prompt, prompts) = match prompts {
            Some(all) if is_story => (None, Some(all)),
            Some(all) if all.len() == 1 => (all.into_iter().next(), None),
            Some(_) => return None,
            None => (None, None),
        };
        let start = generator.get("start");
        let edit = generator.get("edit");
        let image = [start, edit]
            .into_iter()
            .flatten()
            .next()
            .unwrap_or(generator);
        let of_edit = |key| edit.and_then(|edit| value(edit, key));
        Some(Self {
            model: value(root, "model"),
            lora: value(root, "lora").and_then(named),
            prompt,
            prompts,
            class: source.get("classes").and_then(class),
            negative_prompt: value(source, "negative"),
            seed: value(root, "seed"),
            n: value(source, "count").filter(|n| *n > 1),
            width: value(generator, "width"),
            height: value(generator, "height"),
            cfg_scale: value(generator, "cfg-scale"),
            temperature: value(generator, "temperature"),
            top_k: value(generator, "top-k"),
            top_p: value(generator, "top-p"),
            scales: value(generator, "scales"),
            image: value(image, "image"),
            mask: of_edit("mask"),
            region: of_edit("box"),
            outpaint: of_edit("outpaint"),
            invert: edit.and_then(|edit| value(edit, "invert")),
            keep_original: only(root, &["keep-original"]).map(|_| true),
            from_scale: start.and_then(|start| value(start, "from-scale")),
            variation: generator.get("variation").and_then(variation),
            video: value(generator, "video"),
            seconds: value(generator, "seconds"),
        })
    }
}

fn variation(node: &Node) -> Option<Variation> {
    Some(Variation {
        seed: value(node, "seed")?,
        from_scale: value(node, "from-scale"),
    })
}

/// The first of a list of classes, by name or number.
fn class(node: &Node) -> Option<String> {
    match &node.items().first()?.value {
        Value::Str(name) => Some(name.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

fn value<T: DeserializeOwned>(node: &Node, key: &str) -> Option<T> {
    node.get(key)?.read().ok()
}

/// The only stage of these kinds.
fn only<'a>(root: &'a Node, kinds: &[&str]) -> Option<&'a Node> {
    let is_one = |node: &Node| {
        let kind = node.get("stage").and_then(Node::as_str);
        kind.is_some_and(|kind| kinds.contains(&kind))
    };
    let stages = root.get("stages")?.entries();
    let mut found = stages
        .iter()
        .map(|entry| &entry.node)
        .filter(|node| is_one(node));
    found.next().filter(|_| found.next().is_none())
}
