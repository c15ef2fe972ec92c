//! The supported containers and codecs.

use std::ffi::CStr;

use ffmpeg_next::{codec::Id, encoder};
use serde::{Deserialize, Serialize};

/// A video codec; always 4:2:0 with 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// H.264: plays everywhere.
    H264,
    /// H.265 (HEVC): smaller files, less widely supported.
    H265,
    /// VP9: plays in browsers, in WebM.
    Vp9,
}

/// A container format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// `.mp4`, with its index first (faststart).
    Mp4,
    /// `.mov`, with its index first (faststart).
    Mov,
    /// `.mkv`.
    Mkv,
    /// `.webm`.
    WebM,
}

impl Codec {
    /// The display name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H264 => "H.264",
            Self::H265 => "H.265",
            Self::Vp9 => "VP9",
        }
    }

    /// The constant rate factor at which losses are hard to see.
    pub const fn default_quality(self) -> u32 {
        match self {
            Self::H264 => 18,
            Self::H265 => 20,
            Self::Vp9 => 24,
        }
    }

    /// The worst constant rate factor.
    pub const fn worst_quality(self) -> u32 {
        match self {
            Self::H264 | Self::H265 => 51,
            Self::Vp9 => 63,
        }
    }

    /// Whether this build of FFmpeg can encode it.
    pub fn is_available(self) -> bool {
        super::init().is_ok() && self.encoder().is_some()
    }

    pub(super) fn encoder(self) -> Option<ffmpeg_next::Codec> {
        let (name, id) = match self {
            Self::H264 => ("libx264", Id::H264),
            Self::H265 => ("libx265", Id::HEVC),
            Self::Vp9 => ("libvpx-vp9", Id::VP9),
        };
        encoder::find_by_name(name).or_else(|| encoder::find(id))
    }

    /// The encoder's settings for a constant rate factor.
    pub(super) fn settings(self, quality: u32) -> Vec<(&'static str, String)> {
        let rate = ("crf", quality.to_string());
        match self {
            // With its macroblock tree, libx264 164 reads memory that it has not written, and the same frames give other files.
            Self::H264 => vec![rate, ("x264-params", "mbtree=0".into())],
            Self::H265 => vec![rate, ("x265-params", "log-level=error".into())],
            // Without a bit rate of 0 the factor is only a bound; row-mt enables threads.
            Self::Vp9 => vec![rate, ("b", "0".into()), ("row-mt", "1".into())],
        }
    }
}

impl Container {
    /// The container of a file name extension, ignoring case.
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "mp4" | "m4v" => Some(Self::Mp4),
            "mov" => Some(Self::Mov),
            "mkv" => Some(Self::Mkv),
            "webm" => Some(Self::WebM),
            _ => None,
        }
    }

    /// The default codec.
    pub const fn default_codec(self) -> Codec {
        match self {
            Self::Mp4 | Self::Mov | Self::Mkv => Codec::H264,
            Self::WebM => Codec::Vp9,
        }
    }

    /// Whether it supports a codec.
    pub const fn holds(self, codec: Codec) -> bool {
        match self {
            Self::Mp4 | Self::Mkv => true,
            Self::Mov => !matches!(codec, Codec::Vp9),
            Self::WebM => matches!(codec, Codec::Vp9),
        }
    }

    /// FFmpeg's name of the container.
    pub(super) const fn muxer(self) -> &'static CStr {
        match self {
            Self::Mp4 => c"mp4",
            Self::Mov => c"mov",
            Self::Mkv => c"matroska",
            Self::WebM => c"webm",
        }
    }
}
