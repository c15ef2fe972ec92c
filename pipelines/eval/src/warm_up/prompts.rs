//! Prompts of given lengths: kernels are chosen by the shapes of what they compute.

/// Lengths of prompts in tokens unless asked otherwise: a short one, a usual one, a long one.
pub const LENGTHS: [usize; 3] = [8, 32, 128];

/// A prompt of about this many tokens: with short words and the mark of its end, most vocabularies split it into just as many.
pub(super) fn prompt(tokens: usize) -> String {
    let words = ["red", "apple"].into_iter().cycle();
    let words: Vec<&str> = words.take(tokens.saturating_sub(1).max(1)).collect();
    words.join(" ")
}

/// The lengths that were asked for, up to the longest that a model reads, each once.
pub(super) fn within(lengths: &[usize], longest: usize) -> Vec<usize> {
    let mut all: Vec<usize> = lengths.iter().map(|&tokens| tokens.min(longest)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Lengths for the text encoder: the powers of two, to which the tensor library rounds when it chooses, up to the longest that a
/// model reads, and those that were asked for.
pub(super) fn ladder(lengths: &[usize], longest: usize) -> Vec<usize> {
    let powers = (2..usize::BITS).map(|bits| 1usize << bits);
    let powers = powers.take_while(|&tokens| tokens < longest);
    let all: Vec<usize> = powers
        .chain([longest])
        .chain(lengths.iter().copied())
        .collect();
    within(&all, longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_end_where_the_model_ends() {
        assert_eq!(within(&LENGTHS, 512), LENGTHS);
        assert_eq!(within(&LENGTHS, 64), [8, 32, 64]);
        assert_eq!(within(&[200, 9], 16), [9, 16]);
        assert_eq!(ladder(&[9], 40), [4, 8, 9, 16, 32, 40]);
        assert_eq!(ladder(&[], 3), [3]);
    }

    #[test]
    fn prompts_have_a_word_for_each_token_but_the_last() {
        assert_eq!(prompt(4), "red apple red");
        assert_eq!(prompt(0), "red");
    }
}
