//! tare-cgroup
