//! What all plots share: their sizes, their colours, and how they become part of a page.
//!
//! A plot is drawn in the colours of the light page. The page's style gives each of them a new
//! value by its hex in the dark ([`css`]); text takes the page's font.

use std::fmt::Write;

use plotters::{
    chart::{ChartBuilder, ChartContext},
    coord::cartesian::Cartesian2d,
    drawing::{DrawingAreaErrorKind, IntoDrawingArea},
    element::Rectangle,
    prelude::{Color, IntoFont, RGBColor, SVGBackend},
    style::TextStyle,
};

use super::axis::Axis;
use crate::report::html::escaped;

/// A chart that is being drawn.
pub type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;

/// Why drawing failed. Nothing that draws into memory does.
pub type Error<'a> = DrawingAreaErrorKind<std::io::Error>;

/// How large a plot is, in pixels of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// From left to right.
    pub width: u32,
    /// From top to bottom.
    pub height: u32,
    /// Ticks of time that there is room for.
    pub time_ticks: usize,
}

/// Half of a desk's screen, or a phone's.
pub const HALF: Size = Size { width: 500, height: 250, time_ticks: 6 };

/// All of a desk's screen.
pub const WIDE: Size = Size { width: 1030, height: 330, time_ticks: 12 };

/// Lines of axes and grid.
pub const LINE: RGBColor = RGBColor(0xdd, 0xe1, 0xe7);
/// Text at ticks.
pub const QUIET: RGBColor = RGBColor(0x58, 0x63, 0x74);
/// Behind the time in which publications arrived.
pub const BAND: RGBColor = RGBColor(0xf1, 0xf4, 0xf7);
/// What is the server's, or the run's.
pub const SERVER: RGBColor = RGBColor(0x0a, 0x6c, 0x74);
/// The area below its line.
pub const WASH: RGBColor = RGBColor(0xd3, 0xe8, 0xea);
/// What is the load tester's.
pub const CLIENT: RGBColor = RGBColor(0xb8, 0x56, 0x1b);
/// How many deliveries there were, from few to many.
pub const HEAT: [RGBColor; 9] = [
    RGBColor(0xdc, 0xee, 0xee),
    RGBColor(0xb9, 0xdd, 0xdf),
    RGBColor(0x8f, 0xc8, 0xcc),
    RGBColor(0x60, 0xaf, 0xb6),
    RGBColor(0x36, 0x93, 0x9d),
    RGBColor(0x1c, 0x75, 0x83),
    RGBColor(0x13, 0x58, 0x69),
    RGBColor(0x0e, 0x3d, 0x4f),
    RGBColor(0x09, 0x25, 0x36),
];

/// A plot as an `svg` element with axes, in which something is drawn.
pub fn draw(
    size: Size,
    label: &str,
    axes: (Axis, Axis),
    band: Option<(f64, f64)>,
    plot: impl FnOnce(&mut Chart<'_>) -> Result<(), Error<'static>>,
) -> String {
    let mut svg = String::new();
    let pixels = (size.width * FINE, size.height * FINE);
    draw_into(&mut svg, pixels, axes, band, plot).expect("memory takes all");
    let content = svg.split_once('>').map_or("", |(_, content)| content);
    let (width, height) = pixels;
    let label = escaped(label);
    format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{content}")
}

/// The style that gives every colour of the plots the page's value of that name.
pub fn css() -> String {
    let named = [
        (LINE, "line".to_owned()),
        (QUIET, "quiet".to_owned()),
        (BAND, "band".to_owned()),
        (SERVER, "server".to_owned()),
        (WASH, "wash".to_owned()),
        (CLIENT, "client".to_owned()),
    ];
    let heat =
        HEAT.into_iter().enumerate().map(|(level, colour)| (colour, format!("heat-{level}")));
    let mut css = String::new();
    for (RGBColor(red, green, blue), name) in named.into_iter().chain(heat) {
        let hex = format!("#{red:02X}{green:02X}{blue:02X}");
        writeln!(css, "svg [fill=\"{hex}\"] {{ fill: var(--{name}); }}").expect("memory");
        writeln!(css, "svg [stroke=\"{hex}\"] {{ stroke: var(--{name}); }}").expect("memory");
    }
    css
}

fn draw_into(
    svg: &mut String,
    pixels: (u32, u32),
    (x, y): (Axis, Axis),
    band: Option<(f64, f64)>,
    plot: impl FnOnce(&mut Chart<'_>) -> Result<(), Error<'static>>,
) -> Result<(), Error<'static>> {
    let (bottom, top) = (y.from(), y.to());
    let area = SVGBackend::with_string(svg, pixels).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin_top(8 * FINE)
        .margin_right(20 * FINE)
        .x_label_area_size(24 * FINE)
        .y_label_area_size(60 * FINE)
        .build_cartesian_2d(x, y)?;
    if let Some((from, to)) = band {
        let rectangle = Rectangle::new([(from, bottom), (to, top)], BAND.filled());
        chart.draw_series([rectangle])?;
    }
    // The library's font sizes are larger than what it writes.
    let font = ("sans-serif", FONT * 1.24 * f64::from(FINE)).into_font();
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(LINE.stroke_width(FINE))
        .axis_style(LINE.stroke_width(FINE))
        .label_style(TextStyle::from(font).color(&QUIET))
        .set_all_tick_mark_size(4 * FINE)
        .draw()?;
    plot(&mut chart)?;
    drop(chart);
    area.present()
}

/// Units of a plot in a pixel of the page, since the library draws at whole ones only.
pub const FINE: u32 = 4;

/// Pixels of the page for text.
const FONT: f64 = 12.5;
