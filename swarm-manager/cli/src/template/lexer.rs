//! Cuts a template into text and the tokens of its actions.

use super::TemplateError;

/// A token with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) line: usize,
    pub(super) column: usize,
    /// Whether a blank stands before it: `.A .B` are two operands, `.A.B` one.
    pub(super) spaced: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// Text outside of actions.
    Text(String),
    Open,
    Close,
    Dot,
    /// `.Name`
    Field(String),
    /// `$name`, with an empty name for `$`.
    Variable(String),
    Word(String),
    Quoted(String),
    Int(i64),
    Float(f64),
    Pipe,
    Comma,
    Declare,
    Assign,
    LeftParen,
    RightParen,
}

/// Cuts the whole template.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, TemplateError> {
    let mut lexer = Lexer {
        source,
        at: 0,
        out: Vec::new(),
    };
    lexer.run()?;
    Ok(lexer.out)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    out: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn line(&self, at: usize) -> usize {
        self.source[..at].matches('\n').count() + 1
    }

    fn error(&self, reason: impl Into<String>) -> TemplateError {
        TemplateError::Syntax {
            line: self.line(self.at),
            reason: reason.into(),
        }
    }

    fn push(&mut self, kind: TokenKind, start: usize, spaced: bool) {
        let line_start = self.source[..start].rfind('\n').map_or(0, |at| at + 1);
        let (line, column) = (self.line(start), start - line_start);
        self.out.push(Token {
            kind,
            line,
            column,
            spaced,
        });
    }

    fn run(&mut self) -> Result<(), TemplateError> {
        let mut trim_left = false;
        while !self.rest().is_empty() {
            let start = self.at;
            let open = self.rest().find("{{");
            let text = &self.rest()[..open.unwrap_or_else(|| self.rest().len())];
            self.at += text.len();
            let trim_right = open.is_some() && starts_trimmed(&self.rest()[2..]);
            let mut shown = if trim_left { text.trim_start() } else { text };
            if trim_right {
                shown = shown.trim_end();
            }
            if !shown.is_empty() {
                self.push(TokenKind::Text(shown.to_owned()), start, false);
            }
            if open.is_some() {
                trim_left = self.action(trim_right)?;
            }
        }
        Ok(())
    }

    /// One action from `{{` to `}}`; returns whether the text behind it is trimmed.
    fn action(&mut self, trimmed: bool) -> Result<bool, TemplateError> {
        let start = self.at;
        self.at += if trimmed { 3 } else { 2 };
        let after_blank = self.rest().trim_start();
        if after_blank.starts_with("/*") {
            return self.comment();
        }
        self.push(TokenKind::Open, start, false);
        loop {
            let blank = self.rest().len() - self.rest().trim_start().len();
            self.at += blank;
            let rest = self.rest();
            if rest.is_empty() {
                return Err(self.error("unclosed action"));
            }
            let trim = blank > 0 && rest.starts_with("-}}");
            if trim || rest.starts_with("}}") {
                self.push(TokenKind::Close, self.at, false);
                self.at += if trim { 3 } else { 2 };
                return Ok(trim);
            }
            self.token(blank > 0)?;
        }
    }

    fn comment(&mut self) -> Result<bool, TemplateError> {
        let end = self
            .rest()
            .find("*/")
            .ok_or_else(|| self.error("unclosed comment"))?;
        self.at += end + 2;
        let rest = self.rest();
        let trim = rest.trim_start() != rest && rest.trim_start().starts_with("-}}");
        let close = if trim {
            rest.find("}}")
        } else {
            rest.starts_with("}}").then_some(0)
        };
        let close = close.ok_or_else(|| self.error("comment ends before closing delimiter"))?;
        self.at += close + 2;
        Ok(trim)
    }

    fn token(&mut self, spaced: bool) -> Result<(), TemplateError> {
        let start = self.at;
        let rest = self.rest();
        let first = rest.chars().next().unwrap_or_default();
        let name_length = |text: &str| {
            text.find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(text.len())
        };
        let (kind, length) = match first {
            '|' => (TokenKind::Pipe, 1),
            ',' => (TokenKind::Comma, 1),
            '(' => (TokenKind::LeftParen, 1),
            ')' => (TokenKind::RightParen, 1),
            ':' if rest.starts_with(":=") => (TokenKind::Declare, 2),
            '=' => (TokenKind::Assign, 1),
            '"' | '`' => self.quoted(first)?,
            '$' => {
                let length = name_length(&rest[1..]);
                (TokenKind::Variable(rest[1..=length].to_owned()), length + 1)
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                match name_length(&rest[1..]) {
                    0 => (TokenKind::Dot, 1),
                    length => (TokenKind::Field(rest[1..=length].to_owned()), length + 1),
                }
            }
            c if c.is_ascii_digit() || "+-.".contains(c) => self.number()?,
            c if c.is_alphabetic() || c == '_' => {
                let length = name_length(rest);
                (TokenKind::Word(rest[..length].to_owned()), length)
            }
            other => return Err(self.error(format!("unexpected {other:?} in command"))),
        };
        self.push(kind, start, spaced);
        self.at = start + length;
        Ok(())
    }

    fn number(&self) -> Result<(TokenKind, usize), TemplateError> {
        let rest = self.rest();
        let body = rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_');
        let length = body.map_or(rest.len(), |at| at + 1);
        let text = &rest[..length];
        let kind = text
            .parse()
            .map(TokenKind::Int)
            .or_else(|_| text.parse().map(TokenKind::Float))
            .map_err(|_| self.error(format!("bad number syntax: {text:?}")))?;
        Ok((kind, length))
    }

    fn quoted(&self, quote: char) -> Result<(TokenKind, usize), TemplateError> {
        let rest = self.rest();
        let mut text = String::new();
        let mut letters = rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            match letter {
                c if c == quote => return Ok((TokenKind::Quoted(text), at + 1)),
                '\\' if quote == '"' => match letters.next().map(|(_, c)| c) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(c @ ('"' | '\\' | '\'')) => text.push(c),
                    _ => return Err(self.error("invalid escape in quoted string")),
                },
                '\n' if quote == '"' => break,
                other => text.push(other),
            }
        }
        Err(self.error("unterminated quoted string"))
    }
}

/// Whether an action begins with the trim marker `- `.
fn starts_trimmed(action: &str) -> bool {
    let mut letters = action.chars();
    letters.next() == Some('-') && letters.next().is_some_and(char::is_whitespace)
}
