//! `--mount type=bind,source=/a,target=/b,readonly`: every key, and which keys go with which type.

use std::path::Path;

use tare_docker_api::Map;
use tare_docker_api::container::{BindOptions, Driver, ImageOptions, Mount, TmpfsOptions, VolumeOptions};

use super::surroundings::absolute;
use super::{Invalid, Parsed, csv, invalid, number};
use crate::values::{parse_bytes, quote};

/// Keys that mean true when they stand alone.
const SWITCHES: [&str; 5] = ["readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"];

/// Reads one `--mount`. A source that starts with `.` is made absolute below `cwd`.
pub fn parse(spec: &str, cwd: &Path) -> Parsed<Mount> {
    let spec = spec.trim();
    if spec.is_empty() {
        return invalid("value is empty");
    }
    let mut mount = Mount { kind: "volume".into(), ..Mount::default() };
    for field in csv::record(spec)? {
        let (key, value) = split(&field)?;
        let key = key.to_lowercase();
        if value.is_none() && !SWITCHES.contains(&key.as_str()) {
            return invalid(format_args!("invalid field '{field}' must be a key=value pair"));
        }
        let text = value.unwrap_or("");
        match key.as_str() {
            "type" => mount.kind = text.to_lowercase(),
            "source" | "src" if text.starts_with('.') => mount.source = absolute(cwd, text),
            "source" | "src" => mount.source = text.to_owned(),
            "target" | "dst" | "destination" => mount.target = text.to_owned(),
            "readonly" | "ro" => mount.read_only = switch(&key, value)?,
            "consistency" => mount.consistency = text.to_lowercase(),
            _ if key.starts_with("bind-") => bind_option(&mut mount, &key, &field, value)?,
            _ if key.starts_with("volume-") => volume_option(&mut mount, &key, &field, value)?,
            "image-subpath" => image(&mut mount).subpath = text.to_owned(),
            "tmpfs-size" => {
                tmpfs(&mut mount).size_bytes = parse_bytes(text).map_err(|_| bad_value(&key, text))?;
            }
            "tmpfs-mode" => {
                let mode = number::unsigned(text, 8).ok().and_then(|mode| u32::try_from(mode).ok());
                tmpfs(&mut mount).mode = mode.ok_or_else(|| bad_value(&key, text))?;
            }
            _ => return Err(unknown(&key, &field)),
        }
    }
    check(&mount)?;
    Ok(mount)
}

/// `key=value` or `key`, neither with space around.
fn split(field: &str) -> Parsed<(&str, Option<&str>)> {
    let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
    if key.trim() != key {
        let key = key.trim();
        return invalid(format_args!("invalid option '{key}' in '{field}': option should not have whitespace"));
    }
    match value.map(|v| (v, v.trim())) {
        Some((_, "")) => invalid(format_args!("invalid value for '{key}': value is empty")),
        Some((value, trimmed)) if value != trimmed => {
            invalid(format_args!("invalid value for '{key}' in '{field}': value should not have whitespace"))
        }
        _ => Ok((key, value)),
    }
}

fn bind_option(mount: &mut Mount, key: &str, field: &str, value: Option<&str>) -> Parsed<()> {
    let text = value.unwrap_or("");
    let mut options = mount.bind_options.take().unwrap_or_default();
    match (key, text) {
        ("bind-propagation", _) => options.propagation = text.to_lowercase(),
        ("bind-nonrecursive", _) => {
            return invalid("bind-nonrecursive is deprecated, use bind-recursive=disabled instead");
        }
        // "enabled" says nothing that is not the default, and leaves no options behind.
        ("bind-recursive", "enabled") if options == BindOptions::default() => return Ok(()),
        ("bind-recursive", "enabled") => {}
        ("bind-recursive", "disabled") => options.non_recursive = true,
        ("bind-recursive", "writable") => options.read_only_non_recursive = true,
        ("bind-recursive", "readonly") => options.read_only_force_recursive = true,
        ("bind-recursive", _) => {
            return invalid(format_args!(
                "invalid value for {key}: {text} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
            ));
        }
        ("bind-create-src", _) => options.create_mountpoint = switch(key, value)?,
        _ => return Err(unknown(key, field)),
    }
    mount.bind_options = Some(options);
    Ok(())
}

fn volume_option(mount: &mut Mount, key: &str, field: &str, value: Option<&str>) -> Parsed<()> {
    let text = value.unwrap_or("");
    let options = mount.volume_options.get_or_insert_with(VolumeOptions::default);
    match key {
        "volume-subpath" => options.subpath = text.to_owned(),
        "volume-nocopy" => options.no_copy = switch(key, value)?,
        "volume-label" => set(&mut options.labels, text),
        "volume-driver" => driver(options).name = text.to_owned(),
        "volume-opt" => set(&mut driver(options).options, text),
        _ => return Err(unknown(key, field)),
    }
    Ok(())
}

fn driver(options: &mut VolumeOptions) -> &mut Driver {
    options.driver_config.get_or_insert_with(Driver::default)
}

fn image(mount: &mut Mount) -> &mut ImageOptions {
    mount.image_options.get_or_insert_with(ImageOptions::default)
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_with(TmpfsOptions::default)
}

/// Adds `key[=value]`; an empty key is ignored.
fn set(map: &mut Map<String>, pair: &str) {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if !key.is_empty() {
        map.insert(key.to_owned(), value.to_owned());
    }
}

fn switch(key: &str, value: Option<&str>) -> Parsed<bool> {
    match value {
        None | Some("1" | "true") => Ok(true),
        Some("0" | "false") => Ok(false),
        Some(other) => invalid(format_args!(
            "invalid value for '{key}': invalid boolean value ({}): must be one of \"true\", \"1\", \"false\", or \"0\" \
             (default \"true\")",
            quote(other)
        )),
    }
}

fn bad_value(key: &str, value: &str) -> Invalid {
    Invalid(format!("invalid value for {key}: {value}"))
}

fn unknown(key: &str, field: &str) -> Invalid {
    Invalid(format!("unknown option '{key}' in '{field}'"))
}

/// Options must fit the type, and each other.
fn check(mount: &Mount) -> Parsed<()> {
    let kind = mount.kind.as_str();
    let foreign = [
        (mount.bind_options.is_some(), "bind"),
        (mount.volume_options.is_some(), "volume"),
        (mount.image_options.is_some(), "image"),
        (mount.tmpfs_options.is_some(), "tmpfs"),
    ];
    if let Some((_, other)) = foreign.into_iter().find(|(there, of)| *there && *of != kind) {
        return invalid(format_args!("cannot mix '{other}-*' options with mount type '{kind}'"));
    }
    let Some(bind) = &mount.bind_options else { return Ok(()) };
    let needs = |mode: &str, what: &str| {
        invalid(format_args!("option 'bind-recursive={mode}' requires '{what}' to be specified in conjunction"))
    };
    if bind.read_only_non_recursive && !mount.read_only {
        return needs("writable", "readonly");
    }
    if bind.read_only_force_recursive && !mount.read_only {
        return needs("readonly", "readonly");
    }
    if bind.read_only_force_recursive && bind.propagation != "rprivate" {
        return needs("readonly", "bind-propagation=rprivate");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(spec: &str) -> String {
        match parse(spec, Path::new("/w")) {
            Ok(mount) => serde_json::to_string(&mount).unwrap(),
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn every_key() {
        insta::assert_snapshot!(show("type=bind,src=./a,dst=/b,ro,bind-propagation=rslave,consistency=cached"),
            @r#"{"Type":"bind","Source":"/w/a","Target":"/b","ReadOnly":true,"Consistency":"cached","BindOptions":{"Propagation":"rslave"}}"#);
        insta::assert_snapshot!(show("type=bind,source=/a,target=/b,readonly,bind-recursive=readonly,bind-propagation=rprivate,bind-create-src"),
            @r#"{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true,"BindOptions":{"Propagation":"rprivate","CreateMountpoint":true,"ReadOnlyForceRecursive":true}}"#);
        insta::assert_snapshot!(show("type=bind,source=/a,target=/b,bind-recursive=enabled"), @r#"{"Type":"bind","Source":"/a","Target":"/b"}"#);
        insta::assert_snapshot!(show("type=bind,source=/a,target=/b,bind-recursive=disabled"), @r#"{"Type":"bind","Source":"/a","Target":"/b","BindOptions":{"NonRecursive":true}}"#);
        insta::assert_snapshot!(show("src=v,destination=/b,readonly=false,volume-nocopy,volume-label=a=b,volume-label=c,volume-driver=local,\"volume-opt=o=addr=1,rw\",volume-subpath=s"),
            @r#"{"Type":"volume","Source":"v","Target":"/b","VolumeOptions":{"NoCopy":true,"Labels":{"a":"b","c":""},"Subpath":"s","DriverConfig":{"Name":"local","Options":{"o":"addr=1,rw"}}}}"#);
        insta::assert_snapshot!(show("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770"), @r#"{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":1048576,"Mode":1016}}"#);
        insta::assert_snapshot!(show("type=image,source=busybox,target=/i,image-subpath=bin"), @r#"{"Type":"image","Source":"busybox","Target":"/i","ImageOptions":{"Subpath":"bin"}}"#);
    }

    #[test]
    fn mistakes() {
        insta::assert_snapshot!(show(" "), @"! value is empty");
        insta::assert_snapshot!(show("foo"), @"! invalid field 'foo' must be a key=value pair");
        insta::assert_snapshot!(show("type=bind,foo=bar"), @"! unknown option 'foo' in 'foo=bar'");
        insta::assert_snapshot!(show("type=bind,bind-foo=bar"), @"! unknown option 'bind-foo' in 'bind-foo=bar'");
        insta::assert_snapshot!(show("type=bind, src=/a"), @"! invalid option 'src' in ' src=/a': option should not have whitespace");
        insta::assert_snapshot!(show("type=bind,src= /a"), @"! invalid value for 'src' in 'src= /a': value should not have whitespace");
        insta::assert_snapshot!(show("src="), @"! invalid value for 'src': value is empty");
        insta::assert_snapshot!(show("type=bind,readonly=x"), @r#"! invalid value for 'readonly': invalid boolean value ("x"): must be one of "true", "1", "false", or "0" (default "true")"#);
        insta::assert_snapshot!(show("type=tmpfs,bind-propagation=rshared"), @"! cannot mix 'bind-*' options with mount type 'tmpfs'");
        insta::assert_snapshot!(show("type=tmpfs,tmpfs-size=foo"), @"! invalid value for tmpfs-size: foo");
        insta::assert_snapshot!(show("type=tmpfs,tmpfs-mode=9"), @"! invalid value for tmpfs-mode: 9");
        insta::assert_snapshot!(show("type=bind,bind-nonrecursive"), @"! bind-nonrecursive is deprecated, use bind-recursive=disabled instead");
        insta::assert_snapshot!(show("type=bind,bind-recursive=foo"), @r#"! invalid value for bind-recursive: foo (must be "enabled", "disabled", "writable", or "readonly")"#);
        insta::assert_snapshot!(show("type=bind,bind-recursive=writable"), @"! option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction");
        insta::assert_snapshot!(show("type=bind,ro,bind-recursive=readonly"), @"! option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(spec in "(type|src|dst|ro|bind-|volume-|tmpfs-mode|=|,|\"|[a-z0-9 ]){0,12}") {
            let _ = show(&spec);
        }
    }
}
