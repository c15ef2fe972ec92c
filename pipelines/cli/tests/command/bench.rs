//! `nextscale bench` on the tiny model.

use super::Place;

#[test]
fn every_part_is_timed() {
    let place = Place::new();
    let table = place.stdout("bench --model @tiny --batch 2 --rounds 2 --json b.json");
    let text = std::fs::read_to_string(place.path("b.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["batch"], 2);
    assert_eq!(report["rounds"], 2);
    let scales = report["scales"].as_array().unwrap();
    assert!(!scales.is_empty());
    let seconds = |value: &serde_json::Value| value.as_f64().unwrap();
    let parts: f64 = scales.iter().map(|scale| seconds(&scale["seconds"])).sum();
    let fastest = seconds(&report["fastest"]);
    assert!(fastest > 0.0 && fastest <= seconds(&report["total"]));
    assert!(parts > 0.0 && seconds(&report["decode"]) > 0.0);
    let a_picture = seconds(&report["seconds_a_picture"]);
    assert!((a_picture * 2.0 - seconds(&report["total"])).abs() < 1e-9);
    let rows = table
        .lines()
        .filter(|line| line.starts_with("scale "))
        .count();
    assert_eq!(rows, scales.len());
}

#[test]
fn what_cannot_be_timed_is_told() {
    let output = Place::new().run("bench --rounds 0");
    assert_eq!(output.status.code(), Some(2));
}
