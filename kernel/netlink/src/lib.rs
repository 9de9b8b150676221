//! tare-netlink
