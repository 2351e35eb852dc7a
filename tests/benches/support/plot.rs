//! Lines over a logarithmic axis, as SVG and as CSV.

use std::fmt::Write;

/// One line of a plot.
pub struct Series {
    pub name: &'static str,
    /// x, y.
    pub points: Vec<(f64, f64)>,
}

/// What is drawn. x is logarithmic.
pub struct Plot {
    pub title: &'static str,
    pub x: &'static str,
    pub y: &'static str,
    /// Whether y is logarithmic, too; otherwise it begins with 0.
    pub log_y: bool,
    pub series: Vec<Series>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 6] = [
    "#0b62a4", "#c0392b", "#6aaed6", "#e59866", "#2e7d32", "#7d3c98",
];

impl Plot {
    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series.iter().flat_map(|s| s.points.iter().copied())
    }

    /// The places on the x axis, in order.
    fn places(&self) -> Vec<f64> {
        let mut all: Vec<f64> = self.points().map(|p| p.0).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        all
    }

    /// A line of names, then a line for each place.
    pub fn csv(&self) -> String {
        let mut out = self.x.replace(',', ";");
        for s in &self.series {
            let _ = write!(out, ",{}", s.name.replace(',', ";"));
        }
        out.push('\n');
        for x in self.places() {
            let _ = write!(out, "{x}");
            for s in &self.series {
                let y = s.points.iter().find(|p| p.0 == x);
                let y = y.map_or(String::new(), |p| format!("{:.2}", p.1));
                let _ = write!(out, ",{y}");
            }
            out.push('\n');
        }
        out
    }

    /// The numbers on the y axis, from its bottom to its top.
    fn steps(&self) -> Vec<f64> {
        let most = self.points().map(|p| p.1).fold(0.0, f64::max);
        if self.log_y {
            let least = self.points().map(|p| p.1).fold(most, f64::min);
            let (low, high) = (least.log10().floor(), most.log10().ceil());
            let tens = low as i32..=high as i32;
            return tens.map(|n| 10f64.powi(n)).collect();
        }
        let step = step(most);
        let count = (most / step).ceil() as u32;
        (0..=count).map(|n| f64::from(n) * step).collect()
    }

    pub fn svg(&self) -> String {
        let (places, steps) = (self.places(), self.steps());
        let scale = |y: f64| if self.log_y { y.ln() } else { y };
        let (first, last) = (places[0].ln(), places[places.len() - 1].ln());
        let (low, high) = (scale(steps[0]), scale(steps[steps.len() - 1]));
        let right = WIDTH - RIGHT;
        let at_x = |x: f64| LEFT + (x.ln() - first) / (last - first) * (right - LEFT);
        let height = HEIGHT - BOTTOM - TOP;
        let at_y = |y: f64| HEIGHT - BOTTOM - (scale(y) - low) / (high - low) * height;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let text = |x: f64, y: f64, anchor: &str, text: &str| {
            format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n")
        };
        out += &text(LEFT, TOP - 18.0, "start", self.title);
        out += &text((LEFT + right) / 2.0, HEIGHT - 10.0, "middle", self.x);
        out += &text(LEFT - 6.0, TOP - 10.0, "end", self.y);
        for n in steps {
            let y = at_y(n);
            out += &line(&[(LEFT, y), (right, y)], "#dddddd", 1.0);
            out += &text(LEFT - 6.0, y + 4.0, "end", &short(n));
        }
        for x in &places {
            out += &text(at_x(*x), HEIGHT - BOTTOM + 18.0, "middle", &short(*x));
        }
        for (n, s) in self.series.iter().enumerate() {
            let colour = COLOURS[n % COLOURS.len()];
            let points: Vec<_> = s.points.iter().map(|p| (at_x(p.0), at_y(p.1))).collect();
            out += &line(&points, colour, 2.0);
            for (x, y) in points {
                let _ = writeln!(
                    out,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
                );
            }
            let y = TOP + 10.0 + 20.0 * n as f64;
            out += &line(&[(right + 12.0, y), (right + 32.0, y)], colour, 2.0);
            out += &text(right + 38.0, y + 4.0, "start", s.name);
        }
        out + "</svg>\n"
    }
}

fn line(points: &[(f64, f64)], colour: &str, width: f64) -> String {
    let points: Vec<_> = points
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    format!(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>\n",
        points.join(" ")
    )
}

/// A step of 1, 2 or 5 times a power of ten that makes four to ten of `most`.
fn step(most: f64) -> f64 {
    let power = 10f64.powf((most / 10.0).max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|s| s * power);
    steps
        .into_iter()
        .find(|s| most / s <= 10.0)
        .unwrap_or(power * 10.0)
}

/// 1K for 1024 or 1000, 10M for ten millions.
fn short(n: f64) -> String {
    match n {
        n if n >= 1e6 => format!("{}M", (n / 1e6).round()),
        n if n >= 1e3 => format!("{}K", (n / 1e3).round()),
        n => format!("{n}"),
    }
}
