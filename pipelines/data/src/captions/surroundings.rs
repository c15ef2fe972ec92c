//! Words around a name that say nothing about what an image shows: prompts have them, the names of icons do not.

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::captions::article::article;

/// Words around a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// With a space at its end; then the name has no other article.
    pub before: String,
    /// With a space at its start.
    pub after: String,
}

/// What stands before a name and its adjectives.
const DETERMINERS: [&str; 15] = [
    "a", "a", "a", "the", "the", "my", "our", "your", "his", "her", "this", "that", "one", "some",
    "another",
];

/// Adjectives that fit most things; none is a colour.
const ADJECTIVES: [&str; 64] = [
    "little",
    "small",
    "tiny",
    "big",
    "large",
    "huge",
    "giant",
    "tall",
    "long",
    "short",
    "new",
    "old",
    "young",
    "ancient",
    "modern",
    "fresh",
    "nice",
    "pretty",
    "lovely",
    "beautiful",
    "cute",
    "ugly",
    "funny",
    "strange",
    "simple",
    "plain",
    "fancy",
    "famous",
    "favourite",
    "perfect",
    "real",
    "typical",
    "ordinary",
    "single",
    "lonely",
    "happy",
    "sad",
    "angry",
    "hungry",
    "sleepy",
    "tired",
    "lazy",
    "busy",
    "brave",
    "wild",
    "quiet",
    "noisy",
    "fast",
    "slow",
    "clean",
    "dirty",
    "dusty",
    "muddy",
    "shiny",
    "bright",
    "dark",
    "soft",
    "heavy",
    "wooden",
    "rusty",
    "cheap",
    "expensive",
    "broken",
    "lost",
];

/// Where, when and what for.
const PHRASES: [&str; 48] = [
    "at home",
    "at night",
    "at noon",
    "at school",
    "at the party",
    "at the window",
    "at work",
    "by the river",
    "by the road",
    "during the day",
    "for a friend",
    "for breakfast",
    "for dinner",
    "for my birthday",
    "for sale",
    "for the children",
    "for the holidays",
    "for the summer",
    "from above",
    "from the market",
    "from the shop",
    "in a box",
    "in spring",
    "in the city",
    "in the dark",
    "in the evening",
    "in the forest",
    "in the garden",
    "in the kitchen",
    "in the morning",
    "in the park",
    "in the rain",
    "in the sky",
    "in the snow",
    "in the street",
    "in the sun",
    "in winter",
    "near the sea",
    "on a sunny day",
    "on holiday",
    "on the beach",
    "on the field",
    "on the floor",
    "on the shelf",
    "on the table",
    "to look at",
    "under a tree",
    "with a smile",
];

/// What joins a name to that of another thing, which the image does not show.
const JOINTS: [&str; 6] = ["with a", "for a", "of a", "from a", "near a", "like a"];

/// Words before a name, after it, or both. `others` are names of other things.
pub(super) fn draw(others: &[String], rng: &mut impl Rng) -> Words {
    let mut words = Words::default();
    let (front, back) = [(true, false), (false, true), (true, true)][rng.random_range(0..3)];
    if front {
        let adjective = *ADJECTIVES.choose(rng).expect("there are some");
        words.before = match *DETERMINERS.choose(rng).expect("there are some") {
            "a" => format!("{} {adjective} ", article(adjective)),
            other => format!("{other} {adjective} "),
        };
    }
    if back {
        words.after = match others.choose(rng) {
            Some(other) if rng.random_bool(0.3) => {
                let joint = *JOINTS.choose(rng).expect("there are some");
                let joint = joint.trim_end_matches('a');
                format!(" {joint}{} {other}", article(other))
            }
            _ => format!(" {}", PHRASES.choose(rng).expect("there are some")),
        };
    }
    words
}
