//! What should be known of a model that was put together from files.

use std::path::Path;

use nextscale_weights::Choice;

use super::part::lookalike_warning;
use crate::files::{Files, ModelFile};
use crate::manifest::Architecture;

/// Files of VAREdit, whose shapes are those of Infinity-8B (huggingface.co/HiDream-ai/VAREdit).
const VAREDIT: [&str; 2] = ["8b-512", "8b-1024"];

/// One sentence for each thing; `is_released` says whether the model was opened by the name of a released one.
pub(crate) fn notices(files: &Files, architecture: Architecture, is_released: bool) -> Vec<String> {
    let (ModelFile::OnDisk(transformer), ModelFile::OnDisk(vae)) = (&files.transformer, &files.vae)
    else {
        return vec![];
    };
    let mut notices: Vec<String> = lookalike_warning(vae).into_iter().collect();
    if files.has_other_weights {
        notices.push(both_weights(transformer, files.weights));
    }
    if architecture == Architecture::Infinity && is_varedit(transformer) {
        notices.push(format!(
            "{} looks like VAREdit, which edits an image by instruction and is not supported: as an Infinity model, which it is taken for, it generates nothing of use",
            transformer.display()
        ));
    }
    if !is_released {
        notices.push(format!(
            "{} goes with the tokenizer {}: if it was trained with another one, images come out wrong (--tokenizer FILE names it)",
            transformer.display(),
            vae.display()
        ));
    }
    notices
}

fn both_weights(transformer: &Path, taken: Choice) -> String {
    let (taken, option, other) = match taken {
        Choice::Model => ("the model", "ema", "the average"),
        Choice::Ema => ("the average", "model", "the model"),
    };
    let path = transformer.display();
    format!(
        "{path} holds a model and its average: {taken} is taken, and --weights {option} takes {other}"
    )
}

fn is_varedit(path: &Path) -> bool {
    let names = path
        .iter()
        .map(|name| name.to_string_lossy().to_ascii_lowercase());
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    names.into_iter().any(|name| name.contains("varedit")) || VAREDIT.contains(&stem.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varedit_is_known_by_its_names() {
        for path in [
            "8B-1024.pth",
            "x/8B-512.safetensors",
            "VAREdit/model.pth",
            "my-varedit-8b.pth",
        ] {
            assert!(is_varedit(Path::new(path)), "{path}");
        }
        assert!(!is_varedit(Path::new("infinity_8b_weights")));
    }
}
