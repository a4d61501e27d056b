//! What a pack holds, as `data info` prints it.

use hypertransformer::pack::moments::moments;
use hypertransformer::pack::pack::Pack;

/// Channels whose means `data info` prints: embeddings have hundreds.
const MOST_CHANNELS: usize = 4;

/// Mean and standard deviation of each channel, bytes as 0 to 1.
pub(in crate::cli) fn print_moments(pack: &Pack) {
    let list = |values: Vec<f64>| {
        let texts: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
        texts.join(", ")
    };
    if pack.shape().channels > MOST_CHANNELS {
        return;
    }
    let channels = moments(pack);
    println!(
        "  mean     {}",
        list(channels.iter().map(|m| m.mean).collect())
    );
    println!(
        "  σ        {}",
        list(channels.iter().map(|m| m.deviation).collect())
    );
}

pub(in crate::cli) fn info(pack: &Pack) {
    let metadata = pack.metadata();
    let sizes = (0..pack.class_count()).map(|class| pack.class_range(class).len());
    println!("{}: {}", pack.path().display(), metadata.name);
    println!("  images   {} of {}", pack.image_count(), pack.shape());
    println!(
        "  classes  {}, {} to {} images each",
        pack.class_count(),
        sizes.clone().min().unwrap_or(0),
        sizes.max().unwrap_or(0)
    );
    for (name, split) in &metadata.splits {
        let mark = if *name == metadata.default_split {
            " (default)"
        } else {
            ""
        };
        println!(
            "  split    {name}{mark}: {} train, {} validation, {} test classes",
            split.train.len(),
            split.validation.len(),
            split.test.len()
        );
    }
    println!("  source   {}", metadata.source);
    println!("  licence  {}", metadata.licence);
    println!("  content  {}", metadata.content_hash);
    println!("  whole    {}", pack.whole_hash().unwrap_or("not hashed"));
    for (note, value) in &metadata.notes {
        println!("  {note}: {value}");
    }
}
