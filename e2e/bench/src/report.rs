//! (soon)
use crate::measured::Results;
use e2e::failed::Result;
use std::path::Path;
/// Writes.
pub fn write(_results: &Results, _out: &Path, _publish: Option<&Path>) -> Result<()> {
    Ok(())
}
