use std::path::{Path, PathBuf};

use super::*;
use crate::rate::FrameRate;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("nextscale-mp4-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn options(width: usize, height: usize) -> WriterOptions {
    WriterOptions {
        width,
        height,
        rate: FrameRate::whole(16),
        container: Container::Mp4,
        codec: Codec::H264,
        quality: 12,
        tags: vec![("prompt".into(), "a grey ramp".into())],
    }
}

/// Frame `i` of a clip that gets lighter: all of one grey.
fn grey(i: usize) -> u8 {
    40 + 8 * i as u8
}

fn write(path: &Path, frames: usize) {
    let mut writer = VideoWriter::create(path, options(48, 32)).unwrap();
    for i in 0..frames {
        writer.write_rgb(&vec![grey(i); 3 * 48 * 32]).unwrap();
    }
    writer.finish().unwrap();
}

fn means(reader: VideoReader) -> Vec<f64> {
    reader
        .map(|frame| {
            let (_, bytes) = frame.unwrap();
            bytes.iter().map(|&b| f64::from(b)).sum::<f64>() / bytes.len() as f64
        })
        .collect()
}

#[test]
fn frames_come_back() {
    let folder = folder("back");
    let path = folder.join("clip.mp4");
    write(&path, 17);
    let reader = VideoReader::open(&path, ReaderOptions::default()).unwrap();
    let info = reader.info().clone();
    assert_eq!((info.width, info.height, info.hdr), (48, 32, None));
    assert!((info.fps - 16.0).abs() < 1e-6, "{info:?}");
    assert!(
        (info.seconds.unwrap() - 17.0 / 16.0).abs() < 0.01,
        "{info:?}"
    );
    let means = means(reader);
    assert_eq!(means.len(), 17);
    for (i, mean) in means.iter().enumerate() {
        assert!((mean - f64::from(grey(i))).abs() < 3.0, "frame {i}: {mean}");
    }
    // The index lies in front of the data, and the prompt is in the file.
    let bytes = std::fs::read(&path).unwrap();
    let find = |what: &[u8]| bytes.windows(what.len()).position(|w| w == what);
    assert!(find(b"moov").unwrap() < find(b"mdat").unwrap());
    assert!(find(b"a grey ramp").is_some());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn rate_and_size_are_brought_to_the_models() {
    let folder = folder("rate");
    let path = folder.join("clip.mp4");
    write(&path, 16);
    let options = ReaderOptions {
        size: Some([16, 16]),
        fps: Some(8.0),
        start: 0.0,
    };
    let halved = means(VideoReader::open(&path, options).unwrap());
    assert_eq!(halved.len(), 8);
    for (i, mean) in halved.iter().enumerate() {
        assert!((mean - f64::from(grey(2 * i))).abs() < 3.0, "{i}: {mean}");
    }
    let doubled = ReaderOptions {
        fps: Some(32.0),
        ..options
    };
    assert_eq!(means(VideoReader::open(&path, doubled).unwrap()).len(), 32);
    let device = burn::tensor::Device::flex();
    let mut reader = VideoReader::open(&path, options).unwrap();
    let first = reader.pixels(5, &device).unwrap().unwrap();
    assert_eq!(first.dims(), [1, 3, 5, 16, 16]);
    let rest = reader.pixels(5, &device).unwrap().unwrap();
    assert_eq!(rest.dims()[2], 3);
    assert!(reader.pixels(5, &device).unwrap().is_none());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_video_is_whole_or_not_there() {
    let folder = folder("whole");
    let path = folder.join("clip.mp4");
    let mut writer = VideoWriter::create(&path, options(48, 32)).unwrap();
    writer.write_rgb(&[9; 3 * 48 * 32]).unwrap();
    let error = writer.write_rgb(&[9; 5]).unwrap_err();
    assert!(matches!(error, MediaError::Frames { bytes: 5, .. }));
    drop(writer);
    let empty = VideoWriter::create(&path, options(48, 32)).unwrap();
    assert!(empty.finish().is_err());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    let odd = VideoWriter::create(&path, options(47, 32)).err().unwrap();
    assert!(odd.to_string().contains("47x32"), "{odd}");
    let nowhere = folder.join("no").join("clip.mp4");
    assert!(VideoWriter::create(&nowhere, options(48, 32)).is_err());

    std::fs::write(&path, b"this is no video").unwrap();
    assert!(tags(&path).is_err());
    let error = VideoReader::open(&path, ReaderOptions::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("clip.mp4"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_video_is_entered_in_its_middle() {
    let folder = folder("middle");
    for container in [Container::Mp4, Container::Mkv, Container::WebM] {
        let path = folder.join(format!("clip.{}", container.muxer().to_str().unwrap()));
        let codec = container.default_codec();
        let options = WriterOptions {
            container,
            codec,
            ..options(48, 32)
        };
        let mut writer = VideoWriter::create(&path, options).unwrap();
        for i in 0..24 {
            writer.write_rgb(&vec![grey(i); 3 * 48 * 32]).unwrap();
        }
        writer.finish().unwrap();
        for fps in [None, Some(16.0)] {
            let options = ReaderOptions {
                start: 10.0 / 16.0,
                fps,
                ..ReaderOptions::default()
            };
            let means = means(VideoReader::open(&path, options).unwrap());
            assert_eq!(means.len(), 14, "{container:?} {fps:?}");
            for (i, mean) in means.iter().enumerate() {
                let wanted = f64::from(grey(10 + i));
                assert!((mean - wanted).abs() < 4.0, "{container:?} {i}: {mean}");
            }
        }
        let tags = tags(&path).unwrap();
        assert!(
            tags.contains(&("prompt".into(), "a grey ramp".into())),
            "{tags:?}"
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The mean colour of every frame.
fn colours(reader: VideoReader) -> Vec<[f64; 3]> {
    let mean = |(_, bytes): RgbFrame| {
        let pixels = bytes.len() as f64 / 3.0;
        [0, 1, 2].map(|c| {
            bytes
                .iter()
                .skip(c)
                .step_by(3)
                .map(|&b| f64::from(b))
                .sum::<f64>()
                / pixels
        })
    };
    reader.map(|frame| mean(frame.unwrap())).collect()
}

const FLAT: [[u8; 3]; 6] = [
    [0, 255, 0],
    [200, 50, 80],
    [224, 172, 105],
    [255, 0, 0],
    [0, 0, 255],
    [255, 255, 255],
];

#[test]
fn flat_colours_come_back_and_do_not_drift() {
    let folder = folder("colours");
    let containers = [
        (Container::Mp4, Codec::H264),
        (Container::Mov, Codec::H264),
        (Container::Mkv, Codec::H265),
        (Container::WebM, Codec::Vp9),
    ];
    for (container, codec) in containers {
        let path = folder.join("clip.video");
        let options = WriterOptions {
            container,
            codec,
            quality: codec.default_quality(),
            ..options(128, 64)
        };
        let mut frames = FLAT.map(|colour| colour.repeat(128 * 64));
        for round in 1..=5 {
            let mut writer = VideoWriter::create(&path, options.clone()).unwrap();
            for frame in &frames {
                writer.write_rgb(frame).unwrap();
            }
            writer.finish().unwrap();
            let reader = VideoReader::open(&path, ReaderOptions::default()).unwrap();
            let found = colours(reader);
            assert_eq!(found.len(), FLAT.len());
            for (found, wanted) in found.iter().zip(FLAT) {
                let far = (0..3).map(|c| (found[c] - f64::from(wanted[c])).abs());
                let far = far.fold(0.0, f64::max);
                assert!(
                    far <= 2.0,
                    "{container:?} round {round}: {found:?} is not {wanted:?}"
                );
            }
            let reader = VideoReader::open(&path, ReaderOptions::default()).unwrap();
            let read: Vec<_> = reader.map(|frame| frame.unwrap().1).collect();
            frames = read.try_into().unwrap();
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn every_file_that_exists_is_a_file() {
    let folder = folder("names");
    let mut names: Vec<std::ffi::OsString> = vec![
        "12:30 clip.mp4".into(),
        "concat:a|b.mp4".into(),
        "\u{1f98a}%d.mp4".into(),
    ];
    #[cfg(target_os = "linux")]
    names.push(std::os::unix::ffi::OsStringExt::from_vec(
        b"caf\xe9.mp4".to_vec(),
    ));
    for name in names {
        let path = folder.join(name);
        write(&path, 2);
        assert_eq!(
            means(VideoReader::open(&path, ReaderOptions::default()).unwrap()).len(),
            2
        );
        assert!(tags(&path).unwrap().iter().any(|(key, _)| key == "prompt"));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_list_of_other_files_is_no_video() {
    let folder = folder("lists");
    write(&folder.join("secret.mp4"), 2);
    let lists = [
        "#EXTM3U\n#EXTINF:1,\nsecret.mp4\n",
        "ffconcat version 1.0\nfile secret.mp4\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\n",
        "  #EXTM3U\nhttp://127.0.0.1:9/x.ts\n",
    ];
    for list in lists {
        let path = folder.join("clip.mp4");
        std::fs::write(&path, list).unwrap();
        let error = VideoReader::open(&path, ReaderOptions::default())
            .err()
            .unwrap();
        assert!(error.to_string().contains("list of other files"), "{error}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn tags_that_are_not_utf_8_are_lossy_text() {
    let folder = folder("latin");
    let path = folder.join("clip.mp4");
    write(&path, 2);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(11).position(|w| w == b"a grey ramp").unwrap();
    bytes[at..at + 4].copy_from_slice(b"caf\xe9");
    std::fs::write(&path, bytes).unwrap();
    let found = tags(&path).unwrap();
    assert!(
        found.contains(&("prompt".into(), "caf\u{fffd}ey ramp".into())),
        "{found:?}"
    );

    let nul = WriterOptions {
        tags: vec![("prompt".into(), "a\0b".into())],
        ..options(48, 32)
    };
    let error = VideoWriter::create(&path, nul).err().unwrap();
    assert!(error.to_string().contains("U+0000"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn counts_and_lengths_are_exact_in_every_container() {
    let folder = folder("counts");
    for container in [
        Container::Mp4,
        Container::Mov,
        Container::Mkv,
        Container::WebM,
    ] {
        for codec in [Codec::H264, Codec::H265, Codec::Vp9] {
            if !container.holds(codec) {
                continue;
            }
            for (frames, rate) in [(1, "16"), (2, "24"), (17, "30000/1001"), (17, "240")] {
                let rate: FrameRate = rate.parse().unwrap();
                let path = folder.join("clip");
                let options = WriterOptions {
                    container,
                    codec,
                    rate,
                    quality: 20,
                    ..options(64, 64)
                };
                let writer = VideoWriter::create(&path, options);
                let mut writer = writer.unwrap_or_else(|e| panic!("{container:?} {codec:?}: {e}"));
                for i in 0..frames {
                    writer.write_rgb(&[grey(i); 3 * 64 * 64]).unwrap();
                }
                let done = writer.finish();
                done.unwrap_or_else(|e| panic!("{container:?} {codec:?} {frames} at {rate}: {e}"));
                let reader = VideoReader::open(&path, ReaderOptions::default()).unwrap();
                let case = format!(
                    "{container:?} {codec:?} {frames} at {rate}: {:?}",
                    reader.info()
                );
                let seconds = frames as f64 / rate.per_second();
                // Matroska counts in milliseconds.
                let off = (reader.info().seconds.unwrap() - seconds).abs();
                assert!(off < 2e-3, "{case}");
                assert_eq!(reader.count(), frames, "{case}");
            }
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_damaged_or_cut_file_gives_what_is_whole() {
    let folder = folder("damaged");
    let path = folder.join("clip.mkv");
    let options = WriterOptions {
        container: Container::Mkv,
        codec: Codec::Vp9,
        quality: 4,
        ..options(64, 64)
    };
    let mut writer = VideoWriter::create(&path, options).unwrap();
    for i in 0..40usize {
        let noise = (0..3 * 64 * 64).map(|p| ((p * (i + 7) * 2_654_435_761) >> 8) as u8);
        writer.write_rgb(&noise.collect::<Vec<_>>()).unwrap();
    }
    writer.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let mut reader = VideoReader::open(&path, ReaderOptions::default()).unwrap();
    let count = reader.by_ref().map(Result::unwrap).count();
    assert!((10..39).contains(&count), "{count}");

    // A packet in the middle whose bytes are no longer those of a frame.
    let mut hole = bytes.clone();
    let middle = bytes.len() / 2;
    hole[middle..middle + 200].fill(0xff);
    std::fs::write(&path, hole).unwrap();
    let mut reader = VideoReader::open(&path, ReaderOptions::default()).unwrap();
    let count = reader.by_ref().map(Result::unwrap).count();
    assert!(
        (36..=40).contains(&count),
        "{count}: {:?}",
        reader.notices()
    );
    std::fs::write(&path, b"").unwrap();
    let error = VideoReader::open(&path, ReaderOptions::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("is empty"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The videos of `tests/videos`: size, and the colours of the two halves that the upright ones have left and right.
#[test]
fn videos_from_the_wild_are_read_as_players_show_them() {
    const LEFT: [u8; 3] = [200, 50, 80];
    const RIGHT: [u8; 3] = [224, 172, 105];
    let faded = |colour: [u8; 3]| colour.map(|c| c / 2 + 128);
    let plain = ([64, 48], 16, LEFT, RIGHT);
    let cases = [
        ("bt709.mp4", plain),
        ("untagged.mp4", plain),
        ("full-range.mp4", plain),
        ("hlg-10-bit.mkv", plain),
        ("cover-second.mp4", plain),
        ("raw.h264", plain),
        ("variable-rate.mp4", plain),
        ("backwards.ts", ([64, 48], 32, LEFT, RIGHT)),
        ("forwards.ts", ([64, 48], 32, LEFT, RIGHT)),
        ("wide-pixels.mp4", ([128, 48], 16, LEFT, RIGHT)),
        (
            "half-transparent.mov",
            ([64, 48], 16, faded(LEFT), faded(RIGHT)),
        ),
        ("mirrored.mp4", ([64, 48], 16, RIGHT, LEFT)),
        // Turned clockwise, the left half lies on top: both corners below are of the right half.
        ("rotated.mp4", ([48, 64], 16, RIGHT, RIGHT)),
    ];
    for (name, (size, count, left, right)) in cases {
        let options = ReaderOptions {
            fps: Some(16.0),
            ..ReaderOptions::default()
        };
        let frames: Vec<_> = VideoReader::open(&wild(name), options)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(
            frames.len().abs_diff(count) <= 1,
            "{name}: {}",
            frames.len()
        );
        for (found, bytes) in frames {
            assert_eq!(found, size, "{name}");
            let corner = |x: usize| &bytes[3 * ((size[1] - 4) * size[0] + x)..][..3];
            for (found, wanted) in [(corner(4), left), (corner(size[0] - 5), right)] {
                let near = found.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 3);
                assert!(near, "{name}: {found:?} is not {wanted:?}");
            }
        }
    }
}

#[test]
fn what_is_odd_about_a_video_is_noticed() {
    let noticed = |name| {
        let mut reader = VideoReader::open(&wild(name), ReaderOptions::default()).unwrap();
        reader.by_ref().for_each(|frame| drop(frame.unwrap()));
        reader.notices()
    };
    assert!(noticed("bt709.mp4").is_empty());
    assert!(noticed("hlg-10-bit.mkv")[0].contains("HDR (HLG)"));
    assert!(noticed("backwards.ts")[0].contains("jumps"));
    for name in ["interlaced.mp4", "interlaced.mpg"] {
        let notices = noticed(name);
        assert!(notices[0].contains("is interlaced"), "{name}: {notices:?}");
    }
    let error = VideoReader::open(&wild("song.mp3"), ReaderOptions::default());
    assert!(matches!(error, Err(MediaError::NoVideo { .. })));
}

fn wild(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/videos")
        .join(name)
}
