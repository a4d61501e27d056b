//! Every experiment that ships loads, builds, and takes a finite training step, on a GPU if there is one.

use std::collections::HashSet;
use std::path::PathBuf;

use hypertransformer::analysis::paper::published;
use hypertransformer::base::compute::{Compute, DeviceChoice};
use hypertransformer::episode::episode::{Episode, ImageSet};
use hypertransformer::model::hypertransformer::HyperTransformer;
use hypertransformer::model::map_size::MapSize;
use hypertransformer::pack::shape::Element;
use hypertransformer::settings::experiment::Experiment;
use hypertransformer::settings::file::{load, load_with};
use hypertransformer::settings::model::ModelOptions;
use hypertransformer::settings::train::TrainConfig;
use hypertransformer::train::gradient::{Objective, Prepared, step_gradient};
use hypertransformer::train::optimizer::Optimizer;
use ndarray::Array4;

use crate::common::repository;

/// All files below `experiments/`, sorted: those to run, and those that others extend.
fn files() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let mut open = vec![repository("experiments")];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let list = if path.is_dir() { &mut open } else { &mut found };
            list.push(path);
        }
    }
    found.sort();
    found.into_iter().partition(|path| {
        let folder = path.parent().unwrap();
        !["presets", "bases"]
            .iter()
            .any(|name| folder.ends_with(name))
    })
}

/// The files of experiments to run.
fn experiments() -> Vec<PathBuf> {
    files().0
}

/// Size of the images of the data set that an experiment names.
fn image(experiment: &Experiment) -> MapSize {
    let name = experiment.data.pack.file_stem().unwrap().to_string_lossy();
    let size = match &*name {
        "omniglot" | "synthetic" => [1, 28, 28],
        "tiered-imagenet-leo" => [640, 1, 1],
        "mini-imagenet" | "tiered-imagenet" | "cub" => [3, 84, 84],
        "cifar-fs" | "fc100" => [3, 32, 32],
        other => panic!("no size is known for {other}"),
    };
    size.into()
}

/// An episode of random pixels in the right shape, with one query and at most two labelled and two unlabelled images per
/// class.
fn episode(experiment: &Experiment, image: MapSize) -> Episode {
    let shape = &experiment.episode;
    let set = |labels: Vec<i64>| {
        let size = (labels.len(), image.channels, image.height, image.width);
        let mut state = 1u32;
        let images = Array4::from_shape_simple_fn(size, || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        ImageSet {
            images,
            labels,
            element: Element::Byte,
        }
    };
    let classes = || 0..shape.way as i64;
    let labeled = classes().flat_map(|class| vec![class; shape.shot.min(2)]);
    let unlabeled = (shape.way + shape.distractors) * shape.unlabeled.min(2);
    Episode {
        index: 0,
        classes: classes().collect(),
        support: set(labeled.chain(vec![shape.way as i64; unlabeled]).collect()),
        query: set(classes().collect()),
    }
}

fn take_a_step(name: &str, experiment: &Experiment) {
    let image = image(experiment);
    let model = HyperTransformer::new(&experiment.into(), image).unwrap();
    let compute = Compute::new(DeviceChoice::Auto, Some(1)).unwrap();
    let mut state = model.initial_state(0).to_device(compute.device);
    let objective = Objective::at(experiment, 0);
    let prepared = Prepared::new(vec![episode(experiment, image)], compute.device);
    let step = step_gradient(&compute, &model, &state, &prepared, objective);
    assert!(step.loss.is_finite(), "{name}: loss {}", step.loss);
    let largest = step.gradient.abs().max().double_value(&[]);
    assert!(
        largest.is_finite() && largest > 0.0,
        "{name}: gradient {largest}"
    );
    let mut optimizer = Optimizer::new(&experiment.train, model.layout(), &state.phi);
    optimizer.step(
        &mut state.phi,
        &step.gradient,
        experiment.train.learning_rate,
    );
    assert_eq!(state.phi.isfinite().all().int64_value(&[]), 1, "{name}");
}

/// Everything of an experiment that its first step depends on, the numbers of images aside, which are reduced anyway.
fn settings_of_a_step(experiment: &Experiment) -> String {
    let model = ModelOptions::from(experiment);
    let objective = Objective::at(experiment, 0);
    let train = TrainConfig {
        steps: 0,
        ..experiment.train.clone()
    };
    let sizes = image(experiment);
    let distractors = experiment.episode.distractors;
    format!("{model:?} {objective:?} {train:?} {sizes:?} {distractors}")
}

/// Experiments that differ only in the data set, the numbers of images or the length of training take the same step.
#[test]
fn each_experiment_takes_a_finite_step() {
    let mut taken = HashSet::new();
    for path in experiments() {
        let experiment = load(&path, &[]).unwrap();
        if taken.insert(settings_of_a_step(&experiment)) {
            take_a_step(&path.display().to_string(), &experiment);
        }
    }
}

/// Whatever the recipe, what a file itself says holds.
#[test]
fn each_experiment_is_valid_with_both_presets() {
    for path in experiments() {
        for preset in ["paper", "fast"] {
            let loaded = load_with(&path, Some(preset), &[]).unwrap();
            let recipe = |(_, origin): &(&String, &String)| origin.contains("presets/");
            let from_recipe: Vec<_> = loaded.origins.iter().filter(recipe).collect();
            assert!(!from_recipe.is_empty(), "{}", path.display());
        }
    }
}

#[test]
fn files_that_others_extend_are_valid_on_their_own() {
    let bases = files().1;
    assert!(bases.len() > 3, "{bases:?}");
    for path in bases {
        load(&path, &[]).unwrap();
    }
}

#[test]
fn each_experiment_has_its_own_run_folder() {
    let mut stems: Vec<_> = experiments()
        .iter()
        .map(|path| path.file_stem().unwrap().to_owned())
        .collect();
    let count = stems.len();
    stems.sort();
    stems.dedup();
    assert_eq!(stems.len(), count);
}

/// A comment at the start of each file says what it is and how to run it.
#[test]
fn each_experiment_file_states_its_commands() {
    let root = repository("");
    for path in experiments() {
        let text = std::fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(&root).unwrap().display();
        let train = format!("# hypertransformer train {file}\n");
        let stem = path.file_stem().unwrap().to_string_lossy();
        let evaluate = format!("# hypertransformer evaluate runs/{stem} ");
        assert!(text.starts_with('#') && text.contains(&train), "{file}");
        assert!(text.contains(&evaluate), "{file}");
    }
}

/// What the comments of Tables 1 to 4 say of the paper agrees with the numbers that `results` prints.
#[test]
fn the_papers_accuracy_of_each_table_is_known_to_results() {
    for path in experiments() {
        let folder = path.parent().unwrap().file_name().unwrap();
        let table = folder.to_str().unwrap().strip_prefix("table");
        let text = std::fs::read_to_string(&path).unwrap();
        let comment: String = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .collect();
        let comment = comment.replace("# ", " ");
        let accuracy = ["accuracy is ", "accuracies are "]
            .iter()
            .find_map(|words| comment.split(&format!("paper's {words}")).nth(1))
            .and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
        if let (Some(table), Some(accuracy)) = (table, accuracy) {
            let experiment = load(&path, &[]).unwrap();
            let data_set = experiment.data.pack.file_stem().unwrap().to_str().unwrap();
            let found = published(data_set, &experiment.by_name());
            let known = found
                .iter()
                .any(|known| known.table.to_string() == table && known.test == accuracy);
            assert!(known, "{}: {accuracy} {found:?}", path.display());
        }
    }
}
