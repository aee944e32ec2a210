//! Text as a terminal shows it: what is safe to print, and how wide it is.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether a character moves the cursor or turns the line around: somebody
/// else's text must not write over ours.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text on one line, whatever it holds.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) { ' ' } else { c }).collect()
}

/// The text with its line breaks, without what steers a terminal.
pub(super) fn lines(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) && c != '\n' { ' ' } else { c }).collect()
}

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// The text in at most `columns`, with an ellipsis where it was cut.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let (mut out, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used >= columns {
            break;
        }
        out.push(c);
    }
    let mut out = out.trim_end().to_owned();
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_by_columns_not_by_characters() {
        assert_eq!(cut("plain", 5), "plain");
        assert_eq!(cut("plainer", 5), "plai…");
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(cut("漢字漢字", 4), "漢…");
        assert!((1..9).all(|w| width(&cut("a漢b字c漢", w)) <= w));
    }

    #[test]
    fn steers_no_terminal() {
        assert_eq!(one_line("a\x1b[2Jb\nc\u{202e}d\u{9b}"), "a [2Jb c d ");
        assert_eq!(lines("a\nb\r\x07c"), "a\nb  c");
    }
}
