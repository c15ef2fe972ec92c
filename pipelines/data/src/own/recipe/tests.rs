//! What recipes may and may not say.

use crate::own::recipe::{Labels, MissingCaptions, OwnRecipe, Small};
use crate::recipe::DataKind;

fn load(text: &str) -> Result<OwnRecipe, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.yaml");
    std::fs::write(&path, text).unwrap();
    let recipe = OwnRecipe::load(&path).map_err(|e| e.to_string())?;
    assert_eq!(DataKind::of(&path).unwrap(), recipe.kind);
    Ok(recipe)
}

#[test]
fn a_short_recipe_has_sensible_defaults() {
    let recipe = load("kind: folder\nfrom: a\nout: b\nsize: 64\n").unwrap();
    assert_eq!(recipe.from, ["a"]);
    assert_eq!(recipe.sizes(), Some(vec![[64, 64]]));
    assert_eq!((recipe.held_out, recipe.background), (0.02, [255; 3]));
    assert_eq!((recipe.clip_frames(), recipe.clip_fps()), (1, 0.0));
    assert_eq!(recipe.missing_captions, MissingCaptions::Skip);
    assert_eq!(recipe.small, Small::Upscale);
}

#[test]
fn every_key_is_read() {
    let recipe = load(
        "kind: webdataset\nfrom: [a.tar, 'https://h/{0..3}.tar']\nlabels: classes\nout: b\ncache: c\n\
         buckets: { model: m, pixels: 0.06M }\nheld_out: 0\nflip: true\nbackground: [0, 1, 2]\n\
         missing_captions: error\nsmall: skip\n",
    )
    .unwrap();
    assert_eq!(recipe.from.len(), 2);
    assert_eq!(recipe.labels, Some(Labels::Classes));
    assert_eq!(recipe.sizes(), None);
    let buckets = recipe.buckets.unwrap();
    assert_eq!(buckets.pixels.as_deref(), Some("0.06M"));
    let videos =
        load("kind: videos\nfrom: v.csv\nout: b\nsizes: [[16, 8]]\ncaption_column: words\n");
    let videos = videos.unwrap();
    assert_eq!((videos.clip_frames(), videos.clip_fps()), (17, 8.0));
    assert!(videos.is_table());
}

#[test]
fn values_out_of_range_are_refused_in_one_sentence() {
    let cases = [
        ("size: 7", "not 7x7"),
        ("size: 65", "even"),
        ("size: 4098", "8 to 4096"),
        ("sizes: []", "at least one size"),
        ("sizes: [[64, 64], [64, 64]]", "repeated"),
        ("size: 64\nsizes: [[64, 32]]", "exactly one of"),
        ("flip: true", "exactly one of"),
        ("size: 64\nheld_out: 0.95", "not 0.95"),
        ("size: 64\nheld_out: .nan", "not NaN"),
        ("size: 64\ncaption_column: a", "caption_column is only"),
        ("size: 64\nfps: 3", "only for kind: videos"),
        ("size: 64\nlabels: none", "none"),
        ("size: 64\nsise: 4", "sise"),
    ];
    for (keys, expected) in cases {
        let error = load(&format!("kind: folder\nfrom: a\nout: b\n{keys}\n")).unwrap_err();
        assert!(error.contains(expected), "{keys}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let error = |text: &str| load(text).unwrap_err();
    assert!(error("kind: icons\nfrom: a\nout: b\nsize: 64\n").contains("kind must be"));
    assert!(error("kind: csv\nfrom: [a, b]\nout: b\nsize: 64\n").contains("one place"));
    assert!(error("kind: csv\nfrom: 'https://a/b.csv'\nout: b\nsize: 64\n").contains("machine"));
    assert!(error("kind: csv\nfrom: []\nout: b\nsize: 64\n").contains("empty"));
    let videos = "kind: videos\nfrom: a\nout: b\nsize: 64\n";
    assert!(error(&format!("{videos}frames: 0\n")).contains("not 0"));
    assert!(error(&format!("{videos}fps: -1\n")).contains("not -1"));
}
