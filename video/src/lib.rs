//! Nextscale video.
