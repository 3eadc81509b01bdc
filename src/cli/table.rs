//! Tables of text for people.

/// How the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows below a head, each column as wide as its widest cell. What could steer a terminal is replaced.
pub fn table(head: &[(&str, Side)], rows: &[Vec<String>]) -> String {
    let clean = |cell: &String| -> String {
        cell.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(clean).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].0.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded =
            cells.iter().zip(head).zip(&widths).map(|((cell, (_, side)), &width)| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut text = line(head.iter().map(|(name, _)| *name).collect());
    rows.iter().for_each(|row| text += &line(row.iter().map(String::as_str).collect()));
    text
}

/// Names and values, one a line.
pub fn list(pairs: &[(&str, String)]) -> String {
    let rows: Vec<Vec<String>> =
        pairs.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect();
    let text = table(&[("", Side::Left), ("", Side::Left)], &rows);
    text.lines().skip(1).map(|line| format!("{line}\n")).collect()
}

/// A size to three digits: `1.50 MiB`.
pub fn sized(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let digits = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", units[unit])
}

/// A time in its largest two units: `2h 5m`.
pub fn lasted(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use stentor::doctor::grouped;

    use super::*;

    /// Columns are as wide as they must be, numbers end together, and nothing steers the terminal.
    #[test]
    fn columns_line_up() {
        let head = [("NAME", Side::Left), ("COUNT", Side::Right), ("WHY", Side::Left)];
        let rows = [
            vec!["a".to_owned(), "1".to_owned(), String::new()],
            vec!["longer".to_owned(), "1,234,567".to_owned(), "\u{1b}[2Jx".to_owned()],
        ];
        let expected = "\
NAME        COUNT  WHY
a               1
longer  1,234,567  \u{fffd}[2Jx
";
        assert_eq!(table(&head, &rows), expected);
        assert_eq!(list(&[("a", "1".into()), ("bcd", "x".into())]), "a    1\nbcd  x\n");
    }

    /// Numbers, sizes and times are short, and carry over at their edges.
    #[test]
    fn figures_are_short() {
        let numbers = [0, 999, 1000, 12_345, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "12,345", "1,234,567"]);
        let sizes = [0, 999, 1000, 1024, 10_240, 102_400, 1_048_575, 1 << 40].map(sized);
        assert_eq!(
            sizes,
            ["0 B", "999 B", "0.98 KiB", "1.00 KiB", "10.0 KiB", "100 KiB", "1.00 MiB", "1.00 TiB"]
        );
        let times = [0, 59, 60, 3599, 3600, 86_399, 86_400, 90_000].map(lasted);
        assert_eq!(times, ["0s", "59s", "1m 0s", "59m 59s", "1h 0m", "23h 59m", "1d 0h", "1d 1h"]);
    }
}
