use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sample {
    count: u32,
    #[serde(default)]
    scale: Option<f64>,
    #[serde(default)]
    words: Vec<String>,
    #[serde(default)]
    mode: Mode,
}

#[derive(Debug, Deserialize, PartialEq, Default)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Fast,
    Slow,
}

fn parse(text: &str) -> Node {
    Node::parse(text, "x.yaml").unwrap()
}

#[test]
fn reads_types() {
    let node = parse("count: 3\nscale: 2\nwords: [a, 'b c']\nmode: slow\n");
    let sample: Sample = node.read().unwrap();
    let words = vec!["a".to_owned(), "b c".to_owned()];
    assert_eq!(
        sample,
        Sample {
            count: 3,
            scale: Some(2.0),
            words,
            mode: Mode::Slow
        }
    );
}

#[test]
fn errors_name_the_place() {
    for (text, place, part) in [
        ("count: 3\ncoutn: 4\n", "x.yaml:2:1", "unknown key `coutn`"),
        ("count: three\n", "x.yaml:1:8", "the string `three`"),
        ("count: -1\n", "x.yaml:1:8", "-1"),
        (
            "count: 1\nwords:\n  - a\n  - 7\n",
            "x.yaml:4:5",
            "the number 7",
        ),
        (
            "count: 1\nmode: sloww\n",
            "x.yaml:2:7",
            "unknown value `sloww`",
        ),
        ("scale: 1\n", "x.yaml:1:1", "`count` is missing"),
    ] {
        let error = parse(text).read::<Sample>().unwrap_err();
        assert_eq!(error.mark.to_string(), place, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
    let error = parse("count: 3\ncoutn: 4\n").read::<Sample>().unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("did you mean `count`?"));
}

#[test]
fn refuses_a_key_that_a_type_would_ignore() {
    #[derive(Debug, Deserialize)]
    struct Lax {
        #[serde(rename = "a")]
        _a: u32,
    }
    let error = parse("a: 1\nb: 2\n").read::<Lax>().unwrap_err();
    assert_eq!(error.to_string(), "x.yaml:2:1: unknown key `b`");
}

#[test]
fn refuses_a_key_written_twice_and_bad_yaml() {
    let twice = Node::parse("a: 1\nb:\n  c: 1\n  c: 2\n", "x.yaml").unwrap_err();
    assert_eq!(
        twice.to_string(),
        "x.yaml:4:3: `c` stands twice in one mapping"
    );
    let bad = Node::parse("a: [1,\nb: }\n", "x.yaml").unwrap_err();
    assert_eq!(
        bad.to_string(),
        "x.yaml:1:4: mismatched bracket '[' closed by '}'"
    );
}

#[test]
fn sets_by_path_and_writes_back() {
    let mut node = parse("a:\n  b: 1\nc: [1, 2]\n");
    let new = || Node::parse("x y", "--set").unwrap();
    node.set(&["a", "b"], new()).unwrap();
    node.set(&["a", "d", "e"], new()).unwrap();
    node.set(&["c", "1"], new()).unwrap();
    assert_eq!(
        node.to_yaml(),
        "a:\n  b: x y\n  d:\n    e: x y\nc:\n- 1\n- x y\n"
    );
    let again = Node::parse(&node.to_yaml(), "again").unwrap();
    assert_eq!(again.to_yaml(), node.to_yaml());
    assert!(node.set(&["c", "7"], new()).is_err());
    assert!(node.set(&["a", "b", "q"], new()).is_err());
}

#[test]
fn words_stay_words() {
    // YAML 1.1 took these for booleans; as prompts they are words.
    let node = parse("[n, y, no, yes, on, off]");
    let words: Vec<String> = node.read().unwrap();
    assert_eq!(words, ["n", "y", "no", "yes", "on", "off"]);
    let hard = [
        "no", "07", "1e3", "null", "~", "a: b", "# x", "", " y", "true", "'", "a\nb",
    ];
    let written = Node::from_data(&hard, "x").unwrap().to_yaml();
    let read: Vec<String> = parse(&written).read().unwrap();
    assert_eq!(read, hard, "{written}");
}
