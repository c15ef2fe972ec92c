//! Files, names and prompts as they occur in the wild.

use std::io::Write;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use image::{Rgb, RgbImage, Rgba, RgbaImage};
use nextscale_tokenizer::ScaleSchedule;

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
    let done = |line: &str, name: &[u8]| {
        let output = place.command(line).arg(OsStr::from_bytes(name)).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        output
    };
    let is_there = |name: &[u8]| place.folder.path().join(OsStr::from_bytes(name)).is_file();
    for line in [
        "generate -m @tiny -p x -s 1 -o x.png -i",
        "edit -m @tiny -p x -s 1 -o x.png --box 0,0,8,8 -i",
        "edit -m @tiny -p x -s 1 -o x.png -i x.png --mask",
        "video -m @video -p x -s 1 -o x.gif --image",
    ] {
        done(line, b"caf\xe9.png");
    }
    // Placeholders and numbers, folders, the prompts, the model, a clip to continue.
    let line = "generate -m @tiny -p x -s 1 -b 2 -o";
    done(line, b"\xe9-{seed}.png");
    assert!(is_there(b"\xe9-1.png") && is_there(b"\xe9-2.png"));
    done(line, b"\xe9.png");
    assert!(is_there(b"\xe9-00000.png") && is_there(b"\xe9-00001.png"));
    std::fs::create_dir(place.folder.path().join(OsStr::from_bytes(b"\xff"))).unwrap();
    done(line, b"\xff/");
    assert!(is_there(b"\xff/00000-1.png") && is_there(b"\xff/00001-2.png"));
    done("generate -m @tiny -p x -s 1 -o x.png --preview", b"\xff");
    assert!(is_there(b"\xff/00000-scale-01.png"));
    let prompts = OsStr::from_bytes(b"p\xe9.txt");
    std::fs::write(place.folder.path().join(prompts), "a cat\n").unwrap();
    done(
        "generate -m @tiny -s 1 -o x.png --prompt-file",
        b"p\xe9.txt",
    );
    let model = place.folder.path().join(OsStr::from_bytes(b"m\xe9"));
    std::os::unix::fs::symlink(tiny::model(), &model).unwrap();
    done("generate -p x -s 1 -o x.png -m", b"m\xe9");
    done("video -m @video -p x -s 1 -o", b"c\xe9.gif");
    assert!(is_there(b"c\xe9.gif"));
    // A pipeline that is printed is read back.
    let printed = done(
        "generate -m @tiny -p x -s 1 --print-pipeline -o",
        b"y\xe9.png",
    );
    std::fs::write(place.path("y.yaml"), printed.stdout).unwrap();
    place.good("run y.yaml");
    assert!(is_there(b"y\xe9.png"));
    if cfg!(feature = "ffmpeg") {
        done("video -m @video -p x -s 1 -o", b"c\xe9.mp4");
        assert!(is_there(b"c\xe9.mp4"));
        done("video -m @video -p x -s 1 -o x.gif --video", b"c\xe9.mp4");
    }
}

#[test]
fn of_two_files_of_a_name_the_newer_one_is_taken() {
    let place = Place::new();
    let schedule = ScaleSchedule::square(&[1, 2, 3, 4, 5, 6, 8, 10, 13, 16]).unwrap();
    let (transformer, vae) = tiny::class_parts(schedule, 24);
    let names = ["var_d16.safetensors", "vae_ch160v4096z32.safetensors"];
    tiny::save_class(place.folder.path(), names, &transformer, &vae);
    for name in names {
        let twin = name.replace("safetensors", "pth");
        std::fs::copy(place.path(name), place.path(&twin)).unwrap();
    }
    let date = |name: &str, hours: u64| {
        let file = std::fs::File::options().write(true).open(place.path(name));
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * hours);
        file.unwrap().set_modified(time).unwrap();
    };
    let says_of = |model: &str, parts: &[&str]| {
        let output = place.good(&format!("generate -m {model} --class 2 -s 1 -o x.png"));
        let text = stderr(&output);
        says(&text, parts);
        assert_eq!(text.matches("is taken, and").count(), parts.len(), "{text}");
    };
    date("var_d16.pth", 2);
    date("var_d16.safetensors", 1);
    date("vae_ch160v4096z32.pth", 1);
    date("vae_ch160v4096z32.safetensors", 1);
    let vae = "vae_ch160v4096z32.safetensors is taken, and ";
    says_of(".", &["var_d16.pth is taken, and ", vae]);
    // A path that was typed is never exchanged.
    for typed in ["var_d16.safetensors", "var_d16.pth"] {
        says_of(typed, &[vae]);
    }
    says_of("var_d16.pth --tokenizer vae_ch160v4096z32.pth", &[]);
    std::fs::write(place.path("var_d16.pth"), b"").unwrap();
    says_of("var_d16.safetensors", &[vae]);
    place.refuses(
        "generate -m . --class 2 -o x.png",
        &["var_d16.pth: it is empty"],
    );
}

#[test]
fn files_that_are_no_checkpoint_are_named_once() {
    let place = Place::new();
    let mut half = 60u64.to_le_bytes().to_vec();
    half.extend(br#"{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}     "#);
    for (name, bytes) in [
        (
            "pointer.safetensors",
            &b"version https://git-lfs.github.com/spec/v1\n"[..],
        ),
        ("page.pth", b"<!doctype html>"),
        ("empty.safetensors", b""),
        ("half.safetensors", &half),
        ("half.pth", b"PK\x03\x04 and no more"),
    ] {
        std::fs::write(place.path(name), bytes).unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink("gone/blob", place.path("link.pth")).unwrap();
    for (name, said) in [
        (
            "pointer.safetensors",
            "it is a Git LFS pointer, not the weights: run `git lfs pull`",
        ),
        (
            "page.pth",
            "it is a web page, not the weights: download the file itself",
        ),
        ("empty.safetensors", "it is empty: download it again"),
        (
            "half.safetensors",
            "it is cut off or damaged: 68 bytes, and its header says 104: download it again",
        ),
        (
            "half.pth",
            "it is cut off or damaged: an archive without its end: download it again",
        ),
        #[cfg(unix)]
        (
            "link.pth",
            "it is a link to `gone/blob`, which is gone: download it again",
        ),
    ] {
        for line in ["generate -p x -o x.png -m", "convert -o y.safetensors"] {
            let text = place.refused(&format!("{line} {name}"));
            says(&text, &[said]);
            assert_eq!(text.matches(name).count(), 1, "{text}");
        }
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("gone", place.path("infinity_2b_reg.pth")).unwrap();
        place.refuses(
            "generate -m infinity-2b -p x -o x.png",
            &[
                "infinity_2b_reg.pth (./infinity_2b_reg.pth is a link to gone, which is gone) and",
                "flan-t5-xl not found",
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

#[test]
fn words_that_the_vocabulary_cannot_spell_are_named() {
    let place = Place::new();
    let line = "generate -s 1 -W 64";
    let output = place.good(&format!(
        "{line} -p '\u{62a}\u{641}\u{627}\u{62d}\u{629} red \u{732b} \u{732b}' -o a.png"
    ));
    let text = stderr(&output);
    says(
        &text,
        &[
            "this model does not know 3 of the 4 words",
            "`\u{62a}\u{641}\u{627}\u{62d}\u{629}`, `\u{732b}`\n",
        ],
    );
    assert_eq!(text.matches("does not know").count(), 1, "{text}");
    let text = stderr(&place.good(&format!("{line} -p 'red caf\u{e9}' -o a.png")));
    says(&text, &["this model does not know the word `caf\u{e9}`"]);
    let many: Vec<String> = ('\u{4e00}'..).take(12).map(String::from).collect();
    let text = stderr(&place.good(&format!("{line} -p '{}' -o a.png", many.join(" "))));
    says(&text, &["12 of the 12 words", "`\u{4e07}` and 4 more"]);
    let text = stderr(&place.good(&format!("{line} -p 'a red apple, flat style' -o b.png")));
    assert!(!text.contains("does not know"), "{text}");
}

#[test]
fn known_words_stand_for_unknown_ones() {
    let place = Place::new();
    let line = "generate -s 1 -W 64";
    let text = stderr(&place.good(&format!("{line} -p 'a sleepy puppy' -o puppy.png")));
    says(
        &text,
        &["does not know the word `puppy`: `dog` stands for it"],
    );
    place.good(&format!("{line} -p 'a sleepy dog' -o dog.png"));
    let pixels = |file: &str| image::open(place.path(file)).unwrap().into_rgb8();
    assert!(pixels("puppy.png") == pixels("dog.png"));
    // A word that says what is meant is not looked for where a known one says it.
    let text = stderr(&place.good(&format!("{line} -p 'a dog with a puppy' -o both.png")));
    says(&text, &["does not know the word `puppy`: it is left out"]);
    assert!(pixels("both.png") == pixels_of(&place, line, "a dog"));
    let styled = pixels_of(&place, line, "a sleepy puppy on a zeppelin, flat style");
    assert!(styled == pixels_of(&place, line, "a sleepy dog, flat style"));
}

/// The image of a prompt.
fn pixels_of(place: &Place, line: &str, prompt: &str) -> image::RgbImage {
    place.good(&format!("{line} -p '{prompt}' -o of.png"));
    image::open(place.path("of.png")).unwrap().into_rgb8()
}

#[test]
fn words_that_no_caption_had_are_named() {
    let place = Place::new();
    let line = "generate -s 1 -W 64 -o a.png";
    let text = stderr(&place.good(&format!("{line} -p 'A red zeppelin, flat style'")));
    says(&text, &["does not know the word `zeppelin`"]);
    let prompts = "two dogs on a light-blue background|the Apple, noto style";
    for prompt in prompts.split('|') {
        let text = stderr(&place.good(&format!("{line} -p '{prompt}'")));
        assert!(!text.contains("does not know"), "{prompt}: {text}");
    }
    let clip = "video -s 1 --frames 1 -o a.gif -p 'a red apple bouncing quixotically'";
    says(&stderr(&place.good(clip)), &["the word `quixotically`"]);
}

/// What is asked for, and how it ends: in this image, with or without a stated adjustment, or in a sentence.
#[test]
fn sizes_as_they_are_typed() {
    let place = Place::new();
    let line = "generate -m @tiny -p 'a cat' -s 1 -o x.png";
    for (more, size, notice) in [
        ("--aspect 1:1", (16, 16), None),
        ("--aspect 3:2", (24, 16), None),
        ("--aspect 1.5", (24, 16), None),
        (
            "--aspect 16:9",
            (24, 16),
            Some("the aspect ratio 16:9 is adjusted to 24x16 pixels"),
        ),
        (
            "--aspect 16x9",
            (24, 16),
            Some("the aspect ratio 16x9 is adjusted to 24x16 pixels"),
        ),
        ("-W 24", (24, 16), None),
        ("-H 16", (16, 16), None),
        ("-W 24 -H 16", (24, 16), None),
    ] {
        let text = stderr(&place.good(&format!("{line} {more}")));
        assert_eq!(place.image("x.png").dimensions(), size, "{more}");
        assert_eq!(
            text.contains("adjusted"),
            notice.is_some(),
            "{more}: {text}"
        );
        says(&text, notice.as_slice());
    }
    std::fs::remove_file(place.path("x.png")).unwrap();
    place.refuses_each(
        line,
        "
        --aspect 0:1   => error: --aspect: `0:1` is not a ratio | hint: write width:height, for example 16:9
        --aspect 1:0   => `1:0` is not a ratio | for example 16:9
        --aspect wide  => `wide` is not a ratio | for example 16:9
        --aspect 16:   => `16:` is not a ratio | for example 16:9
        --aspect -1:1  => unexpected argument
        --aspect 9:16  => does not generate that | the nearest that it generates is 16x16
        -W 64          => error: --width: the model | does not generate images 64 pixels wide | the nearest size is 24x16
        -H 20          => error: --height: the model | does not generate images 20 pixels high | the nearest size is 16x16
        -W 20 -H 20    => does not generate 20x20 pixels | the nearest size is
        -W 0           => does not generate images 0 pixels wide | the nearest size is 16x16
        -W 0 -H 0      => does not generate 0x0 pixels | the nearest size is 16x16
        -W 16.0        => invalid value '16.0' for '--width <WIDTH>'
        -W 24 --aspect 1:1 => cannot be used with",
    );
}

#[cfg(feature = "ffmpeg")]
#[test]
fn lengths_in_prompts_of_videos() {
    let place = Place::new();
    let line = "video -m @video -s 7 --no-metadata";
    let plain = place.make(&format!("{line} -p 'a cat'"), "a.gif");
    for (name, more) in [
        ("b.gif", "-p '<<<t=1s>>>a cat'"),
        ("c.gif", "-p '<<<t=1s>>> a cat' --seconds 1"),
        ("d.gif", "-p '<<<t=1s>>>a cat' --frames 9"),
    ] {
        assert!(
            place.make(&format!("{line} {more}"), name) == plain,
            "{more}"
        );
    }
    // Without --seconds the prompt gives the length.
    let longer = place.make(&format!("{line} -p '<<<t=2s>>>a cat'"), "e.gif");
    assert!(longer == place.make(&format!("{line} -p 'a cat' --seconds 2"), "f.gif"));
    place.write("p.txt", "<<<t=2s>>>a cat\n");
    place.refuses_each(
        "video -m @video -s 7 -o x.gif",
        "
        -p '<<<t=1s>>>a cat' --seconds 2 => states a length of 1 s, and the video has 2 s | --seconds
        -p '<<<t=1s>>>a cat' --seconds 0 => states a length of 1 s, and the video has 0 s
        -p '<<<t=1s>>>' => the prompt `<<<t=1s>>>` is empty but for its length
        -p '<<<t=7s>>>a cat' => makes no video of 7 s | the longest is
        --prompt-file p.txt => states a length of 2 s, and the video has 1 s",
    );
}
