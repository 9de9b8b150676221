//! Values that templates work on, modelled on what Go's reflection would see.

use std::borrow::Cow;
use std::sync::Arc;

use crate::json::Json;

/// A value.
#[derive(Clone)]
pub enum Value {
    /// A missing map key: prints `<no value>`.
    Missing,
    /// `nil` in an interface, JSON's `null`: prints `<nil>` inside of others and `<no value>` by itself.
    Nil,
    /// A nil pointer to a structure: prints `<nil>`.
    NilPointer(Arc<Type>),
    /// `bool`
    Bool(bool),
    /// Signed integer.
    Int(i64),
    /// Unsigned integer.
    Uint(u64),
    /// `float64`
    Float(f64),
    /// `string`
    Str(Arc<str>),
    /// A slice.
    List(Arc<List>),
    /// A map with string keys.
    Map(Arc<Map>),
    /// A structure, or a pointer to one.
    Struct(Arc<Struct>),
    /// A number or string with a text form of its own (a duration, an address).
    Named(Arc<Named>),
    /// Something with methods.
    Object(Arc<dyn Object>),
}

/// What a structure's type is known for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// Name, as Go's errors spell it: `*container.State`.
    pub name: Cow<'static, str>,
    /// Names of the fields.
    pub fields: Vec<Cow<'static, str>>,
}

/// A slice.
pub struct List {
    /// Go's name of the type.
    pub type_name: Cow<'static, str>,
    /// The elements.
    pub items: Vec<Value>,
    /// Go's nil: null in JSON.
    pub nil: bool,
}

/// A map.
pub struct Map {
    /// Go's name of the type.
    pub type_name: Cow<'static, str>,
    /// The entries, in the order in which JSON output has them.
    pub entries: Vec<(Arc<str>, Value)>,
    /// Go's nil: null in JSON.
    pub nil: bool,
}

/// A structure.
pub struct Struct {
    /// Its type.
    pub ty: Arc<Type>,
    /// Values of the fields.
    pub values: Vec<Value>,
    /// What it looks like as JSON.
    pub json: Json,
}

/// A value with a text form.
pub struct Named {
    /// Go's name of the type.
    pub type_name: Cow<'static, str>,
    /// What it prints as.
    pub text: String,
    /// What it is compared as.
    pub base: Value,
    /// What it looks like as JSON.
    pub json: Json,
}

/// Something with methods: a row of a table.
pub trait Object: Send + Sync {
    /// Go's name of the type, with `*`.
    fn type_name(&self) -> &str;
    /// How many arguments a method takes; `None`: there is no such method.
    fn arity(&self, method: &str) -> Option<usize>;
    /// Calls a method with as many arguments as it takes. The error is a sentence.
    fn call(&self, method: &str, arguments: &[Value]) -> Result<Value, String>;
    /// What it looks like as JSON.
    fn json(&self) -> Json;
}

impl Map {
    /// Looks a key up.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(k, _)| &**k == key).map(|(_, v)| v)
    }

    /// Entries in the order of their keys, which is how Go prints and ranges over maps.
    pub fn sorted(&self) -> Vec<&(Arc<str>, Value)> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries
    }
}

impl Struct {
    /// The value of a field.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.values.get(self.ty.fields.iter().position(|f| f == field)?)
    }
}

impl Value {
    /// A string.
    pub fn str(text: impl AsRef<str>) -> Value {
        Value::Str(text.as_ref().into())
    }

    /// A slice of strings.
    pub fn strings<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Value {
        let items = items.into_iter().map(Value::str).collect();
        Value::List(Arc::new(List { type_name: "[]string".into(), items, nil: false }))
    }

    /// Go's name of the type.
    pub fn type_name(&self) -> Cow<'_, str> {
        match self {
            Value::Missing | Value::Nil => "interface {}".into(),
            Value::NilPointer(ty) => ty.name.as_ref().into(),
            Value::Bool(_) => "bool".into(),
            Value::Int(_) => "int".into(),
            Value::Uint(_) => "uint64".into(),
            Value::Float(_) => "float64".into(),
            Value::Str(_) => "string".into(),
            Value::List(list) => list.type_name.as_ref().into(),
            Value::Map(map) => map.type_name.as_ref().into(),
            Value::Struct(s) => s.ty.name.as_ref().into(),
            Value::Named(named) => named.type_name.as_ref().into(),
            Value::Object(object) => object.type_name().into(),
        }
    }

    /// Whether it counts as true: not the zero value of its type.
    pub fn truth(&self) -> bool {
        match self {
            Value::Missing | Value::Nil | Value::NilPointer(_) => false,
            Value::Bool(b) => *b,
            Value::Int(i) => *i != 0,
            Value::Uint(u) => *u != 0,
            Value::Float(f) => *f != 0.0,
            Value::Str(s) => !s.is_empty(),
            Value::List(list) => !list.items.is_empty(),
            Value::Map(map) => !map.entries.is_empty(),
            Value::Named(named) => named.base.truth(),
            Value::Struct(_) | Value::Object(_) => true,
        }
    }

    /// Whether it is nil of its type.
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Missing | Value::Nil | Value::NilPointer(_))
    }

    /// Without a text form of its own.
    pub fn base(&self) -> &Value {
        match self {
            Value::Named(named) => &named.base,
            other => other,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self.base() {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// What it looks like as JSON.
    pub fn to_json(&self) -> Json {
        match self {
            Value::Missing | Value::Nil | Value::NilPointer(_) => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(i) => Json::Int(*i),
            Value::Uint(u) => Json::Uint(*u),
            Value::Float(f) => Json::Float(*f),
            Value::Str(s) => Json::Str(s.to_string()),
            Value::List(list) if list.nil => Json::Null,
            Value::Map(map) if map.nil => Json::Null,
            Value::List(list) => Json::Array(list.items.iter().map(Value::to_json).collect()),
            Value::Map(map) => Json::Object(map.entries.iter().map(|(k, v)| (k.to_string(), v.to_json())).collect()),
            Value::Struct(s) => s.json.clone(),
            Value::Named(named) => named.json.clone(),
            Value::Object(object) => object.json(),
        }
    }
}

impl From<&Json> for Value {
    fn from(json: &Json) -> Value {
        match json {
            Json::Null => Value::Nil,
            Json::Bool(b) => Value::Bool(*b),
            Json::Int(i) => Value::Int(*i),
            Json::Uint(u) => Value::Uint(*u),
            Json::Float(f) => Value::Float(*f),
            Json::Str(s) | Json::Raw(s) => Value::str(s),
            Json::Array(items) => Value::List(Arc::new(List {
                type_name: "[]interface {}".into(),
                items: items.iter().map(Value::from).collect(),
                nil: false,
            })),
            Json::Object(entries) => Value::Map(Arc::new(Map {
                type_name: "map[string]interface {}".into(),
                entries: entries.iter().map(|(k, v)| (k.as_str().into(), Value::from(v))).collect(),
                nil: false,
            })),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::str(text)
    }
}
impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::str(text)
    }
}
impl From<bool> for Value {
    fn from(b: bool) -> Value {
        Value::Bool(b)
    }
}
impl From<i64> for Value {
    fn from(i: i64) -> Value {
        Value::Int(i)
    }
}
