//! Files of NumPy, and what is refused: wrong weights, too few images, features that are no numbers.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use image::RgbImage;
use nextscale_metrics::clip::{Clip, Tokens};
use nextscale_metrics::features::{Features, Rows};
use nextscale_metrics::inception::{Inception, Preparation};
use nextscale_metrics::npz::{self, Npz, Statistics};
use nextscale_metrics::statistics::Moments;
use nextscale_metrics::{MetricsError, frechet, images};

use crate::hashed_vgg::save;

/// Statistics and images that NumPy has written: see `tests/official/make_metrics.py`.
fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metrics.npz")
}

#[test]
fn files_of_numpy_are_read_and_written() {
    let read = npz::read(&reference()).unwrap();
    let spatial = read.spatial.clone().unwrap();
    assert_eq!((read.main.dims(), spatial.dims()), (4, 3));
    let covariance = &read.main.covariance;
    assert_eq!(covariance, &covariance.transpose());
    assert!(covariance.clone().cholesky().is_some());
    assert!(frechet::distance(&read.main, &read.main).unwrap().abs() < 1e-9);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.npz");
    npz::write(&path, &read).unwrap();
    assert_eq!(npz::read(&path).unwrap(), read);
    let main = read.main;
    let spatial = None;
    npz::write(&path, &Statistics { main, spatial }).unwrap();
    assert!(npz::read(&path).unwrap().spatial.is_none());
    let names = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 1, "nothing hidden is left");
}

#[test]
fn images_of_a_batch_come_in_their_order() {
    let path = reference();
    let (mut sizes, mut first) = (vec![], None);
    let each = |images: Vec<RgbImage>, count: usize| -> Result<(), MetricsError> {
        assert_eq!(count, 3);
        assert!(images.iter().all(|image| image.dimensions() == (5, 4)));
        first.get_or_insert_with(|| images[0].as_raw()[..3].to_vec());
        sizes.push(images.len());
        Ok(())
    };
    Npz::open(&path).unwrap().images(2, each).unwrap();
    assert_eq!(sizes, [2, 1]);
    assert_eq!(first.unwrap(), [229, 246, 194]);
}

#[test]
fn damaged_files_are_told_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    let told = |path: &Path| {
        let message = npz::read(path).unwrap_err().to_string();
        assert!(
            !message.contains('\n') && message.contains("a.npz"),
            "{message}"
        );
        message
    };
    assert!(told(&path).contains("cannot read"));
    fs::write(&path, b"no archive").unwrap();
    assert!(told(&path).contains("no .npz file"));
    let whole = fs::read(reference()).unwrap();
    for end in (0..whole.len()).step_by(97) {
        fs::write(&path, &whole[..end]).unwrap();
        told(&path);
    }
    for at in (0..whole.len()).step_by(31) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&path, &bytes).unwrap();
        let _ = npz::read(&path); // whatever it says, it does not panic
    }
}

/// A network whose features are the corner of an image, or no number for black ones.
struct Corner;

impl Features for Corner {
    fn label(&self) -> String {
        "corners".to_owned()
    }

    fn dims(&self) -> usize {
        2
    }

    fn features(&self, images: &[RgbImage]) -> Result<Rows, MetricsError> {
        let corner = |image: &RgbImage| {
            let [red, green, _] = image.get_pixel(0, 0).0.map(f32::from);
            [red, green / red]
        };
        let values = images.iter().flat_map(corner).collect();
        Ok(Rows { dims: 2, values })
    }

    fn logits(&self, images: &[RgbImage]) -> Result<Rows, MetricsError> {
        self.features(images)
    }
}

#[test]
fn features_that_are_no_numbers_are_refused_with_the_image() {
    let mut moments = Moments::new(2);
    let gray = |value| RgbImage::from_pixel(2, 2, image::Rgb([value; 3]));
    let add = |moments: &mut Moments, images: &[RgbImage]| {
        let rows = Corner.features(images).unwrap();
        moments.add(&rows, &Corner.label())
    };
    add(&mut moments, &[gray(1), gray(2)]).unwrap();
    let message = add(&mut moments, &[gray(3), gray(0)])
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("corners") && message.contains("image 3"),
        "{message}"
    );
    assert_eq!(moments.count(), 2);
    let gaussian = moments.gaussian("x").unwrap();
    assert_eq!(gaussian.mean.as_slice(), [1.5, 1.0]);
    assert_eq!(gaussian.covariance.as_slice(), [0.5, 0.0, 0.0, 0.0]);
    let wide = Rows::empty(3);
    assert!(moments.add(&wide, "x").is_err());
    let message = Moments::new(2)
        .gaussian("the folder")
        .unwrap_err()
        .to_string();
    assert!(message.contains("the folder has 0 images"), "{message}");
}

#[test]
fn fewer_images_than_features_are_refused() {
    frechet::check_count("a", 2048, 2048).unwrap();
    let message = frechet::check_count("a", 2047, 2048)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("a has 2047 images") && message.contains("2048"),
        "{message}"
    );
}

#[test]
fn wrong_weights_are_told_with_where_people_get_the_right_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let device = Device::flex();
    let inception = || {
        let opened = Inception::open(&path, Preparation::default(), &device);
        opened.unwrap_err().to_string()
    };
    let tells = |message: String, parts: &[&str]| {
        assert!(!message.contains('\n'), "{message}");
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
    };
    tells(
        inception(),
        &["w.safetensors", "pt_inception-2015-12-05-6726825d.pth"],
    );
    let named = |name: &str, shape: &[usize]| {
        let count = shape.iter().product();
        (name.to_owned(), shape.to_vec(), vec![0.0f32; count])
    };
    save(&path, &[named("fc.weight", &[10, 4])]);
    tells(inception(), &["10 classes", "1008", "pytorch-fid"]);
    save(
        &path,
        &[named("fc.weight", &[1000, 2048]), named("fc.bias", &[1000])],
    );
    tells(inception(), &["no tensor `Conv2d_1a_3x3.conv.weight`"]);
    let clip = || Clip::open(&path, &device).unwrap_err().to_string();
    tells(clip(), &["no tensor `visual.conv1.weight`", "openai/CLIP"]);

    let vocabulary = folder.path().join("bpe.txt");
    let tokens = || Tokens::open(&vocabulary).unwrap_err().to_string();
    tells(tokens(), &["bpe.txt", "bpe_simple_vocab_16e6.txt.gz"]);
    fs::write(&vocabulary, "heading").unwrap();
    tells(tokens(), &["no list of merges"]);
    fs::write(&vocabulary, "{\"model\": 3}").unwrap();
    tells(tokens(), &["bpe.txt"]);
}

#[test]
fn folders_are_listed_by_name_with_their_subfolders() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let message = images::list(folder.path()).unwrap_err().to_string();
    assert!(message.contains("no images"), "{message}");
    fs::create_dir(at("b")).unwrap();
    let image = RgbImage::from_pixel(3, 2, image::Rgb([1, 2, 3]));
    for name in ["c.png", "b/1.PNG", "a.png", ".hidden.png"] {
        let file = fs::File::create(at(name)).unwrap();
        let mut file = std::io::BufWriter::new(file);
        image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    }
    fs::write(at("notes.txt"), "x").unwrap();
    let found = images::list(folder.path()).unwrap();
    let names = ["a.png", "b/1.PNG", "c.png"].map(at);
    assert_eq!(found, names);
    assert_eq!(images::read_all(&found).unwrap(), vec![image; 3]);
    fs::write(at("a.png"), "no image").unwrap();
    let message = images::read_all(&found).unwrap_err().to_string();
    assert!(message.contains("a.png"), "{message}");
    assert!(images::list(&at("none")).is_err());
}
