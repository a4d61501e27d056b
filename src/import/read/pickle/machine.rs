//! Interprets a pickle's instructions on a stack of values. Callables are recognized, never called.

use std::collections::HashSet;
use std::rc::Rc;

use crate::import::read::mapped::{Slice, Trail};
use crate::import::read::numpy::{Array, Dtype, Stored};
use crate::import::read::pickle::opcodes::{Instruction, Instructions};
use crate::import::read::pickle::{Built, Global, Pickle, Tuple, Value};

/// How deeply tuples may be nested.
const DEEPEST: usize = 50;
/// Most values at a time: a value takes up to 56 bytes of memory and may take one in the file. tieredImageNet's largest
/// pickle has a million.
const MOST_VALUES: usize = 1 << 22;
/// How often, on average, each byte of the file may be read to decode bytes that are stored as text.
const MOST_SCANS: usize = 4;

impl Global {
    fn named(module: &str, name: &str) -> Option<Global> {
        let module = module.replace("numpy._core", "numpy.core");
        Some(match (module.as_str(), name) {
            ("numpy.core.multiarray", "_reconstruct") => Global::Reconstruct,
            ("numpy.core.numeric", "_frombuffer") => Global::FromBuffer,
            ("numpy.core.multiarray", "scalar") => Global::Scalar,
            ("numpy", "ndarray") => Global::Array,
            ("numpy", "dtype") => Global::Dtype,
            ("_codecs", "encode") => Global::Encode,
            ("__builtin__" | "builtins", "bytes") => Global::Bytes,
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("collections", "defaultdict") => Global::DefaultDict,
            ("__builtin__" | "builtins", "list") => Global::List,
            _ => return None,
        })
    }
}

impl Pickle<'_> {
    /// Builds the values; memoizes those with a number in `recalled`.
    pub(crate) fn run(&mut self, slice: &Slice, recalled: &HashSet<u32>) -> Result<(), String> {
        let bytes = slice.as_ref();
        let (mut instructions, mut trail) = (Instructions::new(bytes), Trail::new(slice));
        let mut memoized: u32 = 0;
        loop {
            trail.reach(instructions.place());
            if self.held + self.stack.len() + self.marks.len() > MOST_VALUES {
                return Err(format!(
                    "has more than {MOST_VALUES} values, which no data set needs"
                ));
            }
            match instructions.next()? {
                Instruction::Nothing => {}
                Instruction::Stop => {
                    self.root = self.pop()?;
                    return Ok(());
                }
                Instruction::Mark => self.marks.push(self.stack.len()),
                Instruction::Pop => {
                    self.pop()?;
                }
                Instruction::PopMark => {
                    self.above_mark()?;
                }
                Instruction::Duplicate => self.stack.push(self.top()?.clone()),
                Instruction::Other => self.stack.push(Value::Other),
                Instruction::Bool(value) => self.stack.push(Value::Bool(value)),
                Instruction::Integer(value) => self.stack.push(Value::Integer(value)),
                Instruction::Text(range) => {
                    let text = Value::Text(self.part(range)?);
                    self.stack.push(text);
                }
                Instruction::Bytes(range) => {
                    let bytes = Value::Bytes(Stored::Plain(self.part(range)?));
                    self.stack.push(bytes);
                }
                Instruction::EmptyList => {
                    self.stack.push(Value::List(self.lists.len()));
                    self.lists.push(Vec::new());
                    self.held += 1;
                }
                Instruction::EmptyDict => self.empty_dict(),
                Instruction::Tuple(count) => self.tuple(count)?,
                Instruction::Append(many) => {
                    let items = self.operands(many, 1)?;
                    let Value::List(index) = self.top()? else {
                        return Err(unexpected("appends to a value that is not a list"));
                    };
                    let index = *index;
                    self.held += items.len();
                    self.lists[index].extend(items);
                }
                Instruction::SetItem(many) => {
                    let items = self.operands(many, 2)?;
                    let Value::Dict(index) = self.top()? else {
                        return Err(unexpected("sets entries of a value that is not a dict"));
                    };
                    let index = *index;
                    self.held += items.len();
                    let mut items = items.into_iter();
                    while let (Some(key), Some(value)) = (items.next(), items.next()) {
                        self.dicts[index].push((key, value));
                    }
                }
                Instruction::Global(module, name) => {
                    let text = |range| String::from_utf8_lossy(&bytes[range]).into_owned();
                    self.global(&text(module), &text(name))?;
                }
                Instruction::StackGlobal => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    match (self.text(&module), self.text(&name)) {
                        (Some(module), Some(name)) => self.global(&module, &name)?,
                        _ => return Err(unexpected("names a global without text")),
                    }
                }
                Instruction::Reduce => self.reduce()?,
                Instruction::Build => self.build()?,
                Instruction::Put(number) => self.memoize(number, recalled)?,
                Instruction::Memoize => {
                    self.memoize(memoized, recalled)?;
                    memoized = memoized.saturating_add(1);
                }
                Instruction::Get(number) => {
                    let value = self.memory.get(&number).cloned();
                    let value = value
                        .ok_or_else(|| unexpected("reads a memoized value that was not stored"))?;
                    self.stack.push(value);
                }
            }
        }
    }

    fn part(&self, range: std::ops::Range<usize>) -> Result<Slice, String> {
        let slice = self.slice.part(range.start, range.len());
        slice.ok_or_else(|| unexpected("is cut short"))
    }

    fn top(&self) -> Result<&Value, String> {
        let top = self.stack.last();
        top.ok_or_else(|| unexpected("takes from an empty stack"))
    }

    fn pop(&mut self) -> Result<Value, String> {
        let top = self.stack.pop();
        top.ok_or_else(|| unexpected("takes from an empty stack"))
    }

    fn above_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop();
        match mark.filter(|&mark| mark <= self.stack.len()) {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(unexpected("has no mark where one is needed")),
        }
    }

    fn operands(&mut self, many: bool, count: usize) -> Result<Vec<Value>, String> {
        if many {
            return self.above_mark();
        }
        match self.stack.len().checked_sub(count) {
            Some(start) => Ok(self.stack.split_off(start)),
            None => Err(unexpected("takes from an empty stack")),
        }
    }

    fn empty_dict(&mut self) {
        self.stack.push(Value::Dict(self.dicts.len()));
        self.dicts.push(Vec::new());
        self.held += 1;
    }

    fn tuple(&mut self, count: Option<usize>) -> Result<(), String> {
        let items = self.operands(count.is_none(), count.unwrap_or(0))?;
        let depth = |item: &Value| match item {
            Value::Tuple(tuple) => tuple.depth,
            _ => 0,
        };
        let depth = 1 + items.iter().map(depth).max().unwrap_or(0);
        if depth > DEEPEST {
            return Err(unexpected("nests tuples too deeply"));
        }
        self.held += items.len();
        self.stack
            .push(Value::Tuple(Rc::new(Tuple { items, depth })));
        Ok(())
    }

    fn memoize(&mut self, number: u32, recalled: &HashSet<u32>) -> Result<(), String> {
        let value = self.top()?;
        if recalled.contains(&number) {
            let value = value.clone();
            self.held += 1;
            self.memory.insert(number, value);
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), String> {
        let global = Global::named(module, name).ok_or_else(|| {
            format!(
                "wants to call `{module}.{name}`: only numpy arrays and plain containers are read, and nothing in it \
                 was run; do not load this file in Python unless you trust who made it"
            )
        })?;
        self.stack.push(Value::Global(global));
        Ok(())
    }

    /// Builds the value that a callable would return for its arguments.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let (Value::Tuple(arguments), Value::Global(global)) = (&arguments, &callable) else {
            return Err(unexpected("calls a value that is not a function"));
        };
        // The arguments go; what they made takes the place of one.
        self.held = (self.held + 1).saturating_sub(arguments.items.len());
        let value = match (global, &arguments.items[..]) {
            (Global::Reconstruct, [Value::Global(Global::Array), ..]) => {
                self.arrays.push(Built::Blank);
                Value::Array(self.arrays.len() - 1)
            }
            (Global::FromBuffer, [Value::Bytes(stored), Value::Dtype(dtype), shape, order]) => {
                let shape = self.shape(shape)?;
                let fortran = self.text(order).is_some_and(|order| order == "F");
                let array = Array::new(self.dtypes[*dtype], shape, fortran, stored.clone())?;
                self.arrays.push(Built::Numbers(array));
                Value::Array(self.arrays.len() - 1)
            }
            (Global::Scalar, [Value::Dtype(dtype), Value::Bytes(stored)]) => {
                let dtype = self.dtypes[*dtype];
                let array = Array::new(dtype, Vec::new(), false, stored.clone())?;
                match array.integers().as_deref() {
                    Some(&[number]) => Value::Integer(number),
                    _ => Value::Other,
                }
            }
            (Global::Dtype, [name, ..]) => {
                let name = self.text(name).unwrap_or_default();
                let dtype = Dtype::parse(&name)
                    .ok_or_else(|| format!("has an array of `{name}`, expected plain numbers"))?;
                self.dtypes.push(dtype);
                Value::Dtype(self.dtypes.len() - 1)
            }
            (Global::Encode, [Value::Text(text), encoding]) => {
                let encoding = self.text(encoding).unwrap_or_default();
                self.scanned += text.as_ref().len();
                if self.scanned / MOST_SCANS > self.slice.as_ref().len() {
                    return Err(unexpected("decodes the same bytes again and again"));
                }
                let stored = match encoding.as_str() {
                    "latin1" | "latin-1" => Stored::letters(text),
                    _ => None,
                };
                let stored = stored
                    .ok_or_else(|| unexpected("has bytes that are not encoded as Latin-1"))?;
                Value::Bytes(stored)
            }
            (Global::Bytes, []) => Value::Bytes(Stored::Plain(self.part(0..0)?)),
            (Global::OrderedDict, []) | (Global::DefaultDict, [Value::Global(Global::List)]) => {
                self.empty_dict();
                return Ok(());
            }
            _ => {
                return Err(format!(
                    "calls {global:?} with arguments that numpy does not write"
                ));
            }
        };
        self.stack.push(value);
        Ok(())
    }

    /// Fills in an array's content or a dtype's byte order.
    fn build(&mut self) -> Result<(), String> {
        let Value::Tuple(state) = self.pop()? else {
            return Err(unexpected("sets a state that numpy does not write"));
        };
        self.held = self.held.saturating_sub(state.items.len());
        match (self.top()?, &state.items[..]) {
            (Value::Dtype(index), [_, order, ..]) => {
                let (index, big) = (*index, self.text(order).is_some_and(|order| order == ">"));
                self.dtypes[index].big_endian = big;
            }
            (
                Value::Array(index),
                [_, shape, Value::Dtype(dtype), Value::Bool(fortran), content],
            ) => {
                let (index, dtype) = (*index, self.dtypes[*dtype]);
                self.arrays[index] = match content {
                    Value::Bytes(stored) if dtype.kind != b'O' => {
                        let shape = self.shape(shape)?;
                        Built::Numbers(Array::new(dtype, shape, *fortran, stored.clone())?)
                    }
                    Value::List(list) => Built::Objects(*list),
                    _ => return Err(unexpected("has an array without content")),
                };
            }
            _ => return Err(unexpected("sets a state that numpy does not write")),
        }
        Ok(())
    }

    fn shape(&self, shape: &Value) -> Result<Vec<usize>, String> {
        let sides = self.as_integers(shape).unwrap_or_default();
        let sides = sides.into_iter().map(|side| usize::try_from(side).ok());
        let sides = sides.collect::<Option<Vec<usize>>>();
        sides
            .filter(|sides| !sides.is_empty())
            .ok_or_else(|| unexpected("has an array without a shape"))
    }
}

fn unexpected(what: &str) -> String {
    format!("{what}: it is damaged, or not what it should be; fetch it again")
}
