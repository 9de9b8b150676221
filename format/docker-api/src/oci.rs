//! The parts of the OCI image specification that appear in the API's documents.

use crate::go::{List, Map};

go_types! {
    /// A content descriptor (OCI image specification, "Descriptor").
    pub struct Descriptor {
        media_type: String ["mediaType"],
        digest: String ["digest"],
        /// Bytes.
        size: i64 ["size"],
        urls: List<String> ["urls" omitempty],
        annotations: Map<String> ["annotations" omitempty],
        /// Embedded content, base64.
        data: String ["data" omitempty],
        platform: Option<Platform> ["platform" omitempty],
        artifact_type: String ["artifactType" omitempty],
    }

    /// What an image runs on.
    pub struct Platform {
        architecture: String ["architecture"],
        os: String ["os"],
        os_version: String ["os.version" omitempty],
        os_features: List<String> ["os.features" omitempty],
        variant: String ["variant" omitempty],
    }
}
