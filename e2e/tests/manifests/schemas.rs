//! The platforms' schemas.

use std::collections::BTreeMap;
use std::process::Stdio;

use e2e::world::{command, python, workspace};
use tokio::io::AsyncWriteExt;

use crate::OVERLAYS;
use crate::rendered::render;

/// The mistakes in `manifests`, one a line.
pub async fn mistakes(manifests: &str, versions: &[&str]) -> String {
    let mut validate = command(python().unwrap());
    validate
        .arg(workspace().join("e2e/fixtures/manifests/validate.py"))
        .args(versions);
    validate
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut validate = validate.spawn().unwrap();
    let mut stdin = validate.stdin.take().unwrap();
    stdin.write_all(manifests.as_bytes()).await.unwrap();
    drop(stdin);
    let output = validate.wait_with_output().await.unwrap();
    let (found, told) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(told.is_empty(), "{told}");
    assert_eq!(output.status.success(), found.is_empty(), "{found}");
    found.into_owned()
}

#[tokio::test]
async fn every_field_of_every_manifest_is_in_the_schemas() {
    let mut by_versions = BTreeMap::<_, Vec<String>>::new();
    for (overlay, versions) in OVERLAYS {
        let rendered = render(overlay).await;
        assert!(!rendered.objects.is_empty(), "{overlay}");
        by_versions.entry(versions).or_default().push(rendered.text);
    }
    for (versions, texts) in by_versions {
        assert_eq!(mistakes(&texts.join("---\n"), &versions).await, "");
    }
}
