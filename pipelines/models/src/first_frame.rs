//! Who paints the first frame of a video.

use serde::{Deserialize, Serialize};

/// A picture that another model paints as the first frame of a video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstFrame {
    /// The model that paints it: `default`, or any other name.
    pub model: String,
    /// Its side as a share of the frame's smaller side, above 0 and up to 1; it stands in the middle.
    pub size: f64,
    /// The colour around it: red, green and blue.
    pub background: [u8; 3],
    /// Phrases that say how something moves: the picture's prompt is what is left without them.
    #[serde(default)]
    pub motions: Vec<String>,
}

impl FirstFrame {
    /// The prompt of the picture: that of the video without phrases of motion, whole words only.
    pub fn prompt(&self, prompt: &str) -> String {
        let words: Vec<&str> = prompt.split_whitespace().collect();
        let lower: Vec<String> = words.iter().map(|w| plain(w)).collect();
        let mut phrases: Vec<Vec<String>> = self
            .motions
            .iter()
            .map(|p| p.split_whitespace().map(plain).collect())
            .filter(|p: &Vec<String>| !p.is_empty())
            .collect();
        // A longer phrase may contain a shorter one.
        phrases.sort_by_key(|p| std::cmp::Reverse(p.len()));
        let (mut kept, mut at) = (vec![], 0);
        while at < words.len() {
            match phrases.iter().find(|p| lower[at..].starts_with(p)) {
                Some(phrase) => at += phrase.len(),
                None => {
                    kept.push(words[at]);
                    at += 1;
                }
            }
        }
        if kept.is_empty() {
            prompt.to_owned()
        } else {
            kept.join(" ").trim_end_matches([',', ' ']).to_owned()
        }
    }
}

/// A word without what stands around it, in lower case.
fn plain(word: &str) -> String {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    word.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_motion_are_no_part_of_the_picture() {
        let motions = ["bouncing", "to the left", "sliding", "sliding to the left"];
        let first = FirstFrame {
            model: "default".into(),
            size: 0.5,
            background: [255; 3],
            motions: motions.map(str::to_owned).to_vec(),
        };
        assert_eq!(first.prompt("Red apple bouncing"), "Red apple");
        assert_eq!(first.prompt("red apple, sliding to the left"), "red apple");
        assert_eq!(first.prompt("a bouncingball"), "a bouncingball");
        assert_eq!(first.prompt("bouncing"), "bouncing");
    }
}
