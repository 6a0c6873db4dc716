//! Splits the text form into tokens. A word is not yet a name, number or extent: the parser knows.

use super::error::ParseError;
use crate::error::Place;
use std::iter::Peekable;
use std::str::CharIndices;

/// A piece of the text form.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'s> {
    /// A name, keyword, element type, number or extent.
    Word(&'s str),
    /// A quoted text, without quotes and escapes.
    Text(String),
    /// `@` and the axes that follow it without a space.
    Axes(Vec<i64>),
    /// One of `= , : [ ] ( ) { }`.
    Mark(char),
    /// The end of a line with something on it.
    Newline,
    /// The end of the source.
    End,
}

impl Token<'_> {
    /// What a message says was found.
    pub(super) fn describe(&self) -> String {
        match self {
            Token::Word(word) => format!("`{word}`"),
            Token::Text(text) => format!("the text {text:?}"),
            Token::Axes(_) => "axes".into(),
            Token::Mark(mark) => format!("`{mark}`"),
            Token::Newline => "the end of the line".into(),
            Token::End => "the end of the source".into(),
        }
    }
}

/// All tokens with their places; the last is [`Token::End`].
pub(super) fn lex<'s>(source: &'s str, file: &'static str) -> Result<Vec<(Token<'s>, Place)>, ParseError> {
    let start = Place { file, line: 1, column: 1 };
    let mut lexer = Lexer { source, rest: source.char_indices().peekable(), place: start };
    let (mut tokens, mut depth) = (Vec::new(), 0usize);
    loop {
        lexer.skip_blanks();
        let place = lexer.place;
        let token = lexer.token()?;
        match token {
            Token::Mark('(' | '[') => depth += 1,
            Token::Mark(')' | ']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        let blank = matches!(tokens.last(), None | Some((Token::Newline, _)));
        if token == Token::Newline && (depth > 0 || blank) {
            continue;
        }
        tokens.push((token, place));
        if let Some((Token::End, _)) = tokens.last() {
            return Ok(tokens);
        }
    }
}

struct Lexer<'s> {
    source: &'s str,
    rest: Peekable<CharIndices<'s>>,
    place: Place,
}

impl<'s> Lexer<'s> {
    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, c)| *c)
    }

    fn offset(&mut self) -> usize {
        self.rest.peek().map_or(self.source.len(), |(at, _)| *at)
    }

    fn next(&mut self) -> Option<char> {
        let (_, c) = self.rest.next()?;
        if c == '\n' {
            (self.place.line, self.place.column) = (self.place.line.saturating_add(1), 1);
        } else {
            self.place.column = self.place.column.saturating_add(1);
        }
        Some(c)
    }

    /// Skips blanks and comments within a line.
    fn skip_blanks(&mut self) {
        let mut comment = false;
        while let Some(c) = self.peek() {
            comment |= c == '#';
            if c == '\n' || !(comment || c.is_whitespace()) {
                return;
            }
            self.next();
        }
    }

    fn token(&mut self) -> Result<Token<'s>, ParseError> {
        let place = self.place;
        let Some(c) = self.peek() else { return Ok(Token::End) };
        if starts_word(c) {
            return Ok(Token::Word(self.word()));
        }
        self.next();
        match c {
            '\n' => Ok(Token::Newline),
            '"' => self.text(place),
            '@' => self.axes(place),
            '=' | ',' | ':' | '[' | ']' | '(' | ')' | '{' | '}' => Ok(Token::Mark(c)),
            found => Err(ParseError::UnexpectedCharacter { place, found }),
        }
    }

    fn word(&mut self) -> &'s str {
        let start = self.offset();
        let numeric = self.peek().is_some_and(|c| c.is_ascii_digit() || c == '-');
        let mut last = self.next();
        while let Some(c) = self.peek() {
            let exponent_sign = numeric && matches!(last, Some('e' | 'E')) && matches!(c, '+' | '-');
            if !(continues_word(c) || exponent_sign) {
                break;
            }
            last = self.next();
        }
        let end = self.offset();
        &self.source[start..end]
    }

    fn text(&mut self, place: Place) -> Result<Token<'s>, ParseError> {
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(Token::Text(text)),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some(c @ ('"' | '\\')) => text.push(c),
                    _ => {
                        return Err(ParseError::expected(
                            place,
                            r#"one of \n \" \\ after \"#,
                            "another escape",
                        ));
                    }
                },
                None | Some('\n') => {
                    return Err(ParseError::expected(place, "a closing quote", "the end of the line"));
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn axes(&mut self, place: Place) -> Result<Token<'s>, ParseError> {
        let mut axes = Vec::new();
        if !self.peek().is_some_and(|c| c.is_ascii_digit() || c == '-') {
            return Ok(Token::Axes(axes));
        }
        loop {
            let word = self.word();
            let axis = word.parse();
            axes.push(axis.map_err(|_| ParseError::BadNumber { place, found: word.into() })?);
            let mut ahead = self.rest.clone();
            let comma = ahead.next().is_some_and(|(_, c)| c == ',');
            if !(comma && ahead.next().is_some_and(|(_, c)| c.is_ascii_digit() || c == '-')) {
                return Ok(Token::Axes(axes));
            }
            self.next();
        }
    }
}

fn starts_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '%' | '-')
}

fn continues_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '^')
}
