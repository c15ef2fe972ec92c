//! Metrics compared with the packages that papers use.

use burn::tensor::Device;
use image::RgbImage;
use nextscale_metrics::features::{Features, Rows};
use nextscale_metrics::inception::{Inception, Preparation, Variant, tensors};
use nextscale_metrics::lpips::Lpips;
use nextscale_metrics::statistics::Moments;
use nextscale_metrics::{frechet, inception_score, manifold, pairs};
use serde_json::Value;

use crate::hashed_vgg::{Named, hash, save};
use crate::hashes::{golden, image, named, near, number, rows_near, weight};

#[test]
fn inception_is_that_of_three_packages_and_of_torchvision() {
    let (golden, device) = (&golden()["inception"], Device::flex());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inception.safetensors");
    let write = |variant| {
        let all = tensors(variant).into_iter();
        let all: Vec<Named> = all
            .map(|(name, shape)| weight(&name, &shape, None))
            .collect();
        save(&path, &all);
    };
    let open = |preparation| Inception::open(&path, preparation, &device).unwrap();
    let images = [
        image("inception-small-smooth", 40, 52),
        image("inception-large", 330, 411),
    ];
    write(Variant::Fid);
    let network = open(Preparation::PytorchFid);
    assert_eq!((network.variant(), network.dims()), (Variant::Fid, 2048));
    rows_near(
        "pytorch-fid",
        &network.features(&images).unwrap(),
        &golden["pytorch_fid"],
    );
    let large = &images[1..];
    let only = |key: &str| Value::from(vec![golden[key][1].clone()]);
    let network = open(Preparation::TorchFidelity);
    let logits = network.logits(large).unwrap();
    rows_near("torch-fidelity", &logits, &only("torch_fidelity_logits"));
    let features = open(Preparation::CleanFid).features(large).unwrap();
    rows_near("clean-fid", &features, &only("clean_fid"));

    write(Variant::Torchvision);
    let network = open(Preparation::PytorchFid);
    assert_eq!(network.variant(), Variant::Torchvision);
    let logits = network.logits(&images[..1]).unwrap();
    rows_near("torchvision", &logits, &golden["torchvision_logits"]);
}

/// Features as the script draws them: `count` rows of `dims`, mixed.
fn mixed(name: &str, which: &str, count: usize, dims: usize) -> Rows {
    let exact = |name: &str, count: usize| -> Vec<f64> {
        let value = |i: u64| (hash(number(name), i) >> 40) as f64 / f64::from(1u32 << 24) - 0.5;
        (0..count as u64).map(value).collect()
    };
    let mix = exact(&format!("frechet-{which}-mix"), dims * dims);
    let drawn = exact(&format!("frechet-{name}-{which}"), count * dims);
    let shift = if which == "b" { 0.1 } else { 0.0 };
    let of = |row: &[f64], column: usize| {
        let sum: f64 = (0..dims).map(|k| row[k] * mix[k * dims + column]).sum();
        (sum + shift) as f32
    };
    let rows = drawn.chunks_exact(dims);
    let values = rows.flat_map(|row| {
        (0..dims)
            .map(move |column| of(row, column))
            .collect::<Vec<_>>()
    });
    Rows {
        dims,
        values: values.collect(),
    }
}

#[test]
fn frechet_distances_are_those_of_pytorch_fid() {
    let golden = &golden()["frechet"];
    for (name, counts) in [("full", [200, 150]), ("singular", [30, 150])] {
        let gaussian = |which, count| {
            let rows = mixed(name, which, count, 48);
            let mut moments = Moments::new(48);
            for batch in rows.values.chunks(48 * 7) {
                let values = batch.to_vec();
                moments.add(&Rows { dims: 48, values }, "hashes").unwrap();
            }
            moments.gaussian("the set").unwrap()
        };
        let (a, b) = (gaussian("a", counts[0]), gaussian("b", counts[1]));
        // Where the covariance is singular, the package takes the root of rounding errors.
        let tolerance = if name == "full" { 1e-7 } else { 1e-4 };
        let distance = frechet::distance(&a, &b).unwrap();
        near(name, distance, &golden[name], tolerance);
        near(
            name,
            frechet::distance(&b, &a).unwrap(),
            &golden[name],
            tolerance,
        );
        assert!(frechet::distance(&a, &a).unwrap().abs() < 1e-6);
    }
}

#[test]
fn scores_of_features_are_those_of_torch_fidelity() {
    let golden = &golden()["features"];
    let rows = |name: &str, count: usize, dims, map: fn(f64) -> f64| Rows {
        dims,
        values: named(name, count * dims, map),
    };
    let score = inception_score::of(&rows("logits", 103, 20, |v| v * 8.0)).unwrap();
    near("mean", score.mean, &golden["inception_score"][0], 1e-6);
    near(
        "deviation",
        score.deviation,
        &golden["inception_score"][1],
        1e-6,
    );

    let a = rows("manifold-a", 120, 6, |v| v);
    let b = rows("manifold-b", 90, 6, |v| v * 1.3 + 0.1);
    let both = manifold::precision_recall(&a, &b, &Device::flex()).unwrap();
    near(
        "precision",
        both.precision,
        &golden["precision_recall"][0],
        1e-6,
    );
    near("recall", both.recall, &golden["precision_recall"][1], 1e-6);
}

#[test]
fn pairs_are_measured_as_by_scikit_image_and_lpips() {
    let golden = &golden()["pairs"];
    let (a, b) = (
        image("pair-a-smooth", 64, 70),
        image("pair-b-smooth", 64, 70),
    );
    let mix = |(a, b): (&u8, &u8)| ((u32::from(*a) * 3 + u32::from(*b)) / 4) as u8;
    let mixed = a.as_raw().iter().zip(b.as_raw()).map(mix).collect();
    let b = RgbImage::from_raw(70, 64, mixed).unwrap();
    near(
        "PSNR",
        pairs::psnr(pairs::mse(&a, &b)),
        &golden["psnr"],
        1e-7,
    );
    near("SSIM", pairs::ssim(&a, &b, 70), &golden["ssim"], 1e-6);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alex.safetensors");
    let shapes = [
        (0, [64, 3, 11, 11]),
        (3, [192, 64, 5, 5]),
        (6, [384, 192, 3, 3]),
        (8, [256, 384, 3, 3]),
        (10, [256, 256, 3, 3]),
    ];
    let mut all = Vec::new();
    for (level, (at, shape)) in shapes.into_iter().enumerate() {
        all.push(weight(&format!("features.{at}.weight"), &shape, None));
        all.push(weight(&format!("features.{at}.bias"), &shape[..1], None));
        let name = format!("lin{level}.model.1.weight");
        let values = named(&name, shape[0], |v| v.abs() * 2.0);
        all.push((name, vec![1, shape[0], 1, 1], values));
    }
    save(&path, &all);
    let lpips = Lpips::open(&path, None, &Device::flex()).unwrap();
    let distance = lpips.of_images(std::slice::from_ref(&a), &[b]).unwrap();
    near("LPIPS", distance[0], &golden["lpips_alex"], 1e-4);
    let small = RgbImage::new(20, 20);
    let message = lpips
        .of_images(std::slice::from_ref(&small), std::slice::from_ref(&small))
        .unwrap_err();
    assert!(message.to_string().contains("20x20"), "{message}");
    assert!(lpips.of_images(&[a], &[RgbImage::new(70, 60)]).is_err());
}
