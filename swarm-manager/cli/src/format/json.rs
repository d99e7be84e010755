//! JSON texts: re-indented without touching a token, and encoded as Go encodes.

use serde_json::Value;

/// Re-indents JSON text with four spaces. Tokens, their order and their escapes stay as the
/// server wrote them, so nothing is lost in a round trip through types.
pub(crate) fn indent(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len() * 2);
    let mut depth = 0usize;
    let mut letters = raw.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                out.push('"');
                copy_string(&mut letters, &mut out);
            }
            '{' | '[' => {
                out.push(letter);
                while letters.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(close) = letters.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(',');
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            blank if blank.is_ascii_whitespace() => {}
            other => out.push(other),
        }
    }
    out
}

fn copy_string(letters: &mut impl Iterator<Item = char>, out: &mut String) {
    while let Some(letter) = letters.next() {
        out.push(letter);
        match letter {
            '\\' => out.extend(letters.next()),
            '"' => return,
            _ => {}
        }
    }
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.push_str(&"    ".repeat(depth));
}

/// A value on one line as Go encodes it: `<`, `>` and `&` escaped.
pub(crate) fn compact(value: &Value) -> String {
    value
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn indenting_keeps_every_token() {
        let raw = r#"[{"b":1.50,"a":[],"n":null,"m":{},"t":"x: {\"y\"},\u003c","l":[1,true]}]"#;
        let expected = concat!(
            "[\n    {\n        \"b\": 1.50,\n        \"a\": [],\n        \"n\": null,\n",
            "        \"m\": {},\n        \"t\": \"x: {\\\"y\\\"},\\u003c\",\n",
            "        \"l\": [\n            1,\n            true\n        ]\n    }\n]"
        );
        assert_eq!(indent(raw), expected);
        assert_eq!(indent(&indent(raw)), expected);
    }

    #[test]
    fn compact_escapes_as_go_does() {
        assert_eq!(
            compact(&json!({"p": "a->b&<"})),
            r#"{"p":"a-\u003eb\u0026\u003c"}"#
        );
    }
}
