//! What a measurement generates: the prompts or classes that are given, or some everyday things.

use nextscale_models::generator::{Condition, ImageGenerator};
use nextscale_models::{Manifest, ModelError};

use crate::error::EvalError;

/// Prompts if none are given.
const PROMPTS: &[&str] = &[
    "red apple",
    "dog",
    "house",
    "umbrella",
    "car",
    "cat",
    "sun",
    "tree",
    "bicycle",
    "violin",
    "fish",
    "clock",
    "strawberry",
    "airplane",
    "key",
    "mushroom",
];

/// The conditions of prompts, or of classes for a class-conditional model, one each; if there are none, of some everyday things, or of all
/// classes.
pub(crate) fn conditions(
    generator: &ImageGenerator,
    given: &[String],
) -> Result<Vec<Condition>, EvalError> {
    let one = |class: usize| Condition::Classes(vec![class]);
    let conditions: Result<Vec<Condition>, ModelError> = match generator.model().manifest() {
        Manifest::Var(manifest) if given.is_empty() => {
            Ok((0..manifest.transformer.classes).map(one).collect())
        }
        Manifest::Var(manifest) => {
            let find = |name: &String| manifest.class_names().find(name).map(one);
            given.iter().map(find).collect()
        }
        _ => {
            let encode = |prompt: &str| generator.encode(&[prompt], "");
            let defaults = if given.is_empty() { PROMPTS } else { &[] };
            let given = given.iter().map(String::as_str);
            given.chain(defaults.iter().copied()).map(encode).collect()
        }
    };
    let conditions = conditions?;
    if conditions.is_empty() {
        return Err(EvalError::NoPrompt);
    }
    Ok(conditions)
}
