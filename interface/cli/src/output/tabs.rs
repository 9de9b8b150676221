//! Columns: cells end in tabs, and each run of lines that have a column gets it as wide as its widest cell (Go's
//! text/tabwriter without flags).

/// Spaces between columns.
const PADDING: usize = 3;

/// Aligns the cells of `text`; a column is at least `minimum` wide.
pub fn align(text: &str, minimum: usize) -> String {
    align_with(text, minimum, PADDING)
}

/// The same with another number of spaces between columns.
pub fn align_with(text: &str, minimum: usize, padding: usize) -> String {
    let ends_with_newline = text.ends_with('\n');
    let body = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<Vec<&str>> = body.split('\n').map(|line| line.split('\t').collect()).collect();
    let widths = widths(&lines, minimum, padding);
    let mut out = String::with_capacity(text.len() * 2);
    for (i, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if i > 0 {
            out.push('\n');
        }
        for (j, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(j) {
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(display_width(cell))));
            }
        }
    }
    if ends_with_newline {
        out.push('\n');
    }
    out
}

/// For each line the widths of its columns; the last cell of a line is in none.
fn widths(lines: &[Vec<&str>], minimum: usize, padding: usize) -> Vec<Vec<usize>> {
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut line = 0;
        while line < lines.len() {
            let has = |l: &usize| lines[*l].len() > column + 1;
            if !has(&line) {
                line += 1;
                continue;
            }
            let end = (line..lines.len()).find(|l| !has(l)).unwrap_or(lines.len());
            let widest = lines[line..end].iter().map(|cells| display_width(cells[column])).max().unwrap_or(0);
            for widths in &mut widths[line..end] {
                widths[column] = minimum.max(widest + padding);
            }
            line = end;
        }
    }
    widths
}

/// Columns that a text takes on a terminal: East Asian wide characters take two.
pub fn display_width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Columns that a character takes.
pub fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0x33ff
        | 0x3400..=0x4dbf
        | 0x4e00..=0x9fff
        | 0xa000..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1_f300..=0x1_f64f
        | 0x1_f900..=0x1_f9ff
        | 0x2_0000..=0x3_fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_end_with_their_block() {
        let text = "a\tb\tc\nlong cell here\tb\tc\nno tabs\nx\ty\n\tz\n";
        let shown = align(text, 10).replace(' ', ".");
        insta::assert_snapshot!(shown, @r"
        a................b.........c
        long.cell.here...b.........c
        no.tabs
        x.........y
        ..........z
        ");
    }

    #[test]
    fn a_trailing_tab_pads() {
        assert_eq!(align("a\t\nb", 10), "a         \nb");
        assert_eq!(align("", 10), "");
    }
}
