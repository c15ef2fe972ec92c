//! What is written, and what it carries.

use super::{count, frames, probe, with};
use crate::{Place, says, stderr};

#[test]
fn an_mp4_is_what_players_expect() {
    let place = Place::new();
    place.good(&with("-o clip.mp4"));
    let path = place.path("clip.mp4");
    let (stream, format) = probe(&path);
    assert_eq!(stream["codec_name"], "h264");
    assert_eq!(stream["pix_fmt"], "yuv420p");
    assert_eq!(
        (&stream["width"], &stream["height"]),
        (&16.into(), &16.into())
    );
    assert_eq!(stream["r_frame_rate"], "8/1");
    assert_eq!(stream["nb_read_frames"], "9");
    let seconds: f64 = format["duration"].as_str().unwrap().parse().unwrap();
    assert!((seconds - 9.0 / 8.0).abs() < 0.01, "{seconds}");
    let tags = &format["tags"];
    assert_eq!(tags["prompt"], "a red house");
    assert_eq!(tags["seed"], "7");
    let pipeline = tags["nextscale"].as_str().unwrap();
    says(pipeline, &["stage: text-to-video"]);
    // The index in front: a browser plays it while it loads.
    let bytes = std::fs::read(&path).unwrap();
    let at = |what: &[u8]| bytes.windows(4).position(|w| w == what).unwrap();
    assert!(at(b"moov") < at(b"mdat"));
    assert_eq!(place.files("."), ["clip.mp4"]);
}

#[test]
fn blocks_from_the_file_make_the_same_video() {
    let place = Place::new();
    place.good(&with("-o a.mp4 --no-metadata"));
    place.good(&with("-o b.mp4 --no-metadata --stream"));
    let [loaded, streamed] = ["a.mp4", "b.mp4"].map(|n| place.read(n));
    assert!(loaded == streamed, "--stream changes the video");
}

#[test]
fn a_video_repeats_itself() {
    let place = Place::new();
    for (name, again) in [("a.mp4", "b.mp4"), ("a.webm", "b.webm"), ("a.gif", "b.gif")] {
        place.good(&with(&format!("-o {name} --frames 5")));
        let said = place.stdout(&format!("metadata {name}"));
        says(
            &said,
            &["a red house", "Seed: 7", "Frames: 5", "stage: save-video"],
        );
        place.good(&format!("run {name} --trust --set output={again}"));
        let [first, second] = [name, again].map(|n| place.read(n));
        if name.ends_with("webm") {
            // A WebM has a random number of its own.
            assert_eq!(frames(&place, name), frames(&place, again));
        } else {
            assert!(first == second, "{name} and {again} differ");
        }
    }
    place.good(&with("-o bare.mp4 --no-metadata"));
    let (_, format) = probe(&place.path("bare.mp4"));
    assert!(format["tags"].get("prompt").is_none(), "{format}");
    place.refuses("run bare.mp4", &["`bare.mp4` carries no pipeline"]);
}

#[test]
fn other_containers_and_codecs() {
    let place = Place::new();
    for (name, more, codec) in [
        ("a.webm", "", "vp9"),
        ("a.mkv", "", "h264"),
        ("a.mov", "", "h264"),
        ("h265.mp4", "--codec h265 --quality 30", "hevc"),
        ("vp9.mp4", "--codec vp9", "vp9"),
        ("A.MP4", "--fps 24", "h264"),
    ] {
        place.good(&with(&format!("-o {name} --frames 5 {more}")));
        let (stream, _) = probe(&place.path(name));
        assert_eq!(stream["codec_name"], codec, "{name}");
        assert_eq!(stream["nb_read_frames"], "5", "{name}");
        let rate = if name == "A.MP4" { "24/1" } else { "8/1" };
        assert_eq!(stream["r_frame_rate"], rate, "{name}");
    }
    // A worse quality is a smaller file.
    let size = |name: &str| std::fs::metadata(place.path(name)).unwrap().len();
    place.good(&with("-o best.mp4 --quality 0 --no-metadata"));
    place.good(&with("-o worst.mp4 --quality 51 --no-metadata"));
    assert!(size("worst.mp4") < size("best.mp4"));
}

#[test]
fn folders_of_frames_and_pictures() {
    let place = Place::new();
    place.good(&with("-o out/frames/ --frames 5"));
    let names: Vec<String> = (0..5).map(|i| format!("{i:05}.png")).collect();
    assert_eq!(place.files("out/frames"), names);
    assert_eq!(place.files("out"), ["frames"]);
    let said = place.stdout("metadata out/frames/00000.png");
    says(&said, &["a red house"]);

    for name in ["a.png", "a.jpg", "a.webp"] {
        place.good(&with(&format!("-o {name} --seconds 0")));
        assert_eq!(place.image(name).width(), 16, "{name}");
    }
    place.good(&with("-o one.mp4 --seconds 0"));
    assert_eq!(count(&place.path("one.mp4")), 1);
    place.good(&with("-o zero/ --frames 1"));
    let [one, first] = ["a.png", "zero/00000.png"].map(|name| image::open(place.path(name)));
    assert_eq!(one.unwrap(), first.unwrap());
}

#[test]
fn sizes_lengths_and_several_videos() {
    let place = Place::new();
    place.good(&with("-o wide.mp4 --aspect 3:2 --seconds 2"));
    let (stream, _) = probe(&place.path("wide.mp4"));
    assert_eq!(
        (&stream["width"], &stream["height"]),
        (&24.into(), &16.into())
    );
    assert_eq!(stream["nb_read_frames"], "17");

    place.good(&with("-p 'a cat' -b 2 -o v-{seed}.mp4"));
    let seeds = [7, 8, 9, 10].map(|seed| format!("v-{seed}.mp4"));
    seeds
        .iter()
        .for_each(|name| assert_eq!(count(&place.path(name)), 9));
    place.good(&with("-p 'a cat' -o w.gif"));
    place.good(&with("-p 'a cat' -o many/"));
    assert_eq!(place.files("many"), ["00000-7", "00001-8"]);
    assert!(place.path("w-00001.gif").exists());
    // Each of a batch is the one that it would be alone, and another seed is another video.
    place.good("video -m @video -p 'a cat' -s 9 -o x.mp4");
    let found = frames(&place, "x.mp4");
    assert_eq!(found, frames(&place, "v-9.mp4"));
    assert_ne!(found, frames(&place, "v-10.mp4"));
}

#[test]
fn previews_and_timings() {
    let place = Place::new();
    place.make_dir("steps");
    let output = place.good(&with("-o clip.mp4 --preview steps --timings"));
    // Passes that end a clip are no previews: of 3 and 2 there are 2 and 1.
    let wanted = [1, 2, 4].map(|k| format!("00000-pass-{k:03}.png"));
    assert_eq!(place.files("steps"), wanted);
    assert_eq!(count(&place.path("clip.mp4")), 9, "previews are no frames");
    let said = stderr(&output);
    says(&said, &["latent scale 5", "load frames", "clip.mp4"]);
}

/// SIGTERM in the middle of a batch: what is finished plays, and nothing else is there.
#[cfg(unix)]
#[test]
fn a_stopped_run_leaves_whole_videos() {
    use std::process::Stdio;

    for signal in [libc::SIGINT, libc::SIGTERM] {
        let place = Place::new();
        let mut command = place.command(&with("-b 100000 -o v-{index}.mp4"));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        crate::signal_after(&mut child, signal, ".mp4", 2);
        let files = place.files(".");
        assert!(files.len() >= 2);
        for name in files {
            assert!(name.starts_with("v-") && name.ends_with(".mp4"), "{name}");
            assert_eq!(count(&place.path(&name)), 9);
        }
    }
}
