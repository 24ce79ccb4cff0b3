//! The listeners of a shipped file, delivered as a control plane does: by a file that Envoy watches (LDS).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::Envoy;
use super::site::Plan;
use crate::failed::{Failed, Result};

/// What Envoy finds when it asks for listeners.
#[derive(Debug)]
pub struct Listeners {
    file: PathBuf,
    /// As shipped, after the plan's edits.
    shipped: String,
    version: u32,
}

impl Listeners {
    /// Takes the listeners out of `plan`'s file and delivers them.
    ///
    /// # Errors
    /// The file has no listeners, or nothing can be written.
    pub fn taken_from(plan: &mut Plan) -> Result<Self> {
        let none = || Failed::new("the file has no static listeners before its clusters");
        let (head, rest) = plan.text.split_once(BEFORE).ok_or_else(none)?;
        let (listeners, tail) = rest.split_once(AFTER).ok_or_else(none)?;
        let shipped: String = listeners
            .lines()
            .map(|line| line.strip_prefix("  ").unwrap_or(line))
            .flat_map(|line| match line.starts_with("- name:") {
                true => [line, TYPE],
                false => [line, ""],
            })
            .filter(|line| !line.is_empty())
            .map(|line| format!("{line}\n"))
            .collect();
        let file = plan.scratch.path().join("lds.yaml");
        let source = format!("path_config_source: {{ path: {file:?} }}, resource_api_version: V3");
        let dynamic = format!("dynamic_resources:\n  lds_config: {{ {source} }}\nstatic_resources:");
        plan.text = format!("{head}{dynamic}{AFTER}{tail}");
        let mut listeners = Self {
            file,
            shipped,
            version: 0,
        };
        listeners.deliver(&listeners.shipped.clone())?;
        Ok(listeners)
    }

    /// The listeners as shipped, with `from`, which must occur, replaced by `to`.
    ///
    /// # Errors
    /// It does not occur.
    pub fn edited(&self, from: &str, to: &str) -> Result<String> {
        if !self.shipped.contains(from) {
            return Err(Failed::new(format!("the listeners do not contain `{from}`")));
        }
        Ok(self.shipped.replace(from, to))
    }

    /// The listeners as shipped.
    #[must_use]
    pub fn shipped(&self) -> &str {
        &self.shipped
    }

    /// Delivers `listeners`, with a version of their own, and waits until `envoy` took or refused them; gives whether it
    /// took them. Empty text removes all.
    ///
    /// # Errors
    /// Envoy did neither within `deadline`.
    pub async fn push(&mut self, envoy: &Envoy, listeners: &str, deadline: Duration) -> Result<bool> {
        let before = outcome(envoy).await?;
        self.deliver(listeners)?;
        super::eventually("envoy takes or refuses the listeners", deadline, || async {
            let after = outcome(envoy).await.ok()?;
            (after != before).then_some(after.0 != before.0)
        })
        .await
    }

    fn deliver(&mut self, listeners: &str) -> Result<()> {
        self.version += 1;
        let resources = if listeners.is_empty() {
            "resources: []\n".to_owned()
        } else {
            format!("resources:\n{listeners}")
        };
        // Envoy looks at the name: the file must be whole when it gets there
        let next = self.file.with_extension("next");
        fs::write(&next, format!("version_info: \"{}\"\n{resources}", self.version))?;
        Ok(fs::rename(&next, &self.file)?)
    }
}

/// Updates taken and refused so far.
async fn outcome(envoy: &Envoy) -> Result<(u64, u64)> {
    let count = async |what| envoy.stat(what).await.map(Option::unwrap_or_default);
    Ok((
        count("listener_manager.lds.update_success").await?,
        count("listener_manager.lds.update_rejected").await?,
    ))
}

const BEFORE: &str = "static_resources:\n  listeners:\n";
const AFTER: &str = "\n  clusters:";
const TYPE: &str = "  \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener";
