//! Weight slices of a generated convolution (§4.1).

use tch::Tensor;

/// The weights that one slice holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceContents {
    /// Output allocation, one slice per output channel: its kernel, `[I, k, k]`, and then further values of the channel
    /// (bias, γ, β, as far as they are generated).
    OutputChannel {
        /// Number of values after the kernel.
        further: usize,
    },
    /// Spatial allocation, one slice per kernel position: the weights of all pairs of input and output channels,
    /// `[I, O]`.
    KernelPosition,
}

/// How slices fill the weights of one convolution.
#[derive(Clone, Copy, Debug)]
pub struct ConvolutionSlices {
    /// The weights that one slice holds.
    pub contents: SliceContents,
    /// O.
    pub outputs: usize,
    /// I.
    pub inputs: usize,
    /// k.
    pub kernel_size: usize,
}

impl ConvolutionSlices {
    /// Number of slices.
    pub fn count(&self) -> usize {
        match self.contents {
            SliceContents::OutputChannel { .. } => self.outputs,
            SliceContents::KernelPosition => self.kernel_size * self.kernel_size,
        }
    }

    /// Length of a slice.
    pub fn length(&self) -> usize {
        match self.contents {
            SliceContents::OutputChannel { further } => self.channel_length() + further,
            SliceContents::KernelPosition => self.inputs * self.outputs,
        }
    }

    /// Length of the kernel of one output channel.
    fn channel_length(&self) -> usize {
        self.inputs * self.kernel_size * self.kernel_size
    }

    /// The kernel in slices `[T, count, length]`: `[T, O, I, k, k]`.
    pub fn kernel(&self, slices: &Tensor) -> Tensor {
        let tasks = slices.size()[0];
        let [outputs, inputs, size] =
            [self.outputs, self.inputs, self.kernel_size].map(|length| length as i64);
        match self.contents {
            SliceContents::OutputChannel { .. } => slices
                .narrow(2, 0, self.channel_length() as i64)
                .reshape([tasks, outputs, inputs, size, size]),
            SliceContents::KernelPosition => slices
                .view([tasks, size, size, inputs, outputs])
                .permute([0, 4, 3, 1, 2]),
        }
    }

    /// Number `index` of the further values of each output channel, `[T, O]`, in slices `[T, count, length]`.
    ///
    /// # Panics
    /// If slices hold fewer further values.
    pub fn channel_value(&self, slices: &Tensor, index: usize) -> Tensor {
        slices.select(2, (self.channel_length() + index) as i64)
    }
}
