//! Infinity that edits an image by instruction (VAREdit): the source, its positions, given inputs, greedy runs.

use burn::tensor::Tensor;
use nextscale_tests::{Fixture, Report};
use nextscale_var_core::rope::RopeTable;

use crate::infinity::{LOGITS, SUMS, Subject, weights};
use crate::runs;

pub fn check(f: &Fixture, report: &mut Report) {
    let subject = Subject::open(f);
    for name in ["text_lens", "text_features", "neg_lens", "neg_features"] {
        f.is_input(name);
    }
    report.part("source", |report| source(&subject, report));
    report.part("tf", |report| {
        let logits = subject.cached_logits(&f.float("tf_input"));
        report.close(f, "tf_logits", logits, LOGITS);
        let logits = teacher_forced(&subject);
        report.close_as("tf_logits@together", logits, f.stored("tf_logits"), LOGITS);
    });
    runs::check(&subject, report);
    weights(&subject, report);
}

fn source(s: &Subject, report: &mut Report) {
    let source = s.source().expect("the latent of a source");
    report.close(s.f, "source_tokens", s.patching.to_tokens(source), 0.0);
    let plan = s.stepwise();
    let table = |rope: &RopeTable| {
        let (cos, sin) = rope.pairs();
        Tensor::stack::<3>(vec![cos, sin], 0)
    };
    report.close(s.f, "rope_cos_sin", table(plan.rope()), SUMS);
    let beyond = plan.source_rope().expect("positions of the source");
    report.close(s.f, "source_rope_cos_sin", table(beyond), SUMS);
}

/// Logits of all scales from given inputs, at once.
fn teacher_forced(s: &Subject) -> Tensor<3> {
    let plan = s.teacher();
    let source = s.source().expect("the latent of a source");
    let (text, inputs) = (s.model.encode_text(&s.text("text")), s.f.float("tf_input"));
    let tokens = s.patching.to_tokens(source);
    let x = s.model.forward_hidden(Some(tokens), inputs, &text, &plan);
    s.model.logits(x, text.cond)
}
