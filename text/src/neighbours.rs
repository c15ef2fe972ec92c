//! Words that a model does not know, each with what it knows instead.

use std::collections::BTreeMap;
use std::fmt;

use crate::known_words::{KnownWords, parts};

/// Words that no caption had, each with a name that stands for it: `puppy` is drawn as a `dog`. Words that are names have themselves.
///
/// As text, one word and its name a line, with a tab between them; [`Neighbours::parse`] reads it back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbours(BTreeMap<String, String>);

/// A word of a prompt that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The word as it stood in the prompt.
    pub word: String,
    /// What stands there now.
    pub by: String,
}

impl From<BTreeMap<String, String>> for Neighbours {
    fn from(words: BTreeMap<String, String>) -> Self {
        Self(words)
    }
}

impl Neighbours {
    /// Reads the text form. Lines without a tab are passed over.
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        let owned = |(word, name): (&str, &str)| (word.to_owned(), name.to_owned());
        Self(pairs.map(owned).collect())
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no word.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A prompt with a known name in the place of the unknown word that says what is meant, and what was replaced; none if a known word
    /// says it, or no word has a neighbour.
    ///
    /// What is meant is named before the first preposition, by the last of the words there: of `a farm tractor in the rain` it is the
    /// tractor.
    pub fn replace(&self, known: &KnownWords, prompt: &str) -> (String, Option<Replaced>) {
        let plain = || (prompt.to_owned(), None);
        let unknown = known.unknown_words(prompt);
        let mut words = prompt.split_whitespace().map(trimmed);
        if words.any(|word| !unknown.contains(&word) && self.is_name(word)) {
            return plain();
        }
        let instead = |word: &&str| self.instead(known, word).map(|by| ((*word).to_owned(), by));
        let before = prompt.split_whitespace().map(trimmed);
        let before =
            before.take_while(|word| !PREPOSITIONS.contains(&word.to_lowercase().as_str()));
        let before = before
            .filter(|word| unknown.contains(word))
            .filter_map(|word| instead(&word));
        let found = before.last();
        let found = found.or_else(|| unknown.iter().find_map(instead));
        let Some((word, by)) = found else {
            return plain();
        };
        // The word is a part of the prompt.
        let Some((before, after)) = split_at_word(prompt, &word) else {
            return plain();
        };
        (format!("{before}{by}{after}"), Some(Replaced { word, by }))
    }

    /// Whether a word of a prompt, or what it is a form of, is a name by itself or has a neighbour.
    pub fn names_in(&self, prompt: &str) -> bool {
        let mut words = prompt.split_whitespace().map(trimmed);
        words.any(|word| self.is_name(word))
    }

    /// Whether a known word, or what it is a form of, is a name by itself.
    fn is_name(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        self.0.contains_key(&word) || forms(&word).iter().any(|form| self.0.contains_key(form))
    }

    /// What stands for an unknown word: another form of it that is known, or the name of its neighbour.
    fn instead(&self, known: &KnownWords, word: &str) -> Option<String> {
        let mut parts = parts(word);
        let (Some(word), None) = (parts.next(), parts.next()) else {
            return None;
        };
        let mut forms = forms(&word);
        forms.insert(0, word.clone());
        let other = forms.iter().find(|form| known.knows(form));
        let neighbour = || forms.iter().find_map(|form| self.0.get(form));
        other.or_else(neighbour).cloned()
    }
}

/// Words after which it is not said any more what is meant.
const PREPOSITIONS: [&str; 14] = [
    "of", "for", "in", "on", "at", "with", "from", "by", "under", "over", "behind", "near", "to",
    "without",
];

/// A word without the signs around it.
fn trimmed(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

/// A text before and after the first place where `word` stands by itself.
fn split_at_word<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let mut from = 0;
    while let Some(at) = text[from..].find(word) {
        let (start, end) = (from + at, from + at + word.len());
        let (before, after) = (&text[..start], &text[end..]);
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        if !inside(before.chars().next_back()) && !inside(after.chars().next()) {
            return Some((before, after));
        }
        from = end;
    }
    None
}

/// What a word may be a regular form of: plurals, and verbs with `ing` and `ed`. Not all of these are words.
fn forms(word: &str) -> Vec<String> {
    const ENDINGS: [(&str, &[&str]); 6] = [
        ("ies", &["y"]),
        ("ves", &["f", "fe"]),
        ("es", &["", "e"]),
        ("s", &[""]),
        ("ing", &["", "e"]),
        ("ed", &["", "e"]),
    ];
    let mut forms = vec![];
    for (ending, others) in ENDINGS {
        let Some(stem) = word.strip_suffix(ending).filter(|stem| stem.len() > 2) else {
            continue;
        };
        forms.extend(others.iter().map(|other| format!("{stem}{other}")));
        // `running` is a form of `run`.
        let mut last = stem.chars().rev();
        if let (Some(a), Some(b)) = (last.next(), last.next())
            && a == b
            && ending.len() > 1
        {
            forms.push(stem[..stem.len() - a.len_utf8()].to_owned());
        }
    }
    forms
}

impl fmt::Display for Neighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pairs = self.0.iter();
        pairs.try_for_each(|(word, name)| writeln!(f, "{word}\t{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> (KnownWords, Neighbours) {
        let mut known = KnownWords::default();
        known.add("a red dog, 3d style, person running");
        known.add("dance");
        let text = "dog\tdog\npuppy\tdog\nmice\tmouse face\nking\tperson with crown\nno tab\n";
        (known, Neighbours::parse(text))
    }

    fn replaced(prompt: &str) -> String {
        let (known, neighbours) = both();
        neighbours.replace(&known, prompt).0
    }

    #[test]
    fn unknown_words_find_their_neighbours() {
        assert_eq!(replaced("a red puppy, 3d style"), "a red dog, 3d style");
        assert_eq!(replaced("Two Puppies!"), "Two dog!");
        assert_eq!(replaced("(king) puppyish"), "(person with crown) puppyish");
        assert_eq!(replaced("dancing"), "dance");
        assert_eq!(replaced("a zeppelin"), "a zeppelin");
        let (known, neighbours) = both();
        let (word, by) = ("PUPPY".to_owned(), "dog".to_owned());
        assert_eq!(
            neighbours.replace(&known, "PUPPY").1,
            Some(Replaced { word, by })
        );
    }

    #[test]
    fn the_word_that_says_what_is_meant_is_replaced() {
        // The last before a preposition; elsewhere only if there is none.
        assert_eq!(replaced("a king puppy with mice"), "a king dog with mice");
        assert_eq!(replaced("a red one of mice"), "a red one of mouse face");
        // A known name says it.
        assert_eq!(replaced("a dog and a king"), "a dog and a king");
        assert_eq!(replaced("dogs of a king"), "dogs of a king");
        // Running is no name.
        assert_eq!(replaced("a running king"), "a running person with crown");
    }

    #[test]
    fn known_prompts_stay_as_they_are() {
        for prompt in ["a red dog", "  dogs ,  persons", "puppy-dog", ""] {
            assert_eq!(replaced(prompt), prompt);
        }
    }

    #[test]
    fn the_text_form_is_read_back() {
        let (_, neighbours) = both();
        assert_eq!(neighbours.len(), 4);
        assert_eq!(Neighbours::parse(&neighbours.to_string()), neighbours);
    }

    #[test]
    fn forms_of_words() {
        assert_eq!(forms("wolves"), ["wolf", "wolfe", "wolv", "wolve", "wolve"]);
        assert_eq!(forms("stopped"), ["stopp", "stoppe", "stop"]);
        assert_eq!(forms("bus"), Vec::<String>::new());
        assert!(forms("\u{e9}t\u{e9}s").contains(&"\u{e9}t\u{e9}".to_owned()));
    }
}
