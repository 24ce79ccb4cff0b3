//! What is wrong with a configuration: every mistake, each with its JSON path, what was seen and what is allowed.
//!
//! Filled by the readers of this module, shown by the host in Envoy's log and by the launcher. Deliberately absent:
//! values that may be secrets. Who adds a mistake decides what is shown, and [`shown`] is the only way to quote.

use std::cell::RefCell;
use std::fmt;

/// Every mistake found in one configuration, in the order in which they were met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where, as a JSON path: `relays[0].keepalive.interval`. Empty for the configuration as a whole.
    pub path: String,
    /// What was seen and what is wrong with it; never a value that may be a secret.
    pub problem: String,
    /// What to write instead.
    pub allowed: String,
}

impl ConfigErrors {
    /// The mistakes, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// A report of one mistake about the configuration as a whole.
    pub(super) fn whole(problem: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self(vec![ConfigError {
            path: String::new(),
            problem: problem.into(),
            allowed: allowed.into(),
        }])
    }
}

/// Where mistakes are collected while a configuration is read.
///
/// Shared by every reader at once, hence the cell; a reader that reports a mistake returns `None` and goes on.
#[derive(Debug, Default)]
pub(super) struct Mistakes(RefCell<Vec<ConfigError>>);

impl Mistakes {
    /// Notes a mistake and returns `None`, so that a reader can end with it.
    pub(super) fn add<T>(&self, place: &Place, problem: impl Into<String>, allowed: impl Into<String>) -> Option<T> {
        let error = ConfigError {
            path: place.0.clone(),
            problem: problem.into(),
            allowed: allowed.into(),
        };
        self.0.borrow_mut().push(error);
        None
    }

    /// The value that was read, or every mistake.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, ConfigErrors> {
        let found = self.0.into_inner();
        match value {
            Some(value) if found.is_empty() => Ok(value),
            None if found.is_empty() => Err(ConfigErrors::whole("could not be read", "report this as a defect")),
            Some(_) | None => Err(ConfigErrors(found)),
        }
    }
}

/// A JSON path under construction.
#[derive(Debug, Clone, Default)]
pub(super) struct Place(String);

impl Place {
    /// The member `key` of this object.
    pub(super) fn key(&self, key: &str) -> Self {
        if self.0.is_empty() {
            Self(key.to_owned())
        } else {
            Self(format!("{}.{key}", self.0))
        }
    }

    /// The element `index` of this array.
    pub(super) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A string from the configuration in quotes, on one line and cut to a readable length.
pub(super) fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(MAX_SHOWN).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        cut.push('…');
    }
    format!("{cut:?}")
}

const MAX_SHOWN: usize = 80;

/// More lines than this help nobody.
const MAX_LINES: usize = 50;

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() {
            "the configuration"
        } else {
            &self.path
        };
        write!(f, "{path}: {}; {}", self.problem, self.allowed)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().take(MAX_LINES).enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        match self.0.len().saturating_sub(MAX_LINES) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more mistakes"),
        }
    }
}

impl std::error::Error for ConfigErrors {}
