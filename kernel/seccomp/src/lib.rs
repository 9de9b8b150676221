//! tare-seccomp
