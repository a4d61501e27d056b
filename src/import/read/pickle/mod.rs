//! Reads pickles without executing code: numbers, text, lists, dicts and numpy arrays. All other globals are rejected.
//! Long byte strings stay in the mapped file.

mod machine;
mod opcodes;

use std::collections::HashMap;
use std::rc::Rc;

use self::opcodes::recalled;
use crate::import::read::files::FoundFile;
use crate::import::read::mapped::{Scratch, Slice};
use crate::import::read::numpy::{Array, Dtype, Stored};
use crate::pack::error::{DataError, list_names};

/// Bytes of the longest text that is taken as a name of anything.
const LONGEST_NAME: usize = 256;

/// A value. Lists, dicts and arrays can change after they were memoized, so they are indices into those of [`Pickle`].
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// None or a floating-point number; no data set needs them.
    Other,
    Bool(bool),
    Integer(i64),
    Text(Slice),
    Bytes(Stored),
    Tuple(Rc<Tuple>),
    List(usize),
    Dict(usize),
    Array(usize),
    Dtype(usize),
    Global(Global),
}

impl Value {
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Tuple {
    items: Vec<Value>,
    depth: usize,
}

/// Callables that pickles of numpy arrays and plain containers name. They are recognized, never called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Global {
    Reconstruct,
    FromBuffer,
    Scalar,
    Array,
    Dtype,
    Encode,
    Bytes,
    OrderedDict,
    DefaultDict,
    List,
}

/// An array whose content may follow later.
enum Built {
    /// The content has not been read yet.
    Blank,
    Numbers(Array),
    /// An array of objects: the index of the list that holds them.
    Objects(usize),
}

/// The content of a pickle.
pub(crate) struct Pickle<'a> {
    file: &'a FoundFile,
    slice: Slice,
    root: Value,
    lists: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    arrays: Vec<Built>,
    dtypes: Vec<Dtype>,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memory: HashMap<u32, Value>,
    /// Values in lists, dicts, tuples, arrays and the memory; those on the stack come on top.
    held: usize,
    /// Bytes that were read to decode bytes stored as text.
    scanned: usize,
}

impl<'a> Pickle<'a> {
    /// Reads a file in two passes: the first finds the memoized values that are used again, the second builds the
    /// values.
    ///
    /// # Errors
    /// If the file is not a pickle of protocol 2 to 5, is damaged, or calls anything but numpy and plain containers.
    pub(crate) fn open(file: &'a FoundFile, scratch: &Scratch) -> Result<Pickle<'a>, DataError> {
        let slice = file.map(scratch)?;
        let mut pickle = Pickle {
            file,
            slice: slice.clone(),
            root: Value::Other,
            lists: Vec::new(),
            dicts: Vec::new(),
            arrays: Vec::new(),
            dtypes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memory: HashMap::new(),
            held: 0,
            scanned: 0,
        };
        recalled(&slice)
            .and_then(|recalled| pickle.run(&slice, &recalled))
            .map_err(|problem| file.bad(problem))?;
        Ok(pickle)
    }

    /// The error that this file cannot be used; `problem` follows the file's name.
    pub(crate) fn bad(&self, problem: impl Into<String>) -> DataError {
        self.file.bad(problem)
    }

    /// The value that the file holds.
    pub(crate) fn root(&self) -> &Value {
        &self.root
    }

    /// The entry `name` of the dict that the file holds.
    ///
    /// # Errors
    /// If the file does not hold a dict with this entry.
    pub(crate) fn entry(&self, name: &str) -> Result<&Value, DataError> {
        self.optional(name)?.ok_or_else(|| {
            let names = self.pairs(&self.root).unwrap_or_default();
            let names = names.iter().filter_map(|(key, _)| self.text(key));
            self.bad(format!(
                "has no entry `{name}`; it has {}",
                list_names(names, 8)
            ))
        })
    }

    /// The entry `name` of the dict that the file holds, if there is one.
    ///
    /// # Errors
    /// If the file does not hold a dict.
    pub(crate) fn optional(&self, name: &str) -> Result<Option<&Value>, DataError> {
        let pairs = self
            .pairs(&self.root)
            .ok_or_else(|| self.bad(format!("holds no dict, expected one with `{name}`")))?;
        let named = |key: &Value| self.text(key).is_some_and(|text| text == name);
        let found = pairs.iter().rev().find(|(key, _)| named(key));
        Ok(found.map(|(_, value)| value))
    }

    /// The numpy array in the entry `name`.
    ///
    /// # Errors
    /// If there is no such array.
    pub(crate) fn array(&self, name: &str) -> Result<&Array, DataError> {
        self.as_array(self.entry(name)?)
            .ok_or_else(|| self.bad(format!("has no numpy array under `{name}`")))
    }

    /// The integers in the entry `name`, a list or an array.
    ///
    /// # Errors
    /// If there is no such list or array.
    pub(crate) fn integers(&self, name: &str) -> Result<Vec<i64>, DataError> {
        let value = self.entry(name)?;
        self.as_integers(value)
            .ok_or_else(|| self.bad(format!("has no list of whole numbers under `{name}`")))
    }

    /// The value as an array of numbers or text.
    pub(crate) fn as_array(&self, value: &Value) -> Option<&Array> {
        match value {
            Value::Array(index) => match &self.arrays[*index] {
                Built::Numbers(array) => Some(array),
                _ => None,
            },
            _ => None,
        }
    }

    /// The integers of a list or an array.
    pub(crate) fn as_integers(&self, value: &Value) -> Option<Vec<i64>> {
        if let Some(array) = self.as_array(value) {
            return array.integers();
        }
        let items = self.items(value)?.iter();
        items.map(Value::integer).collect()
    }

    /// The texts of a list or an array.
    pub(crate) fn as_texts(&self, value: &Value) -> Option<Vec<String>> {
        if let Some(array) = self.as_array(value) {
            return array.texts();
        }
        let items = self.items(value)?.iter();
        items.map(|item| self.text(item)).collect()
    }

    /// The values of a list, a tuple or an array of objects.
    pub(crate) fn items<'b>(&'b self, value: &'b Value) -> Option<&'b [Value]> {
        match value {
            Value::List(index) => Some(&self.lists[*index]),
            Value::Tuple(tuple) => Some(&tuple.items),
            Value::Array(index) => match &self.arrays[*index] {
                Built::Objects(list) => Some(&self.lists[*list]),
                _ => None,
            },
            _ => None,
        }
    }

    /// The pairs of a dict.
    pub(crate) fn pairs(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(index) => Some(&self.dicts[*index]),
            _ => None,
        }
    }

    /// The value as text: a string of Python 3 or 2; `None` if it is longer than any name.
    pub(crate) fn text(&self, value: &Value) -> Option<String> {
        match value {
            Value::Text(slice) if slice.as_ref().len() <= LONGEST_NAME => {
                Some(String::from_utf8_lossy(slice.as_ref()).into_owned())
            }
            Value::Bytes(stored) if stored.len() <= LONGEST_NAME => {
                Some(String::from_utf8_lossy(&stored.read()).into_owned())
            }
            _ => None,
        }
    }
}
