//! Caches that a client names: images in registries, whose history tells their steps.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry, frontend};
use serde::Deserialize;
use tonic::Status;

use crate::front::unsupported;

/// As clients write it into an attribute.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Import {
    #[serde(default, alias = "type")]
    r#type: String,
    #[serde(default, alias = "attrs")]
    attrs: Option<HashMap<String, String>>,
}

/// The images that steps may be taken from, and what is said about caches that are none.
pub(crate) fn imports(attributes: &HashMap<String, String>) -> Result<(Vec<String>, Vec<String>), Status> {
    let text = |name: &str| attributes.get(name).filter(|text| !text.is_empty());
    let mut imports: Vec<Import> = match text("cache-imports") {
        None => Vec::new(),
        Some(text) => serde_json::from_str(text).map_err(|error| {
            Status::invalid_argument(format!("failed to unmarshal cache-imports ({text:?}): {error}"))
        })?,
    };
    for name in text("cache-from").iter().flat_map(|names| names.split(',')).filter(|name| !name.is_empty()) {
        let attrs = Some(HashMap::from([("ref".to_owned(), name.to_owned())]));
        imports.push(Import { r#type: "registry".to_owned(), attrs });
    }
    let (mut images, mut warnings) = (Vec::new(), Vec::new());
    for Import { r#type, attrs } in imports {
        let image = attrs.unwrap_or_default().remove("ref").filter(|_| r#type == "registry");
        match image {
            Some(image) => images.push(image),
            // Without it the image is the same.
            None => warnings
                .push(format!("the cache of type {type:?} is not supported by this engine: nothing is taken from it")),
        }
    }
    Ok((images, warnings))
}

/// Refuses the export of a cache to anywhere else than the image.
pub(crate) fn check(cache: Option<&CacheOptions>) -> Result<(), Status> {
    let Some(cache) = cache else { return Ok(()) };
    if !cache.export_ref_deprecated.is_empty() {
        return unsupported("the export of the cache to a registry");
    }
    // The image's history tells its steps: that is its cache.
    match cache.exports.iter().find(|export| export.r#type != "inline") {
        Some(CacheOptionsEntry { r#type, .. }) => unsupported(&format!("the export of the cache of type {type:?}")),
        None => Ok(()),
    }
}

/// The caches that stand in a request instead of an attribute, as that attribute's value.
pub(crate) fn asked(cache: Option<&CacheOptions>) -> Option<String> {
    let cache = cache?;
    let entry = |kind: &str, attrs: &HashMap<String, String>| serde_json::json!({ "Type": kind, "Attrs": attrs });
    let mut all: Vec<_> = cache.imports.iter().map(|import| entry(&import.r#type, &import.attrs)).collect();
    for name in &cache.import_refs_deprecated {
        all.push(entry("registry", &HashMap::from([("ref".to_owned(), name.clone())])));
    }
    (!all.is_empty()).then(|| serde_json::Value::Array(all).to_string())
}

/// The same of a request on the gateway.
pub(crate) fn of_gateway(imports: &[frontend::CacheOptionsEntry]) -> Option<String> {
    let same = |import: &frontend::CacheOptionsEntry| {
        let (r#type, attrs) = (import.r#type.clone(), import.attrs.clone());
        CacheOptionsEntry { r#type, attrs }
    };
    asked(Some(&CacheOptions { imports: imports.iter().map(same).collect(), ..CacheOptions::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_caches() {
        let attributes = HashMap::from([
            (
                "cache-imports".to_owned(),
                r#"[{"Type":"registry","Attrs":{"ref":"a"}},{"Type":"gha"},{"type":"local","attrs":{"src":"b"}}]"#
                    .to_owned(),
            ),
            ("cache-from".to_owned(), "c,d".to_owned()),
        ]);
        let (images, warnings) = imports(&attributes).unwrap();
        assert_eq!(images, ["a", "c", "d"]);
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("\"gha\"") && warnings[1].contains("\"local\""));
    }

    #[test]
    fn only_the_image_has_a_cache() {
        let to = |kind: &str| {
            let entry = CacheOptionsEntry { r#type: kind.to_owned(), ..Default::default() };
            check(Some(&CacheOptions { exports: vec![entry], ..Default::default() }))
        };
        assert!(check(None).is_ok() && to("inline").is_ok());
        let said = to("registry").unwrap_err();
        assert_eq!(said.message(), "the export of the cache of type \"registry\" is not supported by this engine");
    }

    #[test]
    fn requests_name_caches_too() {
        let refs = CacheOptions { import_refs_deprecated: vec!["x".to_owned()], ..Default::default() };
        let attributes = HashMap::from([("cache-imports".to_owned(), asked(Some(&refs)).unwrap())]);
        assert_eq!(imports(&attributes).unwrap().0, ["x"]);
        assert!(asked(Some(&CacheOptions::default())).is_none());
    }
}
