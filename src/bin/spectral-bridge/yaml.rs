//! Writing YAML for Envoy's reader, which is older than the general purpose writers expect: it takes a plain `on`, `y`
//! or `0x10` for something other than a string. So every string is quoted unless it is plainly a word or a path.

use serde_yaml_ng::{Mapping, Value};

/// A block of YAML, each line indented by `spaces`.
pub fn block(value: &Value, spaces: usize) -> String {
    let mut lines = Vec::new();
    write(value, spaces, &mut lines);
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A YAML string in double quotes; JSON's are the same.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn write(value: &Value, spaces: usize, lines: &mut Vec<String>) {
    let indent = " ".repeat(spaces);
    match value {
        Value::Mapping(mapping) if !mapping.is_empty() => {
            for (key, value) in mapping {
                let key = scalar(key);
                match inline(value) {
                    Some(text) => lines.push(format!("{indent}{key}: {text}")),
                    None => {
                        lines.push(format!("{indent}{key}:"));
                        let deeper = if value.is_sequence() { spaces } else { spaces + 2 };
                        write(value, deeper, lines);
                    }
                }
            }
        }
        Value::Sequence(items) if !items.is_empty() => {
            for item in items {
                let first = lines.len();
                write(item, spaces + 2, lines);
                // The item's first line carries the dash in the place of its own indentation.
                if let Some(line) = lines.get_mut(first) {
                    line.replace_range(..spaces + 2, &format!("{indent}- "));
                }
            }
        }
        other => lines.push(format!("{indent}{}", inline(other).unwrap_or_default())),
    }
}

/// The value in one line, if that reads well.
fn inline(value: &Value) -> Option<String> {
    match value {
        Value::Mapping(mapping) if mapping.is_empty() => Some("{}".to_owned()),
        Value::Sequence(items) if items.is_empty() => Some("[]".to_owned()),
        Value::Mapping(mapping) => flow(mapping),
        Value::Sequence(_) => None,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_) => Some(scalar(value)),
    }
}

/// Small objects such as `{ env: NAME }`.
fn flow(mapping: &Mapping) -> Option<String> {
    let simple = |value: &Value| !matches!(value, Value::Mapping(_) | Value::Sequence(_) | Value::Tagged(_));
    let is_source = mapping.contains_key("env") || mapping.contains_key("file");
    (is_source && mapping.values().all(simple)).then(|| {
        let members: Vec<String> = mapping
            .iter()
            .map(|(k, v)| format!("{}: {}", scalar(k), scalar(v)))
            .collect();
        format!("{{ {} }}", members.join(", "))
    })
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::String(text) => quoted(text),
        // JSON's spelling of everything else is YAML's.
        _ => serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()),
    }
}

fn is_plain(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    begins && text.chars().all(safe) && !text.ends_with(':') && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// What YAML 1.1 reads as something other than a string.
const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_read_well() {
        let text = "relays:\n- name: a\n  api_key: { env: K }\n  keepalive:\n    interval: \"30s\"\n  paths:\n  - /v1/responses\n  \
                    empty: []\nlist:\n- 1\n- - true\n  - null\nforward: {}\n";
        let value: Value = serde_yaml_ng::from_str(text).unwrap();
        assert_eq!(block(&value, 0), text);
        let indented: String = text.lines().map(|line| format!("    {line}\n")).collect();
        assert_eq!(block(&value, 4), indented);
    }

    #[test]
    fn strings_stay_strings() {
        let odd = [
            "on", "Yes", "n", "0x10", "1_000", "12", "1.5", "null", "~", "1e3", "-", ".5", "", "a: b", "a:", "#",
            "a\"b\n",
        ];
        for text in odd {
            let yaml = block(&text.into(), 0);
            assert!(yaml.starts_with('"'), "{yaml}");
            assert_eq!(serde_yaml_ng::from_str::<String>(&yaml).unwrap(), text);
        }
        for text in ["a.b", "wss://r:1/connect", "unix:///run/a-b_c.sock", "/v1"] {
            assert_eq!(block(&text.into(), 0), format!("{text}\n"));
        }
    }
}
