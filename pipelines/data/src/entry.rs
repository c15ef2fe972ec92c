//! One image of a data set, as its index describes it.

use serde::{Deserialize, Serialize};

/// One image or clip: a line of `index.jsonl`.
///
/// In a set with classes the name is the class and the style is empty. Images with captions of their own and without a class
/// have neither.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the data set.
    pub id: usize,
    /// Lower-case name of the concept, the same in every style.
    pub name: String,
    /// The word for its style in captions.
    pub style: String,
    /// Other names that mean only this concept, best first.
    pub synonyms: Vec<String>,
    /// Emoji group, or `Icons`.
    pub category: String,
    /// Whether the mirrored image still shows the same thing.
    pub flip: bool,
    /// Whether training must never see this pair of concept and style.
    pub held_out: bool,
    /// Whether this is the answer to the plain name without a style word.
    pub plain: bool,
    /// Captions of its own, best first; empty if captions are made of the name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub captions: Vec<String>,
    /// The bucket that it is in: a position in the manifest's `sizes`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bucket: usize,
    /// The file that it was made from, as the recipe's folder, table or archive names it; empty if unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// SHA-256 of that file in lower-case hexadecimal; empty if unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}
