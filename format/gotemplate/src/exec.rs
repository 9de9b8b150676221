//! Running a template on a value.

use crate::ast::{Branch, Call, Command, Expr, ExprKind, Node, Nodes, Number, Pipe};
use crate::format::print;
use crate::funcs::{self, Function, Param};
use crate::parse::Set;
use crate::quote::quote;
use crate::value::Value;

/// How deep templates, blocks and parentheses may nest while running; protects the stack from recursive templates.
const MAX_DEPTH: usize = 300;
/// Steps (nodes, commands, rounds of loops) after which a template counts as running away. A row of a table takes a few
/// dozen; ranging over all that is known about a container, some thousands.
const MAX_STEPS: usize = 2_000_000;
/// Largest output, in bytes.
const MAX_OUTPUT: usize = 256 << 20;

/// How a template is run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// A missing map key is an error.
    pub strict: bool,
    /// The functions leave column names as they are.
    pub headers: bool,
}

/// Runs the main template of a set.
pub(crate) fn execute(text: &str, set: &Set, data: &Value, options: Options) -> Result<String, String> {
    let mut state = State {
        text,
        set,
        options,
        name: "",
        out: String::new(),
        variables: vec![("$".to_owned(), data.clone())],
        depth: 0,
        steps: 0,
        at: At::Nowhere,
    };
    let Some(root) = set.get("") else { return state.fail("\"\" is an incomplete or empty template") };
    state.walk_all(data, root)?;
    Ok(state.out)
}

/// The node that errors are reported at.
#[derive(Clone, Copy)]
enum At<'a> {
    Nowhere,
    Pipe(&'a Pipe),
    Command(&'a Command),
    Expr(&'a Expr),
    Call(&'a Call),
}

/// How a node ended.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct State<'a> {
    text: &'a str,
    set: &'a Set,
    options: Options,
    name: &'a str,
    out: String,
    variables: Vec<(String, Value)>,
    depth: usize,
    steps: usize,
    at: At<'a>,
}

type Result<T, E = String> = std::result::Result<T, E>;

impl<'a> State<'a> {
    fn fail<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        let (pos, shown) = match self.at {
            At::Nowhere => return Err(format!("template: : {message}")),
            At::Pipe(pipe) => (pipe.pos, pipe.to_string()),
            At::Command(command) => (command.pos, command.to_string()),
            At::Expr(expr) => (expr.pos, expr.to_string()),
            At::Call(call) => (call.pos, call.to_string()),
        };
        let before = self.text.get(..pos).unwrap_or("");
        let column = pos - before.rfind('\n').map_or(0, |n| n + 1);
        let line = 1 + before.matches('\n').count();
        let name = quote(self.name);
        Err(format!("template: :{line}:{column}: executing {name} at <{shown}>: {message}"))
    }

    fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return self.fail(format_args!("runs too long: more than {MAX_STEPS} steps"));
        }
        if self.out.len() > MAX_OUTPUT {
            return self.fail(format_args!("writes too much: more than {MAX_OUTPUT} bytes"));
        }
        Ok(())
    }

    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return self.fail(format_args!("exceeded maximum template depth ({MAX_DEPTH})"));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    fn walk_all(&mut self, dot: &Value, nodes: &'a Nodes) -> Result<Flow> {
        for node in nodes {
            match self.walk(dot, node)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn walk(&mut self, dot: &Value, node: &'a Node) -> Result<Flow> {
        self.step()?;
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipeline(dot, pipe)?;
                if pipe.variables.is_empty() {
                    print(&mut self.out, &value, false);
                }
            }
            Node::If(branch) => return self.deeper(|s| s.branch(dot, branch, false)),
            Node::With(branch) => return self.deeper(|s| s.branch(dot, branch, true)),
            Node::Range(branch) => return self.deeper(|s| s.range(dot, branch)),
            Node::Template(call) => self.template(dot, call)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn branch(&mut self, dot: &Value, branch: &'a Branch, with: bool) -> Result<Flow> {
        let scope = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let flow = match (value.truth(), &branch.otherwise) {
            (true, _) => self.walk_all(if with { &value } else { dot }, &branch.then)?,
            (false, Some(otherwise)) => self.walk_all(dot, otherwise)?,
            (false, None) => Flow::Next,
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value, branch: &'a Branch) -> Result<Flow> {
        let scope = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let any = match &value {
            Value::List(list) => {
                for (i, item) in (0..).zip(&list.items) {
                    if self.iteration(branch, Value::Int(i), item)? == Flow::Break {
                        break;
                    }
                }
                !list.items.is_empty()
            }
            Value::Map(map) => {
                for (key, item) in map.sorted() {
                    if self.iteration(branch, Value::Str(key.clone()), item)? == Flow::Break {
                        break;
                    }
                }
                !map.entries.is_empty()
            }
            Value::Int(n) => {
                for i in 0..*n {
                    if self.iteration(branch, Value::Int(i), &Value::Int(i))? == Flow::Break {
                        break;
                    }
                }
                *n > 0
            }
            Value::Missing | Value::Nil => false,
            other => {
                let mut shown = String::new();
                print(&mut shown, other, true);
                return self.fail(format_args!("range can't iterate over {shown}"));
            }
        };
        let flow = match (any, &branch.otherwise) {
            (false, Some(otherwise)) => self.walk_all(dot, otherwise)?,
            _ => Flow::Next,
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn iteration(&mut self, branch: &'a Branch, index: Value, item: &Value) -> Result<Flow> {
        self.step()?;
        let scope = self.variables.len();
        let values: &[Value] = match branch.pipe.variables.len() {
            0 => &[],
            1 => std::slice::from_ref(item),
            _ => &[index, item.clone()],
        };
        for (name, value) in branch.pipe.variables.iter().zip(values) {
            self.assign(name, value.clone())?;
        }
        let flow = self.walk_all(item, &branch.then)?;
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn template(&mut self, dot: &Value, call: &'a Call) -> Result<()> {
        self.at = At::Call(call);
        let Some((name, nodes)) = self.set.get_key_value(&call.name) else {
            return self.fail(format_args!("template {} not defined", quote(&call.name)));
        };
        let dot = match &call.pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Missing,
        };
        // No dynamic scoping: a template sees its own variables only.
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), dot.clone())]);
        let outer_name = std::mem::replace(&mut self.name, name);
        self.deeper(|s| s.walk_all(&dot, nodes))?;
        self.variables = outer;
        self.name = outer_name;
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Value) -> Result<()> {
        match self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            Some(slot) => {
                slot.1 = value;
                Ok(())
            }
            None => self.fail(format_args!("undefined variable: {name}")),
        }
    }

    fn pipeline(&mut self, dot: &Value, pipe: &'a Pipe) -> Result<Value> {
        self.at = At::Pipe(pipe);
        let mut value = None;
        for command in &pipe.commands {
            let result = self.command(dot, command, value)?;
            value = Some(if matches!(result, Value::Nil) { Value::Missing } else { result });
        }
        let value = value.unwrap_or(Value::Missing);
        for name in &pipe.variables {
            if pipe.assign {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Value, command: &'a Command, last: Option<Value>) -> Result<Value> {
        self.step()?;
        let Some((first, arguments)) = command.words.split_first() else { return Ok(Value::Missing) };
        match &first.kind {
            ExprKind::Function(name) => {
                self.at = At::Expr(first);
                return self.function(dot, name, At::Command(command), arguments, last);
            }
            ExprKind::Field(_) | ExprKind::Variable(_) | ExprKind::Chain(..) => {
                return self.fields(dot, first, arguments, last);
            }
            ExprKind::Pipe(pipe) => {
                self.no_arguments(first, arguments, &last)?;
                return self.deeper(|s| s.pipeline(dot, pipe));
            }
            _ => {}
        }
        self.at = At::Expr(first);
        self.no_arguments(first, arguments, &last)?;
        match &first.kind {
            ExprKind::Nil => self.fail("nil is not a command"),
            _ => self.literal(dot, first),
        }
    }

    fn no_arguments(&self, first: &Expr, arguments: &[Expr], last: &Option<Value>) -> Result<()> {
        if arguments.is_empty() && last.is_none() {
            return Ok(());
        }
        self.fail(format_args!("can't give argument to non-function {first}"))
    }

    /// A word that stands for itself.
    fn literal(&self, dot: &Value, expr: &Expr) -> Result<Value> {
        match &expr.kind {
            ExprKind::Dot => Ok(dot.clone()),
            ExprKind::Bool(b) => Ok(Value::Bool(*b)),
            ExprKind::Str(_, text) => Ok(Value::str(text)),
            ExprKind::Number(number) => self.constant(number),
            _ => Ok(Value::Nil),
        }
    }

    /// A number whose type only its spelling tells.
    fn constant(&self, number: &Number) -> Result<Value> {
        let hex = number.text.to_ascii_lowercase().starts_with("0x");
        let like_float = number.text.contains(['.', 'e', 'E', 'p', 'P']) && !hex && !number.text.starts_with('\'');
        match (number.int, number.float) {
            (_, Some(float)) if like_float => Ok(Value::Float(float)),
            (Some(int), _) => Ok(Value::Int(int)),
            _ => self.fail(format_args!("{} overflows int", number.text)),
        }
    }

    /// `.A.B arg…`, `$x.A.B arg…`, `(…).A.B arg…`
    fn fields(&mut self, dot: &Value, expr: &'a Expr, arguments: &'a [Expr], last: Option<Value>) -> Result<Value> {
        self.at = At::Expr(expr);
        let (mut receiver, names): (Value, &'a [String]) = match &expr.kind {
            ExprKind::Field(names) => (dot.clone(), names),
            ExprKind::Variable(names) => {
                let (name, names) = names.split_first().map_or(("", &[][..]), |(n, rest)| (n.as_str(), rest));
                let value = self.variables.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone());
                let Some(value) = value else { return self.fail(format_args!("undefined variable: {name}")) };
                if names.is_empty() {
                    self.no_arguments(expr, arguments, &last)?;
                    return Ok(value);
                }
                (value, names)
            }
            ExprKind::Chain(base, names) => {
                if matches!(base.kind, ExprKind::Nil) {
                    return self.fail(format_args!("indirection through explicit nil in {expr}"));
                }
                let value = self.argument(dot, base, Param::Any)?;
                (value, names)
            }
            _ => return Ok(Value::Missing),
        };
        let Some((final_name, earlier)) = names.split_last() else { return Ok(receiver) };
        let mut inside = false;
        for name in earlier {
            let from_map = matches!(receiver, Value::Map(_));
            receiver = self.field(dot, &receiver, name, expr, &[], None, inside)?;
            inside = from_map;
        }
        self.field(dot, &receiver, final_name, expr, arguments, last, inside)
    }

    /// `receiver.name`; `inside`: Go would only know the receiver as something out of a map.
    #[expect(clippy::too_many_arguments, reason = "what a method call is made of")]
    fn field(
        &mut self,
        dot: &Value,
        receiver: &Value,
        name: &str,
        expr: &'a Expr,
        arguments: &'a [Expr],
        last: Option<Value>,
        inside: bool,
    ) -> Result<Value> {
        let has_arguments = !arguments.is_empty() || last.is_some();
        let type_name = if inside { "interface {}".into() } else { receiver.type_name() };
        match receiver {
            Value::Missing if self.options.strict => {
                self.fail(format_args!("nil data; no entry for key {}", quote(name)))
            }
            Value::Missing => Ok(Value::Missing),
            Value::Nil => self.fail(format_args!("nil pointer evaluating interface {{}}.{name}")),
            Value::NilPointer(ty) if ty.fields.iter().any(|f| f == name) => {
                self.fail(format_args!("nil pointer evaluating {}.{name}", ty.name))
            }
            Value::Object(object) => {
                let Some(arity) = object.arity(name) else {
                    return self.fail(format_args!("can't evaluate field {name} in type {type_name}"));
                };
                let object = std::sync::Arc::clone(object);
                let count = arguments.len() + usize::from(last.is_some());
                if count != arity {
                    return self.fail(format_args!("wrong number of args for {name}: want {arity} got {count}"));
                }
                let mut values = Vec::with_capacity(count);
                for argument in arguments {
                    values.push(self.argument(dot, argument, Param::Str)?);
                }
                if let Some(last) = last {
                    self.check(&last, Param::Str)?;
                    values.push(last);
                }
                object.call(name, &values).or_else(|why| {
                    self.at = At::Expr(expr);
                    self.fail(format_args!("error calling {name}: {why}"))
                })
            }
            Value::Struct(s) => match s.get(name) {
                Some(_) if has_arguments => {
                    self.fail(format_args!("{name} has arguments but cannot be invoked as function"))
                }
                Some(value) => Ok(value.clone()),
                None => self.fail(format_args!("can't evaluate field {name} in type {type_name}")),
            },
            Value::Map(_) if has_arguments => self.fail(format_args!("{name} is not a method but has arguments")),
            Value::Map(map) => match map.get(name) {
                Some(value) => Ok(value.clone()),
                None if self.options.strict => self.fail(format_args!("map has no entry for key {}", quote(name))),
                None => Ok(Value::Missing),
            },
            _ => self.fail(format_args!("can't evaluate field {name} in type {type_name}")),
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        name: &'a str,
        node: At<'a>,
        arguments: &'a [Expr],
        last: Option<Value>,
    ) -> Result<Value> {
        let Some(function) = funcs::find(name, self.options.headers) else {
            return self.fail(format_args!("{} is not a defined function", quote(name)));
        };
        let count = arguments.len() + usize::from(last.is_some());
        let fixed = function.params.len();
        if function.variadic && count < fixed {
            return self
                .fail(format_args!("wrong number of args for {name}: want at least {fixed} got {}", arguments.len()));
        }
        if !function.variadic && count != fixed {
            return self.fail(format_args!("wrong number of args for {name}: want {fixed} got {count}"));
        }
        if matches!(name, "and" | "or") {
            return self.logic(dot, name == "or", arguments, last);
        }
        let values = self.arguments(dot, function, arguments, last)?;
        (function.run)(&values).or_else(|why| {
            self.at = node;
            self.fail(format_args!("error calling {name}: {why}"))
        })
    }

    fn arguments(
        &mut self,
        dot: &Value,
        function: &Function,
        arguments: &'a [Expr],
        last: Option<Value>,
    ) -> Result<Vec<Value>> {
        let param = |i: usize| function.params.get(i).copied().unwrap_or(function.rest);
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for (i, argument) in arguments.iter().enumerate() {
            values.push(self.argument(dot, argument, param(i))?);
        }
        if let Some(last) = last {
            self.check(&last, param(arguments.len()))?;
            values.push(last);
        }
        Ok(values)
    }

    /// `and`, `or`: stop at the first argument that decides.
    fn logic(&mut self, dot: &Value, or: bool, arguments: &'a [Expr], last: Option<Value>) -> Result<Value> {
        let mut value = Value::Missing;
        for argument in arguments {
            value = self.argument(dot, argument, Param::Any)?;
            if value.truth() == or {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    /// An argument, of the type that `param` wants.
    fn argument(&mut self, dot: &Value, expr: &'a Expr, param: Param) -> Result<Value> {
        self.at = At::Expr(expr);
        let value = match &expr.kind {
            ExprKind::Dot => dot.clone(),
            ExprKind::Nil if param == Param::Any => return Ok(Value::Missing),
            ExprKind::Nil => return self.fail(format_args!("cannot assign nil to {}", param.go_name())),
            ExprKind::Field(_) | ExprKind::Variable(_) | ExprKind::Chain(..) => self.fields(dot, expr, &[], None)?,
            ExprKind::Pipe(pipe) => self.deeper(|s| s.pipeline(dot, pipe))?,
            ExprKind::Function(name) => self.function(dot, name, At::Expr(expr), &[], None)?,
            kind => {
                return match (param, kind) {
                    (Param::Any, _) | (Param::Str, ExprKind::Str(..)) => self.literal(dot, expr),
                    (Param::Int, ExprKind::Number(Number { int: Some(int), .. })) => Ok(Value::Int(*int)),
                    (Param::Str, _) => self.fail(format_args!("expected string; found {expr}")),
                    (Param::Int, _) => self.fail(format_args!("expected integer; found {expr}")),
                };
            }
        };
        self.check(&value, param)?;
        Ok(value)
    }

    /// Whether a value fits a parameter.
    fn check(&self, value: &Value, param: Param) -> Result<()> {
        let fits = match param {
            Param::Any => true,
            Param::Str => matches!(value, Value::Str(_)),
            Param::Int => matches!(value, Value::Int(_)),
        };
        if fits {
            Ok(())
        } else if matches!(value, Value::Missing) {
            self.fail(format_args!("invalid value; expected {}", param.go_name()))
        } else {
            self.fail(format_args!("wrong type for value; expected {}; got {}", param.go_name(), value.type_name()))
        }
    }
}
