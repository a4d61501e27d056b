//! Trees of YAML mappings, as experiment files are.

use serde_yaml::{Mapping, Value};

/// Merges `changes` into `tree`: mappings key by key; other values are replaced.
pub(crate) fn merge(tree: &mut Value, changes: Value) {
    match (tree, changes) {
        (Value::Mapping(tree), Value::Mapping(changes)) => {
            for (key, value) in changes {
                match tree.get_mut(&key) {
                    Some(old) => merge(old, value),
                    None => {
                        tree.insert(key, value);
                    }
                }
            }
        }
        (tree, changes) => *tree = changes,
    }
}

/// Wraps `value` in one mapping per key of the dotted path `path`.
pub(crate) fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, key| {
        Value::Mapping(Mapping::from_iter([(Value::String(key.to_owned()), value)]))
    })
}
