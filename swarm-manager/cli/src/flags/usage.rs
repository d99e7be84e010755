//! The `Options:` block of a help text: names in one column, explanations wrapped in the next.

use super::{Flag, Kind};

/// Lays out `flags`, sorted by name, in `width` columns.
pub(crate) fn usage(flags: &[Flag], width: usize) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut sorted: Vec<&Flag> = flags.iter().collect();
    sorted.sort_by_key(|flag| flag.name);
    for flag in sorted {
        rows.push((name_column(flag), help_column(flag)));
    }
    let indent = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 3;
    let mut text = String::new();
    for (name, help) in rows {
        text.push_str(&name);
        text.push_str(&" ".repeat(indent - name.len()));
        text.push_str(&wrap(&help, indent, width));
        text.push('\n');
    }
    text
}

fn name_column(flag: &Flag) -> String {
    let mut line = flag.short.map_or_else(
        || format!("      --{}", flag.name),
        |s| format!("  -{s}, --{}", flag.name),
    );
    if !flag.kind.type_name().is_empty() {
        line.push(' ');
        line.push_str(flag.kind.type_name());
    }
    line
}

fn help_column(flag: &Flag) -> String {
    match (flag.default, flag.kind) {
        ("", _) => flag.help.to_owned(),
        (default, Kind::Text) => format!("{} (default {default:?})", flag.help),
        (default, _) => format!("{} (default {default})", flag.help),
    }
}

/// Wraps as pflag does: lines of `width - indent` columns, and a rest of up to five columns more
/// stays on its line.
fn wrap(help: &str, indent: usize, width: usize) -> String {
    const SLOP: usize = 5;
    let columns = width.saturating_sub(indent);
    let separator = format!("\n{}", " ".repeat(indent));
    if columns < 24 {
        return help.replace('\n', &separator);
    }
    let mut lines = Vec::new();
    let mut rest = help;
    let room = columns - SLOP;
    while rest.len() >= room + SLOP {
        let head = &rest[..room];
        let Some(blank) = head.rfind([' ', '\t', '\n']).filter(|at| *at > 0) else {
            break;
        };
        let at = head.rfind('\n').filter(|at| *at > 0).unwrap_or(blank);
        lines.push(&rest[..at]);
        rest = &rest[at + 1..];
    }
    lines.push(rest);
    lines.join("\n").replace('\n', &separator)
}

#[cfg(test)]
mod tests {
    use super::super::flag;
    use super::*;

    #[test]
    fn short_texts_stay_on_one_line() {
        let flags = [
            flag("rotate", Kind::Bool, "Rotate join token"),
            flag("quiet", Kind::Bool, "Only display token").short('q'),
        ];
        assert_eq!(
            usage(&flags, 80),
            "  -q, --quiet    Only display token\n      --rotate   Rotate join token\n"
        );
    }

    #[test]
    fn long_texts_wrap_under_themselves() {
        let flags = [flag(
            "advertise-addr",
            Kind::Text,
            "Advertised address (format: \"<ip|interface>[:port]\")",
        )
        .default("x")];
        assert_eq!(
            usage(&flags, 80),
            concat!(
                "      --advertise-addr string   Advertised address (format:\n",
                "                                \"<ip|interface>[:port]\") (default \"x\")\n",
            )
        );
    }
}
