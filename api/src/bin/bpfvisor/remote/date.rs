//! Times of day as bpftool prints them.

use std::time::Duration;

const DAY: u64 = 86_400;

/// Seconds since 1970 of a moment that is known since the host's boot.
pub fn since_1970(since_boot: Duration) -> u64 {
    let boot = std::fs::read_to_string("/proc/stat").ok().and_then(|stat| {
        let line = stat.lines().find_map(|l| l.strip_prefix("btime "))?;
        line.trim().parse::<u64>().ok()
    });
    boot.unwrap_or(0).saturating_add(since_boot.as_secs())
}

/// Date and time, UTC.
pub fn text(since_1970: u64) -> String {
    let (day, second) = (since_1970 / DAY, since_1970 % DAY);
    let (year, month, day) = date(day);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}+0000",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Year, month and day of a number of days since 1970. Years are counted from March, so
/// that the leap day is their last, and in cycles of 400.
fn date(days: u64) -> (u64, u64, u64) {
    const CYCLE: u64 = 146_097;
    let days = days + 719_468;
    let (cycle, day) = (days / CYCLE, days % CYCLE);
    let year = (day - day / 1460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (cycle * 400 + year + next, month, date)
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00+0000"),
            (951_827_696, "2000-02-29T12:34:56+0000"),
            (1_735_689_599, "2024-12-31T23:59:59+0000"),
            (1_772_323_200, "2026-03-01T00:00:00+0000"),
            (4_107_542_399, "2100-02-28T23:59:59+0000"),
            (4_107_542_400, "2100-03-01T00:00:00+0000"),
        ] {
            assert_eq!(text(seconds), date);
        }
    }
}
