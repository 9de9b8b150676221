//! From text to tokens.

use crate::quote::quote;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Byte in the text.
    pub pos: usize,
    /// Line, from 1.
    pub line: usize,
    /// As written; the message of an error.
    pub text: String,
}

/// Kinds of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Error,
    Eof,
    Text,
    Open,
    Close,
    Space,
    Assign,
    Declare,
    Pipe,
    LeftParen,
    RightParen,
    /// Any other character, such as a comma.
    Char,
    Str,
    RawStr,
    CharConstant,
    Number,
    Complex,
    Bool,
    Field,
    Variable,
    Identifier,
    Dot,
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

impl Kind {
    fn of_word(word: &str) -> Kind {
        match word {
            "block" => Kind::Block,
            "break" => Kind::Break,
            "continue" => Kind::Continue,
            "define" => Kind::Define,
            "else" => Kind::Else,
            "end" => Kind::End,
            "if" => Kind::If,
            "nil" => Kind::Nil,
            "range" => Kind::Range,
            "template" => Kind::Template,
            "with" => Kind::With,
            "true" | "false" => Kind::Bool,
            _ => Kind::Identifier,
        }
    }

    fn is_keyword(self) -> bool {
        use Kind::{Block, Break, Continue, Define, Dot, Else, End, If, Nil, Range, Template, With};
        matches!(self, Block | Break | Continue | Define | Dot | Else | End | If | Nil | Range | Template | With)
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Kind::Eof => f.write_str("EOF"),
            Kind::Error => f.write_str(&self.text),
            kind if kind.is_keyword() => write!(f, "<{}>", self.text),
            _ if self.text.len() > 10 => {
                write!(f, "{}...", quote(&self.text.chars().take(10).collect::<String>()))
            }
            _ => f.write_str(&quote(&self.text)),
        }
    }
}

const SPACE: &[char] = &[' ', '\t', '\r', '\n'];

/// Splits a template into tokens; the last one is [`Kind::Eof`] or [`Kind::Error`].
pub fn lex(input: &str) -> Vec<Token> {
    let mut lexer = Lexer { input, pos: 0, start: 0, line: 1, start_line: 1, parens: 0, tokens: Vec::new() };
    while lexer.text() && lexer.action() {}
    lexer.tokens
}

struct Lexer<'a> {
    input: &'a str,
    pos: usize,
    start: usize,
    line: usize,
    start_line: usize,
    parens: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.input.get(self.pos..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn advance(&mut self, bytes: usize) {
        let end = (self.pos + bytes).min(self.input.len());
        self.line += self.input.get(self.pos..end).unwrap_or("").matches('\n').count();
        self.pos = end;
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.advance(c.len_utf8());
        Some(c)
    }

    fn ignore(&mut self) {
        self.start = self.pos;
        self.start_line = self.line;
    }

    fn emit(&mut self, kind: Kind) {
        let text = self.input.get(self.start..self.pos).unwrap_or("").to_owned();
        self.tokens.push(Token { kind, pos: self.start, line: self.start_line, text });
        self.ignore();
    }

    fn fail(&mut self, message: impl Into<String>) -> bool {
        self.tokens.push(Token { kind: Kind::Error, pos: self.start, line: self.start_line, text: message.into() });
        false
    }

    fn fail_char(&mut self, what: &str, c: Option<char>) -> bool {
        let c = c.unwrap_or('\u{fffd}');
        self.fail(format!("{what} U+{:04X} '{c}'", u32::from(c)))
    }

    /// Text up to the next action, and the action's opening. False at the end.
    fn text(&mut self) -> bool {
        loop {
            let Some(open) = self.rest().find("{{") else {
                self.advance(self.rest().len());
                if self.pos > self.start {
                    self.emit(Kind::Text);
                }
                self.emit(Kind::Eof);
                return false;
            };
            let trim = left_marker(&self.rest()[open + 2..]);
            let text = &self.rest()[..open];
            let kept = if trim { text.trim_end_matches(SPACE).len() } else { open };
            self.advance(kept);
            if self.pos > self.start {
                self.emit(Kind::Text);
            }
            self.advance(open - kept);
            self.ignore();
            let marker = if trim { 2 } else { 0 };
            if !self.rest()[2 + marker..].starts_with("/*") {
                self.advance(2);
                self.emit(Kind::Open);
                self.advance(marker);
                self.ignore();
                self.parens = 0;
                return true;
            }
            self.advance(2 + marker);
            if !self.comment() {
                return false;
            }
        }
    }

    fn comment(&mut self) -> bool {
        self.ignore();
        let Some(end) = self.rest()[2..].find("*/") else { return self.fail("unclosed comment") };
        self.advance(end + 4);
        let Some(trim) = self.at_close() else { return self.fail("comment ends before closing delimiter") };
        self.close(trim);
        self.ignore();
        true
    }

    /// Whether an action closes here, and if so whether it trims what follows.
    fn at_close(&self) -> Option<bool> {
        let rest = self.rest();
        if right_marker(rest) && rest[2..].starts_with("}}") {
            return Some(true);
        }
        rest.starts_with("}}").then_some(false)
    }

    fn close(&mut self, trim: bool) {
        self.advance(if trim { 4 } else { 2 });
        if trim {
            let rest = self.rest();
            self.advance(rest.len() - rest.trim_start_matches(SPACE).len());
        }
    }

    /// Tokens of an action, and its closing. False on an error.
    fn action(&mut self) -> bool {
        loop {
            if let Some(trim) = self.at_close() {
                if self.parens > 0 {
                    return self.fail("unclosed left paren");
                }
                if trim {
                    self.advance(2);
                    self.ignore();
                }
                self.advance(2);
                self.emit(Kind::Close);
                if trim {
                    let rest = self.rest();
                    self.advance(rest.len() - rest.trim_start_matches(SPACE).len());
                    self.ignore();
                }
                return true;
            }
            if !self.token() {
                return false;
            }
        }
    }

    fn token(&mut self) -> bool {
        let Some(c) = self.peek() else { return self.fail("unclosed action") };
        match c {
            ' ' | '\t' | '\r' | '\n' => self.space(),
            '"' => self.quoted(),
            '`' => self.raw_quoted(),
            '\'' => self.char_constant(),
            '$' => self.field_or_variable(Kind::Variable, Kind::Variable),
            '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                if self.rest().len() == 1 {
                    // A point at the very end is taken for a number.
                    return self.number();
                }
                self.field_or_variable(Kind::Field, Kind::Dot)
            }
            '.' | '+' | '-' | '0'..='9' => self.number(),
            c if is_word(c) => self.identifier(),
            _ => self.punctuation(),
        }
    }

    fn punctuation(&mut self) -> bool {
        let Some(c) = self.next() else { return self.fail("unclosed action") };
        match c {
            '=' => self.emit(Kind::Assign),
            '|' => self.emit(Kind::Pipe),
            ':' => {
                if self.next() != Some('=') {
                    return self.fail("expected :=");
                }
                self.emit(Kind::Declare);
            }
            '(' => {
                self.emit(Kind::LeftParen);
                self.parens += 1;
            }
            ')' => {
                self.emit(Kind::RightParen);
                let Some(parens) = self.parens.checked_sub(1) else {
                    return self.fail_char("unexpected right paren", Some(c));
                };
                self.parens = parens;
            }
            ' '..='~' => self.emit(Kind::Char),
            _ => return self.fail_char("unrecognized character in action:", Some(c)),
        }
        true
    }

    fn space(&mut self) -> bool {
        let rest = self.rest();
        let mut run = rest.len() - rest.trim_start_matches(SPACE).len();
        // The last space may belong to a trimming close.
        if right_marker(&rest[run - 1..]) && rest[run + 1..].starts_with("}}") {
            run -= 1;
        }
        if run > 0 {
            self.advance(run);
            self.emit(Kind::Space);
        }
        true
    }

    fn identifier(&mut self) -> bool {
        self.word();
        if !self.at_terminator() {
            let c = self.peek();
            return self.fail_char("bad character", c);
        }
        let kind = Kind::of_word(&self.input[self.start..self.pos]);
        self.emit(kind);
        true
    }

    fn word(&mut self) {
        let rest = self.rest();
        self.advance(rest.len() - rest.trim_start_matches(is_word).len());
    }

    fn field_or_variable(&mut self, named: Kind, bare: Kind) -> bool {
        self.advance(1);
        if self.at_terminator() {
            self.emit(bare);
            return true;
        }
        self.word();
        if !self.at_terminator() {
            let c = self.peek();
            return self.fail_char("bad character", c);
        }
        self.emit(named);
        true
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(_) => self.rest().starts_with("}}"),
        }
    }

    fn char_constant(&mut self) -> bool {
        self.advance(1);
        loop {
            match self.next() {
                Some('\\') if !matches!(self.next(), None | Some('\n')) => {}
                Some('\'') => break,
                None | Some('\n' | '\\') => return self.fail("unterminated character constant"),
                Some(_) => {}
            }
        }
        self.emit(Kind::CharConstant);
        true
    }

    fn quoted(&mut self) -> bool {
        self.advance(1);
        loop {
            match self.next() {
                Some('\\') if !matches!(self.next(), None | Some('\n')) => {}
                Some('"') => break,
                None | Some('\n' | '\\') => return self.fail("unterminated quoted string"),
                Some(_) => {}
            }
        }
        self.emit(Kind::Str);
        true
    }

    fn raw_quoted(&mut self) -> bool {
        self.advance(1);
        let Some(end) = self.rest().find('`') else { return self.fail("unterminated raw quoted string") };
        self.advance(end + 1);
        self.emit(Kind::RawStr);
        true
    }

    fn number(&mut self) -> bool {
        if !self.scan_number() {
            return self.bad_number();
        }
        if !self.rest().starts_with(['+', '-']) {
            self.emit(Kind::Number);
            return true;
        }
        if !self.scan_number() || !self.input[..self.pos].ends_with('i') {
            return self.bad_number();
        }
        self.emit(Kind::Complex);
        true
    }

    fn bad_number(&mut self) -> bool {
        let text = quote(&self.input[self.start..self.pos]);
        self.fail(format!("bad number syntax: {text}"))
    }

    fn accept(&mut self, set: &[char]) -> bool {
        let found = self.rest().starts_with(set);
        if found {
            self.advance(1);
        }
        found
    }

    fn accept_run(&mut self, is_digit: fn(char) -> bool) {
        let rest = self.rest();
        self.advance(rest.len() - rest.trim_start_matches(is_digit).len());
    }

    fn scan_number(&mut self) -> bool {
        self.accept(&['+', '-']);
        let mut digit: fn(char) -> bool = |c| c.is_ascii_digit() || c == '_';
        let mut exponent: &[char] = &['e', 'E'];
        if self.accept(&['0']) {
            if self.accept(&['x', 'X']) {
                (digit, exponent) = (|c: char| c.is_ascii_hexdigit() || c == '_', &['p', 'P']);
            } else if self.accept(&['o', 'O']) {
                (digit, exponent) = (|c: char| c.is_digit(8) || c == '_', &[]);
            } else if self.accept(&['b', 'B']) {
                (digit, exponent) = (|c: char| c.is_digit(2) || c == '_', &[]);
            }
        }
        self.accept_run(digit);
        if self.accept(&['.']) {
            self.accept_run(digit);
        }
        if !exponent.is_empty() && self.accept(exponent) {
            self.accept(&['+', '-']);
            self.accept_run(|c| c.is_ascii_digit() || c == '_');
        }
        self.accept(&['i']);
        if self.peek().is_some_and(is_word) {
            self.next();
            return false;
        }
        true
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// A minus and a space after the opening.
fn left_marker(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|t| t.starts_with(SPACE))
}

/// A space and a minus, before the closing perhaps.
fn right_marker(text: &str) -> bool {
    text.strip_prefix(SPACE).is_some_and(|t| t.starts_with('-'))
}
