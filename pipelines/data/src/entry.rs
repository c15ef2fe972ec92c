//! One image of a data set, as its index describes it.

use serde::{Deserialize, Serialize};

/// One image: a line of `index.jsonl`. In a set with classes the name is the class and the style is empty.
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
}
