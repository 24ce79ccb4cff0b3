//! `telemetry`: what becomes a label, and whether each request is logged. Where telemetry goes is the environment's
//! (`OTEL_*`), as for every program that exports it.

use super::Telemetry;
use super::defaults::{MAX_MODELS, MAX_MODELS_RANGE, PROVIDER};
use super::errors::shown;
use super::fields::{Field, Fields};

/// Reads `telemetry`; absent means the defaults.
pub(super) fn read(field: Option<Field<'_>>) -> Option<Telemetry> {
    let Some(field) = field else {
        return Some(Telemetry::default());
    };
    read_fields(&field.object(&KEYS)?)
}

/// Reads what [`KEYS`] name among `fields`.
pub(super) fn read_fields(fields: &Fields<'_>) -> Option<Telemetry> {
    let default = Telemetry::default();
    let provider = fields.or("provider", default.provider, |field| word(&field, PROVIDER_ALLOWED));
    let models = fields.or("models", default.models, |field| models(&field));
    let max_models = fields.size("max_models", default.max_models, &MAX_MODELS_RANGE);
    let request_log = fields.flag("request_log");
    Some(Telemetry {
        provider: provider?,
        models: models?,
        max_models: max_models?,
        request_log: request_log?,
    })
}

fn models(field: &Field<'_>) -> Option<Vec<String>> {
    let items = field.items("model names")?;
    let names: Vec<_> = items.iter().map(|item| word(item, MODEL_ALLOWED)).collect();
    let names: Vec<_> = names.into_iter().collect::<Option<_>>()?;
    if names.len() > MAX_CONFIGURED {
        return field.wrong(format!("{} names", names.len()), format!("at most {MAX_CONFIGURED}"));
    }
    Some(names)
}

fn word(field: &Field<'_>, allowed: &str) -> Option<String> {
    let text = field.text(allowed)?;
    if (1..=MAX_NAME).contains(&text.len()) && !text.contains(char::is_control) {
        return Some(text.to_owned());
    }
    field.wrong(shown(text), allowed)
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            provider: PROVIDER.to_owned(),
            models: Vec::new(),
            max_models: MAX_MODELS,
            request_log: false,
        }
    }
}

/// What may be written here.
pub(super) const KEYS: [&str; 4] = ["provider", "models", "max_models", "request_log"];

const PROVIDER_ALLOWED: &str = "a value of gen_ai.provider.name, such as \"openai\", of 1 to 128 characters";
const MODEL_ALLOWED: &str = "a model's name of 1 to 128 characters";
const MAX_NAME: usize = 128;
const MAX_CONFIGURED: usize = 1000;
