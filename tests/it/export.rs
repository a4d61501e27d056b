//! Exported CNNs give the logits of the model they come from, in our reader and in onnxruntime.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use hypertransformer::episode::episode::{Episode, ImageSet};
use hypertransformer::export::generation::CnnWriter;
use hypertransformer::export::model_file::{onnx_bytes, read, safetensors_bytes};
use hypertransformer::export::standalone::{Operation, StandaloneCnn};
use hypertransformer::model::batch::{EpisodeBatch, tensor_of_images};
use hypertransformer::model::pass::{Hooks, Mode};
use hypertransformer::pictures::labelled::{LabelledPicture, LabelledPictures};
use hypertransformer::pictures::preparation::{Filter, Invert, Preparation};
use hypertransformer::settings::cnn::BatchNormMode;
use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, Tensor};

use crate::common::models::largest_difference;
use crate::common::variants::{VARIANTS, setup_with_episodes, variant};
use crate::common::{experiment, repository};

const PREPARATION: Preparation = Preparation {
    channels: 1,
    height: 28,
    width: 28,
    filter: Filter::Triangle,
    ink: true,
    invert: Invert::Auto,
};

/// Labelled and unlabelled pictures of an episode's support set.
fn support(episode: &Episode, way: usize) -> (LabelledPictures, Vec<Vec<u8>>) {
    let ImageSet { images, labels, .. } = &episode.support;
    let (mut pictures, mut unlabeled) = (Vec::new(), Vec::new());
    for (pixels, &label) in images.outer_iter().zip(labels) {
        let pixels = pixels.iter().copied().collect();
        match label as usize {
            class if class < way => pictures.push(LabelledPicture {
                file: "picture.png".into(),
                class,
                pixels,
            }),
            _ => unlabeled.push(pixels),
        }
    }
    let classes = (0..way).map(|class| format!("class {class}")).collect();
    (LabelledPictures { classes, pictures }, unlabeled)
}

/// The CNN of an episode, its pictures `[Q, C, H, W]`, and the logits that the whole model gives them, `[Q, n]`.
struct Case {
    name: String,
    cnn: StandaloneCnn,
    pictures: Tensor,
    logits: Tensor,
}

fn case(name: &str, overrides: &[&str], mode: BatchNormMode, episode: usize) -> Case {
    let (mut setup, episodes) = setup_with_episodes(overrides);
    // Moving averages as training on another episode leaves them.
    let other = EpisodeBatch::new(&episodes[(episode + 1) % 3..][..1], Device::Cpu);
    let trained = setup.forward(&setup.phi, &other, (mode, Mode::Train), Hooks::default());
    setup.buffers = trained.observed.unwrap().detach();
    let episode = &episodes[episode];
    let writer = CnnWriter::new(
        setup.model.clone(),
        &experiment(overrides),
        PREPARATION,
        Some(mode),
        ("a test", 0),
    )
    .unwrap();
    let views = writer.views(&setup.state());
    let (support, unlabeled) = support(episode, 5);
    let cnn = writer.write(&views, &support, &unlabeled).unwrap();
    let expected = setup.predict(std::slice::from_ref(episode), mode).logits;
    let pictures = tensor_of_images(&episode.query, Device::Cpu);
    Case {
        name: format!("{name}-{mode}"),
        cnn,
        pictures,
        logits: expected.squeeze_dim(0),
    }
}

/// Runs `test` on the CNN of every variant with both kinds of statistics that a CNN can take along. The cases are made
/// once for all tests.
fn for_each_case(mut test: impl FnMut(&Case)) {
    static CASES: LazyLock<Mutex<Vec<Case>>> = LazyLock::new(|| {
        let modes = [BatchNormMode::Support, BatchNormMode::Running];
        let cases = VARIANTS.iter().enumerate().flat_map(|(index, variant)| {
            modes.map(|mode| case(variant.name, variant.overrides, mode, index % 3))
        });
        Mutex::new(cases.collect())
    });
    let cases = CASES.lock().unwrap_or_else(PoisonError::into_inner);
    cases.iter().for_each(&mut test);
}

#[test]
fn an_exported_cnn_gives_the_logits_of_the_whole_model() {
    for_each_case(|case| {
        let difference = largest_difference(&case.cnn.logits(&case.pictures), &case.logits);
        assert!(difference < 1e-4, "{}: {difference}", case.name);
        let spread = case.logits.std(false).double_value(&[]);
        assert!(spread > 1e-3, "{}: {spread}", case.name);
    });
}

#[test]
fn files_read_back_as_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    for_each_case(|Case { name, cnn, .. }| {
        let path = folder.path().join("model");
        for bytes in [onnx_bytes(cnn), safetensors_bytes(cnn).unwrap()] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path).unwrap(), *cnn, "{name}");
        }
    });
}

#[test]
fn batch_norm_right_after_a_convolution_is_folded_into_it() {
    let cnn = case("fast", variant("fast").overrides, BatchNormMode::Support, 0).cnn;
    let is_affine = |cnn: &StandaloneCnn| {
        let mut operations = cnn.layers.iter().map(|layer| layer.operation);
        operations.any(|operation| operation == Operation::Affine)
    };
    assert!(!is_affine(&cnn));
    // Four 3×3 convolutions with a bias for each channel, and 5 classes of 8 features.
    let parameters = (9 + 1) * 8 + 3 * (8 * 9 + 1) * 8 + 5 * (8 + 1);
    assert_eq!(cnn.cost().unwrap().parameters, parameters);
    let after_pooling = ["cnn.block=[convolution, activation, pool, batch_norm]"];
    let cnn = case("after pooling", &after_pooling, BatchNormMode::Support, 0).cnn;
    assert!(is_affine(&cnn));
}

/// A Python with onnx and onnxruntime, if `make test` has installed it.
fn python() -> Option<std::path::PathBuf> {
    let python = repository(".venv-python/bin/python");
    let available = Command::new(&python)
        .args(["-c", "import onnx, onnxruntime"])
        .output()
        .is_ok_and(|output| output.status.success());
    available.then_some(python)
}

#[test]
fn onnxruntime_gives_the_same_logits() {
    let Some(python) = python() else {
        eprintln!("skipped: no onnxruntime in .venv-python; `make test` installs it");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for_each_case(|case| {
        let path = folder.path().join(format!("{}.onnx", case.name));
        std::fs::write(&path, onnx_bytes(&case.cnn)).unwrap();
        write_expected(&path, case);
    });
    let output = Command::new(python)
        .arg(repository("python/check_onnx.py"))
        .arg(folder.path())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stdout);
    let fault = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{fault}");
    eprintln!("{message}");
    let all = format!("{} models", 2 * VARIANTS.len());
    assert!(message.starts_with(&all), "{message}");
}

/// Writes pictures and expected logits beside a model, where `check_onnx.py` reads them.
fn write_expected(onnx: &Path, case: &Case) {
    let bytes = |tensor: &Tensor| {
        let tensor = tensor.contiguous();
        let mut numbers = vec![0f32; tensor.numel()];
        tensor.copy_data(&mut numbers, tensor.numel());
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
        bytes.collect::<Vec<u8>>()
    };
    let shape = |tensor: &Tensor| {
        let size = tensor.size();
        size.iter().map(|&length| length as usize).collect()
    };
    let stored = [("pictures", &case.pictures), ("logits", &case.logits)].map(|(name, tensor)| {
        let (shape, bytes): (Vec<usize>, _) = (shape(tensor), bytes(tensor));
        (name, shape, bytes)
    });
    let views = stored.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (*name, view)
    });
    let none = None::<HashMap<String, String>>;
    let file = safetensors::serialize(views, none).unwrap();
    std::fs::write(onnx.with_extension("cases.safetensors"), file).unwrap();
}
