//! Tables: aligned columns with headings on a terminal, cut to its width;
//! one row a line, tab-separated and complete, for everything else.

use super::text::{cut, one_line, width};
use super::{Output, Tone};

/// Between two columns of a terminal.
const GAP: usize = 2;
/// A column that may be cut keeps at least this much.
const LEAST: usize = 8;

/// What happens to a column that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Never cut: an id, a time.
    Whole,
    /// Never cut, aligned to the right.
    Number,
    /// Text for people: cut until the row fits.
    Cut,
}

/// One cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: None }
    }
}

impl Cell {
    /// A text in a tone.
    pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Some(tone) }
    }
}

/// A table that is written a page at a time: the first page settles the widths,
/// so that a listing of any length is never held whole.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Fit)>,
    widths: Option<Vec<usize>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(columns: &[(&'static str, Fit)]) -> Self {
        Self { columns: columns.to_vec(), widths: None }
    }

    /// Writes rows.
    pub(crate) fn rows(&mut self, mut rows: Vec<Vec<Cell>>, out: &mut Output) {
        rows.iter_mut().flatten().for_each(|c| c.text = one_line(&c.text));
        let Some(terminal) = out.terminal() else {
            for row in rows {
                let cells: Vec<String> = row.into_iter().map(|c| c.text).collect();
                out.line(cells.join("\t"));
            }
            return;
        };
        let widths = match self.widths.take() {
            Some(widths) => widths,
            None if rows.is_empty() => return,
            None => {
                let widths = self.settle(&rows, terminal);
                let heading = self.columns.iter().map(|(title, _)| Cell::toned(Tone::Dim, *title)).collect();
                out.line(self.row(heading, &widths, out));
                widths
            }
        };
        for row in rows {
            let line = self.row(row, &widths, out);
            out.line(line);
        }
        self.widths = Some(widths);
    }

    /// The widths of the columns on a terminal.
    fn settle(&self, rows: &[Vec<Cell>], terminal: usize) -> Vec<usize> {
        let cell = |c: usize| rows.iter().filter_map(move |r| r.get(c)).map(|t| width(&t.text));
        let mut widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(c, (title, _))| cell(c).max().unwrap_or(0).max(width(title))).collect();
        let gaps = GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > terminal {
            let cuttable = self.columns.iter().zip(&mut widths).filter(|((_, fit), w)| *fit == Fit::Cut && **w > LEAST);
            let Some((_, widest)) = cuttable.max_by_key(|(_, w)| **w) else { break };
            *widest -= 1;
        }
        // The last column has all that is left, for the pages to come.
        if let (Some(last), Some((_, Fit::Cut))) = (widths.len().checked_sub(1), self.columns.last()) {
            let before: usize = widths[..last].iter().sum();
            widths[last] = widths[last].max(terminal.saturating_sub(before + gaps));
        }
        widths
    }

    fn row(&self, row: Vec<Cell>, widths: &[usize], out: &Output) -> String {
        let mut line = String::new();
        for ((cell, (_, fit)), w) in row.into_iter().zip(&self.columns).zip(widths) {
            let text = if *fit == Fit::Cut { cut(&cell.text, *w) } else { cell.text };
            let pad = " ".repeat(w.saturating_sub(width(&text)));
            let text = cell.tone.map_or_else(|| text.clone(), |tone| out.tone(tone, &text));
            line.push_str(&if *fit == Fit::Number { format!("{pad}{text}") } else { format!("{text}{pad}") });
            line.push_str(&" ".repeat(GAP));
        }
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widths(columns: &[Fit], rows: &[&[&str]], terminal: usize) -> Vec<usize> {
        let columns: Vec<_> = columns.iter().map(|fit| ("T", *fit)).collect();
        let rows: Vec<Vec<Cell>> = rows.iter().map(|r| r.iter().map(|t| Cell::from(*t)).collect()).collect();
        Table::new(&columns).settle(&rows, terminal)
    }

    #[test]
    fn text_gives_way_ids_do_not() {
        use Fit::{Cut, Whole};
        let long = "x".repeat(60);
        assert_eq!(widths(&[Whole, Cut], &[&["0123456789", &long]], 40), [10, 28]);
        assert_eq!(widths(&[Whole, Whole], &[&[&long, "y"]], 40), [60, 1], "an id is never cut");
        assert_eq!(widths(&[Cut, Whole, Cut], &[&[&long, "0123456789", &long]], 54), [20, 10, 20]);
        assert_eq!(widths(&[Whole, Cut], &[&["id", "short"]], 40), [2, 36], "the last column has the rest");
        assert_eq!(widths(&[Whole, Cut], &[&[&long, &long]], 40)[1], LEAST);
    }
}
