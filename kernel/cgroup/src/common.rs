//! What both versions plan alike.

use tare_oci_runtime::Resources;

use crate::Error;
use crate::plan::{Plan, Step, Write};

/// Zero stands for "not given" wherever the kernel would have no use for it, as in every engine's API.
pub(crate) fn set<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

/// Whichever of the values that the kernel checks against each other are given.
pub(crate) fn either_order(first: Vec<Write>, second: Option<Write>, plan: &mut Plan) {
    match second {
        Some(second) if !first.is_empty() => plan.steps.push(Step::EitherOrder { first, second, optional: false }),
        second => plan.steps.extend(first.into_iter().chain(second).map(Step::Write)),
    }
}

/// Negative is no limit. Zero is 1, as with other runtimes: the process itself, and nothing besides it.
pub(crate) fn pids_max(resources: &Resources, plan: &mut Plan) {
    match resources.pids.as_ref().and_then(|pids| pids.limit) {
        None => {}
        Some(limit) if limit < 0 => plan.write("pids", "pids.max", "max"),
        Some(limit) => plan.write("pids", "pids.max", limit.max(1)),
    }
}

/// `rdma.max` is the same in both versions.
pub(crate) fn rdma(resources: &Resources, plan: &mut Plan) {
    for (device, limits) in &resources.rdma {
        let number = |limit: Option<u32>| limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
        let (handles, objects) = (number(limits.hca_handles), number(limits.hca_objects));
        plan.write("rdma", "rdma.max", format!("{device} hca_handle={handles} hca_object={objects}"));
    }
}

/// A size such as `2MB` becomes part of a file name, so it must not be a path.
pub(crate) fn page_size(size: &str) -> Result<&str, Error> {
    if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Error::Invalid(format!("invalid huge page size `{size}`")));
    }
    Ok(size)
}
