//! Logits and gradient against a second implementation in plain PyTorch (`python/reference.py`).

mod common;

use std::path::PathBuf;
use std::process::Command;

use hypertransformer::model::batch_norm::BatchNormMode;
use hypertransformer::model::hooks::Hooks;
use hypertransformer::model::hypertransformer::HyperTransformer;
use hypertransformer::model::parameters::leaf;
use tch::Tensor;

/// A Python with torch: `PYTORCH`, or that of `make bench`.
fn pytorch() -> Option<PathBuf> {
    let here = common::repository(".venv-torch/bin/python");
    let python = std::env::var_os("PYTORCH").map_or(here, PathBuf::from);
    let there = Command::new(&python)
        .args(["-c", "import torch, safetensors"])
        .status();
    if there.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    eprintln!(
        "skipped: {} has no torch: `make bench` installs it, or set PYTORCH",
        python.display()
    );
    None
}

#[test]
fn logits_and_gradient_equal_those_of_pytorch() {
    let Some(python) = pytorch() else { return };
    tch::manual_seed(1);
    let model = HyperTransformer::new(&common::experiment(&[]), (1, 28, 28)).unwrap();
    let phi = Tensor::from_slice(&model.layout().initial_values(0));
    // With noise, so that nothing is equal only because it starts at zero.
    let phi = &phi + phi.randn_like() * 0.5;
    let buffers = Tensor::from_slice(&model.buffers().initial_values(0));
    let batch = common::double_batch(&[common::episode(2, 4)]);
    let (phi, buffers) = (leaf(&common::double(&phi)), common::double(&buffers));
    let views = model.views(&phi, &buffers);
    let logits = model
        .forward(
            &views,
            &batch,
            BatchNormMode::Support,
            true,
            Hooks::default(),
        )
        .logits
        .get(0);
    let labels = batch.query_labels.get(0);
    let loss = logits.log_softmax(-1, None).nll_loss(&labels);
    let gradient = Tensor::run_backward(&[&loss], &[&phi], false, false).swap_remove(0);

    let mut tensors = vec![
        ("support".to_owned(), batch.support.get(0)),
        ("support_labels".to_owned(), batch.support_labels.get(0)),
        ("query".to_owned(), batch.query.get(0)),
        ("query_labels".to_owned(), labels),
        ("logits".to_owned(), logits.detach()),
    ];
    let mut offset = 0;
    for spec in model.layout().specs() {
        let length = spec.len() as i64;
        for (kind, whole) in [
            ("phi", phi.detach()),
            ("gradient", gradient.shallow_clone()),
        ] {
            let part = whole.narrow(0, offset, length).view(&spec.shape[..]);
            tensors.push((format!("{kind}.{}", spec.name), part));
        }
        offset += length;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("episode.safetensors");
    Tensor::write_safetensors(&tensors, &file).unwrap();

    let script = common::repository("python/compare_reference.py");
    let output = Command::new(python).arg(script).arg(file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for what in ["logits", "gradient"] {
        assert!(found[what].as_f64().unwrap() < 1e-9, "{found}");
    }
}
