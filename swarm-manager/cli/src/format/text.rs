//! Short texts for tables: truncated ids, cut errors, capitalised states.

/// The first twelve characters of an id, without the digest algorithm in front.
pub(crate) fn short_id(id: &str) -> &str {
    let bare = id.split_once(':').map_or(id, |(_, rest)| rest);
    bare.get(..12).unwrap_or(bare)
}

/// Cuts a text to `width` columns; the last is then an ellipsis. East Asian wide characters take
/// two columns.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    let total: usize = text.chars().map(columns).sum();
    if total <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 0;
    for letter in text.chars() {
        used += columns(letter);
        if used > width.saturating_sub(1) {
            break;
        }
        cut.push(letter);
    }
    cut.push('…');
    cut
}

fn columns(letter: char) -> usize {
    let wide = matches!(u32::from(letter),
        0x1100..=0x115F | 0x2E80..=0x303E | 0x3041..=0xA4CF | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF | 0xFE30..=0xFE6F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1F64F | 0x1F900..=0x1F9FF | 0x20000..=0x3FFFD);
    if wide { 2 } else { 1 }
}

/// First letter upper case, the rest lower case; a single letter becomes lower case (as Docker's).
pub(crate) fn capitalise(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        None => String::new(),
        Some(first) if letters.as_str().is_empty() => first.to_lowercase().collect(),
        Some(first) => first.to_uppercase().collect::<String>() + &letters.as_str().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_the_column() {
        let error = "task: non-zero exit (137)";
        assert_eq!(ellipsis(error, 30), error);
        assert_eq!(
            ellipsis(
                "no suitable node (scheduling constraints not satisfied on 1 node)",
                30
            ),
            "no suitable node (scheduling …"
        );
        assert_eq!(ellipsis("日本語", 4), "日…");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("abc"), "abc");
        assert_eq!(capitalise("rEADY"), "Ready");
        assert_eq!(capitalise(""), "");
    }
}
