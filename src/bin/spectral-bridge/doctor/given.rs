//! The module's configuration inside a user's Envoy configuration, wherever it stands in it.

use std::fs;
use std::path::Path;

use serde_yaml_ng::{Mapping, Value};
use spectral_bridge::config::Config;

use crate::Refusal;

/// Reads the module's configuration out of an Envoy configuration file.
///
/// # Errors
/// The file cannot be read, the module is not in it, or its configuration has mistakes.
pub fn read(file: &Path) -> Result<Config, Refusal> {
    let cannot = |why: String| format!("--envoy-config {}: {why}", file.display());
    let text = fs::read_to_string(file).map_err(|e| cannot(e.to_string()))?;
    // only the position: the parser's own words may quote what the file holds
    let root: Value = serde_yaml_ng::from_str(&text).map_err(|e| {
        let at = e.location().map_or_else(String::new, |at| {
            format!(" (line {}, column {})", at.line(), at.column())
        });
        cannot(format!("neither YAML nor JSON{at}"))
    })?;
    from_root(&root).map_err(cannot)
}

fn from_root(root: &Value) -> Result<Config, String> {
    let mut found = Vec::new();
    collect(root, &mut found);
    let mut whole: Option<Config> = None;
    for json in found {
        let config = Config::from_json(&json).map_err(|errors| errors.to_string())?;
        match &mut whole {
            None => whole = Some(config),
            // one client per key, however many hosts name it
            Some(whole) => {
                for relay in config.relays {
                    if !whole.relays.contains(&relay) {
                        whole.relays.push(relay);
                    }
                }
            }
        }
    }
    whole.ok_or_else(|| {
        "the module's relay client is not in it (extension_name: relay, or filter_name: relay)".to_owned()
    })
}

/// The JSON of every host of the relay client.
fn collect(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::Mapping(mapping) => {
            found.extend(host(mapping));
            for (_, inner) in mapping {
                collect(inner, found);
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Tagged(tagged) => collect(&tagged.value, found),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn host(mapping: &Mapping) -> Option<Vec<u8>> {
    mapping.get("dynamic_module_config")?;
    let named = |key: &str| mapping.get(key).and_then(Value::as_str) == Some("relay");
    let config = if named("extension_name") {
        mapping.get("extension_config")
    } else if named("filter_name") {
        mapping.get("filter_config")
    } else {
        return None;
    };
    // a Struct's value is the object, a StringValue's its JSON
    match config?.get("value")? {
        Value::String(json) => Some(json.clone().into_bytes()),
        object => serde_json::to_vec(object).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(name: &str) -> Result<Config, Refusal> {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("envoy").join(name))
    }

    #[test]
    fn the_shipped_files_hold_it_in_either_host() {
        for (name, relays) in [
            ("sidecar.yaml", 1),
            ("mesh-filter.yaml", 1),
            ("several-relays.yaml", 2),
            ("chat-websocket.yaml", 0),
        ] {
            assert_eq!(shipped(name).unwrap().relays.len(), relays, "{name}");
        }
        let without = shipped("usage-filter.yaml").unwrap_err();
        assert!(
            without.contains("usage-filter.yaml: the module's relay client is not in it"),
            "{without}"
        );
    }

    #[test]
    fn a_string_holds_the_same_and_mistakes_are_told() {
        let host = |config: &str| {
            let text = format!(
                "bootstrap_extensions:\n- typed_config:\n    dynamic_module_config: {{ name: spectral_bridge }}\n    \
                 extension_name: relay\n    extension_config: {{ value: {config} }}\n"
            );
            from_root(&serde_yaml_ng::from_str(&text).unwrap())
        };
        let json = r#"'{"relays":[{"url":"wss://r/c","api_key":{"env":"K"}}]}'"#;
        assert_eq!(host(json).unwrap().relays.len(), 1);
        assert!(host("{ relays: [] }").unwrap_err().contains("relays"));
    }
}
