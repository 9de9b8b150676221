//! tare-nftables
