use std::path::PathBuf;

use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("nextscale-mp4-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn options(width: usize, height: usize) -> WriterOptions {
    WriterOptions {
        width,
        height,
        fps: 16,
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
    assert_eq!((info.width, info.height, info.quarters), (48, 32, 0));
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
        let path = folder.join(format!("clip.{}", container.muxer()));
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
