//! `RUN --mount`: what is mounted for one command.

use crate::instruction::{Mount, MountType};

/// Reads `type=cache,target=/x,…`. Variables are replaced later.
pub(crate) fn mount(text: &str) -> Result<Mount, String> {
    let mut mount = Mount::default();
    let mut writable = None;
    for field in text.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        let flag = || match value.map(str::to_ascii_lowercase).as_deref() {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("invalid value for {key}: {other}")),
        };
        let needed = || value.ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"));
        let number = |radix| {
            let text = needed()?;
            u32::from_str_radix(text, radix).map_err(|_| format!("invalid value {text} for {key}"))
        };
        match key.as_str() {
            "type" => {
                mount.kind = match needed()? {
                    "bind" => MountType::Bind,
                    "cache" => MountType::Cache,
                    "tmpfs" => MountType::Tmpfs,
                    "secret" => MountType::Secret,
                    "ssh" => MountType::Ssh,
                    other => return Err(format!("unsupported mount type {other:?}")),
                }
            }
            "target" | "dst" | "destination" => needed()?.clone_into(&mut mount.target),
            "source" | "src" => needed()?.clone_into(&mut mount.source),
            "from" => needed()?.clone_into(&mut mount.from),
            "id" => needed()?.clone_into(&mut mount.id),
            "ro" | "readonly" => writable = Some(!flag()?),
            "rw" | "readwrite" => writable = Some(flag()?),
            "required" if matches!(mount.kind, MountType::Secret | MountType::Ssh) => mount.required = flag()?,
            "env" if mount.kind == MountType::Secret => needed()?.clone_into(&mut mount.env),
            "mode" if mount.kind != MountType::Bind => mount.mode = Some(number(8)?),
            "uid" if mount.kind != MountType::Bind => mount.owner.0 = number(10)?,
            "gid" if mount.kind != MountType::Bind => mount.owner.1 = number(10)?,
            "size" => {
                let size = needed()?;
                mount.size = size.parse().map_err(|_| format!("invalid value for size: {size}"))?;
            }
            // A cache is never shared between two commands at a time here, which satisfies every mode.
            "sharing" if mount.kind != MountType::Bind => match needed()? {
                "shared" | "private" | "locked" => {}
                other => return Err(format!("unsupported sharing value {other:?}")),
            },
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    mount.read_only = !writable.unwrap_or(mount.kind != MountType::Bind);
    if mount.target.is_empty() && !matches!(mount.kind, MountType::Secret | MountType::Ssh) {
        return Err("target path is required".to_owned());
    }
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_their_options() {
        let cache = mount("type=cache,target=/c,sharing=locked,mode=0700,uid=7,id=x").unwrap();
        assert_eq!(
            (cache.kind, cache.mode, cache.owner, cache.id.as_str()),
            (MountType::Cache, Some(0o700), (7, 0), "x")
        );
        assert!(!cache.read_only);
        let bind = mount("source=a,target=b").unwrap();
        assert!(bind.kind == MountType::Bind && bind.read_only && !mount("target=b,rw").unwrap().read_only);
        assert!(mount("type=secret,id=s,required").unwrap().required);
        for (text, why) in [
            ("type=cache", "target path is required"),
            ("target", "invalid field 'target' must be a key=value pair"),
            ("target=/a,mode=7", "unexpected key 'mode' in 'mode=7'"),
            ("type=cache,target=/a,mode=9", "invalid value 9 for mode"),
            ("type=cache,target=/a,sharing=no", "unsupported sharing value \"no\""),
            ("type=disk,target=/a", "unsupported mount type \"disk\""),
        ] {
            assert_eq!(mount(text).unwrap_err(), why, "{text}");
        }
    }
}
