//! Proxies: what flags and file say goes into the environment, where everything looks for them that asks other machines,
//! `git` included.

use std::ffi::OsStr;

use anyhow::{Context as _, Result};
use tare_engine::without_password;

use super::file::File;
use super::flags::Flags;

/// Sets the variables. To be called while the process has a single thread.
pub(super) fn set(flags: &Flags, file: &File) -> Result<()> {
    for (name, value) in given(flags, file) {
        let names = [name.to_uppercase(), name.to_owned()];
        for name in &names {
            let old = std::env::var(name).unwrap_or_default();
            if !old.is_empty() && old != value {
                tracing::warn!(
                    name,
                    "old-value" = without_password(&old),
                    "new-value" = without_password(value),
                    "overriding existing proxy variable with value from configuration"
                );
            }
        }
        let variables = names.each_ref().map(|name| (name.as_str(), OsStr::new(value)));
        tare_sys::environment::set_alone(&variables).with_context(|| format!("set {name}"))?;
    }
    Ok(())
}

/// What is set, by the variables' names in small letters.
pub(super) fn given<'a>(flags: &'a Flags, file: &'a File) -> impl Iterator<Item = (&'static str, &'a str)> {
    let proxies = &file.proxies;
    let all = [
        ("http_proxy", flags.http_proxy.as_deref().or(proxies.http_proxy.as_deref())),
        ("https_proxy", flags.https_proxy.as_deref().or(proxies.https_proxy.as_deref())),
        ("no_proxy", flags.no_proxy.as_deref().or(proxies.no_proxy.as_deref())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)))
}
