//! The nouns of WordNet (the formats `wndb` and `lexnames` of its manual).

use std::collections::{HashMap, HashSet};

use crate::error::Invalid;

/// What a sense is about, by the number of its lexicographer's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Field {
    Act,
    Animal,
    Artifact,
    Body,
    Communication,
    Event,
    Food,
    Location,
    Object,
    Person,
    Phenomenon,
    Plant,
    Possession,
    Substance,
    Time,
    /// Thoughts, groups, states and so on, which are hard to draw.
    Other,
}

impl Field {
    fn of(number: u8) -> Self {
        match number {
            4 => Self::Act,
            5 => Self::Animal,
            6 => Self::Artifact,
            8 => Self::Body,
            10 => Self::Communication,
            11 => Self::Event,
            13 => Self::Food,
            15 => Self::Location,
            17 => Self::Object,
            18 => Self::Person,
            19 => Self::Phenomenon,
            20 => Self::Plant,
            21 => Self::Possession,
            27 => Self::Substance,
            28 => Self::Time,
            _ => Self::Other,
        }
    }
}

/// Where a sense is in `data.noun`, in bytes: its name.
pub(super) type Sense = u32;

/// A sense: words that mean the same.
#[derive(Debug)]
pub(super) struct Synset {
    pub field: Field,
    /// What it is a kind of, or an instance of.
    pub above: Vec<Sense>,
    /// Kinds of it.
    pub below: Vec<Sense>,
    /// The words that mean it, in lower case, with spaces.
    pub words: Vec<String>,
    /// The words of its explanation, up to the first semicolon, in lower case.
    pub gloss: Vec<String>,
}

/// The nouns.
#[derive(Debug, Default)]
pub(super) struct WordNet {
    /// The senses of each word, the most frequent first. Words are in lower case, with spaces.
    senses: HashMap<String, Vec<Sense>>,
    synsets: HashMap<Sense, Synset>,
    adjectives: HashSet<String>,
    /// Irregular plurals, each with its singular.
    pub plurals: Vec<(String, String)>,
}

impl WordNet {
    /// Of the four files.
    ///
    /// # Errors
    /// A line that is not as the manual says, with the name of its file and its number.
    pub fn parse(
        data: &str,
        index: &str,
        adjectives: &str,
        exceptions: &str,
    ) -> Result<Self, Invalid> {
        let mut all = Self::default();
        each_line("data.noun", data, |line| {
            let (sense, synset) = synset(line)?;
            all.synsets.insert(sense, synset);
            Some(())
        })?;
        each_line("index.noun", index, |line| {
            let mut words = line.split(' ');
            let word = words.next()?.replace('_', " ");
            let count: usize = words.nth(1)?.parse().ok()?;
            let numbers: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            let senses = numbers.get(numbers.len().checked_sub(count)?..)?;
            let senses: Option<Vec<Sense>> = senses.iter().map(|s| s.parse().ok()).collect();
            all.senses.insert(word, senses?);
            Some(())
        })?;
        each_line("index.adj", adjectives, |line| {
            let (word, _) = line.split_once(' ')?;
            all.adjectives.insert(word.replace('_', " "));
            Some(())
        })?;
        each_line("noun.exc", exceptions, |line| {
            let (plural, singular) = line.split_once(' ')?;
            let singular = singular.split(' ').next()?;
            all.plurals.push((plural.to_owned(), singular.to_owned()));
            Some(())
        })?;
        Ok(all)
    }

    /// The senses of a word or a phrase, the most frequent first.
    pub fn senses(&self, word: &str) -> &[Sense] {
        self.senses.get(word).map_or(&[], Vec::as_slice)
    }

    /// Whether a word is an adjective and no noun.
    pub fn is_adjective(&self, word: &str) -> bool {
        self.adjectives.contains(word) && !self.senses.contains_key(word)
    }

    /// Whether a word is an adjective, or may be one.
    pub fn may_be_adjective(&self, word: &str) -> bool {
        self.adjectives.contains(word)
    }

    /// A sense, if it is known.
    pub fn synset(&self, sense: Sense) -> Option<&Synset> {
        self.synsets.get(&sense)
    }

    /// All words of letters alone, in order.
    pub fn words(&self) -> Vec<&str> {
        self.of_parts(1)
    }

    /// All phrases of two words of letters alone, in order.
    pub fn pairs(&self) -> Vec<&str> {
        self.of_parts(2)
    }

    /// What consists of so many words of letters alone, in order.
    fn of_parts(&self, count: usize) -> Vec<&str> {
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase());
        let fits = |word: &&str| word.split(' ').count() == count && word.split(' ').all(plain);
        let words = self.senses.keys().map(String::as_str);
        let mut words: Vec<&str> = words.filter(fits).collect();
        words.sort_unstable();
        words
    }
}

/// Calls `read` with every line but those of the licence, which begin with two spaces.
fn each_line(
    file: &str,
    text: &str,
    mut read: impl FnMut(&str) -> Option<()>,
) -> Result<(), Invalid> {
    for (number, line) in (1..).zip(text.lines()) {
        if !line.starts_with("  ") && read(line).is_none() {
            return Err(Invalid(format!(
                "{file}: line {number} is not as WordNet's manual says"
            )));
        }
    }
    Ok(())
}

/// A line of `data.noun`: `offset field type words (word id)* pointers (symbol offset type numbers)* | gloss`.
fn synset(line: &str) -> Option<(Sense, Synset)> {
    let (line, gloss) = line.split_once(" | ")?;
    let gloss = gloss.split(';').next().unwrap_or_default();
    let gloss = gloss.split(|c: char| !c.is_alphanumeric());
    let gloss = gloss.filter(|word| !word.is_empty());
    let mut words = line.split(' ');
    let sense = words.next()?.parse().ok()?;
    let field = Field::of(words.next()?.parse().ok()?);
    let count = usize::from_str_radix(words.nth(1)?, 16).ok()?;
    let mut names = vec![];
    for _ in 0..count {
        names.push(words.next()?.replace('_', " ").to_lowercase());
        words.next()?;
    }
    let pointers: usize = words.next()?.parse().ok()?;
    let (mut above, mut below) = (vec![], vec![]);
    for _ in 0..pointers {
        let symbol = words.next()?;
        let other = words.next()?.parse().ok()?;
        let kind = words.next()?;
        words.next()?;
        match symbol {
            "@" | "@i" if kind == "n" => above.push(other),
            "~" if kind == "n" => below.push(other),
            _ => {}
        }
    }
    Some((
        sense,
        Synset {
            field,
            above,
            below,
            words: names,
            gloss: gloss.map(str::to_lowercase).collect(),
        },
    ))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub const DATA: &str = "  1 licence\n\
        00000010 05 n 01 animal 0 001 ~ 00000020 n 0000 | a living thing\n\
        00000020 05 n 02 dog 0 domestic_dog 0 002 @ 00000010 n 0000 ~ 00000030 n 0000 | it barks\n\
        00000030 05 n 01 puppy 0 001 @ 00000020 n 0000 | a young dog\n\
        00000040 18 n 01 puppy 0 000 | a brash young person\n";
    pub const INDEX: &str = "  1 licence\n\
        animal n 1 1 ~ 1 1 00000010  \n\
        dog n 1 2 @ ~ 1 1 00000020  \n\
        domestic_dog n 1 2 @ ~ 1 0 00000020  \n\
        puppy n 2 1 @ 2 1 00000030 00000040  \n";

    pub const ADJECTIVES: &str =
        "  1 licence\nroyal a 1 0 1 0 00000050  \nanimal a 1 0 1 0 00000060  \n";

    #[test]
    fn nouns_are_read() {
        let all = WordNet::parse(DATA, INDEX, ADJECTIVES, "mice mouse\n").unwrap();
        assert!(all.is_adjective("royal") && !all.is_adjective("animal"));
        assert!(all.may_be_adjective("animal") && !all.may_be_adjective("dog"));
        assert_eq!(all.senses("puppy"), [30, 40]);
        assert_eq!(all.senses("domestic dog"), [20]);
        assert!(all.senses("cat").is_empty());
        let puppy = all.synset(30).unwrap();
        assert_eq!((puppy.field, &puppy.above[..]), (Field::Animal, &[20][..]));
        assert_eq!(puppy.gloss, ["a", "young", "dog"]);
        assert_eq!(all.synset(40).unwrap().field, Field::Person);
        let dog = all.synset(20).unwrap();
        assert_eq!(
            (&dog.below[..], &dog.words[..]),
            (
                &[30][..],
                &["dog".to_owned(), "domestic dog".to_owned()][..]
            )
        );
        assert_eq!(all.words(), ["animal", "dog", "puppy"]);
        assert_eq!(all.pairs(), ["domestic dog"]);
        assert_eq!(all.plurals, [("mice".to_owned(), "mouse".to_owned())]);
    }

    #[test]
    fn another_file_is_refused_with_its_line() {
        let error = WordNet::parse("  1\n00000010 05 n zz | x", "", "", "").unwrap_err();
        assert!(error.0.contains("data.noun: line 2"), "{}", error.0);
        let without_gloss = WordNet::parse("00000010 05 n 01 dog 0 000", "", "", "");
        assert!(without_gloss.unwrap_err().0.contains("data.noun: line 1"));
    }
}
