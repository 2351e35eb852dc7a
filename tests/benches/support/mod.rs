//! What the benches share: samples taken in turns, and how they are shown.
//!
//! Absolute times drift with the machine and its other load, ratios much less:
//! everything that is compared is measured in turns, in short samples, in one
//! process. The median is what is claimed; the minimum is what an idle machine
//! would give; the quartiles are the spread.

#![allow(dead_code, reason = "each bench uses its part")]

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Quartiles of samples, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    pub min: f64,
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Stat {
    pub fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |num: usize| {
            let last = samples.len().saturating_sub(1);
            samples.get(last * num / 4).copied().unwrap_or(f64::NAN)
        };
        let (min, low, median, high) = (at(0), at(1), at(2), at(3));
        Self {
            min,
            low,
            median,
            high,
        }
    }
}

/// One of several things that are measured in turns: gives the nanoseconds of
/// one operation.
pub type Contender<'a> = (&'a str, Box<dyn FnMut() -> f64 + 'a>);

/// Samples all in turns until the time is over, five rounds at least.
pub fn in_turns(limit: Duration, contenders: &mut [Contender<'_>]) -> Vec<Stat> {
    let mut samples: Vec<Vec<f64>> = contenders.iter().map(|_| Vec::new()).collect();
    let begin = Instant::now();
    let mut round = 0;
    while round < 6 || begin.elapsed() < limit {
        for ((_, sample), kept) in contenders.iter_mut().zip(&mut samples) {
            let ns = sample();
            // The first round warms up.
            if round > 0 {
                kept.push(ns);
            }
        }
        round += 1;
    }
    samples.into_iter().map(Stat::of).collect()
}

/// Times `count` calls; nanoseconds of one.
pub fn each(count: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..count {
        call();
        black_box(());
    }
    start.elapsed().as_nanos() as f64 / f64::from(count.max(1))
}

/// A time with three digits and its unit.
pub fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns.is_nan() => return "-".into(),
        ns if ns < 9_999.5 => (ns, "ns"),
        ns if ns < 9_999_500.0 => (ns / 1e3, "µs"),
        ns => (ns / 1e6, "ms"),
    };
    let digits = if value < 10.0 {
        2
    } else {
        usize::from(value < 1000.0)
    };
    format!("{value:.digits$} {unit}")
}

/// Prints a table of contenders; the ratio is to the first's median.
pub fn show(title: &str, contenders: &[Contender<'_>], stats: &[Stat]) {
    println!("\n{title}");
    println!(
        "  {:34} {:>10} {:>10} {:>10} {:>10} {:>6}",
        "", "min", "25%", "median", "75%", "ratio"
    );
    let base = stats.first().map_or(f64::NAN, |s| s.median);
    for ((name, _), s) in contenders.iter().zip(stats) {
        println!(
            "  {name:34} {:>10} {:>10} {:>10} {:>10} {:>6.2}",
            time(s.min),
            time(s.low),
            time(s.median),
            time(s.high),
            s.median / base
        );
    }
}
