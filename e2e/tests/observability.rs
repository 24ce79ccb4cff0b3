//! Promises about what is shipped for watching: every metric and label in the dashboard and in the alert rules is one that
//! OBSERVABILITY.md tells of, every expression is PromQL, and the collector's pipelines are whole.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use e2e::world::workspace;
use promql_parser::parser::{Expr, LabelModifier, VectorSelector, parse};
use serde_json::Value;

/// What OBSERVABILITY.md tells of, as Prometheus spells it.
#[derive(Debug, Default)]
struct Told {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
    text: String,
}

/// What an expression asks for.
#[derive(Debug, Default)]
struct Asked {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_yaml_ng::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The words between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn underscored(name: &str) -> String {
    name.replace('.', "_")
}

impl Told {
    fn read() -> Self {
        let text = read("OBSERVABILITY.md");
        let mut told = Self::default();
        for line in text.lines() {
            told.labels
                .extend(code(line).filter(|word| !word.contains(' ')).map(underscored));
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let name = code(cells.get(1).copied().unwrap_or_default())
                .next()
                .unwrap_or_default();
            if name.starts_with("gen_ai.") || name.starts_with("spectral_bridge.") {
                told.metrics.extend(series(name, &cells[2..]));
            }
        }
        told.labels.insert("le".to_owned());
        told.text = text;
        told
    }

    /// Whether `metric` is told of: one of ours by OTLP, one of ours in Envoy, or one of Envoy's own.
    fn knows(&self, metric: &str) -> bool {
        let plain = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| metric.strip_suffix(suffix));
        let plain = plain.unwrap_or(metric);
        let named = |name: &str| code(&self.text).any(|word| word == name || word.starts_with(&format!("{name}{{")));
        if let Some(ours) = plain.strip_prefix("envoy_spectral_bridge_") {
            return named(plain) || named(ours);
        }
        if let Some(of_cluster) = plain.strip_prefix("envoy_cluster_") {
            let stat = of_cluster.replace("_xx", "_2xx");
            return code(&self.text).any(|word| word.starts_with("cluster.") && word.ends_with(&format!(".{stat}")));
        }
        self.metrics.contains(metric)
    }
}

/// The series of a metric in a row of OBSERVABILITY.md, whose other cells have its kind and its unit.
fn series(name: &str, cells: &[&str]) -> Vec<String> {
    let words: Vec<_> = cells
        .iter()
        .flat_map(|cell| cell.split(", "))
        .map(|word| word.trim_matches('`'))
        .collect();
    let unit = match words.iter().find(|word| ["s", "By"].contains(word)) {
        Some(&"s") => "_seconds",
        Some(&"By") => "_bytes",
        _ => "",
    };
    let name = format!("{}{unit}", underscored(name));
    if words.contains(&"histogram") {
        return ["_bucket", "_count", "_sum"].map(|part| format!("{name}{part}")).into();
    }
    if words.contains(&"counter") {
        return vec![format!("{name}_total")];
    }
    if words.contains(&"up-down counter") {
        return vec![name];
    }
    Vec::new()
}

impl Asked {
    fn of(promql: &str) -> Self {
        let plain = [
            ("$__rate_interval", "5m"),
            ("$__range", "1h"),
            ("$relay", ".*"),
            ("$model", ".*"),
        ];
        let plain = plain
            .iter()
            .fold(promql.to_owned(), |text, (from, to)| text.replace(from, to));
        let expr = parse(&plain).unwrap_or_else(|error| panic!("{promql}: {error}"));
        let mut asked = Self::default();
        asked.walk(&expr);
        assert!(!asked.metrics.is_empty(), "{promql} asks for nothing");
        asked
    }

    fn walk(&mut self, expr: &Expr) {
        match expr {
            Expr::Aggregate(aggregate) => {
                self.modifier(aggregate.modifier.as_ref());
                self.walk(&aggregate.expr);
            }
            Expr::Unary(unary) => self.walk(&unary.expr),
            Expr::Binary(binary) => {
                let matching = binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref());
                self.modifier(matching);
                self.walk(&binary.lhs);
                self.walk(&binary.rhs);
            }
            Expr::Paren(paren) => self.walk(&paren.expr),
            Expr::Subquery(subquery) => self.walk(&subquery.expr),
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::Call(call) => call.args.args.iter().for_each(|argument| self.walk(argument)),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }

    fn selector(&mut self, selector: &VectorSelector) {
        self.metrics.extend(selector.name.clone());
        let matchers = selector.matchers.matchers.iter();
        self.labels.extend(matchers.map(|matcher| matcher.name.clone()));
    }

    fn modifier(&mut self, modifier: Option<&LabelModifier>) {
        if let Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) = modifier {
            self.labels.extend(labels.labels.iter().cloned());
        }
    }

    fn check(&self, told: &Told, place: &str) {
        for metric in &self.metrics {
            assert!(
                told.knows(metric),
                "{place}: OBSERVABILITY.md does not tell of {metric}"
            );
        }
        for label in &self.labels {
            let envoys_own = label.starts_with("envoy_");
            assert!(
                envoys_own || told.labels.contains(label),
                "{place}: OBSERVABILITY.md does not tell of the label {label}"
            );
        }
    }
}

/// The labels that a template of Grafana's (`{{name}}`) or Prometheus' (`{{ $labels.name }}`) names.
fn named_in(template: &str) -> Vec<&str> {
    let parts = template.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
    let names = parts.map(|(inside, _)| inside.trim());
    names
        .filter(|name| !name.starts_with("$value"))
        .map(|name| name.trim_start_matches("$labels."))
        .collect()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().unwrap();
    panels.iter().filter(|panel| panel["type"] != "row").collect()
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let told = Told::read();
    let dashboard: Value = serde_json::from_str(&read("envoy/observability/dashboard.json")).unwrap();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            let asked = Asked::of(target["expr"].as_str().unwrap());
            asked.check(&told, title);
            for label in named_in(target["legendFormat"].as_str().unwrap()) {
                assert!(
                    asked.labels.contains(label),
                    "{title}: the legend names {label}, which is summed away"
                );
            }
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else {
            continue;
        };
        let (metric, label) = query
            .strip_prefix("label_values(")
            .unwrap()
            .trim_end_matches(')')
            .split_once(", ")
            .unwrap();
        assert!(told.knows(metric) && told.labels.contains(label), "{query}");
    }
}

#[test]
fn the_dashboard_can_be_imported_anywhere_and_says_what_each_panel_is() {
    let dashboard: Value = serde_json::from_str(&read("envoy/observability/dashboard.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!(
        (&variables[0]["name"], &variables[0]["type"]),
        (&"datasource".into(), &"datasource".into())
    );
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        assert!(
            !panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap().is_empty(),
            "{title} has no unit"
        );
        assert!(
            !panel["description"].as_str().unwrap().is_empty(),
            "{title} has no description"
        );
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title} sticks out");
        let targets = panel["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|target| &target["datasource"]);
        for datasource in targets.chain([&panel["datasource"]]) {
            assert_eq!(datasource["uid"], "${datasource}", "{title}");
        }
    }
    let covers: Vec<_> = panels(&dashboard)
        .iter()
        .map(|panel| [&panel["gridPos"]["x"], &panel["gridPos"]["y"]])
        .collect();
    let places: BTreeSet<_> = covers.iter().map(|place| format!("{place:?}")).collect();
    assert_eq!(places.len(), covers.len(), "two panels in one place");
}

#[test]
fn the_alert_rules_ask_for_what_there_is() {
    let told = Told::read();
    let rules = yaml("envoy/observability/alerts.yaml");
    let mut names = BTreeSet::new();
    for group in rules["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            let name = rule["alert"].as_str().unwrap();
            assert!(names.insert(name), "{name} is there twice");
            let asked = Asked::of(rule["expr"].as_str().unwrap());
            asked.check(&told, name);
            assert!(
                ["page", "ticket"].contains(&rule["labels"]["severity"].as_str().unwrap()),
                "{name}"
            );
            for annotation in ["summary", "description"] {
                let text = rule["annotations"][annotation]
                    .as_str()
                    .unwrap_or_else(|| panic!("{name} has no {annotation}"));
                for label in named_in(text) {
                    let known = label.starts_with("envoy_") || told.labels.contains(label);
                    assert!(known, "{name}: {annotation} names {label}");
                }
            }
        }
    }
}

#[test]
fn the_collectors_pipelines_are_made_of_what_is_defined() {
    let collector = yaml("envoy/observability/collector.yaml");
    let mut used: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let pipelines = collector["service"]["pipelines"].as_object().unwrap();
    assert_eq!(pipelines.keys().collect::<Vec<_>>(), ["logs", "metrics", "traces"]);
    for pipeline in pipelines.values() {
        for part in ["receivers", "processors", "exporters"] {
            let names = pipeline[part]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap());
            used.entry(part).or_default().extend(names);
        }
    }
    for (part, names) in used {
        let defined: BTreeSet<_> = collector[part]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(defined, names, "{part}");
    }
}

#[test]
fn what_nobody_tells_of_is_noticed() {
    let told = Told {
        metrics: series("a.b", &["histogram", "`s`"]).into_iter().collect(),
        labels: BTreeSet::from(["le".to_owned()]),
        text: "`envoy_spectral_bridge_x_total{relay}` `cluster.adapter.upstream_rq_2xx`".to_owned(),
    };
    assert!(told.knows("a_b_seconds_bucket") && !told.knows("a_b_seconds") && !told.knows("a_b_bucket"));
    assert!(told.knows("envoy_spectral_bridge_x_total") && !told.knows("envoy_spectral_bridge_y_total"));
    assert!(told.knows("envoy_cluster_upstream_rq_xx") && !told.knows("envoy_cluster_upstream_rq"));
    let asked = Asked::of("sum by (le) (rate(a_b_seconds_bucket{c=\"d\"}[5m])) unless ignoring (e) f");
    assert_eq!(
        asked.metrics,
        BTreeSet::from(["a_b_seconds_bucket", "f"].map(str::to_owned))
    );
    assert_eq!(asked.labels, BTreeSet::from(["c", "e", "le"].map(str::to_owned)));
    assert_eq!(named_in("{{a}} and {{ $labels.b }} {{ $value | printf }}"), ["a", "b"]);
}
