//! Packs, the synthetic data set, episodes and the loader.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use hypertransformer::episode::episode::{EpisodeDraw, EpisodeShape, Sample};
use hypertransformer::episode::loader::EpisodeLoader;
use hypertransformer::episode::sampler::EpisodeSampler;
use hypertransformer::import::verify::verify;
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;
use hypertransformer::pack::shape::{Element, ImageShape};
use hypertransformer::pack::splits::SplitScheme;
use hypertransformer::pack::writer::PackWriter;
use hypertransformer::settings::episode::{QuerySampling, Rotations};
use proptest::prelude::*;

use crate::common::{
    glyph_sampler, glyphs, hypertransformer, pack_metadata, sampler, write_glyphs,
};

/// Three classes of 2×2 images, the first byte of each its own number.
fn tiny_pack(path: &Path, split: SplitScheme) {
    tiny_pack_called("tiny", path, split);
}

fn tiny_pack_called(name: &str, path: &Path, split: SplitScheme) {
    let class_names = vec!["a".into(), "b".into(), "c".into()];
    let metadata = pack_metadata(name, class_names, split);
    let shape = ImageShape {
        height: 2,
        width: 2,
        channels: 1,
        element: Element::Byte,
    };
    let mut writer = PackWriter::create(path, shape, &[2, 3, 1], metadata).unwrap();
    for number in 0..6 {
        writer.push(&[number, 1, 2, 3]).unwrap();
    }
    writer.finish().unwrap();
}

fn split() -> SplitScheme {
    SplitScheme {
        train: vec![0],
        validation: vec![1],
        test: vec![2],
    }
}

#[test]
fn a_pack_gives_back_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    tiny_pack(&path, split());
    let pack = Pack::open(&path).unwrap();
    assert_eq!((pack.class_count(), pack.image_count()), (3, 6));
    assert_eq!(pack.class_range(1), 2..5);
    assert_eq!(pack.image(4), [4, 1, 2, 3]);
    assert_eq!(pack.split("only", Part::Test).unwrap(), [2]);
    assert_eq!(verify(&pack).unwrap().images, 6);
    let error = pack.split("onyl", Part::Test).unwrap_err().to_string();
    assert!(error.contains("did you mean `only`"), "{error}");
}

#[test]
fn a_pack_whose_parts_overlap_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    tiny_pack(
        &path,
        SplitScheme {
            test: vec![0],
            ..split()
        },
    );
    let error = Pack::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("class 0 is in train and again in test"),
        "{error}"
    );
}

#[test]
fn a_truncated_or_changed_pack_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    tiny_pack(&path, split());
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 7, 100, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(Pack::open(&path).is_err(), "cut to {length} bytes");
    }
    let mut changed = whole;
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &changed).unwrap();
    let error = verify(&Pack::open(&path).unwrap()).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
}

#[test]
fn synthetic_glyphs_are_the_same_each_time_and_their_classes_can_be_distinguished() {
    let folder = tempfile::tempdir().unwrap();
    let again = folder.path().join("glyphs.safetensors");
    write_glyphs(&again, 0);
    assert!(std::fs::read(glyphs()).unwrap() == std::fs::read(again).unwrap());
    // Nearest neighbour in pixels, 20-way 1-shot.
    let sampler = sampler(20, 1, 5);
    let mut right = 0;
    for index in 0..20 {
        let episode = sampler.episode(index);
        let distance = |left: usize, right: usize| -> i64 {
            let (query, support) = (&episode.query.images, &episode.support.images);
            let pairs = query
                .index_axis(ndarray::Axis(0), left)
                .into_iter()
                .copied();
            pairs
                .zip(support.index_axis(ndarray::Axis(0), right))
                .map(|(a, b)| (i64::from(a) - i64::from(*b)).pow(2))
                .sum()
        };
        for query in 0..100 {
            let nearest = (0..20)
                .min_by_key(|&support| distance(query, support))
                .unwrap();
            right += u32::from(episode.support.labels[nearest] == episode.query.labels[query]);
        }
    }
    let accuracy = f64::from(right) / 2000.0;
    assert!(
        (0.3..0.9).contains(&accuracy),
        "neither hopeless nor trivial: {accuracy}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn support_and_query_are_disjoint_and_counted_right(
        seed in any::<u64>(), index in 0..1u64 << 59, way in 2..20usize, shot in 1..6usize,
        query in 1..6usize, unlabeled in 0..6usize, distractors in 0..4usize,
        random in any::<bool>(), turns in 0..3usize,
    ) {
        let pack = Arc::new(Pack::open(glyphs()).unwrap());
        let draw = EpisodeDraw {
            query_sampling: if random { QuerySampling::Random } else { QuerySampling::Balanced },
            rotations: [Rotations::None, Rotations::PerClass, Rotations::AsClasses][turns],
            ..EpisodeDraw::PLAIN
        };
        let shape = EpisodeShape {
            unlabeled,
            distractors,
            ..EpisodeShape::labeled(way, shot, query)
        };
        let new = || {
            EpisodeSampler::new(Arc::clone(&pack), "default", Part::Train, shape, draw, seed).unwrap()
        };
        let plan = new().plan(index);
        prop_assert_eq!(&plan, &new().plan(index));
        let support: HashSet<_> =
            plan.support.iter().map(|sample| (sample.image, plan.quarter_turns[sample.slot])).collect();
        prop_assert_eq!(support.len(), way * (shot + unlabeled) + distractors * unlabeled);
        prop_assert_eq!(plan.query.len(), way * query);
        prop_assert_eq!(support.len() + plan.query.len(), shape.images());
        for sample in plan.support.iter().chain(&plan.query) {
            prop_assert!(pack.class_range(plan.classes[sample.slot]).contains(&sample.image));
        }
        for sample in &plan.query {
            prop_assert!(sample.slot < way);
            prop_assert!(!support.contains(&(sample.image, plan.quarter_turns[sample.slot])));
        }
        for label in 0..way {
            let labeled = plan.support.iter().filter(|sample| sample.labeled && sample.slot == label);
            prop_assert_eq!(labeled.count(), shot);
            if !random {
                prop_assert_eq!(plan.query.iter().filter(|sample| sample.slot == label).count(), query);
            }
        }
    }
}

#[test]
fn overlapping_queries_hit_the_support_as_often_as_chance_says() {
    let pack = Arc::new(Pack::open(glyphs()).unwrap());
    let draw = EpisodeDraw {
        query_sampling: QuerySampling::Overlapping,
        ..EpisodeDraw::PLAIN
    };
    let sampler = |shot, query| {
        let shape = EpisodeShape::labeled(5, shot, query);
        EpisodeSampler::new(Arc::clone(&pack), "default", Part::Train, shape, draw, 0)
    };
    // 5 of a class's 20 images: a quarter of 10 × 5 × 200 queries, σ = 43.
    let drawn = sampler(5, 10).unwrap();
    let mut hits = 0;
    for index in 0..200 {
        let plan = drawn.plan(index);
        let images = |samples: &[Sample]| -> HashSet<usize> {
            samples.iter().map(|sample| sample.image).collect()
        };
        let (support, query) = (images(&plan.support), images(&plan.query));
        assert_eq!((support.len(), query.len()), (25, 50), "no image twice");
        hits += support.intersection(&query).count();
    }
    assert!((2300..2700).contains(&hits), "{hits}");
    // Support and queries may be more than the class has; neither alone may.
    assert!(sampler(15, 20).is_ok());
    let error = sampler(1, 21).err().unwrap().to_string();
    assert!(error.contains("21 queries"), "{error}");
}

#[test]
fn every_class_appears_in_every_slot() {
    let sampler = sampler(5, 1, 1);
    // 42 training classes × 5 slots; each pair is expected 4,000 / 42 = 95 times.
    let mut count = BTreeMap::new();
    for index in 0..4000 {
        for (slot, class) in sampler.plan(index).classes.into_iter().enumerate() {
            *count.entry((class, slot)).or_insert(0) += 1;
        }
    }
    assert_eq!(count.len(), 42 * 5);
    assert!(count.values().all(|&times| (50..150).contains(&times)));
}

#[test]
fn rotations_are_counter_clockwise_and_the_same_for_support_and_query() {
    let pack = Pack::open(glyphs()).unwrap();
    let draw = EpisodeDraw {
        rotations: Rotations::PerClass,
        ..EpisodeDraw::PLAIN
    };
    let sampler = glyph_sampler(EpisodeShape::labeled(5, 1, 1), draw);
    let mut seen = HashSet::new();
    for index in 0..10 {
        let (plan, episode) = (sampler.plan(index), sampler.episode(index));
        for (samples, set) in [
            (&plan.support, &episode.support),
            (&plan.query, &episode.query),
        ] {
            for (place, sample) in samples.iter().enumerate() {
                let mut turned = pack.image(sample.image).to_vec();
                let turns = plan.quarter_turns[sample.slot];
                seen.insert(turns);
                for _ in 0..turns {
                    // Counter-clockwise: the right column becomes the top row.
                    let pixel = |row: usize, column: usize| turned[column * 28 + 27 - row];
                    turned = (0..784).map(|at| pixel(at / 28, at % 28)).collect();
                }
                let image = set.images.index_axis(ndarray::Axis(0), place);
                assert!(image.iter().eq(&turned));
            }
        }
    }
    assert_eq!(seen.len(), 4);
}

#[test]
fn a_pack_has_the_permissions_that_the_umask_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let mode = |name: &str| {
        let metadata = std::fs::metadata(folder.path().join(name)).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&metadata.permissions())
    };
    tiny_pack(&folder.path().join("tiny.safetensors"), split());
    std::fs::write(folder.path().join("plain"), "").unwrap();
    assert_eq!(mode("tiny.safetensors"), mode("plain"));
}

#[test]
fn a_pack_with_a_known_name_must_have_the_sizes_of_that_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("omniglot.safetensors");
    tiny_pack_called("omniglot", &path, split());
    let error = verify(&Pack::open(&path).unwrap()).unwrap_err().to_string();
    let message = "holds 3 classes, 6 images, expected 1623 classes, 32460 images";
    assert!(error.contains(message), "{error}");
}

#[test]
fn the_loader_hands_out_every_episode_once_in_order() {
    let sampler = Arc::new(sampler(5, 1, 1));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
    let pool = Arc::new(pool.unwrap());
    let loader = EpisodeLoader::new(Arc::clone(&sampler), 3..30, 4, pool, |batch| batch);
    let episodes: Vec<_> = loader.flatten().collect();
    assert!(episodes.iter().map(|episode| episode.index).eq(3..30));
    assert_eq!(episodes[5], sampler.episode(8));
}

#[test]
fn the_error_for_too_few_images_names_the_class() {
    let pack = Arc::new(Pack::open(glyphs()).unwrap());
    let shape = EpisodeShape::labeled(5, 18, 5);
    let sampler = EpisodeSampler::new(pack, "default", Part::Train, shape, EpisodeDraw::PLAIN, 0);
    let error = sampler.err().unwrap().to_string();
    assert!(
        error.contains("glyph") && error.contains("20 images"),
        "{error}"
    );
}

#[test]
fn info_shows_mean_and_deviation_and_verify_names_duplicates() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    tiny_pack(&path, split());
    let output_of = |command: &str| {
        let mut program = hypertransformer();
        let output = program.args(["data", command]).arg(&path).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    // Of 24 pixels 0 … 5 once, and 1, 2, 3 six times each: mean 51/24, mean square 139/24, both of 255.
    let info = output_of("info");
    assert!(info.contains("mean     0.0083\n"), "{info}");
    assert!(info.contains("σ        0.0044\n"), "{info}");
    assert!(output_of("verify").contains("byte-identical pairs: 0"));
    let metadata = pack_metadata("twins", vec!["a".into(), "b".into()], split_of_two());
    let shape = ImageShape {
        height: 1,
        width: 2,
        channels: 1,
        element: Element::Byte,
    };
    let mut writer = PackWriter::create(&path, shape, &[2, 2], metadata).unwrap();
    for image in [[1, 2], [3, 4], [5, 6], [3, 4]] {
        writer.push(&image).unwrap();
    }
    writer.finish().unwrap();
    let verified = output_of("verify");
    assert!(verified.contains("across parts of `only`: 1"), "{verified}");
    assert!(verified.contains("b number 1 is a number 1"), "{verified}");
}

#[test]
fn verify_counts_all_pairs_of_identical_images_and_keeps_the_first_thousand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alike.safetensors");
    let shape = ImageShape {
        height: 1,
        width: 1,
        channels: 1,
        element: Element::Byte,
    };
    // Alike are two in train, one in no part, one in test, and 60 in no part.
    let images: Vec<u8> = [7, 7, 1, 7, 7].into_iter().chain([9; 60]).collect();
    let class_names = vec!["a".into(), "b".into(), "c".into(), "d".into()];
    let split = SplitScheme {
        train: vec![0],
        test: vec![2],
        ..SplitScheme::default()
    };
    let metadata = pack_metadata("alike", class_names, split);
    let mut writer = PackWriter::create(&path, shape, &[3, 1, 1, 60], metadata).unwrap();
    for image in images {
        writer.push(&[image]).unwrap();
    }
    writer.finish().unwrap();
    let report = verify(&Pack::open(&path).unwrap()).unwrap();
    assert_eq!(report.duplicates.len(), 6 + 60 * 59 / 2);
    assert_eq!(report.duplicates_across_parts, 2);
    let first: Vec<_> = report.duplicates.iter().copied().collect();
    assert_eq!(first.len(), 1000);
    assert_eq!(first[..6], [(0, 1), (0, 3), (0, 4), (1, 3), (1, 4), (3, 4)]);
    tiny_pack(&path, split_of_two());
    let report = verify(&Pack::open(&path).unwrap()).unwrap();
    assert!(report.duplicates.is_empty());
}

fn split_of_two() -> SplitScheme {
    SplitScheme {
        train: vec![0],
        test: vec![1],
        ..SplitScheme::default()
    }
}
