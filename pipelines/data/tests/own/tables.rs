//! Files of JSON lines and tables in CSV.

use nextscale_data::{DataKind, Labels};

use crate::{Place, captions, files, png, skipped};

fn place(kind: DataKind, table: &str, text: &str) -> Place {
    let place = Place::new(kind, table);
    place.write(table, text);
    for number in 1..=3 {
        place.write(&format!("in/{number}.png"), png(number));
    }
    place
}

#[test]
fn json_lines_name_images_and_captions() {
    let lines = "\u{feff}{\"file_name\": \"1.png\", \"text\": \"a  dog\\n asleep\", \"more\": [1]}\n\
        \n\
        {\"file_name\": \"2.png\", \"text\": [\"one\", \"two\"]}\r\n\
        {\"file_name\": \"1.png\", \"text\": \"again\"}\n\
        not json\n\
        {\"text\": \"of nothing\"}\n\
        {\"file_name\": \"none.png\", \"text\": \"x\"}\n\
        {\"file_name\": \"https://h/x.png\", \"text\": \"x\"}\n\
        {\"file_name\": \"3.png\", \"text\": null}";
    let set = place(DataKind::Jsonl, "in/list.jsonl", lines).build();
    assert_eq!(files(&set), ["1.png", "2.png"]);
    assert_eq!(captions(&set), [["a dog asleep", "again"], ["one", "two"]]);
    let skipped = skipped(set.manifest());
    for expected in [
        "list.jsonl line 5: it is not a JSON object",
        "list.jsonl line 6: it names no file",
        "list.jsonl line 8: addresses are not downloaded",
        "none.png: No such file",
        "3.png: it has no caption",
    ] {
        assert!(
            skipped.iter().any(|s| s.starts_with(expected)),
            "{expected}: {skipped:?}"
        );
    }
    assert_eq!(skipped.len(), 5);
}

#[test]
fn tables_name_images_and_captions() {
    let text =
        "\u{feff}path,caption\n1.png,\"a dog, asleep\"\n2.png,a cat, awake\n3.png,\"two\nlines\"\n";
    let set = place(DataKind::Csv, "in/list.csv", text).build();
    assert_eq!(files(&set), ["1.png", "3.png"]);
    assert_eq!(captions(&set), [["a dog, asleep"], ["two lines"]]);
    let skipped = skipped(set.manifest());
    assert!(
        skipped[0].starts_with("list.csv line 3: it has 3 values"),
        "{skipped:?}"
    );
    assert_eq!(skipped.len(), 1);
    let tabs = place(DataKind::Csv, "in/list.tsv", "image\ttext\n1.png\ta, b\n");
    assert_eq!(captions(&tabs.build()), [["a, b"]]);
}

#[test]
fn columns_can_be_chosen() {
    let text = "file,text,words,kind\n1.png,no,yes,10\n2.png,no,,9\n3.png,no,also,\n";
    let mut place = place(DataKind::Csv, "in/list.csv", text);
    place.recipe.caption_column = Some("words".into());
    assert_eq!(captions(&place.build()), [["yes"], ["also"]]);
    place.recipe.class_column = Some("kind".into());
    place.recipe.labels = Some(Labels::Classes);
    let set = place.build();
    assert_eq!(set.classes(), ["9", "10"]);
    assert_eq!(captions(&set), [["yes"], ["9"]]);
    assert_eq!(skipped(set.manifest()), ["3.png: it has no class"]);
}

#[test]
fn classes_are_taken_if_there_is_no_caption() {
    let lines =
        "{\"image\": \"1.png\", \"label\": 3}\n{\"image\": \"2.png\", \"label\": \"cat\"}\n";
    let set = place(DataKind::Jsonl, "in/list.jsonl", lines).build();
    assert_eq!(set.classes(), ["3", "cat"]);
}

#[test]
fn columns_that_are_not_there_are_an_error() {
    let text = "file,text,words\n1.png,a,b\n";
    let mut place = place(DataKind::Csv, "in/list.csv", text);
    place.recipe.caption_column = Some("sentence".into());
    let error = place.error();
    let expected =
        "no column `sentence`, which caption_column names: the columns are file, text, words";
    assert!(error.ends_with(expected), "{error}");
    place.recipe.caption_column = None;
    place.write("in/list.csv", "picture,text\n1.png,a\n");
    let error = place.error();
    assert!(
        error.contains("say with image_column which of picture, text"),
        "{error}"
    );
    place.write("in/list.csv", "file,sentence\n1.png,a\n");
    let error = place.error();
    assert!(
        error.contains("say with caption_column which column"),
        "{error}"
    );
    place.write("in/list.csv", "file,text\n");
    assert!(place.error().contains("it names no image"));
    place.write("in/list.jsonl", "{\"picture\": \"1.png\"}\n");
    place.recipe.kind = DataKind::Jsonl;
    place.recipe.from = vec![place.path("in/list.jsonl").display().to_string()];
    let error = place.error();
    assert!(error.contains("which of picture names"), "{error}");
    place.write("in/list.jsonl", "nothing\n");
    assert!(place.error().contains("no line that could be read"));
}
