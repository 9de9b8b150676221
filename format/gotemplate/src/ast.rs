//! What a template is parsed into. Nodes print as Go prints them, which its errors quote.

use std::fmt;

use crate::quote::quote;

/// Parts of a template, in order.
pub type Nodes = Vec<Node>;

/// One part of a template.
pub enum Node {
    /// Text between actions.
    Text(String),
    /// `{{pipeline}}`
    Action(Pipe),
    /// `{{if}}`
    If(Branch),
    /// `{{range}}`
    Range(Branch),
    /// `{{with}}`
    With(Branch),
    /// `{{template "name" pipeline}}`, `{{block}}`
    Template(Call),
    /// `{{break}}`
    Break,
    /// `{{continue}}`
    Continue,
}

/// A pipeline with what it decides.
pub struct Branch {
    /// The pipeline.
    pub pipe: Pipe,
    /// When it holds.
    pub then: Nodes,
    /// When not.
    pub otherwise: Option<Nodes>,
}

/// Use of another template.
pub struct Call {
    /// Byte in the text.
    pub pos: usize,
    /// Its name.
    pub name: String,
    /// What becomes its dot.
    pub pipe: Option<Pipe>,
}

/// `$x := a | b | c`
pub struct Pipe {
    /// Byte in the text.
    pub pos: usize,
    /// Variables that take the value.
    pub variables: Vec<String>,
    /// They exist already (`=`).
    pub assign: bool,
    /// The commands.
    pub commands: Vec<Command>,
}

/// Words of a command.
pub struct Command {
    /// Byte in the text.
    pub pos: usize,
    /// The words, at least one.
    pub words: Vec<Expr>,
}

/// A word.
pub struct Expr {
    /// Byte in the text.
    pub pos: usize,
    /// What it is.
    pub kind: ExprKind,
}

/// Kinds of words.
pub enum ExprKind {
    /// `.`
    Dot,
    /// `nil`
    Nil,
    /// `true`
    Bool(bool),
    /// A number or character.
    Number(Number),
    /// A string: as written, as meant.
    Str(String, String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`: the variable comes first.
    Variable(Vec<String>),
    /// `(pipeline).A.B`
    Chain(Box<Expr>, Vec<String>),
    /// A function.
    Function(String),
    /// `(pipeline)`
    Pipe(Pipe),
}

/// A number as all the types that it fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    /// As written.
    pub text: String,
    /// As a signed integer.
    pub int: Option<i64>,
    /// As a float.
    pub float: Option<f64>,
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assign { "=" } else { ":=" })?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if i > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in self.words.iter().enumerate() {
            let space = if i > 0 { " " } else { "" };
            match &word.kind {
                ExprKind::Pipe(pipe) => write!(f, "{space}({pipe})")?,
                _ => write!(f, "{space}{word}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Dot => f.write_str("."),
            ExprKind::Nil => f.write_str("nil"),
            ExprKind::Bool(b) => write!(f, "{b}"),
            ExprKind::Number(n) => f.write_str(&n.text),
            ExprKind::Str(written, _) => f.write_str(written),
            ExprKind::Field(names) => names.iter().try_for_each(|name| write!(f, ".{name}")),
            ExprKind::Variable(names) => f.write_str(&names.join(".")),
            ExprKind::Chain(base, names) => {
                match &base.kind {
                    ExprKind::Pipe(pipe) => write!(f, "({pipe})")?,
                    _ => write!(f, "{base}")?,
                }
                names.iter().try_for_each(|name| write!(f, ".{name}"))
            }
            ExprKind::Function(name) => f.write_str(name),
            ExprKind::Pipe(pipe) => write!(f, "{pipe}"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pipe {
            Some(pipe) => write!(f, "{{{{template {} {pipe}}}}}", quote(&self.name)),
            None => write!(f, "{{{{template {}}}}}", quote(&self.name)),
        }
    }
}

/// Whether there is nothing but white space.
pub fn is_blank(nodes: &Nodes) -> bool {
    nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}
