//! Pipelines out of images and videos: data of a stranger, and not a program.
//!
//! Whoever runs a file that came from elsewhere should get the same image, and nothing else: no call to another computer, no
//! secret of the environment, no file of theirs opened by its path, none replaced.

use std::path::{Component, Path};

use crate::error::{Diagnostic, PipelineError};
use crate::uploads::{ADAPTER, UPLOAD};
use crate::yaml::{Node, Value};

/// Keys next to `stages` that say where to write or where to look for files: the command line says it instead.
const DROPPED: [&str; 5] = [
    "output",
    "preview",
    "models-dir",
    "tokenizer",
    "text-encoder",
];
/// Keys of stages that name a place to write or a variable of the environment.
const DROPPED_IN_STAGES: [(&str, &str); 3] = [
    ("save", "path"),
    ("save-video", "path"),
    ("rewrite", "key-env"),
];
/// Keys, at any depth of a stage, that name a file to read.
pub(crate) const FILES: [&str; 5] = ["image", "mask", "video", "file", "cache-index"];
/// What lets a pipeline do everything again.
const TRUST: &str = "if you trust the file, run it with --trust";

/// Where a pipeline came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An image or a video.
    File,
    /// Another computer.
    Network,
}

impl Origin {
    fn subject(self) -> &'static str {
        match self {
            Self::File => "the pipeline inside this file",
            Self::Network => "this pipeline",
        }
    }

    /// With a way out, if there is one.
    fn hint(self, refusal: Diagnostic) -> Diagnostic {
        match self {
            Self::File => refusal.hint(TRUST),
            Self::Network => refusal,
        }
    }
}

/// Takes the power from a pipeline that came out of a media file.
///
/// # Errors
/// What would be needed to run it and is not allowed: a file outside the working folder, a prompt that another computer is to
/// rewrite. A model's path becomes empty.
pub(crate) fn restrict(root: &mut Node, origin: Origin) -> Result<(), PipelineError> {
    let mut refused = vec![];
    for key in DROPPED {
        root.remove(key);
    }
    root.set(
        &["overwrite"],
        Node::from_data(&false, "a pipeline out of a file")?,
    )?;
    forget_path_of_model(root);
    check_adapters(root, origin, &mut refused);
    if let Some(stages) = root.get_mut("stages") {
        for entry in stages.entries_mut() {
            let kind = entry.node.get("stage").and_then(Node::as_str);
            let kind = kind.unwrap_or_default().to_owned();
            restrict_stage(&kind, &mut entry.node, origin, &mut refused);
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(PipelineError::Invalid(refused))
}

fn restrict_stage(kind: &str, stage: &mut Node, origin: Origin, refused: &mut Vec<Diagnostic>) {
    for (owner, key) in DROPPED_IN_STAGES {
        if kind == owner {
            stage.remove(key);
        }
    }
    if kind == "rewrite" && stage.get("answer").and_then(Node::as_str).is_none() {
        let mark = stage.get("url").map_or(&stage.mark, |url| &url.mark);
        let message = format!(
            "{} would send the prompt to another computer",
            origin.subject()
        );
        refused.push(origin.hint(Diagnostic::new(mark, message)));
    }
    forget_path_of_model(stage);
    check_files(stage, origin, refused);
}

/// Takes away a model's path, which would be opened, whatever it is: the user names the model instead.
fn forget_path_of_model(node: &mut Node) {
    let Some(model) = node.get_mut("model") else {
        return;
    };
    let name = model.as_str().unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.chars().all(is_name) || Path::new(name).exists() {
        model.value = Value::Str(String::new());
    }
}

/// Refuses files to read that do not lie below the working folder; all that another computer names.
fn check_files(node: &Node, origin: Origin, refused: &mut Vec<Diagnostic>) {
    for entry in node.entries() {
        let name = entry.node.as_str();
        if let Some(name) = name.filter(|_| FILES.contains(&entry.key.as_str()))
            && !match origin {
                Origin::File => is_below(Path::new(name)),
                Origin::Network => name.starts_with(UPLOAD),
            }
        {
            let reason = match origin {
                Origin::File => ", which is not below the working folder",
                Origin::Network => ", a file of this computer",
            };
            let message = format!("{} opens `{name}`{reason}", origin.subject());
            refused.push(origin.hint(Diagnostic::new(&entry.node.mark, message)));
        }
        if matches!(entry.node.value, Value::Map(_)) && entry.key != "from" {
            check_files(&entry.node, origin, refused);
        }
    }
}

/// Refuses adapters that do not lie below the working folder; of what another computer names, all that are no adapters of this one.
fn check_adapters(root: &Node, origin: Origin, refused: &mut Vec<Diagnostic>) {
    let listed = root.get("lora").map(Node::items).unwrap_or_default();
    for node in listed {
        let file = node.get("file").unwrap_or(node);
        let name = file.as_str().unwrap_or_default();
        let is_allowed = match origin {
            Origin::File => is_below(Path::new(name)),
            Origin::Network => name.starts_with(ADAPTER),
        };
        if !is_allowed {
            let message = format!("{} adds the adapter `{name}`", origin.subject());
            refused.push(origin.hint(Diagnostic::new(&file.mark, message)));
        }
    }
}

/// Whether a path is relative, leads upwards nowhere, and is that of an ordinary file.
fn is_below(path: &Path) -> bool {
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    path.components().all(plain) && !path.as_os_str().is_empty() && !path.is_symlink()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restricted(yaml: &str) -> Result<String, String> {
        let mut root = Node::parse(yaml, "x.png").unwrap();
        match restrict(&mut root, Origin::File) {
            Ok(()) => Ok(root.to_yaml()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn places_to_write_are_left_out() {
        let yaml = "model: default\noutput: /etc/passwd.png\npreview: /tmp\nmodels-dir: /x\nseed: 1\nstages:\n  a: {stage: save, from: b, path: /home/x.png}\n  w: {stage: rewrite, url: 'http://x/v1', language-model: m, key-env: SECRET, answer: a cat}\n";
        let left = restricted(yaml).unwrap();
        for gone in [
            "passwd",
            "preview",
            "models-dir",
            "/home",
            "SECRET",
            "key-env",
        ] {
            assert!(!left.contains(gone), "{gone} in {left}");
        }
        assert!(left.contains("seed: 1") && left.contains("a cat"), "{left}");
    }

    #[test]
    fn the_path_of_a_model_is_left_out() {
        for path in ["/etc/x.safetensors", "../x", "'C:\\x'", "Cargo.toml", "src"] {
            let left = restricted(&format!(
                "model: {path}\nstages:\n  a: {{stage: text-to-image, model: {path}}}"
            ))
            .unwrap();
            assert_eq!(left.matches("model: \"\"").count(), 2, "{left}");
        }
    }

    #[test]
    fn what_reaches_out_is_refused_with_its_place() {
        let cases = [
            (
                "stages:\n  w: {stage: rewrite, url: 'http://h/v1', language-model: m}",
                "another computer",
            ),
            (
                "stages:\n  a: {stage: prompts, file: /etc/passwd}",
                "/etc/passwd",
            ),
            (
                "stages:\n  a: {stage: text-to-image, edit: {image: ../a.png}}",
                "../a.png",
            ),
            (
                "stages:\n  a: {stage: text-to-image, start: {image: /a.png}}",
                "/a.png",
            ),
            (
                "stages:\n  a: {stage: text-to-video, video: 'http://x/a.mp4', image: /b.png}",
                "/b.png",
            ),
        ];
        for (yaml, words) in cases {
            let message = restricted(yaml).unwrap_err();
            assert!(message.contains(words), "{message}");
            assert!(message.starts_with("x.png:"), "{message}");
        }
        for (file, words) in [
            ("/a.safetensors", "/a.safetensors"),
            ("{file: ../b, weight: 1}", "../b"),
        ] {
            let message =
                restricted(&format!("lora: [{file}]\nstages:\n  a: {{stage: save}}")).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
        let good = "lora: [own/ink.safetensors]\nmodel: infinity-2b\nstages:\n  a: {stage: text-to-image, edit: {image: in/a.png, mask: m.png}}";
        restricted(good).unwrap();
    }
}
