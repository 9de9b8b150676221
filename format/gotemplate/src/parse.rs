//! From tokens to nodes: recursive descent, as deep as [`MAX_NESTING`] allows.

use std::collections::BTreeMap;

use crate::ast::{Branch, Call, Command, Expr, ExprKind, Node, Nodes, Number, Pipe, is_blank};
use crate::lex::{Kind, Token, lex};
use crate::quote::{quote, unquote, unquote_char};

/// How deep actions and parentheses may nest. Beyond it the parser's and the executor's own stack would be at risk.
const MAX_NESTING: usize = 200;

/// Templates by name; the main one is `""`.
pub type Set = BTreeMap<String, Nodes>;

/// Parses a template. `is_function` says which names are functions. The error is Go's, from `template: ` on.
pub fn parse(text: &str, is_function: &dyn Fn(&str) -> bool) -> Result<Set, String> {
    let mut parser = Parser {
        tokens: lex(text),
        at: 0,
        furthest: 0,
        variables: vec!["$".to_owned()],
        ranges: 0,
        nesting: 0,
        action_line: 0,
        is_function,
        set: Set::new(),
    };
    let root = parser.root()?;
    parser.define(String::new(), root)?;
    Ok(parser.set)
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    /// The last token looked at, whose line errors name.
    furthest: usize,
    variables: Vec<String>,
    ranges: usize,
    nesting: usize,
    action_line: usize,
    is_function: &'a dyn Fn(&str) -> bool,
    set: Set,
}

/// What ended a list of nodes.
enum Stop {
    End,
    /// `{{else}}`
    Else,
    /// `{{else if` or `{{else with`, up to the keyword.
    ElseThen(Kind),
}

impl Stop {
    fn shown(&self) -> &'static str {
        if matches!(self, Stop::End) { "{{end}}" } else { "{{else}}" }
    }
}

/// A node, or what ends the list of nodes.
enum Item {
    Node(Option<Node>),
    Stop(Stop),
}

impl Parser<'_> {
    fn fail<T>(&self, message: impl std::fmt::Display) -> Result<T, String> {
        let line = self.tokens.get(self.furthest).map_or(1, |t| t.line);
        Err(format!("template: :{line}: {message}"))
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Result<T, String> {
        if token.kind != Kind::Error {
            return self.fail(format_args!("unexpected {token} in {context}"));
        }
        let mut extra = String::new();
        if self.action_line != 0 && self.action_line != token.line {
            let action = if token.text.ends_with(" action") { "" } else { " in action" };
            extra = format!("{action} started at :{}", self.action_line);
        }
        self.fail(format_args!("{token}{extra}"))
    }

    /// The token `ahead` places from here; the last token repeats for ever.
    fn look(&mut self, ahead: usize) -> &Token {
        let last = self.tokens.len().saturating_sub(1);
        let i = (self.at + ahead).min(last);
        self.furthest = self.furthest.max(i);
        &self.tokens[i]
    }

    fn peek(&mut self) -> Kind {
        self.look(0).kind
    }

    fn peek_non_space(&mut self) -> Kind {
        if self.peek() == Kind::Space {
            self.at += 1;
        }
        self.peek()
    }

    fn next(&mut self) -> Token {
        let token = self.look(0).clone();
        self.at += 1;
        token
    }

    fn next_non_space(&mut self) -> Token {
        self.peek_non_space();
        self.next()
    }

    fn back(&mut self) {
        self.at = self.at.saturating_sub(1);
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token, String> {
        let token = self.next_non_space();
        if token.kind == kind { Ok(token) } else { self.unexpected(&token, context) }
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.nesting >= MAX_NESTING {
            return self.fail(format_args!("nested deeper than {MAX_NESTING} levels"));
        }
        self.nesting += 1;
        let result = parse(self);
        self.nesting -= 1;
        result
    }

    fn define(&mut self, name: String, nodes: Nodes) -> Result<(), String> {
        match self.set.get(&name) {
            Some(old) if !is_blank(old) => {
                if is_blank(&nodes) {
                    return Ok(());
                }
                self.fail(format_args!("template: multiple definition of template {}", quote(&name)))
            }
            _ => {
                self.set.insert(name, nodes);
                Ok(())
            }
        }
    }

    fn root(&mut self) -> Result<Nodes, String> {
        let mut nodes = Nodes::new();
        while self.peek() != Kind::Eof {
            if self.peek() == Kind::Open {
                let start = self.at;
                self.next();
                if self.next_non_space().kind == Kind::Define {
                    self.definition()?;
                    continue;
                }
                self.at = start;
            }
            match self.item()? {
                Item::Node(node) => nodes.extend(node),
                Item::Stop(stop) => return self.fail(format_args!("unexpected {}", stop.shown())),
            }
        }
        Ok(nodes)
    }

    /// `{{define "name"}}` up to its end; variables do not go in or out.
    fn definition(&mut self) -> Result<(), String> {
        const CONTEXT: &str = "define clause";
        let name = self.template_name(CONTEXT)?;
        self.expect(Kind::Close, CONTEXT)?;
        let nodes = self.separate(CONTEXT)?;
        self.define(name, nodes)
    }

    fn separate(&mut self, context: &str) -> Result<Nodes, String> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (nodes, stop) = self.nested(Self::list)?;
        (self.variables, self.ranges) = (outer, ranges);
        match stop {
            Stop::End => Ok(nodes),
            other => self.fail(format_args!("unexpected {} in {context}", other.shown())),
        }
    }

    fn template_name(&mut self, context: &str) -> Result<String, String> {
        let token = self.next_non_space();
        if !matches!(token.kind, Kind::Str | Kind::RawStr) {
            return self.unexpected(&token, context);
        }
        unquote(&token.text).map_or_else(|| self.fail("invalid syntax"), Ok)
    }

    /// Nodes up to an end or else.
    fn list(&mut self) -> Result<(Nodes, Stop), String> {
        let mut nodes = Nodes::new();
        while self.peek_non_space() != Kind::Eof {
            match self.item()? {
                Item::Node(node) => nodes.extend(node),
                Item::Stop(stop) => return Ok((nodes, stop)),
            }
        }
        self.fail("unexpected EOF")
    }

    fn item(&mut self) -> Result<Item, String> {
        let token = self.next_non_space();
        match token.kind {
            Kind::Text => Ok(Item::Node(Some(Node::Text(token.text)))),
            Kind::Open => {
                self.action_line = token.line;
                let item = self.action();
                if item.is_ok() {
                    self.action_line = 0;
                }
                item
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Result<Item, String> {
        let token = self.next_non_space();
        let node = match token.kind {
            Kind::Block => self.block()?,
            Kind::Break => self.jump(Node::Break, "{{break}}")?,
            Kind::Continue => self.jump(Node::Continue, "{{continue}}")?,
            Kind::Else => return self.else_action(),
            Kind::End => {
                self.expect(Kind::Close, "end")?;
                return Ok(Item::Stop(Stop::End));
            }
            Kind::If => Node::If(self.branch("if")?),
            Kind::Range => Node::Range(self.branch("range")?),
            Kind::Template => self.template()?,
            Kind::With => Node::With(self.branch("with")?),
            _ => {
                self.back();
                Node::Action(self.pipeline("command", Kind::Close)?)
            }
        };
        Ok(Item::Node(Some(node)))
    }

    fn jump(&mut self, node: Node, shown: &str) -> Result<Node, String> {
        let token = self.next_non_space();
        if token.kind != Kind::Close {
            return self.unexpected(&token, shown);
        }
        if self.ranges == 0 {
            return self.fail(format_args!("{shown} outside {{{{range}}}}"));
        }
        Ok(node)
    }

    fn else_action(&mut self) -> Result<Item, String> {
        match self.peek_non_space() {
            kind @ (Kind::If | Kind::With) => Ok(Item::Stop(Stop::ElseThen(kind))),
            _ => {
                self.expect(Kind::Close, "else")?;
                Ok(Item::Stop(Stop::Else))
            }
        }
    }

    fn branch(&mut self, context: &'static str) -> Result<Branch, String> {
        self.nested(|parser| {
            let scope = parser.variables.len();
            let branch = parser.branch_inner(context);
            parser.variables.truncate(scope);
            branch
        })
    }

    fn branch_inner(&mut self, context: &'static str) -> Result<Branch, String> {
        let pipe = self.pipeline(context, Kind::Close)?;
        let is_range = usize::from(context == "range");
        self.ranges += is_range;
        let (then, stop) = self.list()?;
        self.ranges -= is_range;
        let otherwise = match stop {
            Stop::End => None,
            Stop::Else => {
                let (nodes, stop) = self.list()?;
                if !matches!(stop, Stop::End) {
                    return self.fail(format_args!("expected end; found {}", stop.shown()));
                }
                Some(nodes)
            }
            // One end closes the whole chain.
            Stop::ElseThen(Kind::If) if context == "if" => {
                self.next();
                Some(vec![Node::If(self.branch("if")?)])
            }
            Stop::ElseThen(Kind::With) if context == "with" => {
                self.next();
                Some(vec![Node::With(self.branch("with")?)])
            }
            Stop::ElseThen(_) => {
                let token = self.next();
                return self.unexpected(&token, "else");
            }
        };
        Ok(Branch { pipe, then, otherwise })
    }

    fn block(&mut self) -> Result<Node, String> {
        const CONTEXT: &str = "block clause";
        self.peek_non_space();
        let pos = self.look(0).pos;
        let name = self.template_name(CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Kind::Close)?;
        let nodes = self.separate(CONTEXT)?;
        self.define(name.clone(), nodes)?;
        Ok(Node::Template(Call { pos, name, pipe: Some(pipe) }))
    }

    fn template(&mut self) -> Result<Node, String> {
        const CONTEXT: &str = "template clause";
        self.peek_non_space();
        let pos = self.look(0).pos;
        let name = self.template_name(CONTEXT)?;
        let pipe = match self.next_non_space().kind {
            Kind::Close => None,
            _ => {
                self.back();
                Some(self.pipeline(CONTEXT, Kind::Close)?)
            }
        };
        Ok(Node::Template(Call { pos, name, pipe }))
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe, String> {
        self.peek_non_space();
        let pos = self.look(0).pos;
        let mut pipe = Pipe { pos, variables: Vec::new(), assign: false, commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawStr
                | Kind::Str
                | Kind::Variable
                | Kind::LeftParen => {
                    self.back();
                    let command = self.nested(Self::command)?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        if pipe.commands.is_empty() {
            return self.fail(format_args!("missing value for {context}"));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            if let Some(Expr {
                kind: ExprKind::Bool(_) | ExprKind::Dot | ExprKind::Nil | ExprKind::Number(_) | ExprKind::Str(..),
                ..
            }) = command.words.first()
            {
                return self.fail(format_args!("non executable command in pipeline stage {}", i + 1));
            }
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =`, and in a range `$i, $x :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<(), String> {
        while self.peek_non_space() == Kind::Variable {
            let start = self.at;
            let name = self.next().text;
            self.peek();
            let next = self.peek_non_space();
            let comma = next == Kind::Char && self.look(0).text == ",";
            match next {
                Kind::Assign | Kind::Declare => {
                    self.next();
                    pipe.assign = next == Kind::Assign;
                    pipe.variables.push(name.clone());
                    self.variables.push(name);
                    return Ok(());
                }
                _ if comma => {
                    self.next();
                    pipe.variables.push(name.clone());
                    self.variables.push(name);
                    if context != "range" || pipe.variables.len() >= 2 {
                        return self.fail(format_args!("too many declarations in {context}"));
                    }
                    if !matches!(self.peek_non_space(), Kind::Variable | Kind::Close | Kind::RightParen) {
                        return self.fail("range can only initialize variables");
                    }
                }
                _ => {
                    self.at = start;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Command, String> {
        self.peek_non_space();
        let pos = self.look(0).pos;
        let mut words = Vec::new();
        loop {
            self.peek_non_space();
            words.extend(self.operand()?);
            let token = self.next();
            match token.kind {
                Kind::Space => {}
                Kind::Close | Kind::RightParen => {
                    self.back();
                    break;
                }
                Kind::Pipe => break,
                _ => return self.unexpected(&token, "operand"),
            }
        }
        if words.is_empty() {
            return self.fail("empty command");
        }
        Ok(Command { pos, words })
    }

    /// A term with the fields that follow it.
    fn operand(&mut self) -> Result<Option<Expr>, String> {
        let Some(mut term) = self.term()? else { return Ok(None) };
        if self.peek() != Kind::Field {
            return Ok(Some(term));
        }
        let pos = self.look(0).pos;
        let mut names = Vec::new();
        while self.peek() == Kind::Field {
            names.push(self.next().text[1..].to_owned());
        }
        match &mut term.kind {
            ExprKind::Field(first) | ExprKind::Variable(first) => {
                first.append(&mut names);
                term.pos = pos;
                Ok(Some(term))
            }
            ExprKind::Bool(_) | ExprKind::Str(..) | ExprKind::Number(_) | ExprKind::Nil | ExprKind::Dot => {
                self.fail(format_args!("unexpected . after term {}", quote(&term.to_string())))
            }
            _ => Ok(Some(Expr { pos, kind: ExprKind::Chain(Box::new(term), names) })),
        }
    }

    fn term(&mut self) -> Result<Option<Expr>, String> {
        let token = self.next_non_space();
        let kind = match token.kind {
            Kind::Identifier if (self.is_function)(&token.text) => ExprKind::Function(token.text),
            Kind::Identifier => return self.fail(format_args!("function {} not defined", quote(&token.text))),
            Kind::Dot => ExprKind::Dot,
            Kind::Nil => ExprKind::Nil,
            Kind::Variable if self.variables.contains(&token.text) => ExprKind::Variable(vec![token.text]),
            Kind::Variable => return self.fail(format_args!("undefined variable {}", quote(&token.text))),
            Kind::Field => ExprKind::Field(vec![token.text[1..].to_owned()]),
            Kind::Bool => ExprKind::Bool(token.text == "true"),
            Kind::CharConstant | Kind::Complex | Kind::Number => match number(&token) {
                Ok(number) => ExprKind::Number(number),
                Err(why) => return self.fail(why),
            },
            Kind::LeftParen => {
                let pipe = self.nested(|p| p.pipeline("parenthesized pipeline", Kind::RightParen))?;
                ExprKind::Pipe(pipe)
            }
            Kind::Str | Kind::RawStr => match unquote(&token.text) {
                Some(text) => ExprKind::Str(token.text, text),
                None => return self.fail("invalid syntax"),
            },
            _ => {
                self.back();
                return Ok(None);
            }
        };
        Ok(Some(Expr { pos: token.pos, kind }))
    }
}

/// Reads a number or character constant.
fn number(token: &Token) -> Result<Number, String> {
    let text = token.text.clone();
    if token.kind == Kind::CharConstant {
        let Some(c) = unquote_char(&text) else { return Err(format!("malformed character constant: {text}")) };
        return Ok(Number { text, int: Some(i64::from(c)), float: Some(f64::from(c)) });
    }
    if token.kind == Kind::Complex || text.ends_with('i') {
        return Err(format!("complex numbers are not supported: {text}"));
    }
    let int = integer(&text);
    #[expect(clippy::cast_precision_loss, reason = "what Go does as well")]
    let float = int.map(|i| i as f64).or_else(|| float(&text));
    let int = int.or_else(|| whole(float?));
    if int.is_none() && float.is_none() {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
        return match digits.parse::<u64>() {
            // Fits an unsigned integer: an error only where it is used as another.
            Ok(_) => Ok(Number { text, int: None, float: None }),
            Err(_) if digits.bytes().all(|b| b.is_ascii_digit()) => Err(format!("integer overflow: {}", quote(&text))),
            Err(_) => Err(format!("illegal number syntax: {}", quote(&text))),
        };
    }
    Ok(Number { text, int, float })
}

fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, base) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if digits.starts_with(['+', '-']) || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(&digits.replace('_', ""), base).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

fn float(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'+' | b'-' | b'e' | b'E'));
    if !plain || !text.contains(['.', 'e', 'E']) {
        return None;
    }
    text.parse().ok().filter(|f: &f64| f.is_finite())
}

/// A float as an integer, if it is one.
fn whole(float: f64) -> Option<i64> {
    /// Beyond it floats are not exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    (float.fract() == 0.0 && float.abs() < EXACT).then_some(float as i64)
}
