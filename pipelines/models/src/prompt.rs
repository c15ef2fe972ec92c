//! What is done to a prompt before the text encoder reads it.

use serde::{Deserialize, Serialize};

/// What the model was used to seeing around a prompt when it was trained.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptRules {
    /// Put in front of every prompt.
    #[serde(default)]
    pub prefix: String,
    /// Put after every prompt.
    #[serde(default)]
    pub suffix: String,
    /// Whether prompts are put into lower case.
    #[serde(default)]
    pub lowercase: bool,
}

impl PromptRules {
    /// The prompt as the text encoder gets it.
    pub fn apply(&self, prompt: &str) -> String {
        let whole = format!("{}{}{}", self.prefix, prompt.trim(), self.suffix);
        if self.lowercase {
            whole.to_lowercase()
        } else {
            whole
        }
    }
}

/// The length in seconds that a prompt states as `<<<t=5s>>>` at its start, as in the documents of InfinityStar, and the rest
/// of the prompt.
pub fn stated_length(prompt: &str) -> Option<(f64, &str)> {
    let (length, rest) = prompt.trim_start().strip_prefix("<<<")?.split_once(">>>")?;
    let seconds = length.trim().strip_prefix("t=")?.strip_suffix('s')?;
    Some((seconds.trim().parse().ok()?, rest.trim_start()))
}

/// Words by which the released code knows that a prompt is about people; they count within other words too
/// (`aug_with_positive_prompt` in `tools/run_infinity.py`).
const PEOPLE: &str = "man woman men women boy girl child person human adult teenager employee employer worker mother father \
                      sister brother grandmother grandfather son daughter";

/// What the released code then puts after the prompt.
const FACES: &str =
    ". very smooth faces, good looking faces, face to the camera, perfect facial features";

/// The prompt with the released code's words for faces, if it is about people.
pub fn with_positive_prompt(prompt: &str) -> String {
    if PEOPLE.split(' ').any(|word| prompt.contains(word)) {
        format!("{prompt}{FACES}")
    } else {
        prompt.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_in_a_prompt_is_read() {
        assert_eq!(stated_length("<<<t=5s>>>a cat"), Some((5.0, "a cat")));
        assert_eq!(stated_length(" <<<t=2.5s>>> "), Some((2.5, "")));
        for plain in [
            "a cat",
            "<<<a>>> cat",
            "<<<t=5s",
            "<<<t=xs>>>",
            "a <<<t=5s>>>",
        ] {
            assert_eq!(stated_length(plain), None, "{plain}");
        }
    }

    #[test]
    fn prompts_about_people_get_words_for_faces() {
        assert_eq!(with_positive_prompt("a red apple"), "a red apple");
        let with = with_positive_prompt("two women and a dog");
        assert!(
            with.starts_with("two women and a dog. very smooth faces"),
            "{with}"
        );
        // As in the released code, a word counts within another one.
        assert_ne!(with_positive_prompt("a lesson"), "a lesson");
    }
}
