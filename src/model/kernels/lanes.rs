//! How a pooled convolution lies in memory: padded images, and channels in the lanes of vector registers.

use tch::Tensor;

use crate::model::kernels::elements::{elements_of, tensor_of};
use crate::model::tensor_sizes::sizes;

/// Height and width of the kernel.
pub(crate) const KERNEL_SIZE: usize = 3;
pub(crate) const AREA: usize = KERNEL_SIZE * KERNEL_SIZE;

/// Output channels in one vector register.
pub(crate) const LANES: usize = 8;
pub(crate) type Lanes = [f32; LANES];

/// Sizes of a pooled convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) tasks: usize,
    pub(crate) images: usize,
    pub(crate) planes: usize,
    /// Height and width with padding.
    pub(crate) padded: (usize, usize),
    /// Height and width of the output.
    pub(crate) pooled: (usize, usize),
    pub(crate) outputs: usize,
}

impl Shape {
    /// Blocks of `LANES` output channels.
    pub(crate) fn blocks(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Weights of one output channel.
    pub(crate) fn taps(&self) -> usize {
        self.planes * AREA
    }

    /// Index of the first block of an image's task among the blocks of all tasks.
    pub(crate) fn first_block(&self, image: usize) -> usize {
        image * self.tasks / self.images * self.blocks()
    }

    /// Elements of one padded image.
    pub(crate) fn image_length(&self) -> usize {
        self.planes * self.padded.0 * self.padded.1
    }

    /// Outputs of one image.
    pub(crate) fn output_length(&self) -> usize {
        self.pooled.0 * self.pooled.1 * self.outputs
    }

    /// Output channels of a block.
    #[inline(always)]
    pub(crate) fn lanes(&self, block: usize) -> usize {
        LANES.min(self.outputs - block * LANES)
    }

    /// The rows of a plane that the kernel covers at the four positions of a pooling window.
    #[inline(always)]
    pub(crate) fn window<'a>(
        &self,
        image: &'a [f32],
        plane: usize,
        (row, column): (usize, usize),
    ) -> [&'a [f32]; KERNEL_SIZE + 1] {
        let (height, width) = self.padded;
        let start = (plane * height + 2 * row) * width + 2 * column;
        std::array::from_fn(
            #[inline(always)]
            |down| &image[start + down * width..][..=KERNEL_SIZE],
        )
    }
}

/// Adds `padding` rows and columns of zeros around images, `[T·N, I, H, W]`, in one pass.
pub(crate) fn with_padding(images: &Tensor, padding: i64) -> Tensor {
    let images = images.contiguous();
    let [count, planes, height, width] = sizes(&images, "images");
    let shape = [count, planes, height + 2 * padding, width + 2 * padding];
    let zero_columns = vec![0.0; padding as usize];
    let zero_rows = vec![0.0; (padding * shape[3]) as usize];
    tensor_of(&shape, |elements| {
        for plane in elements_of(&images).chunks_exact((height * width) as usize) {
            elements.extend_from_slice(&zero_rows);
            for row in plane.chunks_exact(width as usize) {
                elements.extend_from_slice(&zero_columns);
                elements.extend_from_slice(row);
                elements.extend_from_slice(&zero_columns);
            }
            elements.extend_from_slice(&zero_rows);
        }
    })
}

/// `[T, O, taps]` → the taps of each task and block of channels, one channel per lane, zeros after the last channel.
pub(crate) fn in_lanes(values: &Tensor, shape: &Shape) -> Vec<Lanes> {
    let (tasks, blocks) = (shape.tasks as i64, shape.blocks() as i64);
    let missing = blocks * LANES as i64 - shape.outputs as i64;
    let lanes = values
        .constant_pad_nd([0, 0, 0, missing])
        .view([tasks, blocks, LANES as i64, -1])
        .transpose(2, 3);
    elements_of(&lanes.contiguous()).as_chunks().0.to_vec()
}

/// The inverse of [`in_lanes`].
pub(crate) fn out_of_lanes(values: &[Lanes], shape: &Shape) -> Tensor {
    let (tasks, blocks) = (shape.tasks as i64, shape.blocks() as i64);
    Tensor::from_slice(values.as_flattened())
        .view([tasks, blocks, -1, LANES as i64])
        .transpose(2, 3)
        .reshape([tasks, blocks * LANES as i64, -1])
        .narrow(1, 0, shape.outputs as i64)
}
