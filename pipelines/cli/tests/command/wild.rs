//! Files, names and prompts as they occur in the wild.

use std::io::Write;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use image::{Rgb, RgbImage, Rgba, RgbaImage};

use crate::http::{self, Answer};
use crate::{Place, pipeline, rows, says, stderr, tiny};

/// A PNG with a pipeline inside.
fn carry(place: &Place, name: &str, pipeline: &str) {
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    encoder
        .add_text_chunk("nextscale".to_owned(), pipeline.to_owned())
        .unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[0]).unwrap();
    writer.finish().unwrap();
    std::fs::write(place.path(name), bytes).unwrap();
}

#[test]
fn a_picture_of_a_stranger_reaches_nothing() {
    let place = Place::new();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = asked.clone();
    let url = http::serve(move |request| {
        noted.lock().unwrap().push(request.head.clone());
        Answer::new("200 OK", "{}")
    });
    let rewrite = format!(
        "  words: {{stage: rewrite, from: prompts, url: '{url}/v1', language-model: m, key-env: SECRET}}\n"
    );
    let evil = pipeline(tiny::model()).replacen("from: prompts\n", "from: words\n", 1) + &rewrite;
    carry(
        &place,
        "evil.png",
        &format!("output: {}\n{evil}", place.path("owned.png").display()),
    );
    for line in [
        "run evil.png",
        "validate evil.png",
        "run evil.png --set output=a.png --overwrite",
    ] {
        let output = place
            .command(line)
            .env("SECRET", "hunter2")
            .output()
            .unwrap();
        assert!(!output.status.success());
        let text = stderr(&output);
        says(&text, &["evil.png:", "to another computer", "--trust"]);
        assert!(!text.contains("hunter2"));
    }
    assert!(asked.lock().unwrap().is_empty());
    assert_eq!(place.files("."), ["evil.png"]);
    // Trusted, it asks.
    let output = place
        .command("run evil.png --trust")
        .env("SECRET", "hunter2")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(asked.lock().unwrap()[0].contains("Bearer hunter2"));
}

#[test]
fn a_pipeline_in_a_file_does_not_choose_models_places_or_files() {
    let place = Place::new();
    place.good("generate -m @tiny -p 'a red house' -s 3 -o a.png");
    let first = place.read("a.png");
    // Its model is a path, which does not count.
    place.refuses(
        "run a.png",
        &["a.png:", "no model is named", "--set model=PATH", "--trust"],
    );
    let named = format!("--set model={}", tiny::model().display());
    place.good(&format!("run a.png {named}"));
    assert_eq!(place.read("nextscale-3.png"), first);
    // It replaces nothing.
    place.write("b.png", "mine");
    let line = format!("run a.png {named} --set output=b.png");
    place.refuses(&line, &["`b.png` exists already", "--overwrite"]);
    assert_eq!(place.read("b.png"), b"mine");
    let output = place.good(&format!("{line} --overwrite"));
    says(&stderr(&output), &["`b.png` is replaced"]);
    assert_eq!(place.read("b.png"), first);

    RgbImage::from_pixel(16, 16, Rgb([9, 8, 7]))
        .save(place.path("in.png"))
        .unwrap();
    let inside = place.path("in.png").display().to_string();
    place.good(&format!(
        "edit -m @tiny -p x -s 1 -i {inside} --box 0,0,8,8 -o e.png"
    ));
    place.refuses(
        &format!("run e.png {named}"),
        &["opens `/", "not below the working folder"],
    );
    place.good("run e.png --trust --set output=f.png");
    assert_eq!(place.read("e.png"), place.read("f.png"));
}

#[test]
fn files_are_kept_if_they_are_to_be() {
    let place = Place::new();
    let line = "generate -m @tiny -p 'a cat' -s 1";
    let first = place.make(line, "a.png");
    place.refuses(
        &format!("{line} -o a.png --no-clobber"),
        &["`a.png` exists already"],
    );
    // The same bytes again are no news; others are.
    assert_eq!(stderr(&place.good(&format!("{line} -o a.png"))), "a.png\n");
    let output = place.good("generate -m @tiny -p 'a cat' -s 2 -o a.png");
    says(&stderr(&output), &["`a.png` is replaced"]);
    assert_ne!(place.read("a.png"), first);
    // In a folder, nothing is lost.
    place.make_dir("x");
    for prompt in ["a cat", "a red house", "a cat"] {
        place.good(&format!("generate -m @tiny -p '{prompt}' -s 1 -o x/"));
    }
    assert_eq!(place.files("x"), ["00000-1-2.png", "00000-1.png"]);
    assert_eq!(place.read("x/00000-1.png"), first);
}

#[test]
fn prompts_as_editors_save_them() {
    let place = Place::new();
    let wide: Vec<u8> = "\u{feff}a red house\r\na cat\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let files = [
        ("plain.txt", b"a red house\na cat\n".to_vec()),
        ("bom.txt", "\u{feff}a red house\na cat\n".into()),
        ("windows.txt", b"a red house\r\na cat\r\n".to_vec()),
        ("oldmac.txt", b"a red house\ra cat\r".to_vec()),
        ("utf16.txt", wide),
    ];
    let mut all = vec![];
    for (name, bytes) in files {
        std::fs::write(place.path(name), bytes).unwrap();
        place.good(&format!(
            "generate -m @tiny --prompt-file {name} -s 1 -o {name}-{{index}}.png"
        ));
        let image = |i| place.read(&format!("{name}-0000{i}.png"));
        all.push((image(0), image(1)));
    }
    assert!(all.iter().all(|images| *images == all[0]));

    std::fs::write(place.path("nul.txt"), b"a cat\nred \0apple\n").unwrap();
    std::fs::write(place.path("latin.txt"), b"a cat\ncaf\xe9\n").unwrap();
    place.refuses_each(
        "generate -m @tiny -s 1 -o x.png",
        "
        --prompt-file nul.txt   => nul.txt:2:5: a prompt cannot hold the character U+0000
        --prompt-file latin.txt => latin.txt:2:4: this is not UTF-8 | save the file as UTF-8",
    );
    place.write(
        "nul.yaml",
        &pipeline(tiny::model()).replace("[a red house]", "[\"red\\0apple\"]"),
    );
    place.refuses("run nul.yaml", &["nul.yaml:5:", "U+0000"]);
    let mut child = place
        .command("generate -m @tiny -s 1 -o x.png")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"a\0b\n").unwrap();
    let output = child.wait_with_output().unwrap();
    says(
        &stderr(&output),
        &["standard input:1:2: a prompt cannot hold"],
    );
    assert!(!place.path("x.png").exists());
}

#[test]
fn prompts_of_other_programs() {
    let place = Place::new();
    let output = place.good("generate -m @tiny -p 'a (red:1.3) apple, <lora:x:1>' -s 1 -o a.png");
    says(&stderr(&output), &["`(red:1.3)` has no effect of its own"]);
    assert_eq!(stderr(&output).matches("no effect of its own").count(), 1);
    place.good("generate -m @tiny -p '-n ugly' -n '--dark' -s 1 -o b.png");
    says(
        &place.stdout("metadata b.png"),
        &["-n ugly\nNegative prompt: --dark"],
    );
    // Values that hold what separates values are quoted.
    place.good("generate -m @tiny -p 'a cat' --cfg-scale 1,2,3 -s 1 -o c.png");
    says(&place.stdout("metadata c.png"), &["CFG scale: \"1,2,3\", "]);
}

#[test]
fn names_made_of_prompts() {
    let place = Place::new();
    for (prompt, name) in [
        ("\u{1f98a}", "image.png"),
        ("CON", "CON_.png"),
        ("../../etc/x", "etc-x.png"),
    ] {
        place.good(&format!(
            "generate -m @tiny -p '{prompt}' -s 1 -o {{prompt}}.png"
        ));
        assert!(
            place.path(name).exists(),
            "{name} in {:?}",
            place.files(".")
        );
    }
    let long = "\u{1d41a}".repeat(80);
    place.good(&format!(
        "generate -m @tiny -p '{long}' -s 18446744073709551615 -o {{prompt}}-{{seed}}.png"
    ));
    let too_long = format!("{}.png", "x".repeat(300));
    place.refuses(
        &format!("generate -m @tiny -p x -s 1 -o {too_long}"),
        &["a file name of 304 bytes is too long"],
    );
}

#[test]
fn seeds_as_everywhere() {
    let place = Place::new();
    for line in [
        "generate -m @tiny -p x -s -1 -o a.png",
        "generate -m @tiny -p x -o b.png",
    ] {
        let output = place.good(line);
        let text = stderr(&output);
        let seed = text
            .lines()
            .find_map(|line| line.strip_prefix("seed: "))
            .unwrap();
        assert!(seed.parse::<u64>().unwrap() < 1 << 53, "{seed}");
    }
    place.write("p.yaml", &format!("seed: -1\n{}", pipeline(tiny::model())));
    says(
        &stderr(&place.good("run p.yaml --set output=c.png")),
        &["seed: "],
    );
    place.refuses(
        "run p.yaml --set seed=-2",
        &["--set seed=-2", "-1 for a random seed"],
    );
}

#[test]
fn images_in_other_formats_carry_their_pipeline() {
    let place = Place::new();
    for name in ["a.jpg", "a.webp"] {
        place.good(&format!(
            "generate -m @tiny -p 'a cat, caf\u{e9}' -s 4 -o {name}"
        ));
        says(
            &place.stdout(&format!("metadata {name}")),
            &["a cat, caf\u{e9}\n", "Seed: 4", "stages:"],
        );
        place.good(&format!("run {name} --trust --set output=again-{name}"));
        assert_eq!(place.read(name), place.read(&format!("again-{name}")));
    }
    assert_eq!(place.image("a.webp"), {
        place.good("generate -m @tiny -p 'a cat, caf\u{e9}' -s 4 -o a.png");
        place.image("a.png")
    });
}

#[test]
fn masks_of_other_programs() {
    let place = Place::new();
    RgbImage::from_pixel(16, 16, Rgb([200, 30, 30]))
        .save(place.path("red.png"))
        .unwrap();
    let left = |inside: [u8; 4], outside: [u8; 4]| {
        RgbaImage::from_fn(16, 16, |x, _| Rgba(if x < 8 { inside } else { outside }))
    };
    let edit = "edit -m @tiny -p x -s 1 -i red.png";
    left([255; 4], [0, 0, 0, 255])
        .save(place.path("plain.png"))
        .unwrap();
    left([0; 4], [240, 250, 230, 255])
        .save(place.path("hole.png"))
        .unwrap();
    left([255; 4], [0; 4])
        .save(place.path("shape.png"))
        .unwrap();
    left([1, 1, 1, 255], [0, 0, 0, 255])
        .save(place.path("ones.png"))
        .unwrap();
    place.good(&format!("{edit} --mask plain.png -o a.png"));
    let output = place.good(&format!("{edit} --mask hole.png -o b.png"));
    says(&stderr(&output), &["`hole.png` has transparent parts"]);
    assert!(place.image("a.png") == place.image("b.png"));
    place.refuses_each(
        &format!("{edit} -o x.png"),
        "
        --mask shape.png => can be read in two ways
        --mask ones.png  => is 1 of 255",
    );
    // An image with a hole needs no mask.
    left([0; 4], [200, 30, 30, 255])
        .save(place.path("holed.png"))
        .unwrap();
    place.good("edit -m @tiny -p x -s 1 -i holed.png -o c.png");
    place.refuses(
        "edit -m @tiny -p x -s 1 -i red.png -o x.png",
        &["nothing says which part"],
    );
}

#[cfg(unix)]
#[test]
fn rights_links_and_pipes() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let place = Place::new();
    let line = "generate -m @tiny -p x -s 1";
    for (mask, mode) in [("077", 0o600), ("002", 0o664), ("022", 0o644)] {
        let mut command = std::process::Command::new("sh");
        let program = env!("CARGO_BIN_EXE_nextscale");
        let model = tiny::model().display();
        let script =
            format!("umask {mask}; exec {program} generate -m {model} -p x -s 1 -o {mask}.png");
        let status = command
            .args(["-c", &script])
            .current_dir(place.folder.path())
            .status();
        assert!(status.unwrap().success());
        let found = std::fs::metadata(place.path(&format!("{mask}.png"))).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, mode, "{mask}");
    }
    let bytes = place.read("022.png");
    place.make_dir("real");
    symlink("real/a.png", place.path("link.png")).unwrap();
    place.good(&format!("{line} -o link.png"));
    assert_eq!(place.read("real/a.png"), bytes);
    for name in ["a.gif", "a.mp4"]
        .into_iter()
        .filter(|name| cfg!(feature = "ffmpeg") || name.ends_with("gif"))
    {
        symlink(format!("real/{name}"), place.path(name)).unwrap();
        place.good(&format!("video -m @video -p x -s 1 -o {name}"));
        assert!(place.path("real").join(name).is_file(), "{name}");
        assert!(
            std::fs::symlink_metadata(place.path(name))
                .unwrap()
                .is_symlink()
        );
    }
    let output = place.good(&format!("{line} -o /dev/stdout"));
    assert_eq!(output.stdout, bytes);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let name = OsStr::from_bytes(b"caf\xe9.png");
    place.good("generate -m @tiny -p 'a cat' -s 1 -o a.png");
    std::fs::rename(place.path("a.png"), place.folder.path().join(name)).unwrap();
    let output = place.command("metadata").arg(name).output().unwrap();
    says(&String::from_utf8_lossy(&output.stdout), &["a cat"]);
    for line in [
        "generate -m @tiny -p x -o x.png -i",
        "edit -m @tiny -p x -o x.png --box 0,0,8,8 -i",
    ] {
        let output = place.command(line).arg(name).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        says(
            &stderr(&output),
            &[
                "error: cannot use --init-image",
                "a link can give a file such a name",
            ],
        );
    }
}

#[cfg(unix)]
#[test]
fn devices_without_end_are_refused_and_pipes_are_read() {
    let place = Place::new();
    let table = "
        generate -m @tiny --prompt-file /dev/zero -o a.png => /dev/zero | too large
        run /dev/zero => /dev/zero | too large
        edit -m @tiny --init-image /dev/zero --box 0,0,8,16 -p x -o a.png => /dev/zero | too large";
    for (line, parts) in rows(table) {
        place.refuses(line, &parts);
    }
    RgbImage::new(24, 16).save(place.path("a.png")).unwrap();
    let line = "edit -m @tiny -s 1 --box 0,0,8,16 -p x --init-image";
    let wanted = place.make(&format!("{line} a.png --no-metadata"), "b.png");
    let piped = format!("{line} /dev/stdin --no-metadata -o c.png");
    let mut command = place.command(&piped);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(&place.read("a.png")).unwrap();
    drop(pipe);
    assert!(child.wait().unwrap().success());
    assert!(place.read("c.png") == wanted);
}

#[test]
fn messages_about_a_strangers_file_cannot_command_the_terminal() {
    let place = Place::new();
    carry(&place, "key.png", "\"\\e[2Jkey\": 1\n");
    place.refuses("run key.png", &["unknown key `\\u{1b}[2Jkey`"]);
    let kind = "stages: {a: {stage: \"\\e]0;title\\a\"}}\n";
    carry(&place, "stage.png", kind);
    place.refuses("run stage.png", &["no stage `\\u{1b}]0;title\\u{7}`"]);
    let line = "generate -m @tiny -s 1 -o a.png -p '(\x1b[2J:1.3) x'";
    let said = stderr(&place.good(line));
    assert!(!said.contains('\x1b'), "{said:?}");
}
