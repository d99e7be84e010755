//! Splits a text into words as a shell does: blanks, quotes, backslashes, comments.

/// The words of `text`.
pub(crate) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '#' if word.is_none() => {
                letters.by_ref().find(|c| *c == '\n');
            }
            '\'' => {
                let target = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some('\'') => break,
                        Some(inner) => target.push(inner),
                        None => return Err("EOF found when expecting closing quote".to_owned()),
                    }
                }
            }
            '"' => double_quoted(&mut letters, word.get_or_insert_default())?,
            '\\' => {
                let escaped = letters.next().ok_or("EOF found after escape character")?;
                word.get_or_insert_default().push(escaped);
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

fn double_quoted(
    letters: &mut impl Iterator<Item = char>,
    word: &mut String,
) -> Result<(), String> {
    loop {
        match letters.next() {
            Some('"') => return Ok(()),
            Some('\\') => {
                let escaped = letters
                    .next()
                    .ok_or("EOF found when expecting closing quote")?;
                word.push(escaped);
            }
            Some(inner) => word.push(inner),
            None => return Err("EOF found when expecting closing quote".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_split_as_in_a_shell() {
        assert_eq!(split("a b  c").unwrap(), ["a", "b", "c"]);
        assert_eq!(
            split("sh -c 'echo \"x y\"'").unwrap(),
            ["sh", "-c", "echo \"x y\""]
        );
        assert_eq!(split("a\\ b \"c d\"e").unwrap(), ["a b", "c de"]);
        assert_eq!(split("\"\" x # rest").unwrap(), ["", "x"]);
        assert_eq!(split("").unwrap(), Vec::<String>::new());
        assert_eq!(
            split("'a").unwrap_err(),
            "EOF found when expecting closing quote"
        );
    }
}
