//! Words that no caption of the icons has, each with the icon that stands for it: by keywords of emoji, and by what WordNet says a thing
//! is.

mod neighbours;
mod recipe;
mod wordnet;

pub use neighbours::neighbours;
pub use recipe::{WordNetFiles, WordsRecipe};
