//! Prompts in other words, from an endpoint of our own.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::http::{self, Answer};
use crate::{Place, pipeline, rows, says, tiny};

/// What was asked: the headers, and the question.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// Serves one answer to everybody; gives back the address, and where questions are noted.
fn serve(status: &'static str, answer: String) -> (String, Asked) {
    let asked = Asked::default();
    let noted = asked.clone();
    let address = http::serve(move |request| {
        let question = serde_json::from_slice(&request.body).unwrap();
        noted.lock().unwrap().push((request.head.clone(), question));
        Answer::new(status, answer.clone())
    });
    (address + "/v1", asked)
}

fn rewriting(text: &str) -> String {
    json!({ "choices": [{ "message": { "role": "assistant", "content": text } }] }).to_string()
}

/// The tiny pipeline with a stage between prompts and text encoder.
fn yaml(url: &str, more: &str) -> String {
    let text = pipeline(tiny::model());
    let (from, stage) = (
        "from: prompts\n",
        format!(
            "  words:\n    stage: rewrite\n    from: prompts\n    url: {url}\n    language-model: m\n{more}"
        ),
    );
    says(&text, &[from]);
    text.replacen(from, "from: words\n", 1) + &stage
}

#[test]
fn a_prompt_in_other_words_is_painted_and_recorded() {
    let place = Place::new();
    let (url, asked) = serve("200 OK", rewriting(" a red \"house\"\n on a hill "));
    place.write("p.yaml", &yaml(&url, "    temperature: 0\n"));
    let prompts = "stages.prompts.prompts=[a \"house\"]";
    place.good(&format!("run p.yaml --set output=a.png --set '{prompts}'"));
    let asked = asked.lock().unwrap();
    let (head, question) = &asked[0];
    assert!(head.starts_with("POST /v1/chat/completions "), "{head}");
    assert_eq!(question["model"], "m");
    assert_eq!(question["temperature"], 0.0);
    assert_eq!(question["messages"][1]["content"], "a \"house\"");
    let told = question["messages"][0]["content"].as_str().unwrap();
    says(told, &["one description of one picture"]);
    let shown = place.stdout("metadata a.png");
    says(&shown, &["a red \"house\" on a hill\n"]);
    // Painted again from its record it is the same picture, and nobody is asked.
    place.good("run a.png --trust --set output=b.png");
    assert!(place.image("a.png") == place.image("b.png"));
    assert_eq!(asked.len(), 1);
}

#[test]
fn endpoints_that_do_not_help() {
    for (status, answer, why) in [
        ("500 Internal Server Error", "{}".to_owned(), "500"),
        ("200 OK", "hello".to_owned(), "its answer is not JSON"),
        ("200 OK", "{}".to_owned(), "its answer has no text"),
        ("200 OK", rewriting(" \n"), "its answer is empty"),
        (
            "200 OK",
            rewriting(&"x".repeat(9000)),
            "an answer of 9000 characters is too long for a prompt",
        ),
    ] {
        let place = Place::new();
        let (url, _) = serve(status, answer);
        place.write("p.yaml", &yaml(&url, ""));
        place.refuses(
            "run p.yaml --set output=x.png",
            &["did not rewrite the prompt: ", why],
        );
        assert_eq!(place.files("."), ["p.yaml"]);
    }
    let place = Place::new();
    place.write("p.yaml", &yaml("http://127.0.0.1:1/v1", ""));
    place.refuses(
        "run p.yaml --set output=x.png",
        &["the stage `words` failed: http://127.0.0.1:1/v1/chat/completions"],
    );
}

#[test]
fn what_is_refused_before_anybody_is_asked() {
    for (keys, parts) in rows(
        "
        localhost:8000                   => p.yaml:21:10: `localhost:8000` is not the address of an endpoint
        http://x/v1 temperature: 3       => a temperature of 3 is not from 0 to 2
        http://x/v1 timeout: 0           => `timeout` should be at least 1 second
        http://x/v1 key-env: NO_SUCH_KEY => the environment variable `NO_SUCH_KEY` is not set
        http://x/v1 modle: x             => unknown key `modle`",
    ) {
        let place = Place::new();
        let (url, more) = keys.split_once(' ').unwrap_or((keys, ""));
        place.write("p.yaml", &yaml(url, &format!("    {more}\n")));
        place.refuses("validate p.yaml", &parts);
    }
}
