//! tare-gotemplate
