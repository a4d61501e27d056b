//! The readers of the program, each as a function of a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::fuzz::corpus;
use crate::import::request;
use hypertransformer::export::model_file;
use hypertransformer::import::data_set::ImportRequest;
use hypertransformer::import::verify::verify;
use hypertransformer::model::hypertransformer::HyperTransformer;
use hypertransformer::pack::moments::moments;
use hypertransformer::pack::pack::Pack;
use hypertransformer::pictures::labelled::{Expected, LabelledPictures};
use hypertransformer::run::checkpoint;
use hypertransformer::settings::file::{load, parse};
use hypertransformer::settings::generator::Initialization;
use hypertransformer::settings::model::ModelOptions;

/// A reader, and the name that its input needs to have.
pub(super) struct Target {
    /// Name of the reader and of its folder in the corpus.
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    /// Reads the file in a folder of its own. An error is its text.
    pub(super) read: fn(&Path) -> Result<(), String>,
}

const fn target(
    name: &'static str,
    file: &'static str,
    read: fn(&Path) -> Result<(), String>,
) -> Target {
    Target { name, file, read }
}

/// All readers but the web server's.
pub(super) const TARGETS: [Target; 17] = [
    target("pack", "pack.safetensors", pack),
    target("checkpoint", "last.safetensors", checkpoint),
    target("bundle", "bundle.safetensors", bundle),
    target("onnx", "cnn.onnx", cnn),
    target("safetensors", "cnn.safetensors", cnn),
    target("yaml", "x.yaml", yaml),
    target("pickle", "train_embeddings.pkl", embeddings),
    target("npy", "train_embeddings.npy", embeddings),
    target("npz", "train.npz", embeddings),
    target("idx", "train-images-idx3-ubyte", idx),
    target("idx-labels", "train-labels-idx1-ubyte", idx),
    target("idx-gz", "train-images-idx3-ubyte.gz", idx),
    target("zip", "folders.zip", folders),
    target("tar", "folders.tar", folders),
    target("csv", "list.csv", csv),
    target("class-list", "classes.csv", class_list),
    target("picture", "1.png", picture),
];

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn pack(path: &Path) -> Result<(), String> {
    let pack = Pack::open(path).map_err(text)?;
    moments(&pack);
    for class in 0..pack.class_count() {
        pack.class_range(class).for_each(|image| {
            std::hint::black_box(pack.image(image).len());
        });
    }
    verify(&pack).map(|_| ()).map_err(text)
}

fn checkpoint(path: &Path) -> Result<(), String> {
    static MODEL: LazyLock<HyperTransformer> = LazyLock::new(corpus::model);
    checkpoint::load(path, &MODEL).map(|_| ()).map_err(text)
}

/// As `generate` opens a bundle.
fn bundle(path: &Path) -> Result<(), String> {
    let (experiment, preparation) = checkpoint::described(path).map_err(text)?;
    let experiment = parse(&experiment, path).map_err(text)?;
    let image = preparation
        .ok_or_else(|| path.display().to_string())?
        .shape();
    let options = ModelOptions::from(&experiment);
    // What is wrong with a model is said without the file's name, which the command knows.
    let Ok(model) = HyperTransformer::new(&options, image.into()) else {
        return Ok(());
    };
    checkpoint::load(path, &model).map(|_| ()).map_err(text)
}

fn cnn(path: &Path) -> Result<(), String> {
    let cnn = model_file::read(path).map_err(text)?;
    let pixels = cnn.preparation.shape().iter().product();
    let probabilities = cnn.probabilities(&vec![255; pixels]);
    assert_eq!(probabilities.len(), cnn.labels.len());
    Ok(())
}

fn yaml(path: &Path) -> Result<(), String> {
    let experiment = load(path, &[]).map_err(text)?;
    let mut options = ModelOptions::from(&experiment);
    // What `gradient_step` prepares has the size of φ, and a valid model may have a larger φ than an input may take.
    options.initialization = Initialization::Paper;
    let model = HyperTransformer::new(&options, [3, 84, 84].into());
    if let Ok(model) = model {
        std::hint::black_box(model.layout().total());
    }
    Ok(())
}

/// Imports what lies beside the file to a pack and reads it.
fn import(request: ImportRequest<'_>) -> Result<(), String> {
    match request.run() {
        Ok(_) => {
            let found = pack(request.output);
            fs::remove_file(request.output).map_err(text)?;
            found.map_err(|error| panic!("the pack of an import cannot be used: {error}"))
        }
        Err(error) => {
            assert!(!request.output.exists(), "a failed import left a pack");
            Err(text(error))
        }
    }
}

/// Where imports write, beside the folder of the file.
fn output(path: &Path) -> PathBuf {
    path.parent().unwrap().with_extension("safetensors")
}

/// Puts a file beside the one that is read.
fn beside(path: &Path, name: &str, bytes: &[u8]) {
    fs::write(path.with_file_name(name), bytes).unwrap();
}

fn embeddings(path: &Path) -> Result<(), String> {
    // The other parts, of which only names are wanted, are read after the first: an error is all they give.
    let name = path.file_name().unwrap().to_str().unwrap();
    for part in ["val", "test"] {
        beside(path, &name.replace("train", part), b"");
    }
    if name.ends_with(".npy") {
        for part in ["train", "val", "test"] {
            beside(path, &format!("{part}_labels.npy"), &corpus::npy_labels());
        }
    }
    let (from, output) = ([path.parent().unwrap().to_path_buf()], output(path));
    import(request("embeddings", &from, &output))
}

fn idx(path: &Path) -> Result<(), String> {
    let labels = path.ends_with("train-labels-idx1-ubyte");
    match labels {
        true => beside(path, "train-images-idx3-ubyte", &corpus::idx_images()),
        false => beside(path, "train-labels-idx1-ubyte", &corpus::idx_labels()),
    }
    let (from, output) = ([path.parent().unwrap().to_path_buf()], output(path));
    import(ImportRequest {
        size: 2,
        ..request("idx", &from, &output)
    })
}

fn folders(path: &Path) -> Result<(), String> {
    let (from, output) = ([path.to_path_buf()], output(path));
    import(ImportRequest {
        size: 4,
        ..request("folder", &from, &output)
    })
}

fn class_list(path: &Path) -> Result<(), String> {
    let archive = path.with_file_name("folders.zip");
    fs::write(&archive, corpus::zip()).unwrap();
    let (from, output) = ([archive], output(path));
    import(ImportRequest {
        size: 4,
        class_split: Some(path),
        ..request("folder", &from, &output)
    })
}

fn csv(path: &Path) -> Result<(), String> {
    for name in ["1.png", "2.png"] {
        beside(path, name, &corpus::png());
    }
    let expected = Expected {
        classes: 2,
        skip_broken: false,
    };
    let read = LabelledPictures::read(path, &corpus::preparation(), expected);
    read.map(|_| ()).map_err(text)
}

fn picture(path: &Path) -> Result<(), String> {
    let pixels = corpus::preparation().file(path).map_err(text)?;
    let expected: usize = corpus::preparation().shape().iter().product();
    assert_eq!(pixels.len(), expected);
    Ok(())
}
