//! tare-images
