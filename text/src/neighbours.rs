//! Words that a model does not know, each with what it knows instead.

use std::collections::BTreeMap;
use std::fmt;

use crate::known_words::{KnownWords, PREPOSITIONS, parts};

/// Words that no caption had, each with a name that stands for it: `puppy` is drawn as a `dog`. Words that are names have themselves.
/// Phrases of two words are among them if their last word means something else: a `granny smith` is an apple.
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

/// A prompt as a model understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Understood {
    /// The prompt, with a word replaced.
    pub prompt: String,
    /// The word that was replaced.
    pub replaced: Option<Replaced>,
    /// Whether a name in it says what is meant.
    pub named: bool,
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

    /// A prompt with a known name in the place of the unknown word or phrase that says what is meant, unless a known word says it.
    ///
    /// What is meant is named before the first preposition, `and` or comma, by the last of the words there: of `a farm tractor in the
    /// rain` it is the tractor, and of `a slice of pizza` the pizza. Names before a replaced word are left out: those of a `family sedan`.
    pub fn understand(&self, known: &KnownWords, prompt: &str) -> Understood {
        let as_it_is = |named| Understood {
            prompt: prompt.to_owned(),
            replaced: None,
            named,
        };
        let unknown = known.unknown_words(prompt);
        let is_unknown = |word: &&str| unknown.contains(word);
        let says = |word: &&str| !is_unknown(word) && self.is_name(word);
        let name = |word: &str| self.neighbour(word);
        let form = |word: &str| known_form(known, word);
        let clause = clause(prompt);
        let phrase = self.last_phrase(&clause);
        let last: Vec<&str> = clause.into_iter().rev().collect();
        let said = last.iter().position(says);
        let candidates: Vec<&str> = last[..said.unwrap_or(last.len())]
            .iter()
            .copied()
            .filter(is_unknown)
            .collect();
        let found = if said.is_some() {
            // What comes after a name may be what is meant, but not what it does.
            let nouns = candidates.into_iter();
            let nouns: Vec<&str> = nouns
                .filter(|word| !is_verb(word) && self.is_noun(word))
                .collect();
            first_of(&nouns, &name)
        } else {
            first_of(&candidates, &name).or_else(|| first_of(&candidates, &form))
        };
        let owned = |(word, by): (&str, String)| (word.to_owned(), by);
        let found = phrase.or_else(|| found.map(owned));
        let mut everywhere = prompt.split_whitespace().map(trimmed);
        if found.is_none() && (said.is_some() || everywhere.any(|word| says(&word))) {
            return as_it_is(true);
        }
        let elsewhere = || first_of(&unknown, &name).or_else(|| first_of(&unknown, &form));
        let found = found.or_else(|| elsewhere().map(owned));
        // The word is a part of the prompt.
        let Some(((word, by), (before, after))) =
            found.and_then(|found| Some((found.clone(), split_at_word(prompt, &found.0)?)))
        else {
            return as_it_is(false);
        };
        // A name before what is meant would be drawn too: the family of a `family sedan`.
        let before = before.split_inclusive(' ');
        let before: String = before.filter(|word| !says(&trimmed(word))).collect();
        Understood {
            prompt: format!("{before}{by}{after}"),
            named: self.neighbour(&word).is_some() || self.is_name(&by),
            replaced: Some(Replaced { word, by }),
        }
    }

    /// The last two words of a clause, if they mean something else than the last of them.
    fn last_phrase(&self, clause: &[&str]) -> Option<(String, String)> {
        let &[.., first, last] = clause else {
            return None;
        };
        let mut forms = forms(&last.to_lowercase());
        forms.push(last.to_lowercase());
        let first_lower = first.to_lowercase();
        let by = forms
            .iter()
            .find_map(|last| self.0.get(&format!("{first_lower} {last}")))?;
        Some((format!("{first} {last}"), by.clone()))
    }

    /// Whether a word, or what it is a form of, is a name or a part of the name that it stands for: `cat` of `cat face`, but not `style`, a
    /// keyword of a face with sunglasses, and not `running`, which persons do.
    fn is_name(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        let verb = is_verb(&word);
        let mut forms = forms(&word);
        forms.push(word);
        forms.iter().any(|form| {
            let name = self.0.get(form);
            name.is_some_and(|name| name == form || (!verb && name.contains(form.as_str())))
        })
    }

    /// Whether a word is not only the past of a verb: of `a dressed cat`.
    fn is_noun(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        !word.ends_with("ed") || self.0.contains_key(&word)
    }

    /// The name that stands for an unknown word, or for what it is a form of.
    fn neighbour(&self, word: &str) -> Option<String> {
        let word = single(word)?;
        let mut forms = forms(&word);
        forms.insert(0, word);
        forms.iter().find_map(|form| self.0.get(form)).cloned()
    }
}

/// The first word with something in its place.
fn first_of<'a>(
    words: &[&'a str],
    instead: &dyn Fn(&str) -> Option<String>,
) -> Option<(&'a str, String)> {
    words.iter().find_map(|word| Some((*word, instead(word)?)))
}

/// What an unknown word is a form of, if that is known.
fn known_form(known: &KnownWords, word: &str) -> Option<String> {
    let forms = forms(&single(word)?);
    forms.into_iter().find(|form| known.knows(form))
}

/// A word without hyphens, in lower case.
fn single(word: &str) -> Option<String> {
    let mut parts = parts(word);
    parts.next().filter(|_| parts.next().is_none())
}

/// How many or how much of a thing, before `of`: what is meant comes after.
const MEASURES: [&str; 24] = [
    "bit", "bolt", "bunch", "chunk", "couple", "flock", "group", "handful", "heap", "herd", "kind",
    "loaf", "lot", "lots", "pack", "pair", "piece", "pile", "pint", "set", "slice", "sort",
    "swarm", "type",
];

/// Whether a word says what something does: `running`, but not `king`.
fn is_verb(word: &str) -> bool {
    let stem = word.strip_suffix("ing");
    stem.is_some_and(|stem| stem.contains(['a', 'e', 'i', 'o', 'u', 'y']))
}

/// The words of a prompt before the first preposition or `and` and up to the first comma, without signs. Of a measure (`a slice of pizza`) those
/// after it.
fn clause(prompt: &str) -> Vec<&str> {
    let mut words: Vec<&str> = vec![];
    for word in prompt.split_whitespace() {
        let measured = |before: &&str| MEASURES.contains(&before.to_lowercase().as_str());
        if word == "and" {
            break;
        }
        if word == "of" && words.last().is_some_and(measured) {
            words.clear();
            continue;
        }
        if PREPOSITIONS.contains(&word.to_lowercase().as_str()) {
            break;
        }
        words.push(trimmed(word));
        if word.ends_with([',', ';', ':']) {
            break;
        }
    }
    words
}

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
        known.add("dance sliding");
        let text = "dog\tdog\npuppy\tdog\nmice\tmouse face\nking\tperson with crown\nno tab\nstyle\tsunglasses\nrunning\tperson running\nslide\tplayground slide\nhot dog\tsandwich\n";
        (known, Neighbours::parse(text))
    }

    fn replaced(prompt: &str) -> String {
        let (known, neighbours) = both();
        neighbours.understand(&known, prompt).prompt
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
            neighbours.understand(&known, "PUPPY").replaced,
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
        // A name before it is not what is meant, but what does something is.
        assert_eq!(replaced("a red dog king"), "a red person with crown");
        assert_eq!(replaced("a dog kinged"), "a dog kinged");
        // A phrase means something else than its words.
        assert_eq!(replaced("a Hot Dog"), "a sandwich");
        assert_eq!(replaced("two hot dogs on a king"), "two sandwich on a king");
        assert_eq!(replaced("a hot dog king"), "a hot person with crown");
        // A measure is not what is meant.
        assert_eq!(replaced("a king pair of mice"), "a king pair of mouse face");
        assert_eq!(
            replaced("a piece of a dog with mice"),
            "a piece of a dog with mice"
        );
        // Running is no name.
        assert_eq!(replaced("a running king"), "a running person with crown");
    }

    #[test]
    fn a_prompt_is_named_by_what_stands_before_the_first_comma() {
        let (known, neighbours) = both();
        let understood = |prompt: &str| {
            let found = neighbours.understand(&known, prompt);
            (found.prompt, found.named)
        };
        for (prompt, expected, named) in [
            ("a puppy, 3d style", "a dog, 3d style", true),
            ("a puppy dancing", "a dog dancing", true), // the name, not the verb
            ("a zeppelin, 3d style", "a zeppelin, 3d style", false),
            ("a puppy with a dog", "a dog with a dog", true),
            ("a zeppelin with a dog", "a zeppelin with a dog", true),
            ("dancing", "dance", false),
            ("running", "running", false),
            ("a puppy sliding", "a dog sliding", true), // nor what else slides
        ] {
            assert_eq!(understood(prompt), (expected.to_owned(), named), "{prompt}");
        }
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
        assert_eq!(neighbours.len(), 8);
        assert_eq!(Neighbours::parse(&neighbours.to_string()), neighbours);
    }

    #[test]
    fn forms_of_words() {
        assert!(is_verb("running") && !is_verb("king") && !is_verb("string") && !is_verb("run"));
        assert_eq!(forms("wolves"), ["wolf", "wolfe", "wolv", "wolve", "wolve"]);
        assert_eq!(forms("stopped"), ["stopp", "stoppe", "stop"]);
        assert_eq!(forms("bus"), Vec::<String>::new());
        assert!(forms("\u{e9}t\u{e9}s").contains(&"\u{e9}t\u{e9}".to_owned()));
    }
}
