//! Ways to be faster at the price of details, as a user asks for them: fewer scales, guidance on the first ones only, fewer tokens
//! in the last ones and, of videos, fewer passes over a scale; and a smaller cache of keys and values, for less memory.

mod cache;
mod choice;
mod image;
mod video;

pub use self::cache::DEFAULT_CACHE_BUDGET;
pub use self::choice::{ShortcutChoice, ShortcutError};
pub use self::image::ImageShortcuts;
pub use self::video::VideoShortcuts;
pub use nextscale_var_core::cache_budget::CacheBudget;
