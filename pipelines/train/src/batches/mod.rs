//! What the trainers see: batches of images and of clips.

pub mod clips;
pub mod images;
