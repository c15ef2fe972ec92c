//! How emoji and icon sets spell: keys of code points, names for captions, slugs of icon sets.

/// Code points in hexadecimal, at least four digits each, joined by `-`, without variation selectors.
pub(super) fn key_of(emoji: &str) -> String {
    let points = emoji
        .chars()
        .filter(|c| *c != '\u{fe0f}')
        .map(|c| format!("{:04x}", c as u32));
    points.collect::<Vec<_>>().join("-")
}

/// The same key from written code points such as `2615-FE0F` or `39-fe0f-20e3`.
pub(super) fn hex_key(code: &str) -> String {
    let points = code
        .split(['-', '_'])
        .map(|p| format!("{:0>4}", p.to_ascii_lowercase()));
    points.filter(|p| p != "fe0f").collect::<Vec<_>>().join("-")
}

/// Whether a key is that of a country's or region's flag.
pub(super) fn is_country_flag(key: &str) -> bool {
    key.split('-')
        .filter_map(|p| u32::from_str_radix(p, 16).ok())
        .any(|p| (0x1f1e6..=0x1f1ff).contains(&p) || (0xe0020..=0xe007f).contains(&p))
}

/// A name as captions use it: lower case, plain apostrophes, no brackets or quotes, single spaces.
pub(super) fn clean(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        match c {
            '’' => text.push('\''),
            '“' | '”' | '"' | '(' | ')' | ':' | '!' => {}
            ',' => text.push_str(" and"),
            '&' => text.push_str("and"),
            '_' => text.push(' '),
            'ñ' => text.push('n'),
            c => text.extend(c.to_lowercase()),
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A name as icon sets write it: `man’s shoe` is `mans-shoe`.
pub(super) fn slug(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        let c = match c {
            'ñ' => 'n',
            'é' => 'e',
            'ô' => 'o',
            other => other,
        };
        match c {
            'a'..='z' | '0'..='9' | '#' | '*' => out.push(c),
            '’' | '\'' | '“' | '”' | '!' | '.' | ',' | '(' | ')' | ':' => {}
            '&' => out.push_str("and"),
            _ if !out.ends_with('-') => out.push('-'),
            _ => {}
        }
    }
    out.trim_matches('-').to_owned()
}

/// Whether a slug names a skin-tone variant.
pub(super) fn has_skin_tone(slug: &str) -> bool {
    let mut parts = slug.split('-');
    parts.any(|p| {
        p.strip_prefix("tone")
            .is_some_and(|n| n.is_empty() || n.parse::<u8>().is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_slugs() {
        assert_eq!(hex_key("39-FE0F-20e3"), "0039-20e3");
        assert_eq!(key_of("9\u{fe0f}\u{20e3}"), "0039-20e3");
        assert_eq!(slug("Man’s shoe"), "mans-shoe");
        assert_eq!(slug("Japanese “here” button"), "japanese-here-button");
        assert_eq!(clean("kiss woman, man"), "kiss woman and man");
        assert!(has_skin_tone("woman-climbing-tone4"));
        assert!(has_skin_tone("boy-light-skin-tone"));
        assert!(!has_skin_tone("tombstone"));
    }
}
