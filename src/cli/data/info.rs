//! What a pack holds, as `data info` prints it.

use hypertransformer::pack::moments::moments;
use hypertransformer::pack::pack::Pack;
use hypertransformer::report::console::{OutputError, tell};

/// Channels whose means `data info` prints: embeddings have hundreds.
const MOST_CHANNELS: usize = 4;

/// Mean and standard deviation of each channel, bytes as 0 to 1.
pub(in crate::cli) fn print_moments(pack: &Pack) -> Result<(), OutputError> {
    let list = |values: Vec<f64>| {
        let texts: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
        texts.join(", ")
    };
    if pack.shape().channels > MOST_CHANNELS {
        return Ok(());
    }
    let channels = moments(pack);
    tell(format!(
        "  mean     {}",
        list(channels.iter().map(|m| m.mean).collect())
    ))?;
    tell(format!(
        "  σ        {}",
        list(channels.iter().map(|m| m.deviation).collect())
    ))?;
    Ok(())
}

pub(in crate::cli) fn info(pack: &Pack) -> Result<(), OutputError> {
    let metadata = pack.metadata();
    let sizes = (0..pack.class_count()).map(|class| pack.class_range(class).len());
    tell(format!("{}: {}", pack.path().display(), metadata.name))?;
    tell(format!(
        "  images   {} of {}",
        pack.image_count(),
        pack.shape()
    ))?;
    tell(format!(
        "  classes  {}, {} to {} images each",
        pack.class_count(),
        sizes.clone().min().unwrap_or(0),
        sizes.max().unwrap_or(0)
    ))?;
    for (name, split) in &metadata.splits {
        let mark = if *name == metadata.default_split {
            " (default)"
        } else {
            ""
        };
        tell(format!(
            "  split    {name}{mark}: {} train, {} validation, {} test classes",
            split.train.len(),
            split.validation.len(),
            split.test.len()
        ))?;
    }
    tell(format!("  source   {}", metadata.source))?;
    tell(format!("  licence  {}", metadata.licence))?;
    tell(format!("  content  {}", metadata.content_hash))?;
    tell(format!(
        "  whole    {}",
        pack.whole_hash().unwrap_or("not hashed")
    ))?;
    for (note, value) in &metadata.notes {
        tell(format!("  {note}: {value}"))?;
    }
    Ok(())
}
