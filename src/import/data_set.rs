//! What the program knows about a data set, and what a user asks of an import.

use std::path::{Path, PathBuf};

use crate::import::read::progress::Watch;
use crate::pack::error::{DataError, list_names};
use crate::pack::splits::PartSizes;

/// One data set; the rows are in [`crate::import::catalog`].
#[derive(Debug)]
pub struct DataSet {
    /// SOURCE of `data import`. Packs of data sets with [`Contents::Known`] carry it as their name.
    pub name: &'static str,
    /// Value of `DATASET` in the Makefile; `data import` accepts it too.
    pub short_name: &'static str,
    /// Name in tables and messages.
    pub title: &'static str,
    /// Terms of use, if they are known.
    pub licence: Option<&'static str>,
    /// Where the pictures come from.
    pub origin: Origin,
    /// The accepted files, as one phrase with names in backticks.
    pub files: &'static str,
    /// How many classes and images there are.
    pub contents: Contents,
    /// Pack that `make data` writes and the experiments read: the stem in `data/STEM.safetensors`.
    pub pack: &'static str,
    /// Size of the pack, for the table.
    pub pack_size: &'static str,
    /// Height and width of the images in pixels unless the user chooses another; `None` for embeddings.
    pub default_size: Option<u32>,
    /// Whether a part of the data set can be imported.
    pub partial: bool,
    /// Reads the files and writes the pack.
    pub importer: Importer,
    /// Experiment of `make train`, if there is one.
    pub experiment: Option<&'static str>,
}

/// Where the pictures of a data set come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program draws them; the user names no files.
    Drawn,
    /// The user's own class folders. The user also chooses the number of channels and the split.
    Own,
    /// Files that others publish.
    Published {
        /// What to cite. Packs of data sets with [`Contents::Known`] carry it as their source.
        citation: &'static str,
        /// Where to obtain the files, if there is one place.
        url: Option<&'static str>,
    },
}

/// How many classes and images a data set has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// The numbers are known: imports and `data verify` check them.
    Known {
        /// Classes of train, validation and test.
        classes: [usize; 3],
        /// Images.
        images: Images,
    },
    /// The numbers depend on the files; the text says what decides them.
    Varying(&'static str),
}

/// How many images a data set of known contents has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// In every class.
    PerClass(usize),
    /// In train, validation and test.
    PerPart([usize; 3]),
    /// In total.
    Total(usize),
}

/// Writes the pack that a request asks for; on failure no pack is left behind.
pub type Importer = fn(&ImportRequest<'_>) -> Result<(), DataError>;

impl DataSet {
    /// Classes and images in total, if they are known.
    #[must_use]
    pub fn counts(&self) -> Option<(usize, usize)> {
        let Contents::Known { classes, images } = self.contents else {
            return None;
        };
        let classes = classes.iter().sum();
        let images = match images {
            Images::PerClass(count) => count * classes,
            Images::PerPart(counts) => counts.iter().sum(),
            Images::Total(count) => count,
        };
        Some((classes, images))
    }

    /// Sizes of the parts for `class_count` classes: the known ones, or 70, 10 and 20 %.
    pub(crate) fn part_sizes(&self, class_count: usize) -> PartSizes {
        match self.contents {
            Contents::Known { classes, .. } => {
                let [train, validation, test] = classes;
                PartSizes {
                    train,
                    validation,
                    test,
                }
            }
            Contents::Varying(_) => PartSizes::seventy_ten_twenty(class_count),
        }
    }

    /// Terms of use as the pack's metadata state them.
    pub(crate) fn licence_note(&self) -> String {
        self.licence
            .unwrap_or("not known to the importer")
            .to_owned()
    }
}

/// One import as the user asks for it.
#[derive(Clone, Copy)]
pub struct ImportRequest<'a> {
    /// What to import.
    pub data_set: &'static DataSet,
    /// Archives, files and folders to search.
    pub from: &'a [PathBuf],
    /// The pack to write.
    pub output: &'a Path,
    /// Height and width of the images in pixels.
    pub size: u32,
    /// Channels of the images of [`Origin::Own`]: 1 (grey) or 3 (colour). Other data sets have their own.
    pub channels: usize,
    /// CSV file that assigns the classes of [`Origin::Own`] to parts: columns `class` and `split` (train, val, test).
    pub class_split: Option<&'a Path>,
    /// Seed of a shuffled split, and of drawn pictures.
    pub seed: u64,
    /// Whether to accept an incomplete data set; the pack's notes then say what is missing.
    pub partial: bool,
    /// Whether to pass over pictures that cannot be used; the pack's notes then count them. `partial` implies it.
    pub skip_broken: bool,
    /// Receives progress.
    pub watch: Watch<'a>,
}

impl<'a> ImportRequest<'a> {
    /// A request with the defaults of the data set: its size, 3 channels, no list of classes, seed 0, complete and
    /// without broken pictures.
    #[must_use]
    pub fn new(
        data_set: &'static DataSet,
        from: &'a [PathBuf],
        output: &'a Path,
        watch: Watch<'a>,
    ) -> Self {
        Self {
            data_set,
            from,
            output,
            size: data_set.default_size.unwrap_or(1),
            channels: 3,
            class_split: None,
            seed: 0,
            partial: false,
            skip_broken: false,
            watch,
        }
    }

    /// Writes the pack.
    ///
    /// # Errors
    /// If an option is out of range, a file cannot be used, or anything is missing and `partial` is not set. Then no
    /// pack is left behind.
    pub fn run(&self) -> Result<(), DataError> {
        (self.data_set.importer)(self)
    }

    /// The stem of the pack's file name: the name of data sets whose files have none.
    pub(crate) fn pack_stem(&self) -> String {
        let stem = self.output.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }

    /// The source as the pack's metadata state it: what to cite, or the searched paths where the data set is not known.
    pub(crate) fn source(&self) -> String {
        match (self.data_set.contents, self.data_set.origin) {
            (Contents::Known { .. }, Origin::Published { citation, .. }) => citation.to_owned(),
            _ => self.searched(),
        }
    }

    /// The searched paths, for messages.
    pub(crate) fn searched(&self) -> String {
        list_names(self.from.iter().map(|path| path.display()), 5)
    }

    /// The error that the data set is incomplete; `problem` says what is missing.
    pub(crate) fn incomplete(&self, problem: String) -> DataError {
        DataError::Incomplete {
            data_set: self.data_set.title,
            searched: self.searched(),
            problem,
        }
    }

    /// The error that none of the accepted files was found.
    pub(crate) fn nothing_found(&self) -> DataError {
        self.incomplete(format!("nothing found; expected {}", self.data_set.files))
    }
}
