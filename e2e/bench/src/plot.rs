//! The plot: bars of throughput and of CPU per request, side by side, as SVG text.
//!
//! Bars are logarithmic: the slowest and the fastest are three orders of magnitude apart. The picture follows the reader's
//! light or dark scheme and paints its own ground, since a page around it may have chosen otherwise.

use std::fmt::Write as _;
use std::time::Duration;

use crate::figures::Figure;
use crate::measured::Results;
use crate::scenario;
use crate::systems::{ALL, System};

/// One row: what one system did under one load.
struct Row {
    group: String,
    system: System,
    figures: [Option<Figure>; 2],
}

/// One column of bars.
struct Panel {
    left: f64,
    title: &'static str,
    hint: &'static str,
    base: f64,
    top: f64,
}

/// The picture. The same results give the same text.
pub fn svg(results: &Results) -> String {
    let rows = rows(results);
    let panels = [
        Panel::over(&rows, 0, 208.0, "requests a second", "logarithmic; longer is better"),
        Panel::over(
            &rows,
            1,
            508.0,
            "CPU time per request, ms",
            "logarithmic; shorter is better",
        ),
    ];
    let mut body = String::new();
    let mut y = HEAD;
    let mut group = "";
    for row in &rows {
        if row.group != group {
            group = &row.group;
            y += GROUP;
            text(&mut body, "group", 12.0, y - 8.0, group);
        }
        bars(&mut body, row, &panels, y);
        y += STEP;
    }
    let mut all = String::new();
    for panel in &panels {
        axis(&mut all, panel, y);
    }
    format!(
        "{}{all}{body}</svg>\n",
        opening(y + FOOT, &escaped(&description(&rows)))
    )
}

fn rows(results: &Results) -> Vec<Row> {
    let mut rows = Vec::new();
    for scenario in scenario::all(Duration::ZERO) {
        if !SHOWN.contains(&scenario.id) {
            continue;
        }
        for system in ALL {
            let at = (scenario.id, system);
            let throughput = results.figure(at, |m| m.throughput);
            let cpu = results.figure(at, |m| m.cpu);
            let figures = [throughput, cpu].map(|figure| figure.filter(|figure| figure.min > 0.0));
            if figures.iter().any(Option::is_some) {
                rows.push(Row {
                    group: scenario.title.to_owned(),
                    system,
                    figures,
                });
            }
        }
    }
    rows
}

impl Panel {
    /// From the power of ten below the least to the most.
    fn over(rows: &[Row], column: usize, left: f64, title: &'static str, hint: &'static str) -> Self {
        let figures = || rows.iter().filter_map(|row| row.figures.get(column).copied().flatten());
        let least = figures().map(|figure| figure.min).fold(f64::INFINITY, f64::min);
        let top = figures().map(|figure| figure.max).fold(0.0, f64::max);
        let base = if least.is_finite() {
            10_f64.powf((least / 1.1).log10().floor())
        } else {
            1.0
        };
        Self {
            left,
            title,
            hint,
            base,
            top: top.max(base * 10.0),
        }
    }

    /// How long a bar is, in pixels.
    fn length(&self, value: f64) -> f64 {
        WIDTH * (value / self.base).ln() / (self.top / self.base).ln()
    }
}

fn bars(svg: &mut String, row: &Row, panels: &[Panel], y: f64) {
    let class = match row.system {
        System::Module => "module",
        System::Reference => "reference",
        System::BareEnvoy
        | System::Bare
        | System::Answerer
        | System::PlainEnvoy
        | System::Model
        | System::Tapped
        | System::Untapped => "other",
    };
    let label = if row.system == System::Module {
        "label strong"
    } else {
        "label"
    };
    text(svg, label, 200.0, y + 10.0, row.system.title());
    for (panel, figure) in panels.iter().zip(row.figures) {
        let Some(figure) = figure else { continue };
        let (left, length) = (panel.left, panel.length(figure.median));
        let _ = writeln!(
            svg,
            r#"<rect class="{class}" x="{left:.1}" y="{y:.1}" width="{length:.1}" height="{BAR}"/>"#
        );
        let (low, high) = (left + panel.length(figure.min), left + panel.length(figure.max));
        if figure.count > 1 {
            let middle = y + BAR / 2.0;
            let _ = writeln!(svg, r#"<path class="range" d="M{low:.1} {middle:.1}H{high:.1}"/>"#);
        }
        text(
            svg,
            "value",
            high.max(left + length) + 5.0,
            y + 10.0,
            &value(figure.median),
        );
    }
}

fn axis(svg: &mut String, panel: &Panel, bottom: f64) {
    text(svg, "title", panel.left, 20.0, panel.title);
    text(svg, "hint", panel.left, 37.0, panel.hint);
    let mut tick = panel.base;
    while tick <= panel.top * 1.001 {
        let x = panel.left + panel.length(tick);
        let (from, to) = (HEAD + 4.0, bottom + 2.0);
        let _ = writeln!(svg, r#"<path class="grid" d="M{x:.1} {from:.1}V{to:.1}"/>"#);
        text(svg, "tick", x, bottom + 17.0, &power_of_ten(tick));
        tick *= 10.0;
    }
}

/// `0.01`, `10`, `100k`: short enough to stand side by side.
fn power_of_ten(value: f64) -> String {
    match value.log10().round() {
        thousands if thousands >= 3.0 => format!("{:.0}k", value / 1e3),
        ones if ones >= 0.0 => format!("{value:.0}"),
        parts if parts >= -1.0 => format!("{value:.1}"),
        parts if parts >= -2.0 => format!("{value:.2}"),
        parts if parts >= -3.0 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, words: &str) {
    let words = escaped(words);
    let _ = writeln!(svg, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{words}</text>"#);
}

fn value(value: f64) -> String {
    crate::report::count(value)
}

/// What the picture shows, for those who cannot see it.
fn description(rows: &[Row]) -> String {
    let mut text = String::from("Bars on a logarithmic scale, the line in each from its least to its most.");
    for row in rows {
        if let [Some(throughput), cpu] = row.figures {
            let _ = write!(
                text,
                " {}, {}: {} requests a second",
                row.group,
                row.system.title(),
                value(throughput.median)
            );
            if let Some(cpu) = cpu {
                let _ = write!(text, ", {} ms of CPU time each", value(cpu.median));
            }
            text.push('.');
        }
    }
    text
}

fn opening(height: f64, description: &str) -> String {
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="800" height="{height:.0}" viewBox="0 0 800 {height:.0}" role="img" aria-labelledby="t d">
<title id="t">Throughput and CPU time per request: the module, the reference client and the limits</title>
<desc id="d">{description}</desc>
<style>{STYLE}</style>
<rect class="ground" width="800" height="{height:.0}"/>
"#
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

const STYLE: &str = "
text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }
.title, .group, .strong { font-weight: 600 }
.title { font-size: 14px }
.label { text-anchor: end }
.tick { text-anchor: middle }
.tick, .hint { fill: #59636e }
.ground { fill: #ffffff }
.module { fill: #0969da }
.reference { fill: #bc4c00 }
.other { fill: #8c959f }
.grid { stroke: #d1d9e0 }
.range { stroke: #1f2328 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.tick, .hint { fill: #9198a1 }
.ground { fill: #0d1117 }
.module { fill: #4493f8 }
.reference { fill: #db6d28 }
.other { fill: #6e7681 }
.grid { stroke: #3d444d }
.range { stroke: #f0f6fc }
}
";

/// The loads that the picture shows.
const SHOWN: [&str; 4] = crate::report::SMALL;

/// The widest bar.
const WIDTH: f64 = 220.0;
/// Height of a bar, and from one to the next.
const BAR: f64 = 12.0;
const STEP: f64 = 18.0;
/// Above all groups, above each, and below all.
const HEAD: f64 = 40.0;
const GROUP: f64 = 28.0;
const FOOT: f64 = 26.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Seen;
    use crate::measured::Measure;

    #[test]
    fn bars_are_as_long_as_their_decades_and_every_load_is_named() {
        let picture = svg(&results());
        let lengths = attributes(&picture, r#"class="module" "#, "width");
        // 100, 1,000 and 10,000 on a scale that begins at 10
        assert_eq!(lengths, ["73.3", "146.7", "220.0"]);
        for words in [
            ">1 KiB, 1 in flight<",
            ">1 KiB, 64 in flight<",
            ">10,000<",
            "</title>",
            "</desc>",
        ] {
            assert!(picture.contains(words), "{words} in {picture}");
        }
        assert!(
            !picture.contains("in flight</text>\n<text class=\"group\""),
            "no group is empty"
        );
        assert_eq!(picture, svg(&results()));
    }

    #[test]
    fn what_was_not_measured_leaves_a_picture_without_it() {
        let picture = svg(&Results::default());
        assert!(
            picture.ends_with("</svg>\n") && !picture.contains("NaN") && !picture.contains("inf\""),
            "{picture}"
        );
    }

    #[test]
    fn powers_of_ten_are_short() {
        let ticks = [1e-4, 1e-3, 0.01, 0.1, 1.0, 100.0, 1e3, 1e5].map(power_of_ten);
        assert_eq!(ticks.join(" "), "0.0001 0.001 0.01 0.1 1 100 1k 100k");
    }

    #[test]
    fn every_text_is_escaped() {
        let mut picture = String::new();
        text(&mut picture, "label", 1.0, 2.0, r#"<a & "b">"#);
        assert_eq!(
            picture,
            "<text class=\"label\" x=\"1.0\" y=\"2.0\">&lt;a &amp; &quot;b&quot;&gt;</text>\n"
        );
    }

    fn results() -> Results {
        let speeds = [("closed_1", 100.0), ("closed_16", 1_000.0), ("closed_64", 10_000.0)];
        let measures = speeds.map(|(scenario, throughput)| Measure {
            throughput,
            ..Measure::of(scenario, System::Module.id(), (0, 0), Seen::default())
        });
        Results {
            measures: measures.to_vec(),
            ..Results::default()
        }
    }

    fn attributes<'a>(picture: &'a str, of: &str, name: &str) -> Vec<&'a str> {
        let lines = picture.lines().filter(|line| line.contains(of));
        let value = |line: &'a str| line.split_once(&format!("{name}=\""))?.1.split('"').next();
        lines.filter_map(value).collect()
    }
}
