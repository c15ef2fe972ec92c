//! Captions: what the model reads about an image in training.

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::entry::Entry;

mod article;
mod surroundings;

pub(crate) use article::article;
pub use surroundings::Surroundings;
use surroundings::Words;

/// The background when a caption names none.
pub const WHITE: [u8; 3] = [255, 255, 255];

/// Named backgrounds with their exact RGB.
pub(crate) const COLOURS: [(&str, [u8; 3]); 13] = [
    ("white", WHITE),
    ("black", [0, 0, 0]),
    ("gray", [128, 128, 128]),
    ("red", [220, 40, 40]),
    ("orange", [250, 140, 20]),
    ("yellow", [255, 220, 50]),
    ("green", [50, 160, 70]),
    ("teal", [0, 150, 150]),
    ("light blue", [150, 205, 245]),
    ("blue", [40, 90, 220]),
    ("purple", [130, 60, 180]),
    ("pink", [250, 160, 195]),
    ("brown", [130, 85, 45]),
];

/// Chance of a synonym instead of the name.
pub(crate) const SYNONYM: f64 = 0.12;
/// Chance of an article before the name.
const ARTICLE: f64 = 0.1;
/// Default chance that the image which answers a concept's plain name is called by that name alone.
pub const PLAIN: f64 = 0.25;
/// Chance of a named background.
const COLOUR: f64 = 0.2;

/// The default caption of an image, on white: its first own caption, or its name and style, such as `red apple, flat style`.
pub fn canonical(entry: &Entry) -> String {
    match entry.captions.first() {
        Some(own) => own.clone(),
        None => styled(entry.name.clone(), entry),
    }
}

/// A text with the style of an image, if it has one.
fn styled(text: String, entry: &Entry) -> String {
    match entry.style.as_str() {
        "" => text,
        style => format!("{text}, {style} style"),
    }
}

/// A random caption and its background.
///
/// Mostly `{name}, {style} style` on white; sometimes with an article, with a synonym instead of the name, or followed by
/// ` on a {colour} background`. The style is left out only for the one image of a concept that answers its plain name,
/// with the probability `plain`. The same state of `rng` gives the same caption.
///
/// An image with captions of its own has one of these, each with the same probability, as it is and on white.
pub fn caption(entry: &Entry, plain: f64, rng: &mut impl Rng) -> (String, [u8; 3]) {
    with_words(entry, &Words::default(), plain, rng)
}

/// A random caption with words around the name that say nothing about the image, such as `my new red apple in the garden, 3d style`, and its
/// background.
pub fn surrounded(
    entry: &Entry,
    surroundings: &Surroundings,
    plain: f64,
    rng: &mut impl Rng,
) -> (String, [u8; 3]) {
    let words = surroundings.draw(&entry.name, rng);
    with_words(entry, &words, plain, rng)
}

/// A random caption of something that moves as `phrase` says, and its background: `red apple bouncing, 3d style`.
pub fn moving(entry: &Entry, phrase: &str, plain: f64, rng: &mut impl Rng) -> (String, [u8; 3]) {
    let words = Words {
        after: format!(" {phrase}"),
        ..Words::default()
    };
    with_words(entry, &words, plain, rng)
}

fn with_words(
    entry: &Entry,
    Words { before, after }: &Words,
    plain: f64,
    rng: &mut impl Rng,
) -> (String, [u8; 3]) {
    if let Some(own) = own(entry, rng) {
        return (format!("{own}{after}").trim_start().to_owned(), WHITE);
    }
    let synonym = rng.random_bool(SYNONYM);
    let mut text = match entry.synonyms.choose(rng) {
        Some(other) if synonym => other.clone(),
        _ => entry.name.clone(),
    };
    if rng.random_bool(ARTICLE) && before.is_empty() {
        text = format!("{} {text}", article(&text));
    }
    text = format!("{before}{text}{after}");
    if !(rng.random_bool(plain) && entry.plain) {
        text = styled(text, entry);
    }
    let coloured = rng.random_bool(COLOUR);
    let background = match COLOURS.choose(rng) {
        Some((colour, rgb)) if coloured => {
            text += &format!(" on {} {colour} background", article(colour));
            *rgb
        }
        _ => WHITE,
    };
    (text, background)
}

/// One of the image's own captions; nothing is drawn if it has none.
fn own<'a>(entry: &'a Entry, rng: &mut impl Rng) -> Option<&'a str> {
    if entry.captions.is_empty() {
        return None;
    }
    entry.captions.choose(rng).map(String::as_str)
}

/// Where the first of two things is, seen from the second: the words, and the signs of its shift (right, down).
pub const RELATIONS: [(&str, [f32; 2]); 4] = [
    ("left of", [-1.0, 0.0]),
    ("right of", [1.0, 0.0]),
    ("above", [0.0, -1.0]),
    ("below", [0.0, 1.0]),
];

/// The caption of an image of two things in one style: `a red apple left of a dog, 3d style`. An image with captions of its
/// own is called by the first of them.
pub fn pair(first: &Entry, relation: &str, second: &Entry) -> String {
    styled(plain_pair(first, relation, second), first)
}

/// As [`pair`], without the style.
pub fn plain_pair(first: &Entry, relation: &str, second: &Entry) -> String {
    let thing = |entry: &Entry| match entry.captions.first() {
        Some(own) => own.clone(),
        None => format!("{} {}", article(&entry.name), entry.name),
    };
    format!("{} {relation} {}", thing(first), thing(second))
}

/// How often a thing is shown in a scene, with the word for it.
pub const COUNTS: [(&str, usize); 3] = [("two", 2), ("three", 3), ("four", 4)];

/// Groups of things that can be counted.
const COUNTABLE: [&str; 5] = [
    "Animals & Nature",
    "Food & Drink",
    "Objects",
    "Travel & Places",
    "Activities",
];

/// The caption of an image that shows a thing several times: `three red apples, 3d style`. None if its name has no regular plural, such
/// as `bread` and `fork and knife`, or is not that of a thing.
pub fn several(entry: &Entry, number: &str) -> Option<String> {
    Some(styled(plain_several(entry, number)?, entry))
}

/// As [`several`], without the style.
pub fn plain_several(entry: &Entry, number: &str) -> Option<String> {
    let countable = COUNTABLE.contains(&entry.category.as_str());
    let plural = plural(&entry.name).filter(|_| countable)?;
    Some(format!("{number} {plural}"))
}

/// The plural of a name of an icon.
fn plural(name: &str) -> Option<String> {
    const IRREGULAR: [(&str, &str); 12] = [
        ("mouse", "mice"),
        ("wolf", "wolves"),
        ("leaf", "leaves"),
        ("knife", "knives"),
        ("tooth", "teeth"),
        ("goose", "geese"),
        ("deer", "deer"),
        ("fish", "fish"),
        ("ox", "oxen"),
        ("potato", "potatoes"),
        ("tomato", "tomatoes"),
        ("mango", "mangoes"),
    ];
    /// Last words without a plural.
    const NONE: [&str; 14] = [
        "bread",
        "rice",
        "milk",
        "fire",
        "ice",
        "corn",
        "salt",
        "butter",
        "garlic",
        "broccoli",
        "spaghetti",
        "snow",
        "water",
        "football",
    ];
    let plain = |c: char| c.is_ascii_lowercase() || c == ' ' || c == '-';
    let mut words = name.split(' ');
    let joined = words.any(|w| ["and", "with", "of", "in", "on", "behind", "without"].contains(&w));
    let (front, last) = name
        .rsplit_once(' ')
        .map_or(("", name), |(front, last)| (front, last));
    if joined || !name.chars().all(plain) || last.len() < 2 || NONE.contains(&last) {
        return None;
    }
    let irregular = IRREGULAR.iter().find(|(one, _)| *one == last);
    let before_y = |stem: &str| !stem.ends_with(['a', 'e', 'i', 'o', 'u']);
    let last = match (
        irregular,
        last.strip_suffix('y').filter(|stem| before_y(stem)),
    ) {
        (Some((_, several)), _) => (*several).to_owned(),
        (None, Some(stem)) => format!("{stem}ies"),
        (None, None) if last.ends_with('s') => return None,
        (None, None) if ["x", "ch", "sh"].iter().any(|end| last.ends_with(end)) => {
            format!("{last}es")
        }
        (None, None) => format!("{last}s"),
    };
    Some(format!("{front} {last}").trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn apple(plain: bool) -> Entry {
        Entry {
            name: "red apple".into(),
            style: "3d".into(),
            synonyms: vec!["apple".into()],
            plain,
            ..Entry::default()
        }
    }

    #[test]
    fn own_captions_are_taken_as_they_are() {
        let photo = Entry {
            captions: vec!["A dog, asleep.".into(), "ein Hund".into()],
            ..apple(true)
        };
        assert_eq!(canonical(&photo), "A dog, asleep.");
        let all = many(&photo);
        let german = all.iter().filter(|(text, _)| text == "ein Hund").count();
        assert!((800..1200).contains(&german), "{german}");
        assert!(
            all.iter().all(|(text, background)| {
                photo.captions.contains(text) && *background == WHITE
            })
        );
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (text, _) = moving(&photo, "bouncing", PLAIN, &mut rng);
        assert!(
            text.ends_with(" bouncing") && !text.contains("style"),
            "{text}"
        );
        let nothing = Entry {
            captions: vec![String::new()],
            ..Entry::default()
        };
        assert_eq!(caption(&nothing, PLAIN, &mut rng).0, "");
    }

    fn many(entry: &Entry) -> Vec<(String, [u8; 3])> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        (0..2000).map(|_| caption(entry, PLAIN, &mut rng)).collect()
    }

    #[test]
    fn the_default_caption_is_the_most_common_one() {
        let all = many(&apple(true));
        let usual = all
            .iter()
            .filter(|(c, b)| *c == canonical(&apple(true)) && *b == WHITE)
            .count();
        assert!(usual > 800, "{usual}");
        assert_eq!(all, many(&apple(true)));
        assert!(all.iter().any(|(c, _)| c == "red apple"));
        assert!(all.iter().any(|(c, _)| c.starts_with("an apple")));
        assert!(
            all.iter()
                .any(|(c, b)| c.ends_with("on an orange background") && *b == [250, 140, 20])
        );
    }

    #[test]
    fn motions_stand_behind_the_name() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let all: Vec<String> = (0..500)
            .map(|_| moving(&apple(true), "bouncing", PLAIN, &mut rng).0)
            .collect();
        for expected in ["red apple bouncing", "red apple bouncing, 3d style"] {
            assert!(all.iter().any(|text| text == expected), "{expected}");
        }
        assert!(all.iter().all(|text| text.contains("apple bouncing")));
    }

    #[test]
    fn words_around_a_name_leave_the_rest_of_the_caption() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let others = Surroundings::new(["dog"].into_iter());
        let all: Vec<String> = (0..2000)
            .map(|_| surrounded(&apple(true), &others, PLAIN, &mut rng).0)
            .collect();
        let usual = many(&apple(true));
        assert!(
            !all.iter()
                .any(|text| usual.iter().any(|(usual, _)| usual == text))
        );
        assert!(all.iter().any(|text| text.ends_with(", 3d style")));
        assert!(all.iter().any(|text| text.contains("apple with a dog")));
        assert!(!all.iter().any(|text| text.contains("  ")));
    }

    #[test]
    fn two_things_are_said_with_their_places() {
        let dog = Entry {
            name: "dog".into(),
            ..apple(false)
        };
        let text = pair(&apple(true), RELATIONS[0].0, &dog);
        assert_eq!(text, "a red apple left of a dog, 3d style");
    }

    #[test]
    fn things_are_counted() {
        let entry = |name: &str, category: &str| Entry {
            name: name.into(),
            category: category.into(),
            ..apple(false)
        };
        let text = |name| several(&entry(name, "Food & Drink"), "three");
        assert_eq!(text("red apple").unwrap(), "three red apples, 3d style");
        for (one, all) in [
            ("cherry", "three cherries, 3d style"),
            ("day", "three days, 3d style"),
            ("peach", "three peaches, 3d style"),
            ("maple leaf", "three maple leaves, 3d style"),
        ] {
            assert_eq!(text(one).unwrap(), all);
        }
        for none in ["bread", "glasses", "fork and knife", "glass of milk", "+1"] {
            assert_eq!(text(none), None, "{none}");
        }
        assert_eq!(
            several(&entry("happy face", "Smileys & Emotion"), "two"),
            None
        );
    }

    #[test]
    fn only_the_plain_image_goes_without_its_style() {
        assert!(
            many(&apple(false))
                .iter()
                .all(|(c, _)| c.contains(", 3d style"))
        );
    }

    #[test]
    fn every_colour_of_a_caption_is_the_background() {
        for (text, background) in many(&apple(true)) {
            let named = COLOURS
                .iter()
                .find(|(c, _)| text.ends_with(&format!(" {c} background")));
            match named {
                // "light blue" also ends in "blue": the phrase with its article decides.
                Some(_) => assert!(COLOURS.iter().any(|(c, rgb)| {
                    *rgb == background
                        && text.ends_with(&format!("on {} {c} background", article(c)))
                })),
                None => assert_eq!(background, WHITE),
            }
        }
    }
}
