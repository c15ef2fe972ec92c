//! From the numbers of a frame to colours and back: matrix, range and transfer.

use ffmpeg_next::{
    self as ffmpeg, ffi,
    format::Pixel,
    frame::Video,
    software::scaling::{Context as Scaler, Flags},
    util::color::{Primaries, Range, Space, TransferCharacteristic as Transfer},
};

/// From this many rows on, a video that does not say otherwise is BT.709, below BT.601.
const HD_ROWS: u32 = 720;

/// Pixels, size, and what the numbers mean: one end of a conversion.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Image {
    pub(super) pixel: Pixel,
    pub(super) size: [u32; 2],
    /// One of libswscale's `SWS_CS_*`; of no meaning for RGB.
    matrix: i32,
    full_range: bool,
}

impl Image {
    /// RGB bytes, or RGBA.
    pub(super) fn rgb(pixel: Pixel, size: [u32; 2]) -> Self {
        Self {
            pixel,
            size,
            matrix: ffi::SWS_CS_DEFAULT,
            full_range: true,
        }
    }

    /// BT.709 in limited range, 4:2:0: what is written.
    pub(super) fn bt709(size: [u32; 2]) -> Self {
        Self {
            pixel: Pixel::YUV420P,
            size,
            matrix: ffi::SWS_CS_ITU709,
            full_range: false,
        }
    }

    /// A decoded frame, by its tags; without them by its number of rows.
    pub(super) fn of(frame: &Video) -> Self {
        let (pixel, size) = (frame.format(), [frame.width(), frame.height()]);
        let matrix = match frame.color_space() {
            Space::BT709 => ffi::SWS_CS_ITU709,
            Space::BT470BG | Space::SMPTE170M => ffi::SWS_CS_ITU601,
            Space::FCC => ffi::SWS_CS_FCC,
            Space::SMPTE240M => ffi::SWS_CS_SMPTE240M,
            Space::BT2020NCL | Space::BT2020CL => ffi::SWS_CS_BT2020,
            _ if size[1] >= HD_ROWS => ffi::SWS_CS_ITU709,
            _ => ffi::SWS_CS_ITU601,
        };
        let full_pixels = [
            Pixel::YUVJ411P,
            Pixel::YUVJ420P,
            Pixel::YUVJ422P,
            Pixel::YUVJ440P,
            Pixel::YUVJ444P,
        ];
        Self {
            pixel,
            size,
            matrix,
            full_range: frame.color_range() == Range::JPEG || full_pixels.contains(&pixel),
        }
    }

    /// Whether its pixels have an alpha channel.
    pub(super) fn has_alpha(&self) -> bool {
        // SAFETY: the description of a pixel format is a constant of FFmpeg, or null.
        let description = unsafe { ffi::av_pix_fmt_desc_get(self.pixel.into()).as_ref() };
        description.is_some_and(|d| d.flags & ffi::AV_PIX_FMT_FLAG_ALPHA as u64 != 0)
    }
}

/// A converter between two images. Rounding is exact and chroma is interpolated, so that flat colours survive many rounds.
pub(super) fn scaler(from: &Image, to: &Image) -> Result<Scaler, ffmpeg::Error> {
    let ([fw, fh], [tw, th]) = (from.size, to.size);
    let flags =
        Flags::BICUBIC | Flags::ACCURATE_RND | Flags::FULL_CHR_H_INT | Flags::FULL_CHR_H_INP;
    let mut scaler = Scaler::get(from.pixel, fw, fh, to.pixel, tw, th, flags)?;
    const NEUTRAL: i32 = 1 << 16;
    // SAFETY: the scaler is alive, and tables of coefficients are constants of libswscale.
    unsafe {
        // It refuses conversions without a matrix (RGB to RGB), which need none.
        let _ = ffi::sws_setColorspaceDetails(
            scaler.as_mut_ptr(),
            ffi::sws_getCoefficients(from.matrix),
            from.full_range.into(),
            ffi::sws_getCoefficients(to.matrix),
            to.full_range.into(),
            0,
            NEUTRAL,
            NEUTRAL,
        );
    }
    Ok(scaler)
}

/// The name of a high dynamic range, if it is one.
pub(super) fn hdr(transfer: Transfer) -> Option<&'static str> {
    match transfer {
        Transfer::SMPTE2084 => Some("HDR (PQ)"),
        Transfer::ARIB_STD_B67 => Some("HDR (HLG)"),
        _ => None,
    }
}

/// What is written into streams and containers: BT.709 in limited range.
pub(super) const WRITTEN: (Space, Range, Primaries, Transfer) =
    (Space::BT709, Range::MPEG, Primaries::BT709, Transfer::BT709);
