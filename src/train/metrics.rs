//! Every number that training records. A new metric is one entry in one of these lists; the lists differ in what is
//! measured and when.

use tch::Kind;

use crate::base::spent::Spent;
use crate::evaluate::adaptation::LayerDeviation;
use crate::evaluate::summary::Summary;
use crate::model::batch::EpisodeBatch;
use crate::model::hypertransformer::Prediction;
use crate::report::averages::Metric;

/// Tag of the training loss.
pub(crate) const LOSS: &str = "train/loss";
/// Tag of the training accuracy.
pub(crate) const ACCURACY: &str = "train/accuracy";

/// A forward pass of training over T tasks.
pub(crate) struct TrainingPass {
    /// Mean loss of the tasks, with penalties.
    pub(crate) loss: f64,
    pub(crate) batch: EpisodeBatch,
    pub(crate) prediction: Prediction,
}

/// Measured in every forward pass of training, averaged over the tasks since the last line of the log.
pub(crate) static TRAINING_PASS: &[Metric<TrainingPass>] = &[
    Metric {
        tag: LOSS,
        description: "loss of training episodes, with penalties",
        measure: |pass| pass.loss,
    },
    Metric {
        tag: ACCURACY,
        description: "fraction of the queries of training episodes that are classified correctly",
        measure: |pass| {
            let answers = pass.prediction.logits.argmax(-1, false);
            let correct = answers.eq_tensor(&pass.batch.query_labels);
            correct
                .to_kind(Kind::Float)
                .mean(Kind::Float)
                .double_value(&[])
        },
    },
];

/// An optimizer step.
pub(crate) struct OptimizerStep {
    /// Norm of ∂loss/∂φ before clipping.
    pub(crate) gradient_norm: f64,
}

/// Measured at every optimizer step, averaged over the steps since the last line of the log.
pub(crate) static OPTIMIZER_STEP: &[Metric<OptimizerStep>] = &[Metric {
    tag: "train/gradient_norm",
    description: "norm of the gradient before clipping",
    measure: |step| step.gradient_norm,
}];

/// Norm of the gradient of a group of parameters, whose name is appended to the tag; of the last step before a line of
/// the log.
pub(crate) static GROUP_GRADIENT: Metric<f64> = Metric {
    tag: "gradient_norm/",
    description: "norm of the gradient of this group of parameters before clipping, in the last step",
    measure: |norm| *norm,
};

/// Measured at every validation on the CNN that is written for its first episode; the layer's number is appended.
pub(crate) static KERNEL_NORM: Metric<f64> = Metric {
    tag: "kernel_norm/layer",
    description: "norm of the kernel, learned or generated, for the first validation episode",
    measure: |norm| *norm,
};

/// Tag of the resolved configuration.
pub(crate) const CONFIGURATION: &str = "configuration";

/// Tag of the first training episode.
pub(crate) const EPISODE: (&str, &str) = (
    "episode",
    "the first training episode: green support, orange unlabelled, red of distractor classes, blue query",
);

/// Tag of the kernels of a layer, whose number is appended.
pub(crate) const KERNELS: (&str, &str) = (
    "kernels/layer",
    "kernels for the first validation episode; a row for each output channel, a column for each input channel, \
     red positive, blue negative",
);

/// Tag of the distribution of a group's parameters, whose name is appended; with `train.log_histograms`.
pub(crate) const PARAMETERS: &str = "parameters/";

/// Tags shown beside the settings in the table of hyperparameters.
pub(crate) const RESULTS: [&str; 4] = [ACCURACY, LOSS, "validation/accuracy", "test/accuracy"];

/// What the tag of a number says that is averaged until the next line of the log.
pub(crate) fn description(tag: &str) -> &'static str {
    if tag.starts_with(GROUP_GRADIENT.tag) {
        return GROUP_GRADIENT.description;
    }
    let pass = TRAINING_PASS
        .iter()
        .map(|metric| (metric.tag, metric.description));
    let step = OPTIMIZER_STEP
        .iter()
        .map(|metric| (metric.tag, metric.description));
    let mut all = pass.chain(step);
    all.find(|(known, _)| *known == tag)
        .map_or("", |(_, description)| description)
}

/// The learning rate of the last step, written with each line of the log.
pub(crate) static LEARNING_RATE: &[Metric<f64>] = &[Metric {
    tag: "train/learning_rate",
    description: "learning rate of the last step",
    measure: |rate| *rate,
}];

/// How fast training was since the last line of the log.
pub(crate) struct Speed {
    pub(crate) episodes_per_second: f64,
    /// Fraction of the time that was spent waiting for episodes.
    pub(crate) loader_wait: f64,
}

/// Written with each line of the log if a step was timed.
pub(crate) static SPEED: &[Metric<Speed>] = &[
    Metric {
        tag: "speed/episodes_per_second",
        description: "training episodes per second, validation excluded",
        measure: |speed| speed.episodes_per_second,
    },
    Metric {
        tag: "speed/loader_wait",
        description: "fraction of the training time spent waiting for episodes",
        measure: |speed| speed.loader_wait,
    },
];

/// Written with each line of the log and each validation.
pub(crate) static TIME: &[Metric<Spent>] = &[
    Metric {
        tag: "time/wall_seconds",
        description: "seconds of training so far, all sessions together, validation included",
        measure: |spent| spent.wall_seconds,
    },
    Metric {
        tag: "time/cpu_seconds",
        description: "CPU seconds of training so far, all threads and sessions together, validation included",
        measure: |spent| spent.cpu_seconds,
    },
];

/// Measured at every validation.
pub(crate) static VALIDATION: &[Metric<Summary>] = &[
    Metric {
        tag: "validation/accuracy",
        description: "mean accuracy of validation episodes; it chooses the best checkpoint",
        measure: |summary| summary.accuracy_mean,
    },
    Metric {
        tag: "validation/accuracy_ci95",
        description: "half width of the 95 % interval of the validation accuracy",
        measure: |summary| summary.accuracy_ci95,
    },
    Metric {
        tag: "validation/loss",
        description: "mean cross-entropy of validation episodes",
        measure: |summary| summary.loss_mean,
    },
];

/// Measured at every validation unless `train.log_test_accuracy` is false.
pub(crate) static TEST: &[Metric<Summary>] = &[
    Metric {
        tag: "test/accuracy",
        description: "mean accuracy of test episodes: watched, never chosen by",
        measure: |summary| summary.accuracy_mean,
    },
    Metric {
        tag: "test/accuracy_ci95",
        description: "half width of the 95 % interval of the test accuracy",
        measure: |summary| summary.accuracy_ci95,
    },
];

/// Measured at every validation on each generated convolution; the layer's number is appended to the tag.
pub(crate) static DEVIATION: Metric<LayerDeviation> = Metric {
    tag: "validation/deviation_layer",
    description: "how far the generated kernel varies between tasks, as a fraction of its norm",
    measure: LayerDeviation::share,
};
