//! Envoy's statistics as Prometheus reads them.

use super::site::DEADLINE;
use super::{Envoy, eventually};
use crate::failed::Result;

impl Envoy {
    /// The value of a Prometheus series of the admin page, such as `name{a="b"}`; labels in any order.
    ///
    /// # Errors
    /// The admin page does not answer.
    pub async fn series(&self, series: &str) -> Result<Option<f64>> {
        let page = self.admin("/stats/prometheus").await?.text();
        let wanted = parts(series);
        let value = |line: &str| {
            let (found, value) = line.rsplit_once(' ')?;
            (parts(found) == wanted).then(|| value.parse().ok())?
        };
        Ok(page.lines().filter(|line| !line.starts_with('#')).find_map(value))
    }

    /// The sum of all series of this name that have this label, such as `token_type="input"`.
    ///
    /// # Errors
    /// The admin page does not answer.
    pub async fn sum(&self, name: &str, label: &str) -> Result<f64> {
        let page = self.admin("/stats/prometheus").await?.text();
        let value = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, labels) = parts(series);
            (found == name && labels.iter().any(|own| own == label)).then(|| value.parse::<f64>().ok())?
        };
        Ok(page.lines().filter_map(value).sum())
    }

    /// Waits until a series has this value.
    ///
    /// # Errors
    /// It had another one after a while.
    pub async fn series_becomes(&self, series: &str, value: f64) -> Result<()> {
        let reached = eventually(series, DEADLINE, || async {
            (self.series(series).await.ok().flatten() == Some(value)).then_some(())
        });
        match reached.await {
            Ok(()) => Ok(()),
            Err(late) => Err(late.during(&format!("{value} expected, {:?} seen", self.series(series).await?))),
        }
    }
}

/// A series as its name and sorted labels.
fn parts(series: &str) -> (String, Vec<String>) {
    let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
    let mut labels: Vec<_> = labels
        .split(',')
        .filter(|label| !label.is_empty())
        .map(str::to_owned)
        .collect();
    labels.sort();
    (name.to_owned(), labels)
}
