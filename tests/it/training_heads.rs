//! Heads that only training has: warm-up heads after the convolutions, and a head that classifies real classes from the
//! image embedding.

use hypertransformer::train::gradient::{Objective, StepGradient};
use predicates::str::contains;
use tch::Tensor;

use crate::common::models::{Setup, cpu, setup};
use crate::common::runs::train;
use crate::common::{episodes, experiment, sampler};

/// Step number `step` on two episodes of 2 shots.
fn step(setup: &Setup, overrides: &[&str], step: u64) -> StepGradient {
    let objective = Objective::at(&experiment(overrides), step);
    setup.step(&cpu(1), episodes(2, 2, 3), objective)
}

/// For each of these parameters, whether the gradient reaches it.
fn reached(setup: &Setup, found: &StepGradient, names: &[&str]) -> Vec<bool> {
    names
        .iter()
        .map(|name| {
            let part = setup.named(&found.gradient, name);
            part.abs().max().double_value(&[]) > 0.0
        })
        .collect()
}

#[test]
fn warm_up_heads_train_the_layers_before_them_in_turn() {
    let names = [
        "cnn.layer1.kernel",
        "warm_up_head1.placeholders",
        "cnn.layer2.kernel",
        "warm_up_head2.placeholders",
        "cnn.layer4.kernel",
        "generator.logits.placeholders",
    ];
    let separate = [
        "initialization=paper",
        "generator.logits_features=embedded",
        "generator.kind=separate",
    ];
    for kind in [&[][..], &separate] {
        let overrides = [&["train.warmup_head_steps=300"], kind].concat();
        let setup = setup(&overrides, 0.05);
        let at = |number| reached(&setup, &step(&setup, &overrides, number), &names);
        assert_eq!(at(0), [true, true, false, false, false, false]);
        assert_eq!(at(50), [true, true, true, true, false, false]);
        assert_eq!(at(250), [true, false, true, false, true, true]);
        assert_eq!(at(300), [true, false, true, false, true, true]);
    }
}

#[test]
fn after_the_warm_up_the_loss_is_that_without_heads() {
    let overrides = ["train.warmup_head_steps=300"];
    let with = setup(&overrides, 0.0);
    let without = setup(&[], 0.0);
    let (with, without) = (step(&with, &overrides, 300), step(&without, &[], 300));
    // φ of the shared part starts alike: parameters are drawn by name.
    assert!(
        (with.loss - without.loss).abs() < 1e-6,
        "{} {}",
        with.loss,
        without.loss
    );
}

#[test]
fn the_real_class_head_adds_the_cross_entropy_of_labelled_images() {
    let overrides = [
        "train.real_class_head={weight: 0.5, classes: 42}",
        "episode.shot=2",
    ];
    let mut setup = setup(&overrides, 0.05);
    // With zero weights the head answers alike for all 42 classes.
    for name in ["real_class_head.weight", "real_class_head.bias"] {
        let _ = setup.named(&setup.phi, name).zero_();
    }
    let with = step(&setup, &overrides, 0);
    let silent = step(&setup, &["episode.shot=2"], 0);
    let added = with.loss - silent.loss;
    assert!((added - 0.5 * 42f64.ln()).abs() < 1e-5, "{added}");
    let name = ["real_class_head.bias"];
    assert_eq!(reached(&setup, &with, &name), [true]);
    // The bias of the right class pulls down, of all others up: a step along it must lower the loss.
    setup.phi -= with.gradient * 0.01;
    assert!(step(&setup, &overrides, 0).loss < with.loss);
}

#[test]
fn the_real_class_head_ignores_hidden_samples() {
    let with_tasks_together = |count| {
        [
            "episode.shot=2",
            count,
            "train.masking={labeled: 0.6, schedule: decay}",
            "train.real_class_head={weight: 1, classes: 42}",
        ]
    };
    let overrides = with_tasks_together("train.tasks_together=1");
    let setup = setup(&overrides, 0.05);
    // All images get the same answer, by which every class has a loss of its own.
    let _ = setup.named(&setup.phi, "real_class_head.weight").zero_();
    let answer: Vec<f32> = (0..42).map(|class| 0.1 * class as f32).collect();
    let mut bias = setup.named(&setup.phi, "real_class_head.bias");
    bias.copy_(&Tensor::from_slice(&answer));
    let normaliser = answer
        .iter()
        .map(|value| f64::from(value.exp()))
        .sum::<f64>()
        .ln();
    let masking = Objective::at(&experiment(&overrides), 0).masking.unwrap();
    let (mut expected, mut hidden) = (0.0, 0);
    for episode in episodes(2, 2, 3) {
        let seen = masking.seen(episode.index, &episode.support);
        let examples = episode
            .support
            .labels
            .iter()
            .zip(&seen)
            .filter(|(_, seen)| **seen > 0.0);
        let losses: Vec<f64> = examples
            .map(|(&label, _)| {
                normaliser - f64::from(answer[episode.classes[label as usize] as usize])
            })
            .collect();
        hidden += seen.len() - losses.len();
        expected += losses.iter().sum::<f64>() / losses.len() as f64 / 2.0;
    }
    assert!(hidden > 0);
    for count in ["train.tasks_together=1", "train.tasks_together=2"] {
        let overrides = with_tasks_together(count);
        let head = step(&setup, &overrides, 0).loss - step(&setup, &overrides[..3], 0).loss;
        assert!((head - expected).abs() < 1e-4, "{count}: {head} {expected}");
    }
}

#[test]
fn episodes_carry_the_real_classes_of_their_labels() {
    let sampler = sampler(5, 2, 3);
    for index in 0..20 {
        let (plan, episode) = (sampler.plan(index), sampler.episode(index));
        let classes: Vec<i64> = plan
            .class_indices
            .iter()
            .map(|&place| place as i64)
            .collect();
        assert_eq!(episode.classes, classes);
        assert!(
            plan.class_indices
                .iter()
                .all(|&place| place < sampler.class_count())
        );
    }
}

#[test]
fn a_wrong_number_of_real_classes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let head = ["--set", "train.real_class_head={weight: 1, classes: 7}"];
    train(folder.path(), "run", &head)
        .assert()
        .failure()
        .stderr(contains("train.real_class_head.classes: 7: expected 42"));
}
