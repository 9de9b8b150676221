//! BuildKit's filters of the cache of builds: `type==regular,shared`, conditions that all hold.

use regex_lite::Regex;
use tare_docker_api::image::BuildCacheRecord;

use crate::error::{Error, Result};

/// Filters of which one has to hold; without any, everything is selected.
#[derive(Debug, Default)]
pub struct CacheSelector(Vec<Vec<Condition>>);

#[derive(Debug)]
struct Condition {
    field: Field,
    test: Test,
}

/// What of a record is looked at.
#[derive(Debug, Clone, Copy)]
enum Field {
    Id,
    Parents,
    Description,
    Kind,
    InUse,
    Mutable,
    Immutable,
    Shared,
    Private,
}

#[derive(Debug)]
enum Test {
    Present,
    Is(String),
    IsNot(String),
    Matches(Regex),
}

impl CacheSelector {
    /// Reads filters as clients of BuildKit's write them.
    pub fn parse(filters: &[String]) -> Result<Self> {
        let filters = filters.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
        filters.map(conditions).collect::<Result<_>>().map(Self)
    }

    /// Whether it selects a record.
    pub fn takes(&self, record: &BuildCacheRecord) -> bool {
        self.0.is_empty() || self.0.iter().any(|all| all.iter().all(|condition| condition.holds(record)))
    }
}

/// The conditions of one filter.
fn conditions(text: &str) -> Result<Vec<Condition>> {
    let wrong = |why: &str| Error::invalid(format!("parse error: [{text}]: {why}"));
    let mut conditions = Vec::new();
    let mut rest = text;
    loop {
        let end = rest.find(['=', '!', '~', ',']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let field = Field::parse(name.trim()).ok_or_else(|| wrong(&format!("unknown field {:?}", name.trim())))?;
        let operators = ["==", "!=", "~="];
        let operator = operators.iter().find_map(|operator| Some((*operator, after.strip_prefix(operator)?)));
        let (test, after) = match operator {
            None => (Test::Present, after),
            Some((operator, after)) => {
                let (value, after) = value(after).ok_or_else(|| wrong("unterminated string"))?;
                let test = match operator {
                    "==" => Test::Is(value),
                    "!=" => Test::IsNot(value),
                    _ => Test::Matches(Regex::new(&value).map_err(|error| wrong(&error.to_string()))?),
                };
                (test, after)
            }
        };
        conditions.push(Condition { field, test });
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(conditions),
            None => return Err(wrong("expected separator or end of input")),
        }
    }
}

/// A value, in quotation marks or up to the next comma, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &inner[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

impl Field {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            // Docker's name for it is in the singular.
            "parents" | "parent" => Self::Parents,
            "description" => Self::Description,
            "type" => Self::Kind,
            "inuse" => Self::InUse,
            "mutable" => Self::Mutable,
            "immutable" => Self::Immutable,
            "shared" => Self::Shared,
            "private" => Self::Private,
            _ => return None,
        })
    }

    /// A record's value: nothing where the field does not apply, no text where it only does or does not.
    fn of(self, record: &BuildCacheRecord) -> Option<String> {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let when = |holds: bool| holds.then(|| "true".to_owned());
        // What commands write to in common is the only thing that changes.
        let mutable = record.kind == crate::build_cache::CACHE_MOUNT;
        match self {
            Self::Id => text(&record.id),
            Self::Parents => text(&record.parents.join(";")),
            Self::Description => text(&record.description),
            Self::Kind => text(&record.kind),
            Self::InUse => when(record.in_use),
            Self::Mutable => when(mutable),
            Self::Immutable => when(!mutable),
            Self::Shared => when(record.shared),
            Self::Private => when(!record.shared),
        }
    }

    fn is_flag(self) -> bool {
        !matches!(self, Self::Id | Self::Parents | Self::Description | Self::Kind)
    }
}

impl Condition {
    fn holds(&self, record: &BuildCacheRecord) -> bool {
        let mut own = self.field.of(record);
        if self.field.is_flag() && !matches!(self.test, Test::Present) {
            own.get_or_insert_with(|| "false".to_owned());
        }
        match &self.test {
            Test::Present => own.is_some(),
            Test::Is(value) => own.is_some_and(|own| own == *value),
            Test::IsNot(value) => own.is_none_or(|own| own != *value),
            Test::Matches(regex) => own.is_some_and(|own| regex.is_match(&own)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_together() {
        let record = BuildCacheRecord {
            id: "sha256:abc".to_owned(),
            parents: vec!["sha256:def".to_owned()].into(),
            kind: "regular".to_owned(),
            description: "RUN a, \"b\"".to_owned(),
            shared: true,
            ..BuildCacheRecord::default()
        };
        let takes = |filters: &[&str]| {
            let filters: Vec<String> = filters.iter().map(|&filter| filter.to_owned()).collect();
            CacheSelector::parse(&filters).unwrap().takes(&record)
        };
        for yes in [
            "",
            "id~=abc",
            "type==regular,shared",
            "parents==sha256:def",
            "description==\"RUN a, \\\"b\\\"\"",
            "private==false",
            "inuse!=true",
            "immutable,id!=x",
        ] {
            assert!(takes(&[yes]), "{yes}");
        }
        for no in ["id==abc", "type==regular,private", "shared==false", "inuse", "mutable", "type!=regular"] {
            assert!(!takes(&[no]), "{no}");
        }
        assert!(takes(&["inuse", "shared"]) && takes(&[]));
        for wrong in ["nope==x", "id==\"x", "id=x", "type==regular,", "id~=("] {
            assert!(CacheSelector::parse(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
