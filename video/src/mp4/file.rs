//! Opening files: FFmpeg sees local files of the containers named here, and nothing else.

use std::ffi::{CStr, CString};
use std::io::Read;
use std::path::Path;
use std::ptr;

use ffmpeg_next::{
    self as ffmpeg, Dictionary, ffi,
    format::context::{Input, Output},
};

use super::error::MediaError;

/// FFmpeg's names of the containers that are read, among them those of sound, so that a song is refused as one.
const CONTAINERS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,avi,flv,asf,ogg,mxf,nut,ivf,\
    h264,hevc,m4v,av1,obu,gif,apng,mp3,wav,flac,aac";

/// How playlists and scripts begin: files that name other files or hosts.
const PLAYLISTS: [&[u8]; 5] = [b"#EXTM3U", b"ffconcat", b"v=0", b"[playlist]", b"<?xml"];

/// FFmpeg's URL of a file: `file:` in front of the path, so that the colon of `12:30.mp4` does not end a protocol.
fn url(path: &Path) -> Result<CString, ffmpeg::Error> {
    let path = path.as_os_str().as_encoded_bytes();
    CString::new([b"file:", path].concat()).map_err(|_| ffmpeg::Error::InvalidData)
}

/// Opens a video file and reads its header. No other file is opened, whatever the file says.
pub(super) fn open_input(path: &Path) -> Result<Input, MediaError> {
    let start = start_of(path).map_err(|e| MediaError::read(path, e))?;
    if start.is_empty() {
        return Err(MediaError::read(path, "the file is empty"));
    }
    let text = start.trim_ascii_start();
    if PLAYLISTS.iter().any(|begin| text.starts_with(begin)) {
        let reason = "it is a list of other files, not a video";
        return Err(MediaError::read(path, reason));
    }
    try_open(path).map_err(|e| match e {
        ffmpeg::Error::Other { .. } => MediaError::read(path, "its format is not one of videos"),
        e => MediaError::read(path, e),
    })
}

fn start_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut start = vec![];
    let file = std::fs::File::open(path)?;
    file.take(64).read_to_end(&mut start)?;
    Ok(start)
}

fn try_open(path: &Path) -> Result<Input, ffmpeg::Error> {
    super::init()?;
    let url = url(path)?;
    let mut options = Dictionary::new();
    options.set("protocol_whitelist", "file");
    options.set("format_whitelist", CONTAINERS);
    let mut context = ptr::null_mut();
    // SAFETY: `context` is null, so FFmpeg allocates it, and frees it where opening fails; where it succeeds, the `Input`
    // owns it. The dictionary is taken back after FFmpeg has replaced it by the options that it did not use.
    unsafe {
        let mut options = options.disown();
        let opened =
            ffi::avformat_open_input(&mut context, url.as_ptr(), ptr::null(), &mut options);
        drop(Dictionary::own(options));
        check(opened)?;
        let input = Input::wrap(context);
        check(ffi::avformat_find_stream_info(context, ptr::null_mut()))?;
        Ok(input)
    }
}

/// Creates a file for a muxer.
pub(super) fn open_output(path: &Path, muxer: &CStr) -> Result<Output, ffmpeg::Error> {
    let url = url(path)?;
    let mut context = ptr::null_mut();
    // SAFETY: FFmpeg allocates the context, the `Output` owns it, and its `pb` is null until the file is open.
    unsafe {
        check(ffi::avformat_alloc_output_context2(
            &mut context,
            ptr::null(),
            muxer.as_ptr(),
            url.as_ptr(),
        ))?;
        let output = Output::wrap(context);
        let flags = ffi::AVIO_FLAG_WRITE;
        check(ffi::avio_open(&mut (*context).pb, url.as_ptr(), flags))?;
        Ok(output)
    }
}

fn check(code: i32) -> Result<(), ffmpeg::Error> {
    if code < 0 { Err(code.into()) } else { Ok(()) }
}

/// The metadata tags of a file's container, in order, such as the prompt. Names are returned in lower case, as
/// [`VideoWriter`](super::VideoWriter) takes them, also where a container stores them in capitals. Bytes that are not UTF-8
/// become U+FFFD.
///
/// # Errors
/// If the file cannot be read.
pub fn tags(path: &Path) -> Result<Vec<(String, String)>, MediaError> {
    let input = open_input(path)?;
    let mut tags = vec![];
    let mut entry = ptr::null();
    let text = |bytes| {
        // SAFETY: keys and values of a dictionary are strings that end with a zero byte.
        let text = unsafe { CStr::from_ptr(bytes) };
        text.to_string_lossy().into_owned()
    };
    loop {
        let all = ffi::AV_DICT_IGNORE_SUFFIX;
        // SAFETY: the dictionary belongs to `input`; `entry` is null at first, then the entry that was returned last.
        let next =
            unsafe { ffi::av_dict_get((*input.as_ptr()).metadata, c"".as_ptr(), entry, all) };
        let Some(tag) = (unsafe { next.as_ref() }) else {
            return Ok(tags);
        };
        tags.push((text(tag.key).to_lowercase(), text(tag.value)));
        entry = next;
    }
}
