//! The header of `.npy` files, a Python dict of three entries:
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (40, 16), }`.

/// Bytes of the longest header that is read: a plain array's has about a hundred.
pub(crate) const LONGEST: usize = 64 << 10;
/// Most dimensions of an array, as in numpy.
const MOST_DIMENSIONS: usize = 64;

/// What an array is, as its file says.
#[derive(Debug, PartialEq)]
pub(crate) struct Header {
    /// numpy's short name of the type: `<f4`.
    pub dtype: String,
    /// Whether the array is stored column by column.
    pub fortran: bool,
    pub shape: Vec<usize>,
}

/// Reads a header. `None` if it has other entries, or a type of several fields.
pub(crate) fn parse(text: &str) -> Option<Header> {
    let mut rest = Rest(text.trim());
    let (mut dtype, mut fortran, mut shape) = (None, None, None);
    rest.skip("{")?;
    while rest.skip("}").is_none() {
        let name = rest.text()?;
        rest.skip(":")?;
        match name {
            "descr" => dtype = Some(rest.text()?.to_owned()),
            "fortran_order" => fortran = Some(rest.boolean()?),
            "shape" => shape = Some(rest.shape()?),
            _ => return None,
        }
        if rest.skip(",").is_none() && !rest.0.starts_with('}') {
            return None;
        }
    }
    rest.0.is_empty().then_some(Header {
        dtype: dtype?,
        fortran: fortran?,
        shape: shape?,
    })
}

/// What has not been read yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Skips a token and the blanks after it; `None` if something else comes next.
    fn skip(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(token)?.trim_start();
        Some(())
    }

    fn text(&mut self) -> Option<&'a str> {
        let quote = self
            .0
            .chars()
            .next()
            .filter(|first| "'\"".contains(*first))?;
        let (text, rest) = self.0[1..].split_once(quote)?;
        self.0 = rest.trim_start();
        Some(text)
    }

    fn boolean(&mut self) -> Option<bool> {
        match self.skip("True") {
            Some(()) => Some(true),
            None => self.skip("False").map(|()| false),
        }
    }

    fn shape(&mut self) -> Option<Vec<usize>> {
        self.skip("(")?;
        let mut shape = Vec::new();
        while self.skip(")").is_none() {
            let end = self.0.find(|letter: char| !letter.is_ascii_digit())?;
            shape.push(self.0[..end].parse().ok()?);
            self.0 = self.0[end..].trim_start();
            // Python 2 marks long numbers.
            let _ = self.skip("L");
            let last = self.skip(",").is_none();
            if shape.len() > MOST_DIMENSIONS || last && !self.0.starts_with(')') {
                return None;
            }
        }
        Some(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_all_versions_of_numpy_write_them() {
        let header = |shape: &[usize]| {
            Some(Header {
                dtype: "<f4".to_owned(),
                fortran: false,
                shape: shape.to_vec(),
            })
        };
        for (text, shape) in [
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (40, 16), }  \n",
                &[40, 16][..],
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
                &[3],
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
                &[],
            ),
            (
                "{'shape': (40L, 16L), 'descr': '<f4', 'fortran_order': False}",
                &[40, 16],
            ),
        ] {
            assert_eq!(parse(text), header(shape), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_header_and_costs_no_more_than_its_length() {
        let deep = format!("{{'descr': {}", "[".repeat(LONGEST));
        let long = format!(
            "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}",
            "1,".repeat(LONGEST)
        );
        for text in [
            &*deep,
            &*long,
            "",
            "{",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }",
            "{'descr': '<f4', 'fortran_order': 1, 'shape': (3,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2)}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)} more",
        ] {
            assert_eq!(parse(text), None, "{}", &text[..text.len().min(80)]);
        }
    }
}
