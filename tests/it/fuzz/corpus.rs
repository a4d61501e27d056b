//! Small files of every kind, made by the program itself. `tests/corpus/` holds them, a folder for each reader; after a
//! change of a format write them again: `cargo test --release --test it fuzz::corpus -- --ignored`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use hypertransformer::export::model_file::{onnx_bytes, safetensors_bytes};
use hypertransformer::export::standalone::{Layer, Operation, Origin, StandaloneCnn};
use hypertransformer::model::hypertransformer::HyperTransformer;
use hypertransformer::pack::shape::{Element, ImageShape};
use hypertransformer::pack::splits::SplitScheme;
use hypertransformer::pack::writer::PackWriter;
use hypertransformer::pictures::preparation::{Filter, Invert, Preparation};
use hypertransformer::run::checkpoint::{self, Checkpoint, Progress};
use hypertransformer::settings::experiment::Experiment;
use hypertransformer::settings::file::{load, to_yaml};
use hypertransformer::settings::model::ModelOptions;
use image::{GrayImage, ImageFormat, Luma};
use ndarray::{Array1, Array2, ArrayD};
use ndarray_npy::{NpzWriter, WriteNpyExt};
use tch::{Kind, Tensor};

use crate::common::edited::{redescribed, without_whole_hash};
use crate::common::{pack_metadata, repository};

/// The inputs of a reader.
pub(super) fn inputs(name: &str) -> Vec<Vec<u8>> {
    let folder = repository("tests/corpus").join(name);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|_| panic!("{} is missing", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
#[ignore = "writes tests/corpus"]
fn corpus_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path();
    let experiment = to_yaml(&experiment());
    let short = "extends: base.yaml\ncnn: &cnn {channels: 4}\ngenerator: {per_layer: {logits: {heads: 1}}}\n";
    let old = |bytes: Vec<u8>, key: &str| {
        redescribed(&bytes, key, |description| {
            description["format_version"] = 1.into();
            description.as_object_mut().unwrap().remove("checksum");
        })
    };
    let pack = pack(scratch, Element::Byte);
    let (last, bundle) = (saved(scratch, false), saved(scratch, true));
    let cnn_file = safetensors_bytes(&cnn()).unwrap();
    let mut npz = NpzWriter::new(Cursor::new(Vec::new()));
    npz.add_array("embeddings", &vectors()).unwrap();
    npz.add_array("labels", &labels()).unwrap();
    let npz = npz.finish().unwrap().into_inner();
    let list = "file,label\n1.png,one\n2.png,\"two, three\"\n";
    let classes = "class,split\na,train\nb,val\nc,test\n";
    for (name, files) in [
        (
            "pack",
            vec![
                without_whole_hash(&pack),
                pack,
                self::pack(scratch, Element::Float),
            ],
        ),
        ("checkpoint", vec![old(last.clone(), "checkpoint"), last]),
        ("bundle", vec![old(bundle.clone(), "checkpoint"), bundle]),
        ("onnx", vec![onnx_bytes(&cnn())]),
        ("safetensors", vec![old(cnn_file.clone(), "cnn"), cnn_file]),
        ("yaml", vec![experiment.into(), short.into(), "{}".into()]),
        ("pickle", vec![pickle()]),
        ("npy", vec![npy_vectors()]),
        ("npz", vec![npz]),
        ("idx", vec![idx_images()]),
        ("idx-labels", vec![idx_labels()]),
        ("idx-gz", vec![gzipped(&idx_images())]),
        ("zip", vec![zip()]),
        ("tar", vec![tar(), gzipped(&tar())]),
        ("csv", vec![list.into()]),
        ("class-list", vec![classes.into()]),
        ("picture", pictures()),
        ("http", requests()),
    ] {
        let folder = repository("tests/corpus").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (index, bytes) in files.into_iter().enumerate() {
            fs::write(folder.join(index.to_string()), bytes).unwrap();
        }
    }
}

/// A model as small as they get.
fn experiment() -> Experiment {
    let set = [
        "episode={way: 2, shot: 1, query: 1}",
        "cnn={channels: 2, layers: 1}",
        "generator={label_dim: 2, image_embedding: 2, activation_embedding: 2, layers: 1, heads: 1, inner_fraction: 0}",
        "generator.query_key_fraction=0.2",
        "generator.value_fraction=0.2",
    ];
    let set = set.map(str::to_owned);
    load(&repository("experiments/synthetic.yaml"), &set).unwrap()
}

pub(super) fn preparation() -> Preparation {
    Preparation {
        channels: 1,
        height: 8,
        width: 8,
        filter: Filter::Triangle,
        ink: true,
        invert: Invert::Auto,
    }
}

pub(super) fn model() -> HyperTransformer {
    let image = preparation().shape().into();
    HyperTransformer::new(&ModelOptions::from(&experiment()), image).unwrap()
}

/// A checkpoint with an optimizer, or a bundle.
fn saved(folder: &Path, bundle: bool) -> Vec<u8> {
    let moments = Tensor::zeros([3], (Kind::Float, tch::Device::Cpu));
    let optimizer = match bundle {
        true => HashMap::new(),
        false => HashMap::from([("moments".to_owned(), moments)]),
    };
    let checkpoint = Checkpoint {
        step: 3,
        best: Some((2, 0.5)),
        model: model().initial_state(0),
        optimizer,
        experiment: to_yaml(&experiment()),
        preparation: bundle.then(preparation),
        progress: Progress::default(),
    };
    let path = folder.join("saved.safetensors");
    checkpoint::save(&path, &model(), &checkpoint).unwrap();
    fs::read(path).unwrap()
}

fn pack(folder: &Path, element: Element) -> Vec<u8> {
    let names = ["a", "b", "c"].map(str::to_owned).to_vec();
    let split = SplitScheme {
        train: vec![0],
        validation: vec![1],
        test: vec![2],
    };
    let (side, channels) = match element {
        Element::Byte => (4, 1),
        Element::Float => (1, 3),
    };
    let shape = ImageShape {
        height: side,
        width: side,
        channels,
        element,
    };
    let metadata = pack_metadata("own", names, split);
    let path = folder.join("pack.safetensors");
    let mut writer = PackWriter::create(&path, shape, &[2, 1, 2], metadata).unwrap();
    for image in 0..5 {
        writer.push(&vec![image; shape.bytes()]).unwrap();
    }
    writer.finish().unwrap();
    fs::read(path).unwrap()
}

/// A CNN with every operation that there is.
fn cnn() -> StandaloneCnn {
    let layer = |name: &str, operation, shapes: Option<(&[usize], &[usize])>| Layer {
        name: name.to_owned(),
        operation,
        weights: shapes.map(|(weight, bias)| {
            let constant = |shape: &[usize]| ArrayD::from_elem(shape, 0.5);
            (constant(weight), constant(bias))
        }),
    };
    let convolution = Operation::Convolution {
        stride: 1,
        padding: 1,
    };
    StandaloneCnn {
        format_version: 2,
        labels: vec!["one".to_owned(), "two".to_owned()],
        preparation: preparation(),
        layers: vec![
            layer("layer1", convolution, Some((&[2, 1, 3, 3], &[2]))),
            layer("relu", Operation::Relu, None),
            layer("norm", Operation::Affine, Some((&[2, 1, 1], &[2, 1, 1]))),
            layer("leak", Operation::LeakyRelu { slope: 0.1 }, None),
            layer("max", Operation::MaxPool, None),
            layer("mean", Operation::AveragePool, None),
            layer("features", Operation::Flatten, None),
            layer("logits", Operation::Dense, Some((&[2, 8], &[2]))),
        ],
        origin: Origin {
            run: "run".to_owned(),
            checkpoint_step: 3,
            batch_norm: "support".to_owned(),
            program: "hypertransformer".to_owned(),
        },
    }
}

fn vectors() -> Array2<f32> {
    Array2::from_shape_fn((4, 3), |(row, column)| (row * 3 + column) as f32)
}

fn labels() -> Array1<i64> {
    Array1::from_vec(vec![0, 0, 1, 1])
}

fn npy_vectors() -> Vec<u8> {
    let mut bytes = Vec::new();
    vectors().write_npy(&mut bytes).unwrap();
    bytes
}

pub(super) fn npy_labels() -> Vec<u8> {
    let mut bytes = Vec::new();
    labels().write_npy(&mut bytes).unwrap();
    bytes
}

/// The pickle that the tests of embeddings read.
fn pickle() -> Vec<u8> {
    let text = crate::import::embeddings::PICKLE;
    let byte = |place| u8::from_str_radix(&text[place..place + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Ten 2×2 pictures.
pub(super) fn idx_images() -> Vec<u8> {
    let header = [0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 2];
    [&header[..], &[9; 40]].concat()
}

pub(super) fn idx_labels() -> Vec<u8> {
    [0, 0, 8, 1, 0, 0, 0, 10].into_iter().chain(0..10).collect()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn image() -> GrayImage {
    GrayImage::from_fn(4, 4, |x, y| Luma([(16 * x + 40 * y) as u8]))
}

pub(super) fn png() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image().write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn pictures() -> Vec<Vec<u8>> {
    let kinds = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
        ImageFormat::WebP,
    ];
    let encoded = |kind| {
        let (mut bytes, picture) = (Cursor::new(Vec::new()), image::DynamicImage::from(image()));
        picture.to_rgb8().write_to(&mut bytes, kind).unwrap();
        bytes.into_inner()
    };
    kinds.into_iter().map(encoded).collect()
}

/// Three classes of two pictures each.
fn names() -> impl Iterator<Item = String> {
    let classes = ["a", "b", "c"].into_iter();
    classes.flat_map(|class| [1, 2].map(|number| format!("all/{class}/{number}.png")))
}

pub(super) fn zip() -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for name in names() {
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(name, options).unwrap();
        writer.write_all(&png()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for name in names() {
        let mut header = tar::Header::new_gnu();
        header.set_size(png().len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &png()[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Whole requests to the web server, heads and bodies.
fn requests() -> Vec<Vec<u8>> {
    let picture = BASE64.encode(png());
    let class = |name| format!(r#"{{"name":"{name}","pictures":["{picture}"]}}"#);
    let body = format!(
        r#"{{"classes":[{},{}],"question":"{picture}"}}"#,
        class("one"),
        class("two")
    );
    let length = body.len();
    let post = format!(
        "POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let chunked = format!(
        "POST /onnx HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
         {length:x}\r\n{body}\r\n0\r\n\r\n"
    );
    let get =
        "GET /model HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    vec![post.into(), chunked.into(), get.into()]
}

/// Every reader has inputs, and each of them is accepted or refused with a reason, unchanged.
#[test]
fn corpus_holds_inputs_for_every_reader() {
    let known: BTreeMap<&str, usize> = super::targets::TARGETS
        .iter()
        .map(|target| (target.name, inputs(target.name).len()))
        .chain([("http", inputs("http").len())])
        .collect();
    assert!(known.values().all(|&count| count > 0), "{known:?}");
}
