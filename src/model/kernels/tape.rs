//! Gradients of operations that libtorch does not know: the way back is cut where their results come in.
use std::cell::RefCell;
use std::fmt;

use tch::Tensor;

/// Gradients of an operation's inputs from that of its output.
type Backward = Box<dyn Fn(&Tensor) -> [Tensor; 2]>;

/// One operation.
struct Cut {
    inputs: [Tensor; 2],
    output: Tensor,
    backward: Backward,
}

/// A value, and the leaf that stands for it in all that follows.
struct Meeting {
    value: Tensor,
    leaf: Tensor,
}

/// The operations of one forward pass that bring a gradient of their own, none of them dependent on the output of
/// another, and the values at which ways back meet.
#[derive(Default)]
pub struct Tape {
    cuts: RefCell<Vec<Cut>>,
    meetings: RefCell<Vec<Meeting>>,
}

impl fmt::Debug for Tape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tape of {} operations", self.cuts.borrow().len())
    }
}

impl Tape {
    /// `output`, computed from `inputs` without libtorch's knowledge, as a value whose gradient finds its way to them.
    pub(crate) fn record(
        &self,
        inputs: [Tensor; 2],
        output: &Tensor,
        backward: impl Fn(&Tensor) -> [Tensor; 2] + 'static,
    ) -> Tensor {
        let output = output.detach().set_requires_grad(true);
        let backward = Box::new(backward);
        self.cuts.borrow_mut().push(Cut {
            inputs,
            output: output.shallow_clone(),
            backward,
        });
        output
    }

    /// `value` as one at which the ways back from the loss and from the cuts meet: what it is made of is gone back
    /// through once, not by each. It may depend on no cut and no other meeting.
    pub(crate) fn meet(&self, value: Tensor) -> Tensor {
        let leaf = value.detach().set_requires_grad(true);
        self.meetings.borrow_mut().push(Meeting {
            value,
            leaf: leaf.shallow_clone(),
        });
        leaf
    }

    /// Gradients of `loss` with respect to these leaves; of those that no way back reaches, tensors that are not defined.
    pub fn gradients(self, loss: &Tensor, leaves: &[Tensor]) -> Vec<Tensor> {
        let (cuts, meetings) = (self.cuts.into_inner(), self.meetings.into_inner());
        let met = meetings.iter().map(|meeting| &meeting.leaf);
        let ends: Vec<&Tensor> = leaves.iter().chain(met).collect();
        let outputs = cuts.iter().map(|cut| &cut.output);
        let asked: Vec<&Tensor> = ends.iter().copied().chain(outputs).collect();
        // What several ways back go through must survive the first.
        let keep = !cuts.is_empty();
        let mut found = Tensor::run_backward(&[loss], &asked, keep, false);
        let at_outputs = found.split_off(ends.len());
        // What no way back reaches, as a support pass that nobody asks, has none.
        let reached = cuts
            .iter()
            .zip(at_outputs)
            .filter(|(_, gradient)| gradient.defined());
        let at_inputs = reached.flat_map(|(cut, gradient)| {
            let gradients = tch::no_grad(|| (cut.backward)(&gradient));
            cut.inputs.iter().zip(gradients)
        });
        let add = |found: Vec<Tensor>, more: Vec<Tensor>| -> Vec<Tensor> {
            let pairs = found.into_iter().zip(more);
            pairs.map(|(one, other)| added(one, other)).collect()
        };
        if let Some(sum) = held(at_inputs) {
            found = add(found, Tensor::run_backward(&[&sum], &ends, false, false));
        }
        let at_meetings = found.split_off(leaves.len());
        let values = meetings.iter().map(|meeting| &meeting.value);
        if let Some(sum) = held(values.zip(at_meetings)) {
            found = add(found, Tensor::run_backward(&[&sum], leaves, false, false));
        }
        found
    }

    /// The gradient with respect to a single leaf, which a way back must reach.
    pub fn gradient(self, loss: &Tensor, leaf: &Tensor) -> Tensor {
        self.gradients(loss, std::slice::from_ref(leaf))
            .swap_remove(0)
    }
}

/// Σ value · its gradient, the latter held constant: a number that has the values' gradients behind it.
fn held<'a>(pairs: impl Iterator<Item = (&'a Tensor, Tensor)>) -> Option<Tensor> {
    pairs
        .filter(|(value, gradient)| value.requires_grad() && gradient.defined())
        .map(|(value, gradient)| value.flatten(0, -1).dot(&gradient.reshape([-1])))
        .reduce(|sum, part| sum + part)
}

/// What no way back reaches is not defined. Not in place: libtorch may hand the same tensor to several leaves.
fn added(one: Tensor, other: Tensor) -> Tensor {
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
    fn gradients_from_the_loss_and_from_recorded_operations_are_summed_at_a_meeting() {
        let x = leaf(&[0.5, -1.0, 2.0]);
        let loss = |embedded: &Tensor, product: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
            let first = product(embedded, &embedded.cos());
            let second = product(&(embedded + 1.0), &x);
            (first + second.square() + embedded.sin()).sum(Kind::Double)
        };
        let plain = loss(&x.exp(), &|left, right| left * right);
        let expected = Tensor::run_backward(&[&plain], &[&x], false, false).swap_remove(0);
        let tape = Tape::default();
        let embedded = tape.meet(x.exp());
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
