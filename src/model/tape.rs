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

/// The operations of one forward pass that bring a gradient of their own. None may depend on the output of another.
#[derive(Default)]
pub struct Tape(RefCell<Vec<Cut>>);

impl fmt::Debug for Tape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tape of {} operations", self.0.borrow().len())
    }
}

impl Tape {
    /// `output`, computed from `inputs` without libtorch's knowledge, as a value whose gradient finds its way to them.
    pub(super) fn record(
        &self,
        inputs: [Tensor; 2],
        output: &Tensor,
        backward: impl Fn(&Tensor) -> [Tensor; 2] + 'static,
    ) -> Tensor {
        let output = output.detach().set_requires_grad(true);
        let backward = Box::new(backward);
        self.0.borrow_mut().push(Cut {
            inputs,
            output: output.shallow_clone(),
            backward,
        });
        output
    }

    /// ∂loss/∂φ.
    pub fn gradient(self, loss: &Tensor, phi: &Tensor) -> Tensor {
        let cuts = self.0.into_inner();
        let outputs = cuts.iter().map(|cut| &cut.output);
        let asked: Vec<&Tensor> = [phi].into_iter().chain(outputs).collect();
        // What both ways back go through must survive the first.
        let keep = !cuts.is_empty();
        let mut gradients = Tensor::run_backward(&[loss], &asked, keep, false).into_iter();
        let mut gradient = gradients.next().expect("as many gradients as asked for");
        // Σ input · its gradient, the latter held constant: what has the input's own gradient behind the cuts.
        let before_cuts = cuts
            .iter()
            .zip(gradients)
            .flat_map(|(cut, gradient)| {
                let gradients = tch::no_grad(|| (cut.backward)(&gradient));
                cut.inputs
                    .iter()
                    .zip(gradients)
                    .map(|(input, gradient)| input.flatten(0, -1).dot(&gradient.reshape([-1])))
                    .collect::<Vec<_>>()
            })
            .filter(Tensor::requires_grad)
            .reduce(|sum, part| sum + part);
        match before_cuts {
            Some(sum) => {
                let more = Tensor::run_backward(&[&sum], &[phi], false, false).swap_remove(0);
                gradient.g_add_(&more)
            }
            None => gradient,
        }
    }
}
