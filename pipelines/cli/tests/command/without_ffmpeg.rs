//! A program that was built without FFmpeg.

use crate::{Place, tiny};

#[test]
fn videos_are_refused_and_all_else_is_written() {
    let place = Place::new();
    let model = tiny::video_model().to_str().unwrap();
    let with = |more: &[&'static str]| {
        let first = ["video", "-m", model, "-p", "a red house", "-s", "7"];
        [&first, more].concat()
    };
    place.refuses(
        &with(&["-o", "a.mp4"]),
        &[
            "built without FFmpeg, which writes .mp4",
            "hint: write a .gif or a folder of frames",
        ],
    );
    place.write("v.mp4", "");
    place.refuses(
        &with(&["-o", "a.gif", "--video", "v.mp4"]),
        &["`v.mp4` cannot be read: this program was built without FFmpeg"],
    );
    place.good(&with(&["-o", "a.gif"]));
    place.good(&with(&["-o", "frames/"]));
    assert_eq!(place.files("frames").len(), 9);
    place.good(&with(&["-o", "a.png", "--seconds", "0"]));
    place.good("run a.gif --set output=b.gif");
    let [a, b] = ["a.gif", "b.gif"].map(|name| place.read(name));
    assert!(a == b);
}
