//! A program that was built without FFmpeg.

use crate::Place;

#[test]
fn videos_are_refused_and_all_else_is_written() {
    let place = Place::new();
    place.write("v.mp4", "");
    let first = "video -m @video -p 'a red house' -s 7";
    place.refuses_each(
        first,
        "
        -o a.mp4               => built without FFmpeg, which writes .mp4 | hint: write a .gif or a folder of frames
        -o a.gif --video v.mp4 => `v.mp4` cannot be read: this program was built without FFmpeg",
    );
    for more in ["-o a.gif", "-o frames/", "-o a.png --seconds 0"] {
        place.good(&format!("{first} {more}"));
    }
    assert_eq!(place.files("frames").len(), 9);
    place.good("run a.gif --trust --set output=b.gif");
    assert!(place.read("a.gif") == place.read("b.gif"));
}
