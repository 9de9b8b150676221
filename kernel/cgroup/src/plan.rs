//! The limits of a group as data: which value goes to which file, in which order. Planning is pure; [`Cgroup::apply`]
//! is the thin part that writes.
//!
//! [`Cgroup::apply`]: crate::Cgroup::apply

use std::borrow::Cow;
use std::fmt;

use tare_oci_runtime::Resources;

use crate::devices::DeviceFilter;
use crate::hierarchy::Version;
use crate::{Error, devices, v1, v2};

/// One value for one file of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// `memory`
    pub controller: Cow<'static, str>,
    /// `memory.max`
    pub file: Cow<'static, str>,
    /// `1048576`
    pub value: String,
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Must succeed.
    Write(Write),
    /// The file may be missing: the value is what the kernel does without it.
    IfPresent(Write),
    /// The first whose file exists; files whose name depends on the kernel's configuration.
    FirstPresent(Vec<Write>),
    /// Values of which the kernel accepts one order only, depending on those in force: the first, then the second; each
    /// of the first that is invalid as yet (EINVAL) comes after the second.
    EitherOrder {
        /// Tried first; at least one.
        first: Vec<Write>,
        /// Of the same controller.
        second: Write,
        /// Whether the second file may be missing.
        optional: bool,
    },
    /// v2: the period of processor time in microseconds, beside the quota that is in force: both are in one file.
    Period(u64),
    /// v2: fails when the group uses this much memory or more.
    RefuseBelowUsage {
        /// Which limit this is about to be.
        what: &'static str,
        /// Bytes.
        limit: u64,
    },
    /// v2: loads and attaches the device program.
    Devices(DeviceFilter),
}

/// The ordered steps for one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are taken.
    pub steps: Vec<Step>,
}

/// Plans the limits of a new group. Devices the rules do not allow are denied (source: the rules' meaning in the OCI
/// runtime specification, "Allowed Device list", and the default devices every container needs).
pub fn plan(resources: &Resources, version: Version) -> Result<Plan, Error> {
    let filter = DeviceFilter::new(&resources.devices)?;
    let mut plan = Plan::default();
    match version {
        Version::V1 => devices::plan_v1(&filter, &mut plan),
        Version::V2 => plan.steps.push(Step::Devices(filter)),
    }
    plan.steps.extend(plan_update(resources, version)?.steps);
    Ok(plan)
}

/// Plans a change of the limits of a group in use: only what `resources` names changes, and devices never.
pub fn plan_update(resources: &Resources, version: Version) -> Result<Plan, Error> {
    match version {
        Version::V1 => v1::plan(resources),
        Version::V2 => v2::plan(resources),
    }
}

impl Plan {
    /// Takes out the steps of one controller, to be applied at another time: `pids.max` must wait until the container's
    /// init is cloned.
    pub fn split_off(&mut self, controller: &str) -> Self {
        let steps = std::mem::take(&mut self.steps);
        let (taken, kept) = steps.into_iter().partition(|step| step.controller() == controller);
        self.steps = kept;
        Self { steps: taken }
    }

    pub(crate) fn write(
        &mut self,
        controller: impl Into<Cow<'static, str>>,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
    ) {
        self.steps.push(Step::Write(Write::new(controller, file, value)));
    }
}

impl Write {
    pub(crate) fn new(
        controller: impl Into<Cow<'static, str>>,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
    ) -> Self {
        Self { controller: controller.into(), file: file.into(), value: value.to_string() }
    }
}

impl Step {
    fn controller(&self) -> &str {
        match self {
            Self::Write(write) | Self::IfPresent(write) | Self::EitherOrder { second: write, .. } => &write.controller,
            Self::Period(_) => "cpu",
            Self::RefuseBelowUsage { .. } => "memory",
            Self::FirstPresent(writes) => writes.first().map_or("", |write| &write.controller),
            Self::Devices(_) => "devices",
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.file, self.value)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(write) => write!(f, "{write}"),
            Self::IfPresent(write) => write!(f, "{write} (if present)"),
            Self::FirstPresent(writes) => {
                let writes: Vec<String> = writes.iter().map(ToString::to_string).collect();
                write!(f, "{}", writes.join(" | "))
            }
            Self::EitherOrder { first, second, optional } => {
                first.iter().try_for_each(|write| write!(f, "{write} & "))?;
                write!(f, "{second}{}", if *optional { " (if present)" } else { "" })
            }
            Self::Period(period) => write!(f, "cpu.max = (its quota) {period}"),
            Self::RefuseBelowUsage { what, limit } => write!(f, "refuse {what} if memory.current >= {limit}"),
            Self::Devices(filter) => write!(f, "device program of {} instructions", filter.program().len()),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}
