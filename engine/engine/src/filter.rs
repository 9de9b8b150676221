//! Filters that several lists share.

use std::collections::BTreeMap;

use tare_docker_api::filters::{FilterError, Filters};
use tare_docker_api::time::{Time, parse_unix, timestamp_arg};

use crate::error::{Error, Result};

impl From<FilterError> for Error {
    fn from(error: FilterError) -> Self {
        Error::invalid(error.to_string())
    }
}

/// `label` (all must be there) and `label!` (none may be).
pub(crate) fn labels_match(filters: &Filters, labels: &BTreeMap<String, String>) -> bool {
    filters.pairs("label", labels)
        && filters.get("label!").all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_none_or(|own| own != value),
            None => !labels.contains_key(wanted),
        })
}

/// Checks a prune's filters; the time before which things are old enough, in nanoseconds since the epoch.
pub(crate) fn prune_until(filters: &Filters, accepted: &[&str]) -> Result<Option<i64>> {
    filters.validate(accepted)?;
    let mut values = filters.get("until");
    let Some(text) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid("more than one until filter specified"));
    }
    time(text).map(Some)
}

/// A time as clients write it: a duration ago, RFC 3339, or Unix seconds.
pub(crate) fn time(text: &str) -> Result<i64> {
    let unix = timestamp_arg(text, Time::now()).map_err(|error| Error::invalid(error.to_string()))?;
    parse_unix(&unix).map(Time::unix_nanos).map_err(|error| Error::invalid(error.to_string()))
}
