//! The pack of an experiment: made on the spot, or what to obtain for it.
use std::path::Path;

use anyhow::bail;
use hypertransformer::import::sources::synthetic::{SyntheticOptions, write_synthetic_pack};

/// Makes the embedded data set where it is missing; for any other pack tells what to obtain and how to import it.
pub(in crate::cli) fn ensure_pack(path: &Path, quiet: bool) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    if name == "synthetic" {
        if !quiet {
            eprintln!("drawing the synthetic data set into {}", path.display());
        }
        return Ok(write_synthetic_pack(path, &SyntheticOptions::default())?);
    }
    let path = path.display();
    let Some((_, source, what)) = OBTAIN.iter().find(|(pack, ..)| *pack == name) else {
        bail!(
            "the pack {path} is missing\nhint: make it with `hypertransformer data import`, or set data.pack to one you \
             have"
        );
    };
    let program = std::env::args().next();
    let program = program.as_deref().unwrap_or("hypertransformer");
    bail!(
        "the pack {path} is missing\nhint: obtain {what}, then run:\n  \
         {program} data import {source} --from FOLDER --output {path}"
    )
}

/// Pack, what `data import` calls it, and what to obtain.
const OBTAIN: [(&str, &str, &str); 7] = [
    (
        "omniglot",
        "omniglot",
        "images_background.zip and images_evaluation.zip from Lake et al. (https://github.com/brendenlake/omniglot, \
         folder python)",
    ),
    (
        "mini-imagenet",
        "mini-imagenet",
        "the 60,000 images of mini-ImageNet (Vinyals et al. 2016, classes of Ravi and Larochelle 2017; under ImageNet's \
         terms), as class folders, flat files named by wnid, mini-imagenet-cache-{train,val,test}.pkl (Ren et al.) or \
         miniImageNet_category_split_*.pickle (MetaOptNet)",
    ),
    (
        "tiered-imagenet",
        "tiered-imagenet",
        "tieredImageNet (Ren et al. 2018, https://github.com/renmengye/few-shot-ssl-public; 779,165 images, 12 GB, under \
         ImageNet's terms): {train,val,test}_images_png.pkl or _images.npz, with _labels.pkl; or ILSVRC-2012's training \
         images, as folders or as ILSVRC2012_img_train.tar",
    ),
    (
        "tiered-imagenet-leo",
        "embeddings",
        "the tieredImageNet embeddings of Rusu et al. (2019, https://github.com/google-deepmind/leo): \
         {train,val,test}_embeddings.pkl; or train.npz, val.npz and test.npz with the arrays embeddings [N, 640] and \
         labels [N]",
    ),
    (
        "cifar-fs",
        "cifar-fs",
        "cifar-100-python.tar.gz (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html), or \
         CIFAR_FS_{train,val,test}.pickle (MetaOptNet)",
    ),
    (
        "fc100",
        "fc100",
        "cifar-100-python.tar.gz (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html), or \
         FC100_{train,val,test}.pickle (MetaOptNet)",
    ),
    (
        "cub",
        "cub",
        "CUB_200_2011.tgz (Wah et al. 2011, https://www.vision.caltech.edu/datasets/cub_200_2011/)",
    ),
];
