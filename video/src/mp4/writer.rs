//! Writing a video frame by frame.

use std::path::{Path, PathBuf};

use ffmpeg_next::{
    self as ffmpeg, Dictionary, Packet, Rational, codec, encoder,
    format::{self, Pixel, context::Output},
    frame::Video,
    software::scaling::Context as Scaler,
    util::error::EAGAIN,
};

use tempfile::NamedTempFile;

use super::codec::{Codec, Container};
use super::colour::{Image, WRITTEN, scaler};
use super::error::MediaError;
use super::file::open_output;
use crate::rate::FrameRate;

/// Settings of a video file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterOptions {
    /// Columns; even.
    pub width: usize,
    /// Rows; even.
    pub height: usize,
    /// Frames per second.
    pub rate: FrameRate,
    /// The container, whatever the file name's extension.
    pub container: Container,
    /// The codec; the container must support it ([`Container::holds`]).
    pub codec: Codec,
    /// Constant rate factor, from 0 (best) to [`Codec::worst_quality`]. H.264 at 18 is visually close to lossless.
    pub quality: u32,
    /// Metadata tags of the container, such as the prompt.
    pub tags: Vec<(String, String)>,
}

/// Writes a video frame by frame in 4:2:0, as BT.709 in limited range, and says so in the stream and in the container. The
/// index of an MP4 comes first (faststart).
///
/// Frames go to a hidden temporary file next to the target, which [`VideoWriter::finish`] renames: the target is either
/// complete or absent. A writer that is dropped before removes its temporary file.
pub struct VideoWriter {
    path: PathBuf,
    part: NamedTempFile,
    options: WriterOptions,
    /// `None` after the file is closed.
    output: Option<Output>,
    encoder: encoder::video::Encoder,
    scaler: Scaler,
    time_base: Rational,
    frames: i64,
    packets: i64,
}

// SAFETY: the writer owns everything in it, and FFmpeg's contexts may be used from any thread, one at a time; only the
// scaler's wrapper is not marked `Send`.
unsafe impl Send for VideoWriter {}

impl VideoWriter {
    /// Starts a video. An existing file is replaced in [`VideoWriter::finish`].
    ///
    /// # Errors
    /// If a side is odd or 0, a tag contains U+0000, FFmpeg lacks the encoder, or the file cannot be created.
    pub fn create(path: &Path, options: WriterOptions) -> Result<Self, MediaError> {
        let (width, height) = (options.width, options.height);
        let even = |side: usize| side > 0 && side.is_multiple_of(2);
        if !even(width) || !even(height) {
            let path = path.to_owned();
            return Err(MediaError::Size {
                path,
                width,
                height,
            });
        }
        if let Some((key, _)) = options
            .tags
            .iter()
            .find(|(key, text)| (key.clone() + text).contains('\0'))
        {
            let reason = format!("the tag `{key}` contains the character U+0000");
            return Err(MediaError::write(path, reason));
        }
        let part = hidden_for(path).map_err(|e| MediaError::write(path, e))?;
        let name = options.codec.name();
        Self::open(path, part, options).map_err(|e| match e {
            ffmpeg::Error::EncoderNotFound => MediaError::Codec {
                path: path.to_owned(),
                what: format!("encoder of {name}"),
            },
            e => MediaError::write(path, e),
        })
    }

    fn open(
        path: &Path,
        part: NamedTempFile,
        options: WriterOptions,
    ) -> Result<Self, ffmpeg::Error> {
        super::init()?;
        let codec = options.codec.encoder();
        let codec = codec.ok_or(ffmpeg::Error::EncoderNotFound)?;
        let mut output = open_output(part.path(), options.container.muxer())?;
        let global = output
            .format()
            .flags()
            .contains(format::Flags::GLOBAL_HEADER);
        let encoder = open_encoder(codec, &options, global)?;
        let rate = rational(options.rate);
        let mut stream = output.add_stream(codec)?;
        stream.set_parameters(&encoder);
        stream.set_time_base(rate.invert());
        stream.set_rate(rate);
        stream.set_avg_frame_rate(rate);
        write_header(&mut output, &options)?;
        let time_base = output.stream(0).map_or(rate.invert(), |s| s.time_base());
        let size = [options.width as u32, options.height as u32];
        let scaler = scaler(&Image::rgb(Pixel::RGB24, size), &Image::bt709(size))?;
        Ok(Self {
            path: path.to_owned(),
            part,
            options,
            output: Some(output),
            encoder,
            scaler,
            time_base,
            frames: 0,
            packets: 0,
        })
    }

    /// Adds frames as RGB bytes in row-major order.
    ///
    /// # Errors
    /// If the bytes are not whole frames, or frames cannot be encoded or written.
    pub fn write_rgb(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        let frame = 3 * self.options.width * self.options.height;
        if !bytes.len().is_multiple_of(frame) {
            return Err(MediaError::Frames {
                path: self.path.clone(),
                bytes: bytes.len(),
                frame,
            });
        }
        for frame in bytes.chunks_exact(frame) {
            self.encode(frame)
                .map_err(|e| MediaError::write(&self.path, e))?;
        }
        Ok(())
    }

    fn encode(&mut self, bytes: &[u8]) -> Result<(), ffmpeg::Error> {
        let (w, h) = (self.options.width, self.options.height);
        let mut rgb = Video::new(Pixel::RGB24, w as u32, h as u32);
        let stride = rgb.stride(0);
        for (row, line) in bytes.chunks_exact(3 * w).enumerate() {
            rgb.data_mut(0)[row * stride..][..3 * w].copy_from_slice(line);
        }
        let mut yuv = Video::empty();
        self.scaler.run(&rgb, &mut yuv)?;
        let (space, range, primaries, transfer) = WRITTEN;
        yuv.set_color_space(space);
        yuv.set_color_range(range);
        yuv.set_color_primaries(primaries);
        yuv.set_color_transfer_characteristic(transfer);
        yuv.set_pts(Some(self.frames));
        self.frames += 1;
        self.encoder.send_frame(&yuv)?;
        self.drain()
    }

    /// Writes the packets that the encoder has finished.
    fn drain(&mut self) -> Result<(), ffmpeg::Error> {
        let output = self.output.as_mut().ok_or(ffmpeg::Error::Bug)?;
        let mut packet = Packet::empty();
        loop {
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(ffmpeg::Error::Eof | ffmpeg::Error::Other { errno: EAGAIN }) => return Ok(()),
                Err(e) => return Err(e),
            }
            packet.set_dts(Some(decode_time(&packet, self.packets)));
            self.packets += 1;
            packet.set_stream(0);
            packet.set_duration(1);
            packet.rescale_ts(rational(self.options.rate).invert(), self.time_base);
            packet.write_interleaved(output)?;
        }
    }

    /// Finishes the video and renames the file to its target.
    ///
    /// # Errors
    /// If no frame was written, or the file cannot be written.
    pub fn finish(mut self) -> Result<(), MediaError> {
        if self.frames == 0 {
            return Err(MediaError::write(&self.path, "the video has no frames"));
        }
        self.close().map_err(|e| MediaError::write(&self.path, e))?;
        let persisted = self.part.persist(&self.path);
        persisted
            .map(drop)
            .map_err(|e| MediaError::write(&self.path, e.error))
    }

    fn close(&mut self) -> Result<(), ffmpeg::Error> {
        self.encoder.send_eof()?;
        self.drain()?;
        let mut output = self.output.take().ok_or(ffmpeg::Error::Bug)?;
        output.write_trailer()
    }
}

/// When the packet of a place, counted from 0, is decoded, in frames.
///
/// libx265 3.5 takes the delay of a clip of one or two frames from memory that it never sets. A time that no encoder can mean
/// is replaced by that of its longer clips, which are two frames early.
fn decode_time(packet: &Packet, place: i64) -> i64 {
    const MOST_REORDERED: i64 = 16;
    let shown = packet.pts().unwrap_or(place);
    let possible = place - MOST_REORDERED..=shown;
    let given = packet.dts().filter(|dts| possible.contains(dts));
    given.unwrap_or(place - 2)
}

/// Writes the container's header with the metadata tags.
fn write_header(output: &mut Output, options: &WriterOptions) -> Result<(), ffmpeg::Error> {
    let mut tags = Dictionary::new();
    for (key, value) in &options.tags {
        tags.set(key, value);
    }
    output.set_metadata(tags);
    let mut header = Dictionary::new();
    if matches!(options.container, Container::Mp4 | Container::Mov) {
        header.set("movflags", "faststart+use_metadata_tags");
    }
    output.write_header_with(header).map(drop)
}

fn open_encoder(
    codec: ffmpeg::Codec,
    options: &WriterOptions,
    global_header: bool,
) -> Result<encoder::video::Encoder, ffmpeg::Error> {
    let mut video = codec::context::Context::new_with_codec(codec)
        .encoder()
        .video()?;
    let rate = rational(options.rate);
    let (space, range, primaries, transfer) = WRITTEN;
    video.set_colorspace(space);
    video.set_color_range(range);
    video.set_color_primaries(primaries);
    video.set_color_transfer_characteristic(transfer);
    video.set_width(options.width as u32);
    video.set_height(options.height as u32);
    video.set_format(Pixel::YUV420P);
    video.set_time_base(rate.invert());
    video.set_frame_rate(Some(rate));
    if global_header {
        video.set_flags(codec::Flags::GLOBAL_HEADER);
    }
    let mut settings = Dictionary::new();
    for (key, value) in options.codec.settings(options.quality) {
        settings.set(key, &value);
    }
    video.open_with(settings)
}

fn rational(rate: FrameRate) -> Rational {
    Rational(rate.numerator() as i32, rate.denominator() as i32)
}

/// A hidden file next to `path`, locked while it is written, with the rights of any new file.
fn hidden_for(path: &Path) -> std::io::Result<NamedTempFile> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(".nextscale-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
    // Where a file system knows no locks, a part that a killed run leaves stays.
    let _ = file.as_file().try_lock();
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_decode_times_are_replaced() {
        let time = |pts, dts, place| {
            let mut packet = Packet::empty();
            packet.set_pts(pts);
            packet.set_dts(dts);
            decode_time(&packet, place)
        };
        assert_eq!(time(Some(0), Some(0), 0), 0);
        assert_eq!(time(Some(5), Some(0), 2), 0);
        assert_eq!(time(Some(0), Some(-3_617_008_641_903_833_650), 0), -2);
        assert_eq!(time(Some(1), Some(7), 1), -1);
        assert_eq!(time(Some(1), None, 1), -1);
    }
}
