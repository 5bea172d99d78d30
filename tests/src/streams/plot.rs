//! The distribution of the delays as a picture, with the figures below it. Each further tenth of the slowest events gets as much room
//! as the one before, so that what few events wait for can be seen.

mod scale;

use std::io;

use hdrhistogram::Histogram;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figures::Figures;
use super::report::{COMPARED, Row};
use super::way::Way;
use scale::Scale;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

const SIZE: (u32, u32) = (1000, 786);
const HEAD_HEIGHT: u32 = 76;
const PLOT_HEIGHT: u32 = 430;
const MARGIN: i32 = 28;
const FONT: &str = "DejaVu Sans, Helvetica, Arial, sans-serif";

const INK: RGBColor = RGBColor(34, 40, 49);
const FAINT: RGBColor = RGBColor(104, 112, 122);
const GRID: RGBColor = RGBColor(224, 228, 232);

/// Where the table's columns end.
const COLUMNS: [i32; 4] = [440, 590, 770, 972];
const ROW_HEIGHT: i32 = 24;

/// A curve ends where fewer events than this are slower: the rest is chance.
const FEWEST: f64 = 10.0;

/// Points of a curve.
const POINTS: u32 = 400;

/// The picture as SVG.
pub(super) fn draw(figures: &Figures) -> String {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    paint(figures, &area).expect("a string takes any picture");
    drop(area);
    svg
}

fn paint(figures: &Figures, area: &Area<'_>) -> Drawn {
    area.fill(&WHITE)?;
    let (head, rest) = area.split_vertically(HEAD_HEIGHT);
    let (plot, table) = rest.split_vertically(PLOT_HEIGHT);
    write(&head, &figures.title(), (MARGIN, 20), &bold(19.0), HPos::Left)?;
    write(&head, &figures.subtitle(), (MARGIN, 48), &font(12.5, FAINT), HPos::Left)?;
    curves(figures, &plot)?;
    rows(figures, &table)?;
    area.present()
}

fn curves(figures: &Figures, area: &Area<'_>) -> Drawn {
    let delays = Way::ALL.map(|way| figures.delays(way));
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
        .build_cartesian_2d(Scale::of_shares(right), Scale::of_times(low..high))?;
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
    for (way, curve) in Way::ALL.into_iter().zip(curves) {
        let style = color(way).stroke_width(3);
        chart
            .draw_series(LineSeries::new(curve, style))?
            .label(way.name())
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

/// The place where a curve ends.
fn end(delays: &Histogram<u64>) -> f64 {
    (delays.len() as f64 / FEWEST).max(1.0).log10()
}

/// Points of the distribution: places from the left, and logarithms of microseconds.
fn curve(delays: &Histogram<u64>) -> Vec<(f64, f64)> {
    let step = end(delays) / f64::from(POINTS);
    let point = |index| {
        let x = f64::from(index) * step;
        let delay = delays.value_at_quantile(1.0 - 10f64.powf(-x)).max(1);
        (x, (delay as f64 / 1e3).log10())
    };
    (1..=POINTS).map(point).collect()
}

fn rows(figures: &Figures, area: &Area<'_>) -> Drawn {
    let line =
        |y, style: ShapeStyle| area.draw(&PathElement::new([(MARGIN, y), (COLUMNS[3], y)], style));
    let bold = bold(13.0);
    for (column, way) in COLUMNS.into_iter().zip(Way::ALL) {
        write(area, way.name(), (column, 20), &bold.color(&color(way)), HPos::Right)?;
    }
    write(area, COMPARED, (COLUMNS[3], 20), &bold, HPos::Right)?;
    line(20 + ROW_HEIGHT / 2, INK.into())?;
    for (index, Row { name, ways: [direct, without, with], compared }) in (1..).zip(figures.rows())
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

fn write(area: &Area<'_>, text: &str, at: (i32, i32), style: &TextStyle<'_>, side: HPos) -> Drawn {
    area.draw_text(text, &style.pos(Pos::new(side, VPos::Center)), at)
}

fn font(size: f64, color: RGBColor) -> TextStyle<'static> {
    // The backend divides by this what it is given.
    (FONT, size * 1.24).into_font().color(&color)
}

fn bold(size: f64) -> TextStyle<'static> {
    let TextStyle { font, color, pos } = font(size, INK);
    TextStyle { font: font.style(FontStyle::Bold), color, pos }
}

fn color(way: Way) -> RGBColor {
    match way {
        Way::Direct => RGBColor(140, 148, 158),
        Way::Without => RGBColor(31, 111, 180),
        Way::With => RGBColor(217, 95, 2),
    }
}
