//! OBSERVABILITY.md and the code have the same names, both ways.

use std::collections::BTreeSet;

use super::names::{self, Kind, METRICS, SPAN_ATTRIBUTES};
use super::resource::DOWNWARD;

/// The part that is about this module; Envoy's plane has names of its own.
fn ours() -> &'static str {
    let document = include_str!("../../OBSERVABILITY.md");
    let (_, ours) = document.split_once("## The module's plane").unwrap();
    ours.split_once("## Envoy's plane").unwrap().0
}

/// The rows of the table with this heading, as cells.
fn table(first: &str, second: &str) -> Vec<Vec<&'static str>> {
    let heading = format!("| {first} | {second} |");
    let (_, after) = ours()
        .split_once(&heading)
        .unwrap_or_else(|| panic!("no table {heading}"));
    let rows = after.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// What stands in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn bounds(table: &[Vec<&str>], buckets: &str) -> Vec<f64> {
    let row = table
        .iter()
        .find(|row| row[0] == buckets)
        .unwrap_or_else(|| panic!("no buckets {buckets}"));
    row[1].split(' ').map(|bound| bound.parse().unwrap()).collect()
}

#[test]
fn each_metric_stands_in_the_table_as_it_is() {
    let (rows, buckets) = (table("Metric", "Kind"), table("Buckets", "Upper bounds"));
    let documented: Vec<_> = rows.iter().flat_map(|row| quoted(row[0])).collect();
    let names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(documented, names);
    let exchange = table("Attribute", "Value");
    let exchange: BTreeSet<_> = exchange.iter().flat_map(|row| quoted(row[0])).collect();
    for (metric, row) in METRICS.iter().zip(&rows) {
        let name = metric.name;
        assert_eq!(row[1], metric.kind.name(), "{name}");
        assert_eq!(quoted(row[2]), [metric.unit], "{name}");
        let mut attributes: BTreeSet<_> = quoted(row[3]).into_iter().collect();
        if row[3].starts_with("exchange") {
            attributes.extend(&exchange);
        }
        assert_eq!(attributes, metric.attributes.iter().copied().collect(), "{name}");
        match metric.kind {
            Kind::Histogram => assert_eq!(bounds(&buckets, row[4]), metric.buckets, "{name}"),
            Kind::Counter | Kind::UpDownCounter => assert_eq!(row[4], "", "{name}"),
        }
    }
}

#[test]
fn each_attribute_of_a_span_stands_in_its_table() {
    let rows = table("Attribute", "Type");
    let documented: BTreeSet<_> = rows.iter().flat_map(|row| quoted(row[0])).collect();
    // named besides the one that it stands for
    let expected = SPAN_ATTRIBUTES
        .iter()
        .copied()
        .filter(|name| *name != names::USAGE_CACHE_WRITE);
    assert_eq!(documented, expected.collect());
}

#[test]
fn each_name_of_ours_in_the_document_exists() {
    let known: BTreeSet<_> = METRICS
        .iter()
        .flat_map(|metric| metric.attributes.iter().copied().chain([metric.name]))
        .chain(SPAN_ATTRIBUTES.iter().copied())
        .chain([names::EVENT, names::REFUSED])
        .collect();
    let is_name = |text: &str| {
        let ours = ["gen_ai.", "spectral_bridge.", "openai."];
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c);
        ours.iter().any(|prefix| text.starts_with(prefix)) && text.chars().all(plain)
    };
    let names: BTreeSet<_> = quoted(ours()).into_iter().filter(|text| is_name(text)).collect();
    let unknown: Vec<_> = names
        .difference(&known)
        .filter(|name| !METADATA.contains(name))
        .collect();
    assert_eq!(unknown, [&""; 0]);
}

#[test]
fn the_resource_stands_in_its_table() {
    let rows = table("Resource attribute", "Value");
    for (attribute, variables) in DOWNWARD {
        let row = rows.iter().find(|row| quoted(row[0]) == [*attribute]);
        let row = row.unwrap_or_else(|| panic!("no {attribute}"));
        assert_eq!(quoted(row[1]), *variables, "{attribute}");
    }
    assert!(ours().contains(&format!("scope `{}`", names::SCOPE)));
    assert!(rows.iter().any(|row| quoted(row[1]).first() == Some(&names::SERVICE)));
}

/// Namespaces of Envoy's dynamic metadata, which have the same spelling.
const METADATA: &[&str] = &["spectral_bridge.gen_ai", "spectral_bridge.auth"];
