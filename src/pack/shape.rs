//! Sizes and element type of the images in a pack.

/// The type of an image's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Pixels as bytes, 0 to 255.
    Byte,
    /// Little-endian single-precision numbers: embeddings computed elsewhere, of shape 1×1×D.
    Float,
}

/// Height, width, channels and element type, shared by all images of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// H, rows.
    pub height: usize,
    /// W, columns.
    pub width: usize,
    /// C: 1 for grey images, 3 for colour, D for embeddings.
    pub channels: usize,
    /// The type of each element.
    pub element: Element,
}

impl ImageShape {
    /// Size of one image in bytes.
    pub fn bytes(self) -> usize {
        let size = match self.element {
            Element::Byte => 1,
            Element::Float => 4,
        };
        self.height * self.width * self.channels * size
    }
}

impl std::fmt::Display for ImageShape {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{}×{}×{}{}",
            self.height,
            self.width,
            self.channels,
            match self.element {
                Element::Byte => "",
                Element::Float => " (embeddings)",
            }
        )
    }
}
