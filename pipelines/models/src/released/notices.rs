//! What should be known of a model that was put together from files.

use std::path::Path;

use nextscale_weights::Choice;

use super::part::lookalike_warning;
use crate::files::{Files, ModelFile};
use crate::manifest::Manifest;

/// Bits a token of Infinity-8B and VAREdit.
const BITS_8B: usize = 56;

/// One sentence for each thing; `is_released` says whether the model was opened by the name of a released one.
pub(crate) fn notices(files: &Files, manifest: &Manifest, is_released: bool) -> Vec<String> {
    let (ModelFile::OnDisk(transformer), ModelFile::OnDisk(vae)) = (&files.transformer, &files.vae)
    else {
        return vec![];
    };
    let mut notices: Vec<String> = lookalike_warning(vae).into_iter().collect();
    if files.has_other_weights {
        notices.push(both_weights(transformer, files.weights));
    }
    if !is_released {
        notices.extend(taken_for(transformer, manifest));
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

/// Which of two models of the same tensors a file is taken for, unless its name says so.
fn taken_for(transformer: &Path, manifest: &Manifest) -> Option<String> {
    let Manifest::Infinity(manifest) = manifest else {
        return None;
    };
    let stem = transformer.file_stem()?.to_string_lossy();
    let is_named = stem.to_ascii_lowercase().starts_with("infinity");
    if manifest.transformer.code_dim != BITS_8B || is_named {
        return None;
    }
    let path = transformer.display();
    Some(if manifest.edits_by_instruction {
        format!(
            "{path} is taken for VAREdit by its name: its tensors are named as those of Infinity-8B"
        )
    } else {
        format!(
            "{path} is taken for Infinity-8B; if it is VAREdit, which has the same tensors, call it 8B-512 or 8B-1024"
        )
    })
}
