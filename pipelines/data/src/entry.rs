//! One image of a data set, as its index describes it.

use serde::{Deserialize, Serialize};

/// One picture: a line of `index.jsonl`. Of a set with classes, the name is the class and there is no style.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the data set.
    pub id: usize,
    /// Lower-case name of the concept, the same in every style.
    pub name: String,
    /// The style word of the captions.
    pub style: String,
    /// Other names that mean only this concept, best first.
    pub synonyms: Vec<String>,
    /// Emoji group, or `Icons`.
    pub category: String,
    /// Whether the mirrored picture still is the same thing.
    pub flip: bool,
    /// Whether training must never see this pair of concept and style.
    pub held_out: bool,
    /// Whether this is the answer to the plain name without a style word.
    pub plain: bool,
}
