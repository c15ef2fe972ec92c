//! The words that a model learned from its captions.

use std::collections::BTreeSet;
use std::fmt;

/// Words that say nothing about what an image shows, whether captions had them or not.
const FUNCTION_WORDS: [&str; 24] = [
    "a", "an", "and", "any", "are", "at", "be", "by", "for", "from", "her", "his", "in", "is",
    "its", "it", "my", "of", "some", "that", "the", "this", "to", "with",
];

/// Signs at the end of a clause.
const SIGNS: &str = ",;:.!?";

/// Words that join to a thing what it is for, where it is, and so on; what is meant stands before them.
pub(crate) const PREPOSITIONS: [&str; 14] = [
    "of", "for", "in", "on", "at", "with", "from", "by", "under", "over", "behind", "near", "to",
    "without",
];

/// The words of the captions that a model was trained on. A prompt's other words have hardly any effect.
///
/// As text, one word a line, in lower case and in order; [`KnownWords::add`] reads it back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownWords(BTreeSet<String>);

impl KnownWords {
    /// Number of words.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no word.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the words of a caption.
    pub fn add(&mut self, caption: &str) {
        for word in caption.split_whitespace() {
            self.0.extend(parts(word));
        }
    }

    /// The words of a text that were in no caption, as they stand in it. A regular plural counts as its singular, and
    /// the other way round.
    pub fn unknown_words<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let words = text.split_whitespace();
        words
            .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
            .filter(|word| parts(word).any(|part| !self.knows(&part)))
            .collect()
    }

    /// A text without the words that were in no caption; none if no word is left. What only joined such a word to the rest goes with it, and a
    /// comma after it stays. A text whose words all were in captions stays as it is.
    pub fn without_unknown(&self, text: &str) -> Option<String> {
        let mut kept: Vec<String> = vec![];
        let (mut any, mut last) = (false, false);
        for word in text.split_whitespace() {
            let unknown = parts(word).any(|part| !self.has(&part));
            let sign = word.chars().last().filter(|&c| SIGNS.contains(c));
            if unknown || (last && parts(word).next().is_none()) {
                if let Some(sign) = sign {
                    end_clause(&mut kept, sign);
                }
                (any, last) = (true, true);
            } else {
                kept.push(word.to_owned());
                last = false;
            }
        }
        if !any {
            return Some(text.to_owned());
        }
        if last {
            end_clause(&mut kept, ' ');
        }
        let kept = kept.join(" ");
        let kept = kept.trim_end_matches([' ', ',']);
        (!kept.is_empty()).then(|| kept.to_owned())
    }

    pub(crate) fn knows(&self, word: &str) -> bool {
        FUNCTION_WORDS.contains(&word) || self.has(word)
    }

    /// Whether captions had a word or its plural or singular.
    fn has(&self, word: &str) -> bool {
        let has = |word: &str| self.0.contains(word);
        let singular = |ending| word.strip_suffix(ending).is_some_and(has);
        has(word) || singular("s") || singular("es") || has(&format!("{word}s"))
    }
}

/// Ends a clause whose last words are left out: without the words that joined them to the others, and with its sign.
fn end_clause(kept: &mut Vec<String>, sign: char) {
    let joins = |word: &mut String| {
        let word = word.to_lowercase();
        FUNCTION_WORDS.contains(&word.as_str()) || PREPOSITIONS.contains(&word.as_str())
    };
    while kept.pop_if(joins).is_some() {}
    if let Some(last) = kept
        .last_mut()
        .filter(|last| !last.ends_with(|c| SIGNS.contains(c)))
    {
        last.push(sign);
    }
}

/// The parts of a word between its hyphens and apostrophes, in lower case: `Jack-o'-lantern` is `jack`, `o` and `lantern`.
pub(crate) fn parts(word: &str) -> impl Iterator<Item = String> {
    let letters = |c: char| !c.is_alphanumeric();
    word.split(letters)
        .filter(|part| !part.is_empty())
        .map(str::to_lowercase)
}

impl fmt::Display for KnownWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| writeln!(f, "{word}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> KnownWords {
        let mut words = KnownWords::default();
        words.add("Red apple, 3d style");
        words.add("jack-o'-lantern on a light blue background");
        words.add("socks");
        words
    }

    #[test]
    fn words_of_no_caption_are_unknown() {
        let unknown = |text| known().unknown_words(text).join(" ");
        assert_eq!(unknown("a red apple, 3D style"), "");
        assert_eq!(unknown("The zeppelin (and an Apple)"), "zeppelin");
        assert_eq!(unknown("two apples' lanterns - one sock"), "two one");
        assert_eq!(unknown("blue-green apple \u{732b}"), "blue-green \u{732b}");
        assert_eq!(unknown(" , - "), "");
    }

    #[test]
    fn what_no_caption_had_is_left_out() {
        let without = |text| known().without_unknown(text);
        for (text, left) in [
            ("my wild red apples, on the moon", "red apples"),
            ("A red Apple - on  a zeppelin", "A red Apple -"),
            (
                "a red apple on a zeppelin, 3d style",
                "a red apple, 3d style",
            ),
            ("a ripe apple on a zeppelin , 3d style", "a apple, 3d style"),
            ("a zeppelin on a blue background", "a on a blue background"),
        ] {
            assert_eq!(without(text).unwrap(), left);
        }
        for whole in ["a red apple , 3d style", "Apples on a", "  red   apple"] {
            assert_eq!(without(whole).unwrap(), whole);
        }
        assert_eq!(without("the zeppelin, a moon"), None);
    }

    #[test]
    fn the_text_form_is_read_back() {
        let text = known().to_string();
        assert!(text.starts_with("3d\na\napple\n"), "{text}");
        let mut read = KnownWords::default();
        read.add(&text);
        assert_eq!(read, known());
        assert_eq!(known().len(), text.lines().count());
    }
}
