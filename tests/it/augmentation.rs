//! Augmentation of the images of episodes, and the contact sheets that show it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use hypertransformer::episode::episode::{EpisodeDraw, EpisodeShape, ImageSet};
use hypertransformer::episode::sampler::EpisodeSampler;
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;
use hypertransformer::pack::shape::{Element, ImageShape};
use hypertransformer::pack::splits::SplitScheme;
use hypertransformer::pack::writer::PackWriter;
use hypertransformer::run::assemble::{evaluation_sampler, training_sampler};
use hypertransformer::settings::augmentation::{ColorDraw, PhotoOptions};
use hypertransformer::settings::episode::Rotations;
use ndarray::Axis;

use crate::common::{data_pack, experiment, glyphs, hypertransformer, pack_metadata};

/// Six classes of six 12×12 images for training and as many for validation; `pixel` gives each value from the class and
/// the row, column and channel.
fn pack(path: &Path, channels: usize, pixel: impl Fn(usize, [usize; 3]) -> u8) -> Arc<Pack> {
    let all = SplitScheme {
        train: (0..6).collect(),
        validation: (6..12).collect(),
        test: Vec::new(),
    };
    let class_names = (0..12).map(|class| format!("class {class}")).collect();
    let metadata = pack_metadata("made", class_names, all);
    let shape = ImageShape {
        height: 12,
        width: 12,
        channels,
        element: Element::Byte,
    };
    let mut writer = PackWriter::create(path, shape, &[6; 12], metadata).unwrap();
    for image in 0..72 {
        let at = |place: usize| {
            [
                place / channels / 12,
                place / channels % 12,
                place % channels,
            ]
        };
        let bytes: Vec<u8> = (0..144 * channels)
            .map(|place| pixel(image / 6, at(place)))
            .collect();
        writer.push(&bytes).unwrap();
    }
    writer.finish().unwrap();
    Arc::new(Pack::open(path).unwrap())
}

fn sampler(pack: &Arc<Pack>, draw: EpisodeDraw) -> Result<EpisodeSampler, String> {
    let shape = EpisodeShape::labeled(4, 2, 3);
    EpisodeSampler::new(Arc::clone(pack), "only", Part::Train, shape, draw, 0)
        .map_err(|error| error.to_string())
}

fn photo(photo: PhotoOptions) -> EpisodeDraw {
    EpisodeDraw {
        photo: Some(photo),
        ..EpisodeDraw::PLAIN
    }
}

/// The number of different images in a set.
fn different(set: &ImageSet) -> usize {
    let images: HashSet<Vec<u8>> = set
        .images
        .outer_iter()
        .map(|image| image.iter().copied().collect())
        .collect();
    images.len()
}

/// On images of a single grey, hue, contrast, mirroring and crops have no effect: only brightness remains.
#[test]
fn colours_are_drawn_per_set_per_episode_or_per_image() {
    let folder = tempfile::tempdir().unwrap();
    let grey = pack(&folder.path().join("grey.safetensors"), 3, |_, _| 100);
    let of_the_set = sampler(&grey, photo(PhotoOptions::default())).unwrap();
    let mut values = HashSet::new();
    for index in 0..50 {
        let episode = of_the_set.episode(index);
        assert_eq!(different(&episode.support), 1);
        assert_eq!(different(&episode.query), 1);
        let shown = episode.support.images[[0, 0, 0, 0]];
        // 0.3 of 255 either way.
        assert!((23..=177).contains(&shown), "{shown}");
        values.extend([shown, episode.query.images[[0, 0, 0, 0]]]);
    }
    assert!(values.len() > 50, "{values:?}");
    let of_the_episode = PhotoOptions {
        colors: ColorDraw::Episode,
        ..PhotoOptions::default()
    };
    let of_the_episode = sampler(&grey, photo(of_the_episode)).unwrap();
    let mut values = HashSet::new();
    for index in 0..50 {
        let episode = of_the_episode.episode(index);
        assert_eq!(different(&episode.support), 1);
        assert_eq!(
            episode.support.images[[0, 0, 0, 0]],
            episode.query.images[[0, 0, 0, 0]]
        );
        values.insert(episode.query.images[[0, 0, 0, 0]]);
    }
    assert!(values.len() > 25, "{values:?}");
    let each = PhotoOptions {
        colors: ColorDraw::Image,
        ..PhotoOptions::default()
    };
    let episode = sampler(&grey, photo(each)).unwrap().episode(0);
    assert!(different(&episode.support) > 4);
    assert_eq!(sampler(&grey, photo(each)).unwrap().episode(0), episode);
}

/// A ramp along the columns falls if it was mirrored, and a crop makes it flatter.
#[test]
fn half_of_the_images_are_mirrored_and_crops_show_a_part() {
    let folder = tempfile::tempdir().unwrap();
    let ramp = pack(
        &folder.path().join("ramp.safetensors"),
        1,
        |_, [_, column, _]| column as u8 * 20,
    );
    let no_colors = PhotoOptions {
        hue: 0.0,
        brightness: 0.0,
        contrast: 0.0,
        ..PhotoOptions::default()
    };
    let sampler = sampler(&ramp, photo(no_colors)).unwrap();
    let (mut mirrored, mut all) = (0, 0);
    for index in 0..50 {
        for image in sampler.episode(index).query.images.outer_iter() {
            let rise = i32::from(image[[0, 0, 11]]) - i32::from(image[[0, 0, 0]]);
            // 11 columns of 20, the crop's side 0.6 to 1.
            assert!((131..=220).contains(&rise.abs()), "{rise}");
            mirrored += i32::from(rise < 0);
            all += 1;
        }
    }
    // 600 coins: σ is 12.
    assert!((mirrored - all / 2).abs() < 60, "{mirrored} of {all}");
}

#[test]
fn lgm_net_rotations_are_the_same_for_support_and_queries_of_a_class() {
    let folder = tempfile::tempdir().unwrap();
    let pack = pack(
        &folder.path().join("wedge.safetensors"),
        1,
        |class, [row, column, _]| (class * 15 + row * 2 + column * 5) as u8,
    );
    let draw = EpisodeDraw {
        rotations: Rotations::LgmNet,
        ..EpisodeDraw::PLAIN
    };
    let sampler = sampler(&pack, draw).unwrap();
    let mut angles = HashSet::new();
    for index in 0..20 {
        let episode = sampler.episode(index);
        // All images of a class are alike in this pack, so they are after the class was turned.
        assert_eq!(different(&episode.query), 4);
        for (slot, angle) in sampler.plan(index).angles.iter().enumerate() {
            angles.insert((angle * 100.0) as i32);
            let support = episode.support.images.index_axis(Axis(0), 2 * slot);
            assert_eq!(support, episode.query.images.index_axis(Axis(0), 3 * slot));
        }
    }
    let mut angles: Vec<i32> = angles.into_iter().collect();
    angles.sort_unstable();
    assert_eq!(angles, [-4500, -1125, 0, 1125, 4500]);
}

#[test]
fn evaluation_is_augmented_only_where_the_experiment_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grey.safetensors");
    let grey = pack(&path, 3, |_, _| 100);
    let shown = |overrides: &[&str]| {
        let experiment = experiment(&[&["episode.photo={}"], overrides].concat());
        let validation = evaluation_sampler(&experiment, &grey, Part::Validation, 0).unwrap();
        let training = training_sampler(&experiment, &grey).unwrap();
        let first = |sampler: EpisodeSampler| sampler.episode(0).support.images[[0, 0, 0, 0]];
        (first(training) != 100, first(validation) != 100)
    };
    assert_eq!(shown(&["episode.evaluation_query=2"]), (true, false));
    let augmented = [
        "episode.evaluation_query=2",
        "episode.augment_evaluation=true",
    ];
    assert_eq!(shown(&augmented), (true, true));
}

#[test]
fn a_hue_of_grey_images_and_an_empty_crop_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let grey = pack(&folder.path().join("grey.safetensors"), 1, |_, _| 100);
    let error = sampler(&grey, photo(PhotoOptions::default()))
        .err()
        .unwrap();
    assert!(
        error.contains("`episode.photo.hue` is 0.2, expected 0"),
        "{error}"
    );
    hypertransformer()
        .args([
            "inspect",
            "experiments/synthetic.yaml",
            "--set",
            "episode.photo={crop: 0}",
        ])
        .assert()
        .code(2)
        .stderr(predicates::str::contains(
            "episode.photo.crop: 0: expected 0.05 to 1",
        ));
}

/// Frames are 3 pixels thick about images magnified to 56.
#[test]
fn a_preview_frames_each_image_by_its_role_in_the_episode() {
    let folder = tempfile::tempdir().unwrap();
    let sheet = folder.path().join("sheet.png");
    let count = |arguments: &[&str], color: [u8; 3]| {
        hypertransformer()
            .args(["data", "preview"])
            .args(arguments)
            .arg("--output")
            .arg(&sheet)
            .assert()
            .success();
        let picture = image::open(&sheet).unwrap().into_rgb8();
        let framed = picture.pixels().filter(|pixel| pixel.0 == color).count();
        framed as f64 / f64::from(62 * 62 - 56 * 56)
    };
    let data = data_pack(glyphs());
    let sizes = [
        &data,
        "episode.way=3",
        "episode.shot=2",
        "episode.query=4",
        "episode.unlabeled=2",
        "episode.distractors=1",
    ];
    let mut episode = vec!["--experiment", "experiments/synthetic.yaml"];
    episode.extend(sizes.iter().flat_map(|size| ["--set", size]));
    assert_eq!(count(&episode, [0x2c, 0xa0, 0x2c]), 6.0);
    assert_eq!(count(&episode, [0x1f, 0x77, 0xb4]), 12.0);
    assert_eq!(count(&episode, [0xff, 0x7f, 0x0e]), 6.0);
    assert_eq!(count(&episode, [0xd6, 0x27, 0x28]), 2.0);
    let path = glyphs().display().to_string();
    let classes = [&path, "--classes", "3", "--images", "5"];
    assert_eq!(count(&classes, [0x2c, 0xa0, 0x2c]), 0.0);
    let size = image::open(&sheet).unwrap();
    assert_eq!(size.height(), 4 + 3 * (8 + 56 + 6 + 12));
}
