//! A value of another type than a request's field has, in the words of Go's decoder, which Docker's answers are from. Who
//! reads such an answer wants to know which field is meant: serde tells only where in the text.

/// What the fields are to Go, where it is not what their kind says: the last name of the path, and the type.
const TYPES: &[(&str, &str)] = &[
    ("HostConfig", "container.HostConfig"),
    ("NetworkingConfig", "network.NetworkingConfig"),
    ("RestartPolicy", "container.RestartPolicy"),
    ("LogConfig", "container.LogConfig"),
    ("Healthcheck", "container.HealthConfig"),
    ("PortBindings", "nat.PortMap"),
    ("PortBindings.*", "[]nat.PortBinding"),
    ("PortBindings.*.0", "nat.PortBinding"),
    ("ExposedPorts", "nat.PortSet"),
    ("ExposedPorts.*", "struct {}"),
    ("Volumes", "map[string]struct {}"),
    ("Volumes.*", "struct {}"),
    ("Mounts", "[]mount.Mount"),
    ("Mounts.0", "mount.Mount"),
    ("BindOptions", "mount.BindOptions"),
    ("VolumeOptions", "mount.VolumeOptions"),
    ("TmpfsOptions", "mount.TmpfsOptions"),
    ("DriverConfig", "mount.Driver"),
    ("Devices", "[]container.DeviceMapping"),
    ("Devices.0", "container.DeviceMapping"),
    ("DeviceRequests", "[]container.DeviceRequest"),
    ("DeviceRequests.0", "container.DeviceRequest"),
    ("Ulimits", "[]*units.Ulimit"),
    ("Ulimits.0", "units.Ulimit"),
    ("EndpointsConfig", "map[string]*network.EndpointSettings"),
    ("EndpointsConfig.*", "network.EndpointSettings"),
    ("EndpointConfig", "network.EndpointSettings"),
    ("IPAMConfig", "network.EndpointIPAMConfig"),
    ("IPAM", "network.IPAM"),
    ("IPAM.Config", "[]network.IPAMConfig"),
    ("IPAM.Config.0", "network.IPAMConfig"),
    ("ConfigFrom", "network.ConfigReference"),
    ("Mounts.0.Type", "mount.Type"),
    ("Propagation", "mount.Propagation"),
    ("RestartPolicy.Name", "container.RestartPolicyMode"),
    ("NetworkMode", "container.NetworkMode"),
    ("IpcMode", "container.IpcMode"),
    ("PidMode", "container.PidMode"),
    ("UTSMode", "container.UTSMode"),
    ("UsernsMode", "container.UsernsMode"),
    ("CgroupnsMode", "container.CgroupnsMode"),
    ("Isolation", "container.Isolation"),
    ("MaximumRetryCount", "int"),
    ("StopTimeout", "int"),
    ("OomScoreAdj", "int"),
    ("Retries", "int"),
    ("Count", "int"),
    ("GwPriority", "int"),
    ("ConsoleSize.0", "uint"),
    ("Interval", "time.Duration"),
    ("Timeout", "time.Duration"),
    ("StartPeriod", "time.Duration"),
    ("StartInterval", "time.Duration"),
];
/// Maps of text.
const MAPS: [&str; 9] = [
    "Labels",
    "Options",
    "DriverOpts",
    "Sysctls",
    "Tmpfs",
    "StorageOpt",
    "Annotations",
    "Config",
    "AuxiliaryAddresses",
];
/// Bodies, by the names of ours: what the path of a field begins with, and the type.
const BODIES: [(&str, &str, &str); 9] = [
    ("CreateRequest", "", "container.CreateRequest"),
    ("Config", "", "container.Config"),
    ("UpdateRequest", "UpdateConfig", "container.UpdateConfig"),
    ("ExecConfig", "ExecOptions", "container.ExecOptions"),
    ("ExecStart", "ExecStartOptions", "container.ExecStartOptions"),
    ("NetworkCreateRequest", "CreateRequest", "network.CreateRequest"),
    ("NetworkConnectRequest", "ConnectOptions", "network.ConnectOptions"),
    ("NetworkDisconnectRequest", "DisconnectOptions", "network.DisconnectOptions"),
    ("VolumeCreateRequest", "CreateOptions", "volume.CreateOptions"),
];

/// Deepest nesting that is looked into; no body's fields are deeper.
const DEPTH_MAX: usize = 16;

/// Says what is wrong, for a text that is JSON but not what a body of this type is; `None` where there is no word for it.
pub(crate) fn complaint<T>(text: &[u8], error: &serde_json::Error) -> Option<String> {
    let name = std::any::type_name::<T>().rsplit("::").next()?;
    let (_, root, whole) = BODIES.iter().find(|(ours, ..)| *ours == name)?;
    let said = error.to_string();
    let expected = said.rsplit_once("expected ")?.1.rsplit_once(" at line")?.0;
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().checked_sub(1)?).map(<[u8]>::len).sum();
    // A column is that of the last byte that was read, of which there is none before the first. Brackets may have been
    // looked at only.
    let read = before + error.column().max(1) - 1;
    let bracket = [("type: map", b'{'), ("type: sequence", b'[')].into_iter().find(|(word, _)| said.contains(word));
    let rest = text.get(read..).unwrap_or_default();
    let ahead = bracket.and_then(|(_, bracket)| rest.iter().position(|byte| *byte == bracket));
    let mut walk = Walk { text, at: 0, wanted: read + ahead.unwrap_or(0), path: Vec::new(), found: None };
    walk.value();
    let (path, value) = walk.found?;
    let kind = match value.first()? {
        b'{' => "object".to_owned(),
        b'[' => "array".to_owned(),
        b'"' => "string".to_owned(),
        b't' | b'f' => "bool".to_owned(),
        _ if is_number(expected) => format!("number {}", String::from_utf8_lossy(value)),
        _ => "number".to_owned(),
    };
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    // What may be a text or a list of them is read by code of its own, which knows of no field.
    let is_command = |name: &str| root.is_empty() && matches!(name, "Cmd" | "Entrypoint");
    match names.as_slice() {
        [] => return Some(format!("json: cannot unmarshal {kind} into Go value of type {whole}")),
        [name] if is_command(name) => {
            return Some(format!("json: cannot unmarshal {kind} into Go value of type string"));
        }
        [name, _] if is_command(name) => {
            return Some("json: cannot unmarshal array into Go value of type string".to_owned());
        }
        _ => {}
    }
    let of = type_of(&names, expected)?;
    let escaped: Vec<String> = names.iter().map(|name| name.replace('~', "~0").replace('/', "~1")).collect();
    let field = format!("{root}.{}", escaped.join("."));
    let is_element = names.last().is_some_and(|last| is_index(last)) && !of.contains('.');
    let what = if is_element { "" } else { "Go struct field " };
    Some(format!("json: cannot unmarshal {kind} into {what}{field} of type {of}"))
}

fn is_number(expected: &str) -> bool {
    matches!(expected, "i64" | "i32" | "u64" | "u32" | "u16" | "u8")
}

fn is_index(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Go's type of a field.
fn type_of(names: &[&str], expected: &str) -> Option<String> {
    let fits = |pattern: &str| {
        let mut names = names.iter().rev();
        pattern.split('.').rev().all(|part| match (part, names.next()) {
            ("*", Some(_)) => true,
            ("0", Some(name)) => is_index(name),
            (part, Some(name)) => part.eq_ignore_ascii_case(name),
            (_, None) => false,
        })
    };
    // The longest says the most.
    let known = TYPES.iter().filter(|(pattern, _)| fits(pattern)).max_by_key(|(pattern, _)| pattern.len());
    if let Some((_, of)) = known {
        return Some((*of).to_owned());
    }
    let last = names.last()?;
    Some(match expected {
        "a string" => "string".to_owned(),
        "a boolean" => "bool".to_owned(),
        "an array" | "a string or an array of strings" => "[]string".to_owned(),
        "an object" if MAPS.iter().any(|name| name.eq_ignore_ascii_case(last)) => "map[string]string".to_owned(),
        number if is_number(number) => match number.split_at(1) {
            ("u", bits) => format!("uint{bits}"),
            (_, bits) => format!("int{bits}"),
        },
        _ => return None,
    })
}

/// Goes through a text that is JSON, to the innermost value that has a byte.
struct Walk<'t> {
    text: &'t [u8],
    at: usize,
    wanted: usize,
    path: Vec<String>,
    found: Option<(Vec<String>, &'t [u8])>,
}

impl Walk<'_> {
    fn value(&mut self) {
        self.space();
        let start = self.at;
        match self.text.get(self.at) {
            Some(bracket @ (b'{' | b'[')) if self.path.len() < DEPTH_MAX => self.children(*bracket == b'{'),
            Some(b'"') => drop(self.string()),
            _ => {
                let rest = self.text.get(self.at..).unwrap_or_default();
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
                self.at += rest.iter().position(ends).unwrap_or(rest.len()).max(1);
            }
        }
        // What is inside has been found before what is around it.
        if self.found.is_none() && (start..self.at).contains(&self.wanted) {
            self.found = self.text.get(start..self.at).map(|value| (self.path.clone(), value));
        }
    }

    fn children(&mut self, have_names: bool) {
        self.at += 1;
        for index in 0.. {
            self.space();
            match self.text.get(self.at) {
                None => return,
                Some(b'}' | b']') => {
                    self.at += 1;
                    return;
                }
                Some(b',') => {
                    self.at += 1;
                    self.space();
                }
                Some(_) => {}
            }
            if self.found.is_some() {
                return;
            }
            let name = if have_names { self.string() } else { index.to_string() };
            if have_names {
                self.space();
                self.at += 1;
            }
            self.path.push(name);
            self.value();
            self.path.pop();
        }
    }

    /// A text, without its escapes being looked at.
    fn string(&mut self) -> String {
        let start = self.at + 1;
        self.at = start;
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        let text = String::from_utf8_lossy(self.text.get(start..self.at).unwrap_or_default()).into_owned();
        self.at += 1;
        text
    }

    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use tare_docker_api::container::{CreateRequest, ExecConfig, UpdateRequest};
    use tare_docker_api::network::NetworkCreateRequest;
    use tare_docker_api::volume::VolumeCreateRequest;

    use super::*;

    fn said<T: serde::de::DeserializeOwned>(text: &str) -> String {
        let Err(error) = serde_json::from_str::<T>(text) else { panic!("{text} is fine") };
        let said = complaint::<T>(text.as_bytes(), &error).unwrap_or_else(|| error.to_string());
        said.strip_prefix("json: cannot unmarshal ").unwrap_or(&said).to_owned()
    }

    /// What dockerd 28.5 says of the same.
    #[test]
    fn gos_words() {
        for (text, expected) in [
            (r#"{"Image":5}"#, "number into Go struct field .Image of type string"),
            (r#"{"Image":"x","Cmd":5}"#, "number into Go value of type string"),
            (r#"{"Cmd":{"a":1}}"#, "object into Go value of type string"),
            (r#"{"Cmd":["a",5]}"#, "array into Go value of type string"),
            (r#"{"Env":"a"}"#, "string into Go struct field .Env of type []string"),
            ("{\n \"Tty\" : \"a\"}", "string into Go struct field .Tty of type bool"),
            (r#"{"HostConfig":{"Memory":1.5}}"#, "number 1.5 into Go struct field .HostConfig.Memory of type int64"),
            (
                r#"{"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":8}]}}}"#,
                "number into Go struct field .HostConfig.PortBindings.80~1tcp.0.HostPort of type string",
            ),
            (
                r#"{"HostConfig":{"PortBindings":{"80/tcp":{"HostPort":"8"}}}}"#,
                "object into Go struct field .HostConfig.PortBindings.80~1tcp of type []nat.PortBinding",
            ),
            (r#"{"HostConfig":[]}"#, "array into Go struct field .HostConfig of type container.HostConfig"),
            (r#"{"HostConfig":{"Binds":["a",5]}}"#, "number into .HostConfig.Binds.1 of type string"),
            (
                r#"{"HostConfig":{"RestartPolicy":{"MaximumRetryCount":"1"}}}"#,
                "string into Go struct field .HostConfig.RestartPolicy.MaximumRetryCount of type int",
            ),
            (
                r#"{"HostConfig":{"Mounts":[{"Type":5}]}}"#,
                "number into Go struct field .HostConfig.Mounts.0.Type of type mount.Type",
            ),
            (r#"{"Labels":["a"]}"#, "array into Go struct field .Labels of type map[string]string"),
            (r#"{"Labels":{"a":5}}"#, "number into Go struct field .Labels.a of type string"),
            (r#"{"ExposedPorts":{"80/tcp":5}}"#, "number into Go struct field .ExposedPorts.80~1tcp of type struct {}"),
            (
                r#"{"Healthcheck":{"Interval":"1s"}}"#,
                "string into Go struct field .Healthcheck.Interval of type time.Duration",
            ),
            (r#"{"HostConfig":{"ConsoleSize":["a",1]}}"#, "string into .HostConfig.ConsoleSize.0 of type uint"),
            ("[]", "array into Go value of type container.CreateRequest"),
            ("true", "bool into Go value of type container.CreateRequest"),
        ] {
            assert_eq!(said::<CreateRequest>(text), expected, "{text}");
        }
        assert_eq!(
            said::<UpdateRequest>(r#"{"BlkioWeight":-1}"#),
            "number -1 into Go struct field UpdateConfig.BlkioWeight of type uint16"
        );
        assert_eq!(
            said::<NetworkCreateRequest>(r#"{"Name":"x","IPAM":{"Config":{}}}"#),
            "object into Go struct field CreateRequest.IPAM.Config of type []network.IPAMConfig"
        );
        assert_eq!(
            said::<VolumeCreateRequest>(r#"{"DriverOpts":{"a":1}}"#),
            "number into Go struct field CreateOptions.DriverOpts.a of type string"
        );
        assert_eq!(
            said::<ExecConfig>(r#"{"Cmd":"x"}"#),
            "string into Go struct field ExecOptions.Cmd of type []string"
        );
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in r#"[\[\]{}:,"\\a1 \n]{0,24}"#, at in 0_usize..30) {
            let mut walk = Walk { text: text.as_bytes(), at: 0, wanted: at, path: Vec::new(), found: None };
            walk.value();
        }
    }
}
