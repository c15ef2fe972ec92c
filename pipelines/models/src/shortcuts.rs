//! Ways to be faster at the price of details, as a user asks for them: fewer scales, guidance on the first ones only, fewer tokens
//! in the last ones and, of videos, fewer passes over a scale.

mod choice;
mod image;
mod video;

pub use self::choice::{ShortcutChoice, ShortcutError};
pub use self::image::ImageShortcuts;
pub use self::video::VideoShortcuts;
