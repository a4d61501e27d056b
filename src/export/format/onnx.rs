//! A stand-alone CNN as an ONNX model of standard operators, and back.
use ndarray::ArrayD;
use prost::Message;

use crate::export::format::onnx_messages::{
    AttributeProto, DimensionProto, FLOAT, FLOAT_ELEMENT, GraphProto, INT, INTS, ModelProto,
    NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto, dimension,
};
use crate::export::format::parts::{Weights, assemble, description, little_endian};
use crate::export::standalone::{Layer, Operation, StandaloneCnn};

/// Old enough for any runtime in use, and has all operators as they are today.
const OPERATOR_SET: i64 = 13;
const IR_VERSION: i64 = 7;

/// Key of the description in the model's metadata.
const METADATA_KEY: &str = "hypertransformer";

/// Input `pictures`, `[batch, C, H, W]`, 0 to 1; output `logits`, `[batch, n]`.
pub(crate) fn to_bytes(cnn: &StandaloneCnn) -> Vec<u8> {
    let mut nodes = Vec::new();
    let mut initializers = Vec::new();
    let mut value = "pictures".to_owned();
    let last = cnn.layers.len().saturating_sub(1);
    for (index, layer) in cnn.layers.iter().enumerate() {
        let output = match index == last {
            true => "logits".to_owned(),
            false => format!("{}.output", layer.name),
        };
        nodes.extend(nodes_of(layer, value, output.clone()));
        if let Some((weight, bias)) = &layer.weights {
            initializers.push(tensor(format!("{}.weight", layer.name), weight));
            initializers.push(tensor(format!("{}.bias", layer.name), bias));
        }
        value = output;
    }
    let preparation = &cnn.preparation;
    let graph = GraphProto {
        node: nodes,
        name: "generated_cnn".to_owned(),
        initializer: initializers,
        input: vec![batched("pictures", &preparation.shape())],
        output: vec![batched("logits", &[cnn.labels.len()])],
    };
    let labels = serde_json::to_string(&cnn.labels).unwrap_or_default();
    let property = |key: &str, value: String| StringStringEntryProto {
        key: key.to_owned(),
        value,
    };
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "hypertransformer".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: "A CNN written by a HyperTransformer from a few labelled pictures; softmax of the logits gives \
                     probabilities of the labels"
            .to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPERATOR_SET,
        }],
        metadata_props: vec![
            property("labels", labels),
            property("preprocessing", preparation.to_string()),
            property(METADATA_KEY, description(cnn)),
        ],
    };
    model.encode_to_vec()
}

/// Reads what [`to_bytes`] wrote.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<StandaloneCnn, String> {
    let model =
        ModelProto::decode(bytes).map_err(|error| format!("it is no ONNX model ({error})"))?;
    let text = model
        .metadata_props
        .iter()
        .find(|property| property.key == METADATA_KEY)
        .ok_or_else(|| {
            format!(
                "it is an ONNX model whose metadata lack `{METADATA_KEY}`: another program made it"
            )
        })?;
    let weights = model
        .graph
        .unwrap_or_default()
        .initializer
        .into_iter()
        .map(|tensor| {
            let values =
                array(&tensor).ok_or_else(|| format!("the tensor `{}` is damaged", tensor.name))?;
            Ok((tensor.name, values))
        })
        .collect::<Result<Weights, String>>()?;
    assemble(&text.value, weights)
}

/// One operator, or two for scale and shift, and for the mean over places.
fn nodes_of(layer: &Layer, input: String, output: String) -> Vec<NodeProto> {
    let name = &layer.name;
    let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
    let between = format!("{name}.between");
    let node = |kind: &str, input: Vec<String>, output: &str, attribute| NodeProto {
        name: format!("{name}.{}", kind.to_lowercase()),
        op_type: kind.to_owned(),
        input,
        output: vec![output.to_owned()],
        attribute,
    };
    let pool = || vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
    match layer.operation {
        Operation::Convolution { stride, padding } => {
            let [stride, padding] = [stride, padding].map(|length| length as i64);
            let attributes = vec![ints("strides", &[stride; 2]), ints("pads", &[padding; 4])];
            vec![node("Conv", vec![input, weight, bias], &output, attributes)]
        }
        Operation::Affine => vec![
            node("Mul", vec![input, weight], &between, vec![]),
            node("Add", vec![between.clone(), bias], &output, vec![]),
        ],
        Operation::Relu => vec![node("Relu", vec![input], &output, vec![])],
        Operation::LeakyRelu { slope } => {
            let alpha = AttributeProto {
                name: "alpha".to_owned(),
                f: slope,
                r#type: FLOAT,
                ..AttributeProto::default()
            };
            vec![node("LeakyRelu", vec![input], &output, vec![alpha])]
        }
        Operation::MaxPool => vec![node("MaxPool", vec![input], &output, pool())],
        Operation::AveragePool => vec![node("AveragePool", vec![input], &output, pool())],
        Operation::GlobalAverage => vec![
            node("GlobalAveragePool", vec![input], &between, vec![]),
            node(
                "Flatten",
                vec![between.clone()],
                &output,
                vec![int("axis", 1)],
            ),
        ],
        Operation::Flatten => vec![node("Flatten", vec![input], &output, vec![int("axis", 1)])],
        Operation::Dense => {
            let inputs = vec![input, weight, bias];
            vec![node("Gemm", inputs, &output, vec![int("transB", 1)])]
        }
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: value,
        r#type: INT,
        ..AttributeProto::default()
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.to_vec(),
        r#type: INTS,
        ..AttributeProto::default()
    }
}

/// A value of `[batch, shape…]`.
fn batched(name: &str, shape: &[usize]) -> ValueInfoProto {
    let batch = dimension::Value::Name("batch".to_owned());
    let lengths = shape
        .iter()
        .map(|&length| dimension::Value::Length(length as i64));
    let dim = std::iter::once(batch)
        .chain(lengths)
        .map(|value| DimensionProto { value: Some(value) })
        .collect();
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: FLOAT_ELEMENT,
                shape: Some(TensorShapeProto { dim }),
            }),
        }),
    }
}

fn tensor(name: String, values: &ArrayD<f32>) -> TensorProto {
    TensorProto {
        dims: values.shape().iter().map(|&length| length as i64).collect(),
        data_type: FLOAT_ELEMENT,
        name,
        raw_data: little_endian(values),
    }
}

/// None where the numbers do not fill the shape.
fn array(tensor: &TensorProto) -> Option<ArrayD<f32>> {
    if tensor.data_type != FLOAT_ELEMENT {
        return None;
    }
    crate::export::format::parts::array(&tensor.dims, &tensor.raw_data)
}
