//! Draws the figures: a panel for each pattern and rate, a line for each policy.

use std::error::Error;

use plotters::prelude::*;

use crate::{
    scenarios::{INTERVALS, PATTERNS, POLICIES, Scenario, in_words},
    simulation::Measured,
    table::Figures,
};

#[derive(Clone, Copy)]
struct Line {
    colour: RGBColor,
    width: u32,
    dot: u32,
    ring: u32,
}

/// One line for each policy. The thinner line is drawn over the other, so that both are visible
/// where they meet.
const LINES: [Line; 2] = [
    Line { colour: RGBColor(59, 130, 246), width: 4, dot: 4, ring: 8 },
    Line { colour: RGBColor(234, 88, 12), width: 2, dot: 2, ring: 5 },
];

const FONT: &str = "sans-serif";
const INK: RGBColor = BLACK;
const PAPER: RGBColor = WHITE;
const GRID: RGBColor = RGBColor(216, 216, 216);
/// Makes the picture dark for viewers that prefer a dark color scheme.
const DARK: &str = "<style>@media (prefers-color-scheme: dark) {\
    [fill='#FFFFFF'] { fill: #0D1117 } [fill='#000000'] { fill: #E6EDF3 }\
    [stroke='#000000'] { stroke: #E6EDF3 } [stroke='#D8D8D8'] { stroke: #30363D } }</style>";

/// A logarithmic scale has no zero: smaller values are drawn as this one.
const LEAST_MS: f64 = 1e-3;

pub(crate) fn draw(panels: &[(Scenario, Figures)]) -> Result<String, Box<dyn Error>> {
    const PANEL: (u32, u32) = (210, 175);
    const HEAD: u32 = 66;
    let mut svg = String::new();
    let (columns, rows) = (PATTERNS.len(), panels.len() / PATTERNS.len());
    {
        let size = (PANEL.0 * columns as u32, PANEL.1 * rows as u32 + HEAD);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&PAPER)?;
        let (head, grid) = root.split_vertically(HEAD);
        draw_legend(&head)?;
        for (column, pattern) in PATTERNS.iter().enumerate() {
            let left = PANEL.0 as i32 * column as i32 + 30;
            head.draw(&Text::new(*pattern, (left, 44), text(17)))?;
        }
        for (area, (scenario, figures)) in grid.split_evenly((rows, columns)).iter().zip(panels) {
            draw_panel(area, scenario, figures)?;
        }
        root.present()?;
    }
    let end_of_root = svg.find('>').ok_or("not an SVG")? + 1;
    svg.insert_str(end_of_root, DARK);
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_legend(area: &Area<'_>) -> Result<(), Box<dyn Error>> {
    let axes = "added latency (p50, ms) against HTTP calls per check";
    area.draw(&Text::new(axes, (12, 12), text(17)))?;
    for (n, (policy, line)) in POLICIES.iter().zip(LINES).enumerate() {
        let x = 430 + 120 * n as i32;
        area.draw(&PathElement::new(
            [(x, 20), (x + 30, 20)],
            line.colour.stroke_width(line.width),
        ))?;
        area.draw(&Circle::new((x + 15, 20), line.dot, line.colour.filled()))?;
        area.draw(&Text::new(format!("{policy:?}"), (x + 38, 12), text(17)))?;
    }
    let [first, .., last] = INTERVALS;
    let settings = format!("dots: flush_interval {first} to {last} ms, ringed: 5 ms");
    area.draw(&Text::new(settings, (680, 12), text(17)))?;
    Ok(())
}

fn draw_panel(
    area: &Area<'_>,
    scenario: &Scenario,
    figures: &Figures,
) -> Result<(), Box<dyn Error>> {
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}/s", in_words(scenario.workload.rate)), text(15))
        .margin_right(12)
        .margin_bottom(6)
        .x_label_area_size(22)
        .y_label_area_size(46)
        .build_cartesian_2d((0.0025..1.6).log_scale(), (0.0006..100.0).log_scale())?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .label_style(text(14))
        .x_label_formatter(&|x| format!("{x}"))
        .y_label_formatter(&|y| format!("{y}"))
        .draw()?;
    for (policy, line) in LINES.into_iter().enumerate() {
        let Line { colour, width, dot, ring } = line;
        let points: Vec<_> = figures.iter().map(|policies| point(&policies[policy])).collect();
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(width)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, dot, colour.filled())))?;
        let default = INTERVALS.iter().position(|interval| *interval == 5);
        let default = default.map(|at| Circle::new(points[at], ring, colour.stroke_width(1)));
        chart.draw_series(default)?;
    }
    Ok(())
}

fn text(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

fn point(measured: &Measured) -> (f64, f64) {
    let milliseconds = measured.added_at(0.5).as_secs_f64() * 1e3;
    (measured.calls_per_check(), milliseconds.max(LEAST_MS))
}
