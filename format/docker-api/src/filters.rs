//! The `filters` parameter of lists, prunes and events.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use regex_lite::Regex;

/// Values by filter name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

/// A filter that is not understood. The text is Docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not JSON of one of the two forms.
    #[error("invalid filter")]
    Malformed,
    /// A name the list does not know, or one without a value.
    #[error("invalid filter '{0}'")]
    Name(String),
    /// A value that does not fit.
    #[error("invalid filter '{0}={1}'")]
    Value(String, Values),
}

/// Values as Go prints a slice: `[a b]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values(Vec<String>);

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0.join(" "))
    }
}

impl Filters {
    /// Reads the parameter: `{"name":{"value":true}}`, or `{"name":["value"]}` of old clients. Empty is no filter.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        type Maps = Option<BTreeMap<String, Option<BTreeMap<String, Option<bool>>>>>;
        type Lists = Option<BTreeMap<String, Option<Vec<Option<String>>>>>;
        if text.is_empty() {
            return Ok(Filters::default());
        }
        if let Ok(maps) = serde_json::from_str::<Maps>(text) {
            // A value that is `false` still counts as present, as the lookups in Go's map of names do.
            let entry = |(name, values): (String, Option<BTreeMap<_, _>>)| {
                (name, values.unwrap_or_default().into_keys().collect())
            };
            return Ok(Filters(maps.unwrap_or_default().into_iter().map(entry).collect()));
        }
        let lists = serde_json::from_str::<Lists>(text).map_err(|_| FilterError::Malformed)?;
        let entry = |(name, values): (String, Option<Vec<Option<String>>>)| {
            (name, values.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect())
        };
        Ok(Filters(lists.unwrap_or_default().into_iter().map(entry).collect()))
    }

    /// Refuses names that are not in `accepted`.
    pub fn validate(&self, accepted: &[&str]) -> Result<(), FilterError> {
        match self.0.keys().find(|name| !accepted.contains(&name.as_str())) {
            Some(name) => Err(FilterError::Name(name.clone())),
            None => Ok(()),
        }
    }

    /// Adds a value.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.entry(name.into()).or_default().insert(value.into());
    }

    /// Removes a name with all its values.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Whether the name is there, even without values.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether there is no filter at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of a name, sorted.
    pub fn get(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A yes/no filter: `1`, `true`, `0` or `false`; the default when the name is not there.
    pub fn bool_or(&self, name: &str, default: bool) -> Result<bool, FilterError> {
        let Some(values) = self.0.get(name) else { return Ok(default) };
        if values.is_empty() {
            return Err(FilterError::Name(name.to_owned()));
        }
        let yes = values.contains("1") || values.contains("true");
        let no = values.contains("0") || values.contains("false");
        if yes == no { Err(self.bad_value(name)) } else { Ok(yes) }
    }

    /// The error for a value that does not fit.
    pub fn bad_value(&self, name: &str) -> FilterError {
        FilterError::Value(name.to_owned(), Values(self.get(name).map(str::to_owned).collect()))
    }

    /// Whether one of the values equals `source`; true without values.
    pub fn exact(&self, name: &str, source: &str) -> bool {
        self.0.get(name).is_none_or(|values| values.is_empty() || values.contains(source))
    }

    /// Whether one of the values is a prefix of `source`; true without values.
    pub fn prefix(&self, name: &str, source: &str) -> bool {
        self.0.get(name).is_none_or(|values| values.is_empty() || values.iter().any(|v| source.starts_with(v.as_str())))
    }

    /// Whether one of the values equals `source` or matches it as a regular expression; true without values.
    pub fn matches(&self, name: &str, source: &str) -> bool {
        let pattern = |value: &String| Regex::new(value).is_ok_and(|regex| regex.is_match(source));
        self.exact(name, source) || self.0.get(name).is_some_and(|values| values.iter().any(pattern))
    }

    /// Whether every value, `key` or `key=value`, is among the pairs (labels); true without values.
    pub fn pairs(&self, name: &str, sources: &BTreeMap<String, String>) -> bool {
        self.get(name).all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => sources.get(key).is_some_and(|v| v == value),
            None => sources.contains_key(wanted),
        })
    }

    /// The parameter for a request; empty without filters.
    pub fn to_json(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let maps: BTreeMap<&str, BTreeMap<&str, bool>> = self
            .0
            .iter()
            .map(|(name, values)| (name.as_str(), values.iter().map(|v| (v.as_str(), true)).collect()))
            .collect();
        serde_json::to_string(&maps).unwrap_or_default()
    }
}
