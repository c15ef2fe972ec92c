//! Captions as they stand in files.

use serde_json::Value;

use crate::error::Invalid;
use crate::own::samples::merge;

/// A number of things: `1 image`, `2 images`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// A text with single spaces; none if it is empty.
pub(crate) fn line(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// The text of a file without a byte order mark.
///
/// # Errors
/// It is not UTF-8.
pub(crate) fn decode(bytes: &[u8]) -> Result<&str, Invalid> {
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|e| {
        let at = e.valid_up_to();
        Invalid(format!("it is not UTF-8 text (at byte {at})"))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The captions of a file: each line that is not empty is one.
///
/// # Errors
/// It is not UTF-8.
pub(crate) fn lines(bytes: &[u8]) -> Result<Vec<String>, Invalid> {
    let mut captions = Vec::new();
    merge(&mut captions, decode(bytes)?.lines().filter_map(line));
    Ok(captions)
}

/// The captions of a JSON value: a text is one, a list of texts is several.
pub(crate) fn captions(value: &Value) -> Vec<String> {
    let mut captions = Vec::new();
    match value {
        Value::String(text) => captions.extend(line(text)),
        Value::Array(values) => {
            let texts = values.iter().filter_map(Value::as_str);
            merge(&mut captions, texts.filter_map(line));
        }
        _ => {}
    }
    captions
}

/// The class that a JSON value names: a text or a number.
pub(crate) fn class(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => line(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_caption_with_single_spaces() {
        let text = "\u{feff} a  red\tapple \r\n\r\nan apple\na red apple\n";
        assert_eq!(lines(text.as_bytes()).unwrap(), ["a red apple", "an apple"]);
        assert!(lines(b" \n\t").unwrap().is_empty());
        assert_eq!(
            lines(b"ab\xe9").unwrap_err().0,
            "it is not UTF-8 text (at byte 2)"
        );
    }

    #[test]
    fn json_holds_one_caption_or_several() {
        assert_eq!(captions(&"a\n b".into()), ["a b"]);
        assert_eq!(
            captions(&serde_json::json!(["a", "", "b", "a"])),
            ["a", "b"]
        );
        assert!(captions(&Value::Null).is_empty() && captions(&3.into()).is_empty());
        assert_eq!(class(&3.into()).as_deref(), Some("3"));
        assert_eq!(class(&" cat ".into()).as_deref(), Some("cat"));
    }
}
