//! A JPEG decoder that notices missing data. The one of the crate `image` fills in grey for what is missing.

use std::io::ErrorKind;

use image::error::{DecodingError, ImageFormatHint};
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageResult};
use memchr::memchr;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

/// The decoder's text for data that end inside the picture.
const PREMATURE_END: &str = "Premature end of buffer";

/// A JPEG file whose header was read.
pub(super) struct Jpeg<'a> {
    decoder: JpegDecoder<ZCursor<&'a [u8]>>,
    color: ColorSpace,
    scans: usize,
}

impl<'a> Jpeg<'a> {
    /// Reads the header of a file that `ending` accepted. `strict`: decoding fails where the data break off inside the
    /// picture, although an end mark follows.
    pub(super) fn new(content: &'a [u8], ending: &Ending, strict: bool) -> ImageResult<Jpeg<'a>> {
        // Without its end mark, a single scan that is too short runs into the end of the data, which the decoder reports
        // if it is strict. Of several scans, it needs the mark.
        let content = match strict && ending.scans == 1 {
            true => &content[..ending.mark],
            false => content,
        };
        let options = DecoderOptions::default()
            .set_strict_mode(false)
            .set_max_width(usize::MAX)
            .set_max_height(usize::MAX);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(content), options);
        decoder.decode_headers().map_err(damaged)?;
        let color = match decoder.input_colorspace() {
            Some(grey @ ColorSpace::Luma) => grey,
            _ => ColorSpace::RGB,
        };
        // The header is read: odd but harmless headers pass.
        decoder.set_options(
            options
                .jpeg_set_out_colorspace(color)
                .set_strict_mode(strict),
        );
        Ok(Jpeg {
            decoder,
            color,
            scans: ending.scans,
        })
    }

    /// Bytes that decoding takes: the pixels and, for several scans, the coefficients of the whole picture.
    pub(super) fn memory(&self) -> u64 {
        match self.scans {
            0 | 1 => self.total_bytes(),
            _ => self.total_bytes().saturating_mul(3),
        }
    }
}

fn damaged(error: DecodeErrors) -> ImageError {
    let cut = matches!(
        &error,
        DecodeErrors::ExhaustedData | DecodeErrors::FormatStatic(PREMATURE_END)
    );
    if cut {
        return ImageError::IoError(ErrorKind::UnexpectedEof.into());
    }
    let format = ImageFormatHint::Exact(ImageFormat::Jpeg);
    ImageError::Decoding(DecodingError::new(format, error))
}

impl ImageDecoder for Jpeg<'_> {
    fn dimensions(&self) -> (u32, u32) {
        let (width, height) = self.decoder.dimensions().unwrap_or_default();
        (width as u32, height as u32)
    }

    fn color_type(&self) -> ColorType {
        match self.color {
            ColorSpace::Luma => ColorType::L8,
            _ => ColorType::Rgb8,
        }
    }

    fn orientation(&mut self) -> ImageResult<Orientation> {
        let found = self
            .decoder
            .exif()
            .and_then(|exif| Orientation::from_exif_chunk(exif));
        Ok(found.unwrap_or(Orientation::NoTransforms))
    }

    fn read_image(mut self, pixels: &mut [u8]) -> ImageResult<()> {
        self.decoder.decode_into(pixels).map_err(damaged)
    }

    fn read_image_boxed(self: Box<Self>, pixels: &mut [u8]) -> ImageResult<()> {
        (*self).read_image(pixels)
    }
}

/// The end mark of a JPEG file.
pub(super) struct Ending {
    /// Place of the mark.
    mark: usize,
    /// Scans before it; a progressive picture has several.
    scans: usize,
}

/// Finds the end mark by walking from marker to marker, so that the one of a thumbnail does not count; `None` if the
/// file ends before it. What follows the mark is not looked at.
pub(super) fn ending(content: &[u8]) -> Option<Ending> {
    let (mut place, mut scans) = (2, 0);
    loop {
        place += memchr(0xff, content.get(place..)?)?;
        let mark = place;
        while *content.get(place)? == 0xff {
            place += 1;
        }
        let marker = content[place];
        place += 1;
        match marker {
            0xd9 => return Some(Ending { mark, scans }),
            // Segments with a length. All else is data, or belongs to them: a zero after 0xff, restarts.
            0xc0..=0xcf | 0xda..=0xef | 0xfe => {
                let length = content.get(place..place + 2)?;
                place += usize::from(u16::from_be_bytes([length[0], length[1]]));
                scans += usize::from(marker == 0xda);
            }
            _ => {}
        }
    }
}
