//! Custom backward passes: the computation graph is cut at the outputs of operations that libtorch cannot
//! differentiate.

use std::cell::RefCell;
use std::fmt;

use tch::Tensor;

/// Computes the gradients of an operation's inputs from the gradient of its output.
type Backward = Box<dyn Fn(&Tensor) -> [Tensor; 2]>;

/// An operation with a custom backward pass.
struct Operation {
    inputs: [Tensor; 2],
    output: Tensor,
    backward: Backward,
}

/// A value whose gradients are summed before they are back-propagated, and the leaf that later operations use in its
/// place.
struct SharedValue {
    value: Tensor,
    leaf: Tensor,
}

/// The operations of one forward pass that have a custom backward pass, none of which depends on the output of another,
/// and the values whose gradients are summed before they are back-propagated.
#[derive(Default)]
pub struct Tape {
    operations: RefCell<Vec<Operation>>,
    shared: RefCell<Vec<SharedValue>>,
}

impl fmt::Debug for Tape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.operations.borrow().len();
        write!(formatter, "Tape of {count} operations")
    }
}

impl Tape {
    /// Records an operation: `output` was computed from `inputs` outside libtorch's graph, and `backward` computes the
    /// gradients of the inputs from that of the output. Returns the leaf to use in place of `output`.
    pub(crate) fn record(
        &self,
        inputs: [Tensor; 2],
        output: &Tensor,
        backward: impl Fn(&Tensor) -> [Tensor; 2] + 'static,
    ) -> Tensor {
        let output = output.detach().set_requires_grad(true);
        let backward = Box::new(backward);
        self.operations.borrow_mut().push(Operation {
            inputs,
            output: output.shallow_clone(),
            backward,
        });
        output
    }

    /// Registers a value that both the loss and inputs of recorded operations depend on. Their gradients are summed
    /// here and back-propagated once instead of once for each. `value` may depend on no recorded operation and no other
    /// shared value. Returns the leaf to use in its place.
    pub(crate) fn share(&self, value: Tensor) -> Tensor {
        let leaf = value.detach().set_requires_grad(true);
        self.shared.borrow_mut().push(SharedValue {
            value,
            leaf: leaf.shallow_clone(),
        });
        leaf
    }

    /// Gradients of `loss` with respect to `leaves`; undefined tensors for leaves that the loss does not depend on.
    pub fn gradients(self, loss: &Tensor, leaves: &[Tensor]) -> Vec<Tensor> {
        let (operations, shared) = (self.operations.into_inner(), self.shared.into_inner());
        let shared_leaves = shared.iter().map(|shared| &shared.leaf);
        let targets: Vec<&Tensor> = leaves.iter().chain(shared_leaves).collect();
        let outputs = operations.iter().map(|operation| &operation.output);
        let targets_and_outputs: Vec<&Tensor> = targets.iter().copied().chain(outputs).collect();
        // The second backward pass goes through parts of the same graph.
        let keep_graph = !operations.is_empty();
        let mut found = Tensor::run_backward(&[loss], &targets_and_outputs, keep_graph, false);
        let at_outputs = found.split_off(targets.len());
        // The loss may not depend on an output, such as that of a support pass which nothing uses.
        let reached = operations
            .iter()
            .zip(at_outputs)
            .filter(|(_, gradient)| gradient.defined());
        let at_inputs = reached.flat_map(|(operation, gradient)| {
            let gradients = tch::no_grad(|| (operation.backward)(&gradient));
            operation.inputs.iter().zip(gradients)
        });
        let add = |found: Vec<Tensor>, more: Vec<Tensor>| -> Vec<Tensor> {
            let pairs = found.into_iter().zip(more);
            pairs
                .map(|(one, other)| sum_of_defined(one, other))
                .collect()
        };
        if let Some(surrogate) = surrogate_loss(at_inputs) {
            let more = Tensor::run_backward(&[&surrogate], &targets, false, false);
            found = add(found, more);
        }
        let at_shared = found.split_off(leaves.len());
        let values = shared.iter().map(|shared| &shared.value);
        if let Some(surrogate) = surrogate_loss(values.zip(at_shared)) {
            let more = Tensor::run_backward(&[&surrogate], leaves, false, false);
            found = add(found, more);
        }
        found
    }

    /// The gradient of `loss` with respect to a single leaf, on which the loss must depend.
    pub fn gradient(self, loss: &Tensor, leaf: &Tensor) -> Tensor {
        self.gradients(loss, std::slice::from_ref(leaf))
            .swap_remove(0)
    }
}

/// Σ value · gradient with constant gradients: a scalar whose gradients with respect to the values are these; none if
/// there are none.
fn surrogate_loss<'a>(pairs: impl Iterator<Item = (&'a Tensor, Tensor)>) -> Option<Tensor> {
    pairs
        .filter(|(value, gradient)| value.requires_grad() && gradient.defined())
        .map(|(value, gradient)| value.flatten(0, -1).dot(&gradient.reshape([-1])))
        .reduce(|sum, part| sum + part)
}

/// The sum of two gradients, either of which may be undefined. Not in place, because libtorch may return the same
/// tensor for several leaves.
fn sum_of_defined(one: Tensor, other: Tensor) -> Tensor {
    match (one.defined(), other.defined()) {
        (true, true) => one + other,
        (false, _) => other,
        (true, false) => one,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tch::{Device, Kind};

    use super::*;

    /// A leaf of these values in double precision.
    fn leaf(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    /// left · right, recorded on the tape as an operation that libtorch does not know.
    fn recorded_product(tape: &Tape, left: &Tensor, right: &Tensor) -> Tensor {
        let output = tch::no_grad(|| left * right);
        let inputs = [left.shallow_clone(), right.shallow_clone()];
        let [one, other] = [left.detach(), right.detach()];
        tape.record(inputs, &output, move |gradient| {
            [gradient * &other, gradient * &one]
        })
    }

    fn assert_close(found: &Tensor, expected: &Tensor) {
        let difference = (found - expected).abs().max().double_value(&[]);
        assert!(difference < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn gradients_of_recorded_operations_equal_those_of_autograd() {
        let [x, y] = [leaf(&[0.5, -1.0, 2.0]), leaf(&[1.5, 0.3, -0.7])];
        // The loss reads the products, and x directly; the second product has an input that needs no gradient.
        let loss = |product: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
            let first = product(&x.sin(), &(&y * &x));
            let second = product(&y.exp(), &Tensor::from_slice(&[1.0, 2.0, 3.0]));
            (first.square() + second.cos() + &x).sum(Kind::Double)
        };
        let plain = loss(&|left, right| left * right);
        let expected = Tensor::run_backward(&[&plain], &[&x, &y], false, false);
        let tape = Tape::default();
        let recorded = loss(&|left, right| recorded_product(&tape, left, right));
        assert_close(&recorded, &plain);
        let found = tape.gradients(&recorded, &[x.shallow_clone(), y.shallow_clone()]);
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(found, expected);
        }
    }

    #[test]
    fn gradients_from_the_loss_and_from_recorded_operations_are_summed_at_a_shared_value() {
        let x = leaf(&[0.5, -1.0, 2.0]);
        let loss = |embedded: &Tensor, product: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
            let first = product(embedded, &embedded.cos());
            let second = product(&(embedded + 1.0), &x);
            (first + second.square() + embedded.sin()).sum(Kind::Double)
        };
        let plain = loss(&x.exp(), &|left, right| left * right);
        let expected = Tensor::run_backward(&[&plain], &[&x], false, false).swap_remove(0);
        let tape = Tape::default();
        let embedded = tape.share(x.exp());
        let recorded = loss(&embedded, &|left, right| {
            recorded_product(&tape, left, right)
        });
        assert_close(&tape.gradient(&recorded, &x), &expected);
    }

    #[test]
    fn the_backward_pass_of_an_operation_runs_once_and_only_if_the_loss_reads_it() {
        let x = leaf(&[0.5, -1.0]);
        let tape = Tape::default();
        let calls = [0, 1].map(|_| Rc::new(Cell::new(0)));
        let [read, ignored] = calls.each_ref().map(|calls| {
            let calls = Rc::clone(calls);
            let inputs = [x.shallow_clone(), x.shallow_clone()];
            tape.record(inputs, &(&x * 2.0), move |gradient| {
                calls.set(calls.get() + 1);
                [gradient.shallow_clone(), gradient.shallow_clone()]
            })
        });
        let gradient = tape.gradient(&(&read * &read).sum(Kind::Double), &x);
        // d(2x)²/dx
        assert_close(&gradient, &(&x * 8.0));
        assert_eq!(calls.map(|calls| calls.get()), [1, 0]);
        drop(ignored);
    }

    #[test]
    fn a_leaf_that_the_loss_does_not_depend_on_has_an_undefined_gradient() {
        let [x, unused] = [leaf(&[1.0]), leaf(&[1.0])];
        let tape = Tape::default();
        let product = recorded_product(&tape, &x, &x);
        let found = tape.gradients(&product.sum(Kind::Double), &[x.shallow_clone(), unused]);
        assert_close(&found[0], &(&x * 2.0));
        assert!(!found[1].defined());
    }

    #[test]
    fn a_tape_without_operations_gives_the_gradients_of_autograd() {
        let x = leaf(&[3.0]);
        let loss = x.square().sum(Kind::Double);
        let expected = Tensor::full([1], 6.0, (Kind::Double, Device::Cpu));
        assert_close(&Tape::default().gradient(&loss, &x), &expected);
    }
}
