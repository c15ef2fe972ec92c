use super::*;

fn resolved(choice: ShortcutChoice, scales: usize) -> (usize, usize, Vec<f64>) {
    let ImageShortcuts {
        scales,
        guidance_until,
        keep_tokens,
        ..
    } = choice.resolve(scales).unwrap();
    (scales, guidance_until, keep_tokens)
}

#[test]
fn fast_settings_by_length() {
    let fast = |scales| {
        let choice = ShortcutChoice {
            fast: true,
            ..ShortcutChoice::default()
        };
        resolved(choice, scales)
    };
    assert_eq!(fast(13), (11, 9, vec![0.6, 0.5]));
    assert_eq!(fast(10), (9, 7, vec![0.6, 0.5]));
    assert_eq!(fast(4), (4, 3, vec![]));
    assert_eq!(fast(1), (1, 1, vec![]));
}

#[test]
fn notes_say_what_a_scale_leaves_out() {
    let fast = ImageShortcuts::fast(13);
    assert_eq!(fast.note(8, 13, true), None);
    assert_eq!(
        fast.note(9, 13, false).unwrap(),
        "60 % of tokens, no guidance"
    );
    let last = fast.note(10, 13, false).unwrap();
    assert_eq!(last, "50 % of tokens, no guidance, last of 13 that is run");
    assert_eq!(ImageShortcuts::none(13).note(12, 13, false), None);
}

#[test]
fn what_is_set_wins() {
    let choice = ShortcutChoice {
        fast: true,
        scales: Some(13),
        guidance_until: Some(5),
        keep_tokens: Some(vec![1.0]),
        ..ShortcutChoice::default()
    };
    assert_eq!(resolved(choice, 13), (13, 5, vec![1.0]));
    assert_eq!(resolved(ShortcutChoice::default(), 3), (3, 3, vec![]));
    let few = ShortcutChoice {
        fast: true,
        scales: Some(2),
        ..ShortcutChoice::default()
    };
    assert_eq!(resolved(few, 13), (2, 2, vec![]));
}

#[test]
fn settings_of_videos() {
    let choice = |fast, guidance_until, repeats| ShortcutChoice {
        fast,
        guidance_until,
        repeats,
        ..ShortcutChoice::default()
    };
    let of = |choice: ShortcutChoice| {
        let VideoShortcuts {
            guidance_until,
            repeats,
        } = choice.resolve_video(15).unwrap();
        (guidance_until, repeats)
    };
    assert_eq!(of(choice(true, None, None)), (Some(13), None));
    assert_eq!(of(choice(true, Some(4), Some(2))), (Some(4), Some(2)));
    assert_eq!(of(ShortcutChoice::default()), (None, None));
    let wrong = |choice: ShortcutChoice| choice.resolve_video(15).unwrap_err().message;
    assert!(wrong(choice(false, Some(16), None)).contains("from 0 to 15"));
    assert!(wrong(choice(false, None, Some(0))).contains("at least 1"));
    let scales = ShortcutChoice {
        scales: Some(3),
        ..ShortcutChoice::default()
    };
    assert_eq!(wrong(scales), "`scales` is for models of images");
    assert!(choice(false, None, Some(1)).resolve(4).is_err());
}

#[test]
fn what_does_not_fit_is_refused() {
    let base = ShortcutChoice::default;
    let scales = |scales| ShortcutChoice {
        scales: Some(scales),
        ..base()
    };
    let until = |until| ShortcutChoice {
        guidance_until: Some(until),
        ..base()
    };
    let keep = |shares: &[f64]| ShortcutChoice {
        keep_tokens: Some(shares.to_vec()),
        ..base()
    };
    for (choice, message) in [
        (scales(0), "`scales` should be from 1 to 4, but it is 0"),
        (scales(5), "`scales` should be from 1 to 4, but it is 5"),
        (
            until(5),
            "`guidance-until` should be from 0 to 4, but it is 5",
        ),
        (
            keep(&[0.0]),
            "`keep-tokens` should be above 0 and at most 1, but it is 0",
        ),
        (keep(&[f64::NAN]), "at most 1, but it is NaN"),
        (
            keep(&[0.5; 4]),
            "`keep-tokens` has 4 numbers, but of 4 scales at most 3",
        ),
    ] {
        let error = choice.resolve(4).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
