//! Words around a name that say nothing about what an image shows: prompts have them, the names of icons do not.

use std::collections::BTreeSet;

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
const JOINTS: [&str; 6] = ["with", "for", "of", "from", "near", "like"];

/// Words that may stand around the names of a data set.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    adjectives: Vec<&'static str>,
    phrases: Vec<&'static str>,
    /// Names of single things.
    names: Vec<String>,
}

impl Surroundings {
    /// Those for these names: without words that are parts of one, such as `angry`, since an `angry face` is another icon.
    pub fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let names: BTreeSet<&str> = names.collect();
        let words: BTreeSet<&str> = names.iter().flat_map(|name| name.split(' ')).collect();
        let adjectives = ADJECTIVES.into_iter().filter(|word| !words.contains(word));
        let phrases = PHRASES.into_iter().filter(|phrase| {
            let mut names = names.iter();
            !names.any(|name| name.ends_with(phrase))
        });
        let single = |name: &&&str| {
            let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == ' ');
            plain && !name.is_empty() && !name.ends_with('s')
        };
        Self {
            adjectives: adjectives.collect(),
            phrases: phrases.collect(),
            names: names
                .iter()
                .filter(single)
                .map(|name| (*name).to_owned())
                .collect(),
        }
    }

    /// Words before the name `own`, after it, or both.
    pub(super) fn draw(&self, own: &str, rng: &mut impl Rng) -> Words {
        let mut words = Words::default();
        let (front, back) = [(true, false), (false, true), (true, true)][rng.random_range(0..3)];
        let adjective = self.adjectives.choose(rng);
        if let Some(adjective) = adjective.filter(|_| front) {
            words.before = match DETERMINERS.choose(rng) {
                Some(&other) if other != "a" => format!("{other} {adjective} "),
                _ => format!("{} {adjective} ", article(adjective)),
            };
        }
        if back {
            let other = self.names.choose(rng).filter(|other| *other != own);
            let joint = JOINTS.choose(rng).copied().unwrap_or_default();
            words.after = match (other, self.phrases.choose(rng)) {
                (Some(other), _) if rng.random_bool(0.3) => {
                    format!(" {joint} {} {other}", article(other))
                }
                (_, Some(phrase)) => format!(" {phrase}"),
                (_, None) => String::new(),
            };
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn words_of_names_are_not_put_around_them() {
        let names = ["old woman", "bridge at night", "dog", "books"];
        let surroundings = Surroundings::new(names.into_iter());
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let all: Vec<Words> = (0..3000)
            .map(|_| surroundings.draw("dog", &mut rng))
            .collect();
        assert!(all.iter().all(|words| !words.before.contains(" old ")));
        assert!(all.iter().all(|words| words.after != " at night"));
        assert!(
            all.iter()
                .any(|words| words.after.ends_with("an old woman"))
        );
        assert!(all.iter().any(|words| words.before == "my little "));
        for none in ["a dog", "books"] {
            assert!(
                !all.iter().any(|words| words.after.ends_with(none)),
                "{none}"
            );
        }
        assert!(all.iter().all(|words| *words != Words::default()));
    }
}
