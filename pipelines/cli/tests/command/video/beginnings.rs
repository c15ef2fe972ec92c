//! Videos that begin with a picture or go on from a video.

use image::{Rgb, RgbImage};
use nextscale_models::FirstFrame;

use super::{count, ffmpeg, frames, probe, with};
use crate::{Place, instruct, tiny};

fn picture(place: &Place, name: &str, colour: [u8; 3]) {
    let picture = RgbImage::from_pixel(60, 40, Rgb(colour));
    picture.save(place.path(name)).unwrap();
}

/// The first frame of a folder of frames.
fn first(place: &Place, folder: &str) -> Vec<u8> {
    let frame = image::open(place.path(folder).join("00000.png")).unwrap();
    frame.into_rgb8().into_raw()
}

#[test]
fn a_picture_is_the_beginning() {
    let place = Place::new();
    picture(&place, "red.png", [250, 10, 10]);
    picture(&place, "blue.jpg", [10, 10, 250]);
    place.good(&with("--image red.png -o red/"));
    // What the model draws does not change the given image.
    place.good(&with("-i red.png --cfg-scale 5 -o again/"));
    place.good(&with("--init-image blue.jpg -o blue/"));
    assert_eq!(place.files("red").len(), 9);
    assert_eq!(first(&place, "red"), first(&place, "again"));
    assert_ne!(first(&place, "red"), first(&place, "blue"));
    // The picture is wide, so the video is, unless a size is asked for.
    let size = |folder: &str| {
        image::open(place.path(folder).join("00000.png"))
            .unwrap()
            .width()
    };
    assert_eq!(size("red"), 24);
    place.good(&with("-i red.png -W 16 -H 16 -o square/"));
    assert_eq!(size("square"), 16);
}

#[test]
fn a_video_goes_on() {
    let place = Place::new();
    place.good(&with("--seconds 2 -o one.mp4"));
    place.good(&with("--video one.mp4 -o two/"));
    assert_eq!(
        place.files("two").len(),
        17,
        "9 given frames and as many as a clip"
    );
    place.good(&with("--video one.mp4 --frames 13 -o short.mp4"));
    assert_eq!(count(&place.path("short.mp4")), 13);
    // The given frames are the same whatever is drawn behind them; the new ones are not.
    place.good("video -m @video -p 'a cat' -s 7 --video one.mp4 -o cat/");
    let frame = |folder: &str, i: usize| {
        std::fs::read(place.path(folder).join(format!("{i:05}.png"))).unwrap()
    };
    (1..9).for_each(|i| assert_eq!(frame("two", i), frame("cat", i), "frame {i}"));
    assert!((9..17).any(|i| frame("two", i) != frame("cat", i)));
}

/// Frames of odd size, turned by metadata, at a rate that varies: all become the model's.
#[test]
fn any_video_will_do() {
    let place = Place::new();
    let make = |name: &str, size: &str, more: &str| {
        let source = format!("testsrc2=size={size}:rate=25:duration=3");
        ffmpeg(&place, &format!("-f lavfi -i {source} {more} {name}"));
    };
    make("odd.mkv", "35x21", "-c:v ffv1");
    make("grey.avi", "40x40", "-pix_fmt gray -c:v rawvideo");
    let rates = "select=not(mod(n\\,5))+lt(n\\,20)";
    make("vfr.mp4", "48x32", &format!("-vf {rates} -fps_mode vfr"));
    make("flat.mp4", "48x32", "-c:v libx264 -g 250");
    ffmpeg(
        &place,
        "-i flat.mp4 -c copy -metadata:s:v:0 rotate=90 turned.mp4",
    );
    // Sound that goes on for 20 s behind the pictures; Matroska only says how long the whole is.
    ffmpeg(&place, "-f lavfi -i sine=duration=23 -i flat.mp4 sound.mkv");
    for name in "odd.mkv grey.avi vfr.mp4 flat.mp4 turned.mp4 sound.mkv".split(' ') {
        let out = format!("{name}.out.mp4");
        place.good(&with(&format!("--video {name} -o {out}")));
        let (stream, _) = probe(&place.path(&out));
        assert_eq!(stream["nb_read_frames"], "17", "{name}");
        // The nearest shape that the model has; one that is turned to stand upright is not wide.
        let wide = !matches!(name, "grey.avi" | "turned.mp4");
        assert_eq!(stream["width"], if wide { 24 } else { 16 }, "{name}");
    }
}

/// A video of four hours of which only the end can be decoded: nothing else is read.
#[test]
fn only_the_end_of_a_long_video_is_read() {
    let place = Place::new();
    let colour = "color=c=orange:size=32x32:rate=2:duration=14400";
    let coded = "-c:v mpeg4 -g 20 -movflags faststart";
    ffmpeg(&place, &format!("-f lavfi -i {colour} {coded} long.mp4"));
    let mut bytes = place.read("long.mp4");
    let data = bytes.windows(4).position(|w| w == b"mdat").unwrap() + 4;
    let end = bytes.len() - (bytes.len() - data) / 100;
    bytes[data..end].fill(0x5a);
    std::fs::write(place.path("long.mp4"), &bytes).unwrap();
    let start = std::time::Instant::now();
    place.good(&with("--video long.mp4 -o end.mp4"));
    let took = start.elapsed().as_secs_f64();
    assert!(took < 20.0, "{took} s");
    assert_eq!(count(&place.path("end.mp4")), 17);
}

/// Makes an interactive model in the folder `story`.
fn interactive(place: &Place) {
    tiny::make_video(&place.make_dir("story"), |manifest| {
        manifest.semantic_scale = Some(0);
        manifest.frames.longest = 9;
        manifest.frames.step = 8;
    });
}

#[test]
fn a_story_goes_on_from_prompt_to_prompt() {
    let place = Place::new();
    interactive(&place);
    place.good(&with("--seconds 2 -o before.mp4"));
    let story = |prompts: &[&str], out: &str| {
        let prompts: Vec<String> = prompts.iter().map(|p| format!("-p '{p}'")).collect();
        let first = format!("video -m story -s 3 --video before.mp4 -o {out}");
        place.good(&format!("{first} {}", prompts.join(" ")));
    };
    story(&["a red house", "a cat", "a tree"], "story.mp4");
    assert_eq!(count(&place.path("story.mp4")), 24, "8 frames a prompt");
    let (_, format) = probe(&place.path("story.mp4"));
    assert_eq!(format["tags"]["prompt"], "a red house\na cat\na tree");
    // A turn depends on those before, not on those behind.
    story(&["a red house"], "one/");
    story(&["a red house", "a cat"], "two/");
    story(&["a tree", "a cat"], "other/");
    let frame = |folder: &str, i: usize| {
        image::open(place.path(folder).join(format!("{i:05}.png")))
            .unwrap()
            .into_rgb8()
    };
    assert_eq!(place.files("two").len(), 16);
    (0..8).for_each(|i| assert_eq!(frame("one", i), frame("two", i), "frame {i}"));
    assert!((8..16).any(|i| frame("two", i) != frame("other", i)));
    // All prompts are in the record.
    place.good("run story.mp4 --trust --set output=again.mp4");
    assert_eq!(frames(&place, "again.mp4"), frames(&place, "story.mp4"));

    place.refuses_each(
        "video -m story",
        "-p 'a cat' -o x.mp4 => continues a video | --video FILE",
    );
}

/// A model that continues its own videos tells a story clip by clip: each prompt continues what `--video` would.
#[test]
fn a_model_that_continues_videos_tells_a_story() {
    let place = Place::new();
    let story = |prompts: &[&str], more: &str| {
        let prompts: Vec<String> = prompts.iter().map(|p| format!("-p '{p}'")).collect();
        let prompts = prompts.join(" ");
        place.good(&format!("video -m @video --story -s 7 {prompts} {more}"));
    };
    let [house, cat, tree] = ["a red house", "a cat", "a tree"];
    story(&[house, cat, tree], "-o three.mp4");
    assert_eq!(
        count(&place.path("three.mp4")),
        25,
        "the image and 8 frames a prompt"
    );
    story(&[house], "-o one/");
    story(&[house, cat], "-o two/");
    story(&[tree, cat], "-o other/");
    let frame = |folder: &str, i: usize| {
        image::open(place.path(folder).join(format!("{i:05}.png")))
            .unwrap()
            .into_rgb8()
    };
    assert_eq!(
        (place.files("one").len(), place.files("two").len()),
        (9, 17)
    );
    (0..9).for_each(|i| assert_eq!(frame("one", i), frame("two", i), "frame {i}"));
    assert!((9..17).any(|i| frame("two", i) != frame("other", i)));
    // A prompt sees the frames before it as if they were given. The folder is read without loss.
    ffmpeg(&place, "-framerate 8 -i one/%05d.png -c:v ffv1 one.mkv");
    place.good("video -m @video -p 'a cat' -s 7 --video one.mkv -o given/");
    (9..17).for_each(|i| {
        let (ours, given) = (frame("two", i), frame("given", i));
        let far = |(a, b): (&u8, &u8)| a.abs_diff(*b);
        let far = ours.as_raw().iter().zip(given.as_raw()).map(far).max();
        assert!(far <= Some(3), "frame {i}: {far:?}");
    });
    // A story can go on from a video or an image, and is in the record.
    story(&[cat, tree], "--video one.mkv -o on.mp4");
    assert_eq!(count(&place.path("on.mp4")), 25);
    picture(&place, "red.png", [250, 10, 10]);
    story(&[cat, tree], "--image red.png -W 16 -H 16 -o red.mp4");
    assert_eq!(count(&place.path("red.mp4")), 17);
    place.good("run three.mp4 --trust --set output=again.mp4");
    assert_eq!(frames(&place, "again.mp4"), frames(&place, "three.mp4"));

    tiny::make_video(&place.make_dir("short"), |manifest| {
        manifest.frames.longest = 13;
    });
    place.refuses_each(
        "video --story -p 'a cat' -p 'a dog' -o x.mp4",
        "-m short => error: the model `tiny` makes a video of one prompt, not of a story | infinitystar-8b-480p
        -m @video --seconds 1 => each prompt adds 1 s | leave out the length",
    );
}

#[test]
fn a_first_frame_does_not_come_from_an_editor() {
    let place = Place::new();
    tiny::make_video(&place.make_dir("painted"), |manifest| {
        manifest.first_frame = Some(FirstFrame {
            model: instruct::model().display().to_string(),
            size: 1.0,
            background: [0, 0, 0],
            motions: vec![],
        });
    });
    let said = ["which edits images", "give the video an image instead"];
    place.refuses("video -m painted -p 'a cat' -o x.mp4", &said);
}

#[test]
fn a_model_lets_another_paint_its_first_frame() {
    let place = Place::new();
    tiny::make_video(&place.make_dir("painted"), |manifest| {
        manifest.first_frame = Some(FirstFrame {
            model: "default".into(),
            size: 0.5,
            background: [0, 0, 0],
            motions: vec!["bouncing".into()],
        });
    });
    let make = |prompt: &str, out: &str| {
        place.good(&format!("video -m painted -p '{prompt}' -s 7 -o {out}"));
    };
    make("a red house", "a/");
    make("a red house bouncing", "b/");
    make("a blue tree", "c/");
    assert_eq!(
        first(&place, "a"),
        first(&place, "b"),
        "motion is no part of the picture"
    );
    assert_ne!(first(&place, "a"), first(&place, "c"));
    // It is what the same picture gives as a file: that one is made smaller in the same way.
    place.good("generate -p 'a red house' -s 7 -o house.png");
    place.good("video -m painted -p 'a red house' -s 7 -i house.png -o d/");
    assert_eq!(place.files("a").len(), 9);
    for i in 0..9 {
        let frame = |folder: &str| image::open(place.path(folder).join(format!("{i:05}.png")));
        assert_eq!(frame("a").unwrap(), frame("d").unwrap(), "frame {i}");
    }
}
