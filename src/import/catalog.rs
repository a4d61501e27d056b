//! Every data set, one row each. The command line, messages, `data verify`, the Makefile and the table in docs/data.md
//! take their facts from here; `make catalog` rewrites the last two.

use crate::import::data_set::{Contents, DataSet, Images, Origin};
use crate::import::sources::{
    cifar, cub, embeddings, folders, idx, mini_imagenet, omniglot, synthetic, tiered_imagenet,
};

/// All data sets, in the order of the table.
pub static DATA_SETS: &[DataSet] = &[
    DataSet {
        name: "synthetic",
        short_name: "synthetic",
        title: "synthetic glyphs",
        licence: Some(synthetic::LICENCE),
        origin: Origin::Drawn,
        files: "none; the program draws the glyphs",
        contents: Contents::Varying("420 / 60 / 120, 12,000"),
        pack: "synthetic",
        pack_size: "9 MB",
        default_size: Some(28),
        partial: false,
        importer: synthetic::import,
        experiment: Some("experiments/synthetic.yaml"),
    },
    DataSet {
        name: "omniglot",
        short_name: "omniglot",
        title: "Omniglot",
        licence: Some("MIT, Copyright 2015 Brenden Lake"),
        origin: Origin::Published {
            citation: "Omniglot, Lake, Salakhutdinov, Tenenbaum (Science, 2015)",
            url: Some("https://github.com/brendenlake/omniglot"),
        },
        files: "`images_background.zip` and `images_evaluation.zip` (from the folder `python`), packed or unpacked",
        contents: Contents::Known {
            classes: [1150, 50, 423],
            images: Images::PerClass(omniglot::DRAWINGS),
        },
        pack: "omniglot",
        pack_size: "26 MB",
        default_size: Some(28),
        partial: false,
        importer: omniglot::import,
        experiment: Some("experiments/table1/omniglot-1shot-8ch.yaml"),
    },
    DataSet {
        name: "mini-imagenet",
        short_name: "mini",
        title: "mini-ImageNet",
        licence: Some(IMAGENET_TERMS),
        origin: Origin::Published {
            citation: "mini-ImageNet, Vinyals et al. (NeurIPS 2016), classes of Ravi and Larochelle (ICLR 2017)",
            url: Some("https://arxiv.org/abs/1606.04080"),
        },
        files: "class folders named by wnid (`n01532829`); files whose names start with the wnid; files named by the lists \
                `train.csv`, `val.csv` and `test.csv` (`filename,label`); `mini-imagenet-cache-{train,val,test}.pkl`; \
                `miniImageNet_category_split_{train_phase_train,val,test}.pickle` (MetaOptNet)",
        contents: Contents::Known {
            classes: [64, 16, 20],
            images: Images::PerClass(600),
        },
        pack: "mini-imagenet",
        pack_size: "1.3 GB",
        default_size: Some(84),
        partial: true,
        importer: mini_imagenet::import,
        experiment: Some("experiments/table1/mini-imagenet-1shot-8ch.yaml"),
    },
    DataSet {
        name: "tiered-imagenet",
        short_name: "tiered",
        title: "tieredImageNet",
        licence: Some(IMAGENET_TERMS),
        origin: Origin::Published {
            citation: "tieredImageNet, Ren et al. (ICLR 2018), from ILSVRC-2012",
            url: Some("https://github.com/renmengye/few-shot-ssl-public"),
        },
        files: "`{train,val,test}_images_png.pkl` or `_images.npz` (blue first, as OpenCV stores it) with `_labels.pkl`, \
                12 GB; the same with the prefix `tiered-imagenet-` (Zenodo); the training images of ILSVRC-2012 in \
                folders or tars named by wnid, also in one tar (`ILSVRC2012_img_train.tar`)",
        contents: Contents::Known {
            classes: [351, 97, 160],
            images: Images::PerPart([448_695, 124_261, 206_209]),
        },
        pack: "tiered-imagenet",
        pack_size: "16.5 GB",
        default_size: Some(84),
        partial: true,
        importer: tiered_imagenet::import,
        experiment: Some("experiments/table1/tiered-imagenet-1shot-8ch.yaml"),
    },
    DataSet {
        name: "cifar-fs",
        short_name: "cifar-fs",
        title: "CIFAR-FS",
        licence: Some(CIFAR_TERMS),
        origin: Origin::Published {
            citation: "CIFAR-FS, Bertinetto et al. (ICLR 2019), from CIFAR-100, Krizhevsky (2009)",
            url: Some(CIFAR_URL),
        },
        files: "`cifar-100-python.tar.gz`, packed or unpacked; `CIFAR_FS_{train,val,test}.pickle` (MetaOptNet)",
        contents: Contents::Known {
            classes: [64, 16, 20],
            images: Images::PerClass(600),
        },
        pack: "cifar-fs",
        pack_size: "184 MB",
        default_size: Some(32),
        partial: true,
        importer: cifar::import_cifar_fs,
        experiment: Some("experiments/other/cifar-fs-1shot-8ch.yaml"),
    },
    DataSet {
        name: "fc100",
        short_name: "fc100",
        title: "FC100",
        licence: Some(CIFAR_TERMS),
        origin: Origin::Published {
            citation: "FC100, Oreshkin et al. (NeurIPS 2018), from CIFAR-100, Krizhevsky (2009)",
            url: Some(CIFAR_URL),
        },
        files: "`cifar-100-python.tar.gz`, packed or unpacked; `FC100_{train,val,test}.pickle` (MetaOptNet)",
        contents: Contents::Known {
            classes: [60, 20, 20],
            images: Images::PerClass(600),
        },
        pack: "fc100",
        pack_size: "184 MB",
        default_size: Some(32),
        partial: true,
        importer: cifar::import_fc100,
        experiment: Some("experiments/other/fc100-1shot-8ch.yaml"),
    },
    DataSet {
        name: "cub",
        short_name: "cub",
        title: "CUB-200-2011",
        licence: Some(
            "non-commercial research and education; the photographs belong to their authors",
        ),
        origin: Origin::Published {
            citation: "Caltech-UCSD Birds-200-2011, Wah et al. (2011); classes as easyfsl splits them",
            url: Some("https://www.vision.caltech.edu/datasets/cub_200_2011/"),
        },
        files: "`CUB_200_2011.tgz`, packed or unpacked",
        contents: Contents::Known {
            classes: [140, 30, 30],
            images: Images::Total(11_788),
        },
        pack: "cub",
        pack_size: "250 MB",
        default_size: Some(84),
        partial: true,
        importer: cub::import,
        experiment: Some("experiments/other/cub-1shot-8ch.yaml"),
    },
    DataSet {
        name: "idx",
        short_name: "idx",
        title: "a set of IDX files (MNIST, EMNIST, Kuzushiji)",
        licence: None,
        origin: Origin::Published {
            citation: "the authors of each data set; the counts of EMNIST are checked",
            url: None,
        },
        files: "`*-images-idx3-ubyte` with `*-labels-idx1-ubyte` in the same folder or archive, also `.gz` and with dots \
                (`.idx3-ubyte`); not MATLAB's or numpy's files",
        contents: Contents::Varying("70 / 10 / 20 % of the classes, by `--seed`"),
        pack: "idx",
        pack_size: "784 bytes an image",
        default_size: Some(28),
        partial: true,
        importer: idx::import,
        experiment: None,
    },
    DataSet {
        name: "folder",
        short_name: "folder",
        title: "a set of class folders",
        licence: None,
        origin: Origin::Own,
        files: "JPEG, PNG, BMP, GIF, TIFF and WebP as `class/picture` or `train/class/picture`, `val/…`, `test/…`, also in \
                zip and tar archives",
        contents: Contents::Varying("by folder, by `--class-split`, or 70 / 10 / 20 % by `--seed`"),
        pack: "folder",
        pack_size: "21 kB an image",
        default_size: Some(84),
        partial: false,
        importer: folders::import,
        experiment: None,
    },
    DataSet {
        name: "embeddings",
        short_name: "embeddings",
        title: "a set of embeddings",
        licence: None,
        origin: Origin::Published {
            citation: "for example LEO's of tieredImageNet, Rusu et al. (ICLR 2019)",
            url: Some("https://github.com/google-deepmind/leo"),
        },
        files: "`{train,val,test}_embeddings.pkl` (LEO); `{train,val,test}.npz` with the arrays `embeddings` [N, D] and \
                `labels` [N]; `{train,val,test}_embeddings.npy` with `_labels.npy`",
        contents: Contents::Varying("as the files say"),
        pack: "tiered-imagenet-leo",
        pack_size: "2 GB for 779,165 × 640",
        default_size: None,
        partial: false,
        importer: embeddings::import,
        experiment: None,
    },
];

const IMAGENET_TERMS: &str =
    "ImageNet's terms: non-commercial research and education, no redistribution";
const CIFAR_TERMS: &str = "none stated; CIFAR-100 asks for citation of Krizhevsky (2009)";
const CIFAR_URL: &str = "https://www.cs.toronto.edu/~kriz/cifar.html";

/// The data set that `data import` and the Makefile call so.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static DataSet> {
    DATA_SETS
        .iter()
        .find(|data_set| [data_set.name, data_set.short_name].contains(&name))
}

/// The data set whose pack has this file stem in the experiments.
#[must_use]
pub fn by_pack(stem: &str) -> Option<&'static DataSet> {
    DATA_SETS.iter().find(|data_set| data_set.pack == stem)
}
