//! What a client wants with what was built.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::buildkit::v1::{Exporter, SolveRequest};
use tare_build::Built;
use tare_reference::Reference;
use tonic::Status;

use crate::front::{Front, unsupported};
use crate::{gateway, send};

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Export {
    /// That it is built.
    Nothing,
    /// An image here, and in its registry.
    Image { names: Vec<Reference>, push: bool },
    /// An archive of the image, as `docker save` makes it, which has the form of OCI too.
    Archive { kind: &'static str, names: Vec<Reference> },
    /// The files, as they are.
    Directory,
    /// The files, in an archive.
    Tar,
}

impl Export {
    /// Reads what a request says.
    pub(crate) fn asked(request: &SolveRequest) -> Result<Export, Status> {
        let deprecated =
            Exporter { r#type: request.exporter_deprecated.clone(), attrs: request.exporter_attrs_deprecated.clone() };
        if request.enable_session_exporter {
            return unsupported("an exporter within the client");
        }
        let exporter = match request.exporters.as_slice() {
            [] if deprecated.r#type.is_empty() => return Ok(Export::Nothing),
            [] => &deprecated,
            [one] => one,
            _ => return unsupported("a build with several exporters"),
        };
        let is = |name: &str| matches!(exporter.attrs.get(name).map(String::as_str), Some("true" | "1"));
        match exporter.r#type.as_str() {
            "moby" | "image" => {
                look_at(exporter, &["name", "push"])?;
                Ok(Export::Image { names: names(exporter)?, push: is("push") })
            }
            kind @ ("docker" | "oci") => {
                look_at(exporter, &["name", "context"])?;
                Ok(Export::Archive { kind: if kind == "oci" { "oci" } else { "docker" }, names: names(exporter)? })
            }
            "local" => look_at(exporter, &[]).map(|()| Export::Directory),
            "tar" => look_at(exporter, &[]).map(|()| Export::Tar),
            other => unsupported(&format!("the exporter {other:?}")),
        }
    }
}

/// What clients read about an archive that goes to them; some wait for these words.
const TARBALL: &str = "sending tarball";

/// Values with which an exporter's option asks for nothing else than there is anyway. No value stands for any.
const NEUTRAL: [(&str, &[&str]); 21] = [
    ("attestation-prefix", &[]),
    ("buildinfo", &[]),
    ("buildinfo-attrs", &[]),
    ("compression", &["", "gzip"]),
    ("dangling-name-prefix", &[""]),
    ("dest", &[]),
    ("force-compression", &["", "false", "0"]),
    ("load", &[]),
    ("mode", &["", "copy"]),
    ("name-canonical", &[]),
    ("oci-artifact", &[]),
    ("oci-mediatypes", &["", "true", "1"]),
    ("platform-split", &[]),
    ("prefer-image-digest", &[]),
    ("push-by-digest", &["", "false", "0"]),
    ("registry.insecure", &["", "false", "0"]),
    ("rewrite-timestamp", &["", "false", "0"]),
    ("store", &["", "true", "1"]),
    ("tar", &["", "true", "1"]),
    ("type", &[]),
    ("unpack", &[]),
];

/// Refuses options that are not followed.
fn look_at(exporter: &Exporter, followed: &[&str]) -> Result<(), Status> {
    let mut options: Vec<_> = exporter.attrs.iter().collect();
    options.sort();
    for (key, value) in options {
        let neutral = NEUTRAL.iter().find(|(name, _)| name == key);
        let is_neutral = neutral.is_some_and(|(_, values)| values.is_empty() || values.contains(&value.as_str()));
        if !is_neutral && !followed.contains(&key.as_str()) {
            return unsupported(&format!("{key}={value} of the exporter {:?}", exporter.r#type));
        }
    }
    Ok(())
}

fn names(exporter: &Exporter) -> Result<Vec<Reference>, Status> {
    let names = exporter.attrs.get("name").map_or("", String::as_str);
    let names = names.split(',').filter(|name| !name.is_empty()).map(|name| {
        let parsed = Reference::parse_normalized(name).map(Reference::with_default_tag);
        parsed.map_err(|error| Status::invalid_argument(format!("{name}: {error}")))
    });
    names.collect()
}

/// Does what the client wants with what was built; tells what it reads about that.
pub(crate) async fn export(
    front: &Front,
    session: &str,
    export: Export,
    built: Built,
) -> Result<HashMap<String, String>, Status> {
    let failed = |error: tare_engine::Error| Status::unknown(error.message);
    let mut response = HashMap::new();
    let names = match export {
        Export::Nothing => Vec::new(),
        Export::Image { names, push } => {
            let id = built.export(&names).await.map_err(|error| gateway::failed(&error))?;
            if push && names.is_empty() {
                return Err(Status::invalid_argument("tag is needed when pushing to registry"));
            }
            for name in names.iter().filter(|_| push) {
                built.push(name).await.map_err(|error| gateway::failed(&error))?;
            }
            told(&mut response, id);
            names
        }
        Export::Archive { kind, names } => {
            let id = built.id().to_owned();
            let step = format!("exporting to {kind} image format");
            built
                .archive(&step, TARBALL, &names, |bytes| send::archive(front, session, bytes))
                .await
                .map_err(failed)?;
            told(&mut response, id);
            names
        }
        Export::Directory => {
            let step = "exporting to client directory";
            built.files(step, "copying files", |root| send::directory(front, session, root)).await.map_err(failed)?;
            Vec::new()
        }
        Export::Tar => {
            let step = "exporting to client tarball";
            built.files(step, TARBALL, |root| send::tar(front, session, root)).await.map_err(failed)?;
            Vec::new()
        }
    };
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        response.insert("image.name".to_owned(), names.join(","));
    }
    Ok(response)
}

fn told(response: &mut HashMap<String, String>, id: String) {
    response.insert("containerimage.digest".to_owned(), id.clone());
    response.insert("containerimage.config.digest".to_owned(), id);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(kind: &str, attrs: &[(&str, &str)]) -> Result<Export, String> {
        let attrs = attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let exporters = vec![Exporter { r#type: kind.to_owned(), attrs }];
        Export::asked(&SolveRequest { exporters, ..SolveRequest::default() }).map_err(|s| s.message().to_owned())
    }

    #[test]
    fn what_is_wanted() {
        let one = vec![Reference::parse_normalized("a:latest").unwrap()];
        assert_eq!(Export::asked(&SolveRequest::default()).unwrap(), Export::Nothing);
        let image = asked("moby", &[("name", "a"), ("push", "true"), ("type", "docker"), ("unpack", "true")]).unwrap();
        assert_eq!(image, Export::Image { names: one.clone(), push: true });
        let archive = asked("docker", &[("name", "a"), ("tar", "true")]).unwrap();
        assert_eq!(archive, Export::Archive { kind: "docker", names: one });
        assert_eq!(asked("local", &[("mode", "copy")]).unwrap(), Export::Directory);
        assert_eq!(asked("tar", &[]).unwrap(), Export::Tar);
    }

    #[test]
    fn what_there_is_not_is_named() {
        for (kind, key, value, said) in [
            ("x", "", "", "the exporter \"x\""),
            ("local", "mode", "delete", "mode=delete of the exporter \"local\""),
            ("moby", "annotation.a", "b", "annotation.a=b of the exporter \"moby\""),
            ("image", "compression", "zstd", "compression=zstd of the exporter \"image\""),
            ("oci", "tar", "false", "tar=false of the exporter \"oci\""),
            ("tar", "name", "x", "name=x of the exporter \"tar\""),
        ] {
            let attrs = [(key, value)];
            let said = format!("{said} is not supported by this engine");
            assert_eq!(asked(kind, if key.is_empty() { &[] } else { &attrs }).unwrap_err(), said);
        }
    }
}
