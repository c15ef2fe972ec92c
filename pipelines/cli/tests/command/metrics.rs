//! `nextscale eval fid` and its relatives, GenEval and VBench, without weights of large networks.

use image::{Rgb, RgbImage};
use nextscale_metrics::features::Rows;
use nextscale_metrics::npz::{self, Statistics};
use nextscale_metrics::statistics::Moments;

use crate::{Place, says};

fn json(place: &Place, name: &str) -> serde_json::Value {
    serde_json::from_slice(&place.read(name)).unwrap()
}

/// Statistics of the corners of a square, moved by `shift`.
fn statistics(place: &Place, name: &str, shift: f32) {
    let corners = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];
    let values = corners.as_flattened().iter().map(|v| v + shift).collect();
    let mut moments = Moments::new(2);
    moments.add(&Rows { dims: 2, values }, "corners").unwrap();
    let main = moments.gaussian(name).unwrap();
    let spatial = None;
    npz::write(&place.path(name), &Statistics { main, spatial }).unwrap();
}

fn images(place: &Place, folder: &str, value: impl Fn(u8) -> u8) {
    place.make_dir(folder);
    for i in 0..3 {
        let pixel = |x: u32, y: u32| Rgb([value(i * 40 + (x * y % 30) as u8); 3]);
        let image = RgbImage::from_fn(24, 20, pixel);
        image
            .save(place.path(&format!("{folder}/{i}.png")))
            .unwrap();
    }
}

#[test]
fn a_frechet_distance_of_statistics_needs_no_weights() {
    let place = Place::new();
    statistics(&place, "a.npz", 0.0);
    statistics(&place, "b.npz", 3.0);
    let text = place.stdout("eval fid a.npz b.npz --json r.json --device cpu");
    says(&text, &["FID", "18.0000", "a.npz (statistics)"]);
    let fid = json(&place, "r.json")["fid"].as_f64().unwrap();
    assert!((fid - 18.0).abs() < 1e-9, "{fid}");
    place.good("eval fid a.npz --save-statistics c.npz --device cpu");
    let copy = npz::read(&place.path("c.npz")).unwrap();
    assert_eq!(copy, npz::read(&place.path("a.npz")).unwrap());
}

#[test]
fn pairs_are_found_by_their_names() {
    let place = Place::new();
    images(&place, "a", |v| v);
    images(&place, "b", |v| if v < 30 { v } else { v + 5 });
    let text = place.stdout("eval psnr-ssim-lpips a b --json r.json");
    says(&text, &["pairs", "1 of them identical", "PSNR", "SSIM"]);
    let report = json(&place, "r.json");
    let psnr = report["psnr"].as_f64().unwrap();
    assert!(
        (psnr - 20.0 * (255.0f64 / 5.0).log10()).abs() < 0.2,
        "{psnr}"
    );
    let same = report["pairs"][0]["ssim"].as_f64().unwrap();
    assert!((same - 1.0).abs() < 1e-9, "{same}");
    assert_eq!(report["lpips"], serde_json::Value::Null);
    RgbImage::new(8, 8).save(place.path("b/2.png")).unwrap();
    place.refuses("eval psnr-ssim-lpips a b", &["24x20", "8x8"]);
    std::fs::remove_file(place.path("b/2.png")).unwrap();
    place.refuses("eval psnr-ssim-lpips a b", &["2.png", "no partner"]);
}

#[test]
fn what_is_missing_is_told_in_one_sentence() {
    let place = Place::new();
    images(&place, "a", |v| v);
    place.make_dir("none");
    place.write("w.pth", "no weights");
    place.write("one.txt", "a cat\n");
    place.refuses_each(
        "eval",
        "
        fid a none --device cpu                 => --weights FILE is missing | pt_inception-2015-12-05-6726825d.pth
        fid a                                   => name the real images
        fid                                     => --model
        fid a none --weights w.pth --device cpu => w.pth | pytorch-fid
        fid none none --weights w.pth           => w.pth
        is a --device cpu                       => --weights FILE is missing
        is w.pth --weights w.pth --device cpu   => w.pth
        precision-recall a                      => real images
        clip-score a --device cpu               => --weights FILE is missing | openai/CLIP
        clip-score a --weights w.pth            => --vocabulary FILE is missing | bpe_simple_vocab_16e6.txt.gz
        psnr-ssim-lpips a a --weights w.pth     => w.pth | alexnet-owt-7be5be79.pth
        psnr-ssim-lpips a none                  => holds no images
        geneval --metadata one.txt -o o         => line 1 | evaluation_metadata.jsonl
        vbench --prompts none.txt -o o          => none.txt",
    );
}

#[test]
fn images_for_geneval_lie_where_its_scorer_looks_and_a_run_goes_on() {
    let place = Place::new();
    let lines = [
        r#"{"tag": "single_object", "prompt": "a cat"}"#,
        r#"{"tag": "counting", "prompt": "two dogs"}"#,
    ];
    place.write("m.jsonl", &lines.join("\n"));
    let line =
        "eval geneval --model @tiny --metadata m.jsonl -o out --samples 2 --device cpu --seed 5";
    says(&place.stdout(line), &["2 prompts", "4 of them new"]);
    assert_eq!(place.files("out"), ["00000", "00001"]);
    assert_eq!(place.files("out/00001/samples"), ["0000.png", "0001.png"]);
    assert_eq!(place.read("out/00001/metadata.jsonl"), lines[1].as_bytes());
    let before = place.read("out/00001/samples/0000.png");
    std::fs::remove_file(place.path("out/00001/samples/0000.png")).unwrap();
    says(&place.stdout(line), &["1 of them new"]);
    assert_eq!(place.read("out/00001/samples/0000.png"), before);
    place.refuses(
        &line.replace("--seed 5", "--seed 6"),
        &["out.run.json", "another seed"],
    );
}

#[cfg(feature = "ffmpeg")]
#[test]
fn videos_for_vbench_are_called_by_their_prompts() {
    let place = Place::new();
    place.write("p.json", r#"[{"prompt_en": "a dog running"}]"#);
    let line = "eval vbench --model @video --prompts p.json -o out --samples 2 --device cpu";
    says(&place.stdout(line), &["2 of them new"]);
    assert_eq!(
        place.files("out"),
        ["a dog running-0.mp4", "a dog running-1.mp4"]
    );
    says(&place.stdout(line), &["0 of them new"]);
}
