//! Builds the tree of a template from its tokens.

use super::TemplateError;
use super::lexer::{Token, TokenKind};

/// A piece of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    /// Prints a pipeline, or sets a variable and prints nothing.
    Action(Pipeline),
    If {
        condition: Pipeline,
        then: Vec<Self>,
        otherwise: Vec<Self>,
    },
    With {
        value: Pipeline,
        then: Vec<Self>,
        otherwise: Vec<Self>,
    },
    Range {
        over: Pipeline,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
}

/// `[$a[, $b] :=] command | command ...`
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    /// Whether the variables are new (`:=`) or set (`=`).
    pub(super) declares: bool,
    pub(super) commands: Vec<Vec<Operand>>,
    pub(super) place: Place,
}

/// Where a pipeline stands and its text, for errors.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A value in a command, with the fields taken from it.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
    pub(super) place: Place,
}

#[derive(Debug, Clone)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Nil,
    Function(String),
    Nested(Pipeline),
}

/// Parses all tokens of a template.
pub(super) fn parse(tokens: &[Token]) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { tokens, at: 0 };
    let (nodes, end) = parser.nodes()?;
    match end {
        End::Eof => Ok(nodes),
        End::Else(_) => Err(parser.error("unexpected {{else}}")),
        End::Closed => Err(parser.error("unexpected {{end}}")),
    }
}

/// What closed a list of nodes.
enum End {
    Eof,
    Closed,
    /// `{{else}}`, or `{{else if ...}}` with the rest of the chain parsed.
    Else(Option<Vec<Node>>),
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn error(&self, reason: impl Into<String>) -> TemplateError {
        let token = self
            .tokens
            .get(self.at.min(self.tokens.len().saturating_sub(1)));
        TemplateError::Syntax {
            line: token.map_or(1, |t| t.line),
            reason: reason.into(),
        }
    }

    fn peek(&self) -> Option<&TokenKind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn take(&mut self, kind: &TokenKind) -> bool {
        let same = self.peek() == Some(kind);
        self.at += usize::from(same);
        same
    }

    fn word(&mut self) -> Option<String> {
        let Some(TokenKind::Word(word)) = self.peek() else {
            return None;
        };
        let word = word.clone();
        self.at += 1;
        Some(word)
    }

    fn close(&mut self) -> Result<(), TemplateError> {
        if self.take(&TokenKind::Close) {
            Ok(())
        } else {
            Err(self.error("unexpected token in command"))
        }
    }

    fn place(&self) -> Place {
        let token = self.tokens.get(self.at);
        token.map_or_else(Place::default, |t| Place {
            line: t.line,
            column: t.column,
        })
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(kind) = self.peek() {
            if let TokenKind::Text(text) = kind {
                nodes.push(Node::Text(text.clone()));
                self.at += 1;
                continue;
            }
            self.at += 1; // the opening delimiter
            let keyword = match self.peek() {
                Some(TokenKind::Word(word)) => word.clone(),
                _ => String::new(),
            };
            match keyword.as_str() {
                "end" => {
                    self.at += 1;
                    self.close()?;
                    return Ok((nodes, End::Closed));
                }
                "else" => {
                    self.at += 1;
                    return Ok((nodes, End::Else(self.else_branch()?)));
                }
                "if" | "with" | "range" => {
                    self.at += 1;
                    nodes.push(self.block(&keyword)?);
                }
                "define" | "block" | "template" | "break" | "continue" => {
                    return Err(self.error(format!("{{{{{keyword}}}}} is not supported")));
                }
                _ => {
                    let pipeline = self.pipeline()?;
                    self.close()?;
                    nodes.push(Node::Action(pipeline));
                }
            }
        }
        Ok((nodes, End::Eof))
    }

    fn else_branch(&mut self) -> Result<Option<Vec<Node>>, TemplateError> {
        match self.word().as_deref() {
            None => self.close().map(|()| None),
            Some(keyword @ ("if" | "with")) => Ok(Some(vec![self.block(keyword)?])),
            Some(other) => Err(self.error(format!("unexpected {other:?} after else"))),
        }
    }

    fn block(&mut self, keyword: &str) -> Result<Node, TemplateError> {
        let head = self.pipeline()?;
        self.close()?;
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            End::Closed => Vec::new(),
            End::Eof => return Err(self.error("unexpected EOF")),
            // The chained block has taken the only {{end}}.
            End::Else(Some(chain)) => chain,
            End::Else(None) => match self.nodes()? {
                (nodes, End::Closed) => nodes,
                (_, End::Else(_)) => return Err(self.error("expected end; found {{else}}")),
                (_, End::Eof) => return Err(self.error("unexpected EOF")),
            },
        };
        Ok(match keyword {
            "if" => Node::If {
                condition: head,
                then: body,
                otherwise,
            },
            "with" => Node::With {
                value: head,
                then: body,
                otherwise,
            },
            _ => Node::Range {
                over: head,
                body,
                otherwise,
            },
        })
    }

    fn pipeline(&mut self) -> Result<Pipeline, TemplateError> {
        let place = self.place();
        let (variables, declares) = self.declaration();
        let mut commands = vec![self.command()?];
        while self.take(&TokenKind::Pipe) {
            commands.push(self.command()?);
        }
        Ok(Pipeline {
            variables,
            declares,
            commands,
            place,
        })
    }

    /// `$a :=`, `$a, $b :=` or `$a =`; nothing is taken when it is none of these.
    fn declaration(&mut self) -> (Vec<String>, bool) {
        let start = self.at;
        let mut names = Vec::new();
        while let Some(TokenKind::Variable(name)) = self.peek() {
            names.push(name.clone());
            self.at += 1;
            if !self.take(&TokenKind::Comma) {
                break;
            }
        }
        if !names.is_empty() {
            if self.take(&TokenKind::Declare) {
                return (names, true);
            }
            if self.take(&TokenKind::Assign) {
                return (names, false);
            }
        }
        self.at = start;
        (Vec::new(), false)
    }

    fn command(&mut self) -> Result<Vec<Operand>, TemplateError> {
        let mut operands = Vec::new();
        while let Some(operand) = self.operand()? {
            operands.push(operand);
        }
        if operands.is_empty() {
            Err(self.error("missing value for command"))
        } else {
            Ok(operands)
        }
    }

    fn operand(&mut self) -> Result<Option<Operand>, TemplateError> {
        let place = self.place();
        let mut fields = Vec::new();
        let Some(base) = self.base(&mut fields)? else {
            return Ok(None);
        };
        self.at += 1;
        while let Some(Token {
            kind: TokenKind::Field(name),
            spaced: false,
            ..
        }) = self.tokens.get(self.at)
        {
            fields.push(name.clone());
            self.at += 1;
        }
        Ok(Some(Operand {
            base,
            fields,
            place,
        }))
    }

    /// What an operand starts with, its last token not yet taken; none when no operand starts here.
    fn base(&mut self, fields: &mut Vec<String>) -> Result<Option<Base>, TemplateError> {
        let Some(kind) = self.peek().cloned() else {
            return Err(self.error("unclosed action"));
        };
        Ok(Some(match kind {
            TokenKind::Dot => Base::Dot,
            TokenKind::Field(name) => {
                fields.push(name);
                Base::Dot
            }
            TokenKind::Variable(name) => Base::Variable(name),
            TokenKind::Quoted(text) => Base::Text(text),
            TokenKind::Int(number) => Base::Int(number),
            TokenKind::Float(number) => Base::Float(number),
            TokenKind::Word(word) => self.named(word)?,
            TokenKind::LeftParen => {
                self.at += 1;
                let inner = self.pipeline()?;
                if self.peek() != Some(&TokenKind::RightParen) {
                    return Err(self.error("unclosed left paren"));
                }
                Base::Nested(inner)
            }
            TokenKind::Text(_)
            | TokenKind::Open
            | TokenKind::Close
            | TokenKind::Pipe
            | TokenKind::Comma
            | TokenKind::Declare
            | TokenKind::Assign
            | TokenKind::RightParen => return Ok(None),
        }))
    }

    fn named(&self, word: String) -> Result<Base, TemplateError> {
        match word.as_str() {
            "true" => Ok(Base::Bool(true)),
            "false" => Ok(Base::Bool(false)),
            "nil" => Ok(Base::Nil),
            _ if super::functions::exists(&word) => Ok(Base::Function(word)),
            _ => Err(self.error(format!("function {word:?} not defined"))),
        }
    }
}
