//! The pack of an experiment: drawn if it is the synthetic one, or a hint on what to obtain; and whether it is intact.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use hypertransformer::base::files;
use hypertransformer::import::catalog;
use hypertransformer::import::data_set::{ImportRequest, Origin};
use hypertransformer::pack::error::DataError;
use hypertransformer::pack::intact::ensure_intact;
use hypertransformer::pack::pack::Pack;
use hypertransformer::report::console::say;
use hypertransformer::run::error::RunError;
use hypertransformer::run::pack_of::find_pack;

#[derive(Args)]
pub(in crate::cli) struct PackArguments {
    /// Hash the whole pack. Otherwise a pack that was hashed before and has the same size and times is trusted
    #[arg(long)]
    verify: bool,
}

impl PackArguments {
    /// Opens a pack whose contents are those that it was written with.
    pub(in crate::cli) fn open(&self, path: &Path) -> Result<Pack, DataError> {
        let pack = Pack::open(path)?;
        ensure_intact(&pack, self.verify)?;
        Ok(pack)
    }
}

/// The pack of the run in the folder `run`, whose configuration names `named`. Says so if it was found elsewhere.
///
/// # Errors
/// If the pack is not found.
pub(in crate::cli) fn pack_of_run(named: &Path, run: &Path) -> Result<PathBuf, RunError> {
    let found = find_pack(named, run)?;
    if found != named {
        say(format!(
            "the pack {} is missing: using {}, which has the same images and splits",
            named.display(),
            found.display()
        ));
    }
    Ok(found)
}

/// Makes sure that the pack of an experiment is there: a missing synthetic pack is drawn.
///
/// # Errors
/// If another pack is missing: says what to obtain and how to import it.
pub(in crate::cli) fn ensure_pack(path: &Path, quiet: bool) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let (pack, place) = (path.display(), files::place(path));
    let Some(data_set) = catalog::by_pack(&stem).filter(|found| found.origin != Origin::Own) else {
        bail!(
            "the pack {pack} is missing{place}\nhint: make it with `hypertransformer data import`, or set data.pack to an \
             existing pack"
        );
    };
    let (citation, url) = match data_set.origin {
        Origin::Published { citation, url } => (citation, url),
        Origin::Drawn | Origin::Own => {
            if !quiet {
                say(format!("drawing the {} into {pack}", data_set.title));
            }
            ImportRequest::new(data_set, &[], path, &|_| true).run()?;
            return Ok(());
        }
    };
    let url = url.map_or_else(String::new, |url| format!(" ({url})"));
    let licence = data_set
        .licence
        .map_or_else(String::new, |licence| format!("\n  licence: {licence}"));
    let program = std::env::args().next();
    let program = program.as_deref().unwrap_or("hypertransformer");
    bail!(
        "the pack {pack} is missing{place}\nhint: obtain {citation}{url}\n  as {files}{licence}\n  then run:\n  \
         {program} data import {source} --from FOLDER --output {pack}",
        files = data_set.files,
        source = data_set.name,
    )
}
