//! The variables that say where telemetry goes, read from the process once and handed down, so that a test gives its own.

use std::collections::BTreeMap;
use std::fmt;

use super::resource;

/// The process's variables, as far as telemetry reads them. `Debug` shows no values, since headers are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables as they are now.
    #[must_use]
    pub fn from_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .collect()
    }

    /// The variable's value; an empty one is as good as none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?.trim();
        (!value.is_empty()).then_some(value)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    /// What is not about telemetry is left out.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(variables.filter(|(name, _)| is_read(name)).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn is_read(name: &str) -> bool {
    name.starts_with("OTEL_") || resource::DOWNWARD.iter().any(|(_, names)| names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_read_is_kept_and_no_value_is_shown() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "key=hunter2"),
            ("POD_NAME", "web-1"),
            ("HOME", "/home/hunter2"),
            ("OTEL_SERVICE_NAME", " \t"),
        ];
        let environment: Environment = variables.into_iter().collect();
        assert_eq!(environment.get("POD_NAME"), Some("web-1"));
        assert_eq!(environment.get("HOME"), None);
        assert_eq!(environment.get("OTEL_SERVICE_NAME"), None, "empty is unset");
        let shown = format!("{environment:?}");
        assert!(
            shown.contains("OTEL_EXPORTER_OTLP_HEADERS") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
