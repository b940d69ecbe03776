//! Reads `.env` in the working directory, and in no other: a parent's file may belong to another project.

use std::fs;
use std::io::ErrorKind;

const FILE: &str = ".env";
/// Some editors write it at the start.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Sets the variables of the file that are not set yet.
///
/// # Errors
/// A sentence that names the line, and never its text: it may be a secret.
pub fn load() -> Result<(), String> {
    let text = match fs::read(FILE) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{FILE} can't be read: {error}")),
    };
    // All lines are read before any variable is set.
    if let Some(line) = first_invalid_line(&text) {
        return Err(format!("line {line} of {FILE} is not of the form NAME=value"));
    }
    dotenvy::Iter::new(text.as_slice()).load().map_err(|_| format!("{FILE} can't be read"))
}

/// The number of the first line that is not an assignment. The parser tells a part of its text only.
fn first_invalid_line(text: &[u8]) -> Option<usize> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let shown = String::from_utf8_lossy(text);
    let lines: Vec<&str> = shown.lines().collect();
    let find = |from: usize, part: &str| {
        let rest = lines.iter().enumerate().skip(from);
        let assignments = rest.map(|(index, line)| (index, line.trim())).filter(|(_, line)| !is_comment(line));
        assignments.into_iter().find(|(_, line)| line.contains(part)).map_or(from, |(index, _)| index)
    };
    let mut next = 0;
    for assignment in dotenvy::Iter::new(text) {
        match assignment {
            Ok((name, _)) => next = find(next, &name) + 1,
            Err(dotenvy::Error::LineParse(part, _)) => {
                return Some(find(next, part.lines().next().unwrap_or_default().trim()) + 1);
            }
            Err(_) => return Some(next + 1),
        }
    }
    None
}

fn is_comment(line: &str) -> bool {
    line.is_empty() || line.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_invalid_line_is_counted_from_one() {
        assert_eq!(first_invalid_line(b"A=1\n\n# comment\nexport B='two words'\r\nC=\n"), None);
        assert_eq!(first_invalid_line(b"A=1\n\nSECRET=top secret words\nB=2\n"), Some(3));
        assert_eq!(first_invalid_line(b"no assignment"), Some(1));
        assert_eq!(first_invalid_line(b"\xef\xbb\xbfA=secret\nB='two\nlines'\n# C\nC=secret words\n"), Some(5));
    }
}
