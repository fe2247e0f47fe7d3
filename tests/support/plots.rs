//! Pictures for the documents: lines as SVG. Upwards they count in powers of ten.

use std::path::{Path, PathBuf};

use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

/// Width and height of a picture, pixels: small enough to stand beside text.
const SIZE: (u32, u32) = (640, 400);
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(90, 90, 90),
];

/// One line of a picture.
#[derive(Debug, Clone)]
pub struct Line {
    pub name: String,
    /// Both above 0.
    pub points: Vec<(f64, f64)>,
}

/// What a picture is of.
#[derive(Debug)]
pub struct Picture<'a> {
    /// Of the file, without `.svg`.
    pub file: &'a str,
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    /// How `x` counts.
    pub scale: Scale,
}

/// How an axis counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// In powers of ten.
    Log,
    /// In equal steps.
    Linear,
}

/// Where pictures and figures go that outlast a run.
pub fn folder() -> PathBuf {
    // Cargo's folder for temporary files lies in the target folder, wherever that is.
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tmp.parent().expect("it has a parent").join("bench");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}

/// Draws lines into a file in [`folder`]; with no point there is no picture.
pub fn draw(picture: &Picture<'_>, lines: &[Line]) {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    if points().next().is_none() {
        return;
    }
    let range = |of: fn((f64, f64)) -> f64| {
        let (least, most) = points()
            .map(of)
            .fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| {
                (least.min(value), most.max(value))
            });
        // Some air around the outermost points.
        (least * 0.8)..(most * 1.3)
    };
    let path = folder().join(format!("{}.svg", picture.file));
    let root = SVGBackend::new(&path, SIZE).into_drawing_area();
    root.fill(&WHITE).expect("an area");
    let mut chart = ChartBuilder::on(&root);
    chart
        .caption(picture.title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60);
    let (x, y) = (range(|point| point.0), range(|point| point.1).log_scale());
    match picture.scale {
        Scale::Log => fill_in(
            chart.build_cartesian_2d(x.log_scale(), y).expect("an area"),
            picture,
            lines,
        ),
        Scale::Linear => fill_in(chart.build_cartesian_2d(x, y).expect("an area"), picture, lines),
    }
    root.present().expect("the target folder is writable");
    eprintln!("drawn: {}", path.display());
}

fn fill_in<'a, X>(
    mut chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, LogCoord<f64>>>,
    picture: &Picture<'_>,
    lines: &[Line],
) where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .x_desc(picture.x)
        .y_desc(picture.y)
        .light_line_style(RGBColor(235, 235, 235))
        .x_label_formatter(&|value| word(*value))
        .y_label_formatter(&|value| word(*value))
        .draw()
        .expect("an area");
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(3))
            .expect("an area")
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(200, 200, 200))
        .draw()
        .expect("an area");
}

fn word(value: f64) -> String {
    if value >= 1.0 {
        format!("{value:.0}")
    } else {
        format!("{value}")
    }
}
