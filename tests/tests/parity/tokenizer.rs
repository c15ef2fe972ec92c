//! Tokenizer files.

use nextscale_tests::{Fixture, Report, Stored};
use nextscale_text::Vocab;
use serde_json::Value;

pub fn check(f: &Fixture, report: &mut Report) {
    let vocab = Vocab::from_file(f.dir.join("tokenizer.json")).unwrap_or_else(|e| panic!("{e}"));
    let vocab = vocab.with_max_len(f.number("max_length"));
    let expected = f.dir.join("expected.json");
    let text = std::fs::read_to_string(&expected).unwrap_or_else(|e| panic!("{expected:?}: {e}"));
    let cases: Vec<Value> = serde_json::from_str(&text).expect("a list of texts");
    for (at, case) in cases.iter().enumerate() {
        report.part(&format!("text_{at}"), |report| {
            one(&vocab, at, case, report)
        });
    }
    let read_back = Vocab::from_bytes(vocab.to_json().expect("a tokenizer file").as_bytes());
    let read_back = read_back
        .expect("what was written")
        .with_max_len(vocab.max_len());
    let same = |case: &Value| {
        let prompt = case["text"].as_str().unwrap_or_default();
        vocab.encode(prompt).ok() == read_back.encode(prompt).ok()
    };
    let differing = cases.iter().filter(|case| !same(case)).count();
    report.numbers("resaved", &list([differing]), &list([0]), 0.0);
}

fn list(values: impl IntoIterator<Item = usize>) -> Stored {
    let values: Vec<f64> = values.into_iter().map(|x| x as f64).collect();
    Stored {
        dims: vec![values.len()],
        values,
    }
}

fn one(vocab: &Vocab, at: usize, case: &Value, report: &mut Report) {
    let prompt = case["text"].as_str().expect("a text");
    let ids = case["ids"].as_array().expect("ids").iter();
    let ids = list(ids.map(|id| id.as_u64().expect("an id") as usize));
    let encoded = vocab.encode(prompt).unwrap_or_else(|e| panic!("{e}"));
    let ours = list(encoded.ids.iter().map(|&id| id as usize));
    report.numbers(&format!("ids_{at}"), &ours, &ids, 0.0);

    let whole = case["len_untruncated"].as_u64().expect("a length") as usize;
    let name = format!("len_untruncated_{at}");
    report.numbers(&name, &list([encoded.untruncated]), &list([whole]), 0.0);

    // Of unknown characters the stored list has the text itself.
    let tokens = case["tokens"].as_array().expect("tokens");
    let same = |(token, &id): (&Value, &u32)| match vocab.token(id).as_deref() {
        Some("<unk>") => true,
        known => known == token.as_str(),
    };
    let same = tokens.len() == encoded.ids.len() && tokens.iter().zip(&encoded.ids).all(same);
    let name = format!("tokens_{at}");
    report.numbers(&name, &list([usize::from(same)]), &list([1]), 0.0);
}
