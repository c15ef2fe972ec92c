//! Words that a model does not know, each with what it knows instead.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use crate::known_words::{KnownWords, PREPOSITIONS, parts};

/// Words that no caption had, each with a name that stands for it: `puppy` is drawn as a `dog`. Words that are names have themselves.
/// Phrases of two words are among them if their last word means something else: a `granny smith` is an apple.
///
/// As text, one word and its name a line, with a tab between them; [`Neighbours::parse`] reads it back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbours(BTreeMap<String, String>);

/// A word or a phrase of a prompt that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// It, as it stood in the prompt.
    pub word: String,
    /// What stands there now.
    pub by: String,
}

/// A prompt as a model understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Understood {
    /// The prompt, with a word or a phrase replaced.
    pub prompt: String,
    /// What was replaced.
    pub replaced: Option<Replaced>,
    /// Whether a name in it says what is meant.
    pub named: bool,
}

impl Understood {
    fn as_it_is(prompt: &str, named: bool) -> Self {
        Self {
            prompt: prompt.to_owned(),
            replaced: None,
            named,
        }
    }

    /// With a name in the place of a part of the prompt. `word` in it is told.
    fn replacing(
        prompt: &str,
        whole: Range<usize>,
        word: Range<usize>,
        by: String,
        named: bool,
    ) -> Self {
        let (before, after) = (&prompt[..whole.start], &prompt[whole.end..]);
        let word = prompt[word].to_owned();
        Self {
            prompt: format!("{before}{by}{after}"),
            replaced: Some(Replaced { word, by }),
            named,
        }
    }
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

    /// Number of words and phrases.
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
    /// rain` it is the tractor, and of `a slice of pizza` the pizza. A known name there is what is meant, unless an unknown noun comes right
    /// after it: of `a family sedan` it is the sedan, and the name before it is left out.
    pub fn understand(&self, known: &KnownWords, prompt: &str) -> Understood {
        let unknown = known.unknown_words(prompt);
        let says = |word: &str| !unknown.contains(&word) && self.is_name(word);
        let clause = clause(prompt);
        if let &[.., first, last] = &clause[..]
            && let Some(by) = self.phrase(first, last)
        {
            let whole = place(prompt, first).start..place(prompt, last).end;
            return Understood::replacing(prompt, whole.clone(), whole, by, true);
        }
        if let Some(said) = clause.iter().rposition(|word| says(word)) {
            let noun = clause.get(said + 1).filter(|word| unknown.contains(word));
            let Some((noun, by)) = noun.and_then(|word| Some((word, self.noun(word)?))) else {
                return Understood::as_it_is(prompt, true);
            };
            // Names before what is meant would be drawn too.
            let other = clause[..said].iter().rposition(|word| !says(word));
            let first = clause[other.map_or(0, |other| other + 1)];
            let noun = place(prompt, noun);
            let whole = place(prompt, first).start..noun.end;
            return Understood::replacing(prompt, whole, noun, by, true);
        }
        let candidates = clause.iter().rev().copied();
        let candidates: Vec<&str> = candidates.filter(|word| unknown.contains(word)).collect();
        let found = self.first_of(known, &candidates);
        if found.is_none() && prompt.split_whitespace().map(trimmed).any(says) {
            return Understood::as_it_is(prompt, true);
        }
        match found.or_else(|| self.first_of(known, &unknown)) {
            Some((word, by, named)) => {
                let word = place(prompt, word);
                Understood::replacing(prompt, word.clone(), word, by, named)
            }
            None => Understood::as_it_is(prompt, false),
        }
    }

    /// The first of unknown words with something in its place, and whether that is a name: the name that stands for it, or else what it is a
    /// form of.
    fn first_of<'a>(
        &self,
        known: &KnownWords,
        words: &[&'a str],
    ) -> Option<(&'a str, String, bool)> {
        let mut names = words.iter().map(|word| (*word, self.neighbour(word)));
        let name = names.find_map(|(word, name)| Some((word, name?, true)));
        name.or_else(|| {
            let mut others = words.iter().map(|word| (*word, known_form(known, word)));
            let (word, form) = others.find_map(|(word, form)| Some((word, form?)))?;
            let named = self.is_name(&form);
            Some((word, form, named))
        })
    }

    /// The name that stands for a phrase of two words, in the singular or the plural.
    fn phrase(&self, first: &str, last: &str) -> Option<String> {
        let (first, last) = (first.to_lowercase(), last.to_lowercase());
        let mut forms = forms(&last);
        forms.insert(0, last);
        let phrases = forms.iter().map(|last| format!("{first} {last}"));
        phrases
            .filter_map(|phrase| self.0.get(&phrase))
            .next()
            .cloned()
    }

    /// The name that stands for a noun, which is no form of another word: after a name such forms are verbs, as in `a cat sleeps`.
    fn noun(&self, word: &str) -> Option<String> {
        let word = word.to_lowercase();
        self.0.get(&word).filter(|_| !is_verb(&word)).cloned()
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

    /// The name that stands for an unknown word, or for what it is a form of.
    fn neighbour(&self, word: &str) -> Option<String> {
        let word = single(word)?;
        let mut forms = forms(&word);
        forms.insert(0, word);
        forms.iter().find_map(|form| self.0.get(form)).cloned()
    }
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
const MEASURES: [&str; 23] = [
    "bit", "bolt", "bunch", "chunk", "couple", "flock", "group", "handful", "heap", "herd", "kind",
    "loaf", "lot", "pack", "pair", "piece", "pile", "pint", "set", "slice", "sort", "swarm",
    "type",
];

/// Whether a word is a measure, in the singular or the plural.
fn is_measure(word: &str) -> bool {
    let word = word.to_lowercase();
    let forms = forms(&word);
    let mut all = forms.iter().chain([&word]);
    all.any(|form| MEASURES.contains(&form.as_str()))
}

/// Whether a word in lower case says what something does: `running`, but not `king`.
fn is_verb(word: &str) -> bool {
    let stem = word.strip_suffix("ing");
    stem.is_some_and(|stem| stem.contains(['a', 'e', 'i', 'o', 'u', 'y']))
}

/// The words of a prompt before the first preposition or `and` and up to the first comma, without signs. Of a measure (`a slice of pizza`) those
/// after it.
fn clause(prompt: &str) -> Vec<&str> {
    let mut words: Vec<&str> = vec![];
    for word in prompt.split_whitespace() {
        let lower = word.to_lowercase();
        if lower == "of" && words.last().is_some_and(|before| is_measure(before)) {
            words.clear();
            continue;
        }
        if lower == "and" || PREPOSITIONS.contains(&lower.as_str()) {
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

/// Where a part of a prompt is in it, in bytes.
fn place(prompt: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - prompt.as_ptr().addr();
    start..start + part.len()
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
        // A noun right after a name is what is meant.
        assert_eq!(replaced("a red dog king"), "a red person with crown");
        assert_eq!(replaced("A dog\tdog King-"), "A person with crown-");
        // Anything else there is not.
        for prompt in [
            "a dog kinged",
            "a dog kings",
            "A DOG BATHING",
            "a dog wearing a king",
            "a dog or a king",
            "a dog & a king",
            "the dog into a king",
        ] {
            assert_eq!(replaced(prompt), prompt);
        }
        assert_eq!(
            replaced("a king-size king"),
            "a king-size person with crown"
        );
        // A phrase means something else than its words.
        assert_eq!(replaced("a Hot  Dog"), "a sandwich");
        assert_eq!(
            replaced("two 'hot' dogs on a king"),
            "two 'sandwich on a king"
        );
        assert_eq!(replaced("a hot dog king"), "a hot person with crown");
        assert_eq!(replaced("a hot dog and a king"), "a sandwich and a king");
        // A measure is not what is meant.
        assert_eq!(replaced("a king pair of mice"), "a king pair of mouse face");
        assert_eq!(
            replaced("Two Loaves OF king"),
            "Two Loaves OF person with crown"
        );
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
            ("a hot dog at night", "a sandwich at night", true),
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
