//! Configuration-only networks: what others are made from, and no networks themselves.

use tare_docker_api::network::{ConfigReference, Ipam as IpamRecord, Network as Record, NetworkCreateRequest};

use super::Networks;
use crate::error::{Error, Result};

impl Networks {
    /// The record of a configuration.
    pub(super) fn configuration(&self, name: &str, request: NetworkCreateRequest) -> Result<Record> {
        if request.ingress || request.internal || request.attachable || !request.scope.is_empty() {
            return Err(Error::forbidden(
                "configuration network can only contain network specific fields. Network operator fields like [ ingress | \
                 internal | attachable | scope ] are not supported.",
            ));
        }
        if request.config_from.is_some_and(|from| !from.network.is_empty()) {
            return Err(Error::forbidden("a configuration network cannot depend on another configuration network"));
        }
        let ipam = request.ipam.unwrap_or_default();
        Ok(Record {
            config_only: true,
            enable_ipv4: request.enable_ipv4.unwrap_or(true),
            enable_ipv6: request.enable_ipv6.unwrap_or(false),
            ipam: IpamRecord { driver: "default".to_owned(), options: ipam.options, config: ipam.config },
            options: request.options.into_inner().into(),
            labels: request.labels.into_inner().into(),
            ..super::blank(name, "null")
        })
    }

    /// Fills a request for a network with the configuration that it is to be made from, if any.
    pub(super) fn configure(&self, request: &mut NetworkCreateRequest) -> Result<ConfigReference> {
        let Some(from) = request.config_from.clone().filter(|from| !from.network.is_empty()) else {
            return Ok(ConfigReference::default());
        };
        let missing = || Error::not_found(format!("configuration network {:?} does not exist", from.network));
        let net = self.find(&from.network).map_err(|_| missing())?;
        let configuration = net.read().record.clone();
        if !configuration.config_only {
            return Err(missing());
        }
        let ipam = request.ipam.clone().unwrap_or_default();
        let own = !matches!(ipam.driver.as_str(), "" | "default")
            || !ipam.options.is_empty()
            || !ipam.config.is_empty()
            || request.enable_ipv4 == Some(false)
            || request.enable_ipv6 == Some(true)
            || !request.labels.is_empty();
        let refused = |what: &str| {
            Err(Error::forbidden(format!("{what} are not supported if the network depends on a configuration network")))
        };
        if own {
            return refused("user-specified configurations");
        }
        if !request.options.is_empty() {
            return refused("network driver options");
        }
        request.enable_ipv4 = Some(configuration.enable_ipv4);
        request.enable_ipv6 = Some(configuration.enable_ipv6);
        request.ipam = Some(configuration.ipam);
        request.options = configuration.options;
        request.labels = configuration.labels;
        Ok(ConfigReference { network: net.name.clone() })
    }

    /// Whether networks have been made from a configuration.
    pub(super) fn is_configuration_in_use(&self, name: &str) -> bool {
        self.all().iter().any(|net| net.read().record.config_from.network == name)
    }
}
