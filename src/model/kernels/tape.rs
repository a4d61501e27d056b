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
