//! tare-oci-runtime
