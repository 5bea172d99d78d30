//! Plots the distribution of the delays, with a table below. The axis of shares is logarithmic, so
//! that the delays of the slowest events are visible.

mod axis;

use std::io;

use hdrhistogram::Histogram;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::report::{COMPARED, Row};
use super::results::Results;
use super::setup::Setup;
use axis::Axis;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawResult = Result<(), DrawingAreaErrorKind<io::Error>>;

const SIZE: (u32, u32) = (1000, 786);
const TITLE_HEIGHT: u32 = 76;
const PLOT_HEIGHT: u32 = 430;
const MARGIN: i32 = 28;
const FONT: &str = "DejaVu Sans, Helvetica, Arial, sans-serif";

const INK: RGBColor = RGBColor(34, 40, 49);
const FAINT: RGBColor = RGBColor(104, 112, 122);
const GRID: RGBColor = RGBColor(224, 228, 232);

/// The right edges of the table's columns.
const COLUMNS: [i32; 4] = [440, 590, 770, 972];
const ROW_HEIGHT: i32 = 24;

/// A curve ends where fewer events than this are slower; their delays are not representative.
const MIN_EVENTS: f64 = 10.0;

/// The number of points of a curve.
const POINTS: u32 = 400;

/// Draws the plot as SVG.
pub(super) fn draw(results: &Results) -> String {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    paint(results, &area).expect("drawing to a string does not fail");
    drop(area);
    svg
}

fn paint(results: &Results, area: &Area<'_>) -> DrawResult {
    area.fill(&WHITE)?;
    let (title, rest) = area.split_vertically(TITLE_HEIGHT);
    let (plot, table) = rest.split_vertically(PLOT_HEIGHT);
    write(&title, &results.title(), (MARGIN, 20), &bold(19.0), HPos::Left)?;
    write(&title, &results.subtitle(), (MARGIN, 48), &font(12.5, FAINT), HPos::Left)?;
    curves(results, &plot)?;
    rows(results, &table)?;
    area.present()
}

fn curves(results: &Results, area: &Area<'_>) -> DrawResult {
    let delays = Setup::ALL.map(|setup| results.delays(setup));
    let right = delays.iter().map(end).fold(1.0, f64::max);
    let curves = delays.each_ref().map(curve);
    let heights = || curves.iter().flatten().map(|&(_, height)| height);
    let (low, high) =
        (heights().fold(f64::MAX, f64::min) - 0.1, heights().fold(0.0, f64::max) + 0.1);
    let mut chart = ChartBuilder::on(area)
        .margin_right(MARGIN)
        .margin_left(10)
        .x_label_area_size(54)
        .y_label_area_size(76)
        .build_cartesian_2d(Axis::of_shares(right), Axis::of_times(low..high))?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT)
        .label_style(font(12.0, INK))
        .axis_desc_style(font(13.0, INK))
        .x_desc("share of the events that are faster")
        .y_desc("delay of an event")
        .draw()?;
    for (setup, curve) in Setup::ALL.into_iter().zip(curves) {
        let style = color(setup).stroke_width(3);
        chart
            .draw_series(LineSeries::new(curve, style))?
            .label(setup.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 26, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .margin(16)
        .legend_area_size(34)
        .background_style(WHITE)
        .label_font(font(13.0, INK))
        .draw()?;
    Ok(())
}

/// The position where a curve ends.
fn end(delays: &Histogram<u64>) -> f64 {
    (delays.len() as f64 / MIN_EVENTS).max(1.0).log10()
}

/// The points of the distribution: positions on the axis of shares, and logarithms of microseconds.
fn curve(delays: &Histogram<u64>) -> Vec<(f64, f64)> {
    let step = end(delays) / f64::from(POINTS);
    let point = |index| {
        let x = f64::from(index) * step;
        let delay = delays.value_at_quantile(1.0 - 10f64.powf(-x)).max(1);
        (x, (delay as f64 / 1e3).log10())
    };
    (1..=POINTS).map(point).collect()
}

fn rows(results: &Results, area: &Area<'_>) -> DrawResult {
    let line =
        |y, style: ShapeStyle| area.draw(&PathElement::new([(MARGIN, y), (COLUMNS[3], y)], style));
    let bold = bold(13.0);
    for (column, setup) in COLUMNS.into_iter().zip(Setup::ALL) {
        write(area, setup.name(), (column, 20), &bold.color(&color(setup)), HPos::Right)?;
    }
    write(area, COMPARED, (COLUMNS[3], 20), &bold, HPos::Right)?;
    line(20 + ROW_HEIGHT / 2, INK.into())?;
    for (index, Row { name, values: [direct, without, with], compared }) in
        (1..).zip(results.rows())
    {
        let y = 22 + index * ROW_HEIGHT;
        write(area, &name, (MARGIN, y), &font(13.0, INK), HPos::Left)?;
        for (column, text) in COLUMNS.into_iter().zip([direct, without, with, compared]) {
            write(area, &text, (column, y), &font(13.0, INK), HPos::Right)?;
        }
        line(y + ROW_HEIGHT / 2, GRID.into())?;
    }
    Ok(())
}

fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    style: &TextStyle<'_>,
    side: HPos,
) -> DrawResult {
    area.draw_text(text, &style.pos(Pos::new(side, VPos::Center)), at)
}

fn font(size: f64, color: RGBColor) -> TextStyle<'static> {
    // The backend divides the size by this factor.
    (FONT, size * 1.24).into_font().color(&color)
}

fn bold(size: f64) -> TextStyle<'static> {
    let TextStyle { font, color, pos } = font(size, INK);
    TextStyle { font: font.style(FontStyle::Bold), color, pos }
}

fn color(setup: Setup) -> RGBColor {
    match setup {
        Setup::NoProxy => RGBColor(140, 148, 158),
        Setup::Envoy => RGBColor(31, 111, 180),
        Setup::EnvoyWithFilter => RGBColor(217, 95, 2),
    }
}
