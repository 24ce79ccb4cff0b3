//! Shipped configurations with a test's ports and paths.

use std::fs;
use std::path::Path;

use crate::failed::{Failed, Result};

/// Reads `path` and replaces every occurrence of each first text by the second.
///
/// # Errors
/// The file cannot be read, or one of the texts does not occur in it: the test would then run something else than it
/// says.
pub fn render(path: &Path, substitutions: &[(&str, &str)]) -> Result<String> {
    let told = |e: std::io::Error| Failed::new(format!("{}: {e}", path.display()));
    let mut text = fs::read_to_string(path).map_err(told)?;
    for (from, to) in substitutions {
        if !text.contains(from) {
            return Err(Failed::new(format!("{} does not contain `{from}`", path.display())));
        }
        text = text.replace(from, to);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::world::Scratch;

    #[test]
    fn a_substitution_that_does_not_occur_is_an_error() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.write("a.yaml", "port: 10000\nagain: 10000\n").unwrap();
        assert_eq!(render(&path, &[("10000", "1")]).unwrap(), "port: 1\nagain: 1\n");
        let missing = format!("{:?}", render(&path, &[("10000", "1"), ("20000", "2")]).unwrap_err());
        assert!(missing.contains("`20000`"), "{missing}");
    }
}
