//! TensorBoard's values other than scalars.

use std::io;

use image::{ImageFormat, RgbImage};
use tensorboard_proto::summary::{HistogramProto, Summary, Summary_Image, Summary_Value};
use tensorboard_proto::tensor::TensorProto;
use tensorboard_proto::tensor_shape::{TensorShapeProto, TensorShapeProto_Dim};
use tensorboard_proto::types::DataType;

/// Number of bars of a histogram.
const BARS: usize = 30;

/// Markdown under the tab "Text".
pub(super) fn text(tag: &str, markdown: &str) -> Summary {
    let mut dimension = TensorShapeProto_Dim::new();
    dimension.set_size(1);
    let mut shape = TensorShapeProto::new();
    shape.mut_dim().push(dimension);
    let mut tensor = TensorProto::new();
    tensor.set_dtype(DataType::DT_STRING);
    tensor.set_tensor_shape(shape);
    tensor.mut_string_val().push(markdown.as_bytes().to_vec());
    let mut value = of_plugin(tag, "text", Vec::new());
    value.set_tensor(tensor);
    of_value(value)
}

/// A picture under the tab "Images".
///
/// # Errors
/// If it cannot be encoded.
pub(super) fn image(tag: &str, description: &str, picture: &RgbImage) -> io::Result<Summary> {
    let mut png = io::Cursor::new(Vec::new());
    picture
        .write_to(&mut png, ImageFormat::Png)
        .map_err(io::Error::other)?;
    let mut image = Summary_Image::new();
    image.set_width(picture.width() as i32);
    image.set_height(picture.height() as i32);
    image.set_colorspace(3);
    image.set_encoded_image_string(png.into_inner());
    let mut value = of_plugin(tag, "images", Vec::new());
    value
        .mut_metadata()
        .set_summary_description(description.to_owned());
    value.set_image(image);
    Ok(of_value(value))
}

/// The distribution of finite numbers under the tab "Histograms".
pub(super) fn histogram(tag: &str, numbers: &[f32]) -> Summary {
    let numbers: Vec<f64> = numbers.iter().map(|&number| number.into()).collect();
    let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let width = ((most - least) / BARS as f64).max(f64::MIN_POSITIVE);
    let mut bars = vec![0.0; BARS];
    for number in &numbers {
        bars[(((number - least) / width) as usize).min(BARS - 1)] += 1.0;
    }
    let mut found = HistogramProto::new();
    found.set_min(least);
    found.set_max(most);
    found.set_num(numbers.len() as f64);
    found.set_sum(numbers.iter().sum());
    found.set_sum_squares(numbers.iter().map(|number| number * number).sum());
    let limits = (1..=BARS).map(|bar| least + bar as f64 * width);
    found.set_bucket_limit(limits.collect());
    found.set_bucket(bars);
    let mut value = of_plugin(tag, "histograms", Vec::new());
    value.set_histo(found);
    of_value(value)
}

/// A value without data of its own; `content` says all, for the tab of `plugin`.
pub(super) fn plugin(tag: &str, plugin: &str, content: Vec<u8>) -> Summary {
    let mut tensor = TensorProto::new();
    tensor.set_dtype(DataType::DT_FLOAT);
    tensor.set_tensor_shape(TensorShapeProto::new());
    tensor.mut_float_val().push(0.0);
    let mut value = of_plugin(tag, plugin, content);
    value.set_tensor(tensor);
    of_value(value)
}

fn of_plugin(tag: &str, plugin: &str, content: Vec<u8>) -> Summary_Value {
    let mut value = Summary_Value::new();
    value.set_tag(tag.to_owned());
    let data = value.mut_metadata().mut_plugin_data();
    data.set_plugin_name(plugin.to_owned());
    data.set_content(content);
    value
}

fn of_value(value: Summary_Value) -> Summary {
    let mut summary = Summary::new();
    summary.mut_value().push(value);
    summary
}
