//! Overlays as the real kustomize renders them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use e2e::world::{command, kustomize, workspace};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

/// What one overlay applies.
pub struct Rendered {
    pub text: String,
    pub objects: Vec<Value>,
}

/// Renders `overlay`, a directory below `envoy`, once for all tests.
pub async fn render(overlay: &str) -> Rendered {
    static TEXTS: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);
    let mut texts = TEXTS.lock().await;
    if !texts.contains_key(overlay) {
        texts.insert(
            overlay.to_owned(),
            kustomized(&workspace().join("envoy").join(overlay)).await,
        );
    }
    let text = texts[overlay].clone();
    Rendered {
        objects: documents(&text),
        text,
    }
}

/// What kustomize makes of this directory.
pub async fn kustomized(overlay: &Path) -> String {
    let mut kustomize = command(kustomize().unwrap());
    kustomize.arg("build").arg(overlay);
    let output = kustomize.output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    // It warns of what newer ones will refuse.
    assert!(
        output.status.success() && told.is_empty(),
        "{}: {told}",
        overlay.display()
    );
    String::from_utf8(output.stdout).unwrap()
}

impl Rendered {
    /// The objects of this kind.
    pub fn all(&self, kind: &str) -> Vec<&Value> {
        self.objects.iter().filter(|object| object["kind"] == kind).collect()
    }

    /// The one object of this kind.
    #[track_caller]
    pub fn one(&self, kind: &str) -> &Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "{kind}: {}", all.len());
        all[0]
    }
}

/// The documents of a YAML text.
pub fn documents(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// The one document of a YAML text.
#[track_caller]
pub fn document(text: &str) -> Value {
    let mut all = documents(text);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// The items of an array; none where there is nothing.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
