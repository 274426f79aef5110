//! The contents of a file on disk: text in UTF-8, or an error that says what else it is.

use crate::problem::Problem;

/// The text of a file with these `bytes`. A byte order mark at the beginning is kept: the TOML parser skips it.
pub(crate) fn text(bytes: Vec<u8>) -> Result<String, Problem> {
    let whole = |what: &str| Problem { key: String::new(), line: Some(1), what: what.to_owned() };
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) || is_utf16(&bytes) {
        return Err(whole("is UTF-16 text: save the file as UTF-8"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let (before, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        Problem {
            key: String::new(),
            line: Some(1 + bytes[..before].iter().filter(|byte| **byte == b'\n').count()),
            what:
                "contains a character that is not UTF-8, perhaps from Latin-1 (ISO-8859-1) or Windows-1252: \
                   save the file as UTF-8"
                    .to_owned(),
        }
    })
}

/// Whether every other byte at the beginning is 0, as in Latin text in UTF-16 without a byte order mark.
fn is_utf16(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(32)];
    let zeros = |offset: usize| head.iter().skip(offset).step_by(2).all(|byte| *byte == 0);
    head.len() >= 4 && head.iter().any(|byte| *byte != 0) && (zeros(0) || zeros(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf_8_is_named_with_its_line() {
        let utf16 = |swap: bool, mark: bool| {
            let text = format!("{}[broker]\n", if mark { "\u{feff}" } else { "" });
            let unit = |unit: u16| if swap { unit.to_be_bytes() } else { unit.to_le_bytes() };
            text.encode_utf16().flat_map(unit).collect::<Vec<u8>>()
        };
        for (bytes, line, says) in [
            (utf16(false, true), 1, "UTF-16"),
            (utf16(true, true), 1, "UTF-16"),
            (utf16(false, false), 1, "UTF-16"),
            (utf16(true, false), 1, "UTF-16"),
            (b"# a\n# caf\xe9\n[broker]\n".to_vec(), 2, "Latin-1"),
        ] {
            let problem = text(bytes).unwrap_err();
            assert!(problem.line == Some(line) && problem.what.contains(says), "{problem}");
        }
        for right in ["", "a", "# café ☎\n", "\u{feff}[broker]\n"] {
            assert_eq!(text(right.as_bytes().to_vec()).unwrap(), right);
        }
    }
}
