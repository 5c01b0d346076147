//! Which addresses the endpoints of services may have.
//!
//! Whoever may declare a service chooses where proxies connect for others. Endpoints at addresses
//! that mean the proxy's own machine or its surroundings are therefore left out, wherever they
//! come from; only where the whole mesh is on one machine are workloads found at loopback.

use mesh_api::endpoint::EndpointAddress;
use mesh_api::reserved::{ReservedAddress, is_proxy_port};

use super::settings::MeshSettings;

/// Why no endpoint may be at `host`, an address or a name; `None`: one may. The port counts where
/// it is known.
pub fn refusal(settings: &MeshSettings, host: &str, port: Option<u16>) -> Option<String> {
    let reserved = ReservedAddress::of_name(host)?;
    if !settings.one_machine || reserved != ReservedAddress::Loopback {
        return Some(format!(
            "{host} is {reserved}, which would lead proxies into their own machine or its \
             surroundings"
        ));
    }
    let port = port.filter(|port| is_proxy_port(*port))?;
    Some(format!("{host}:{port} is a proxy's own port"))
}

/// Whether a service may have an endpoint there.
pub(super) fn is_lawful(settings: &MeshSettings, address: &EndpointAddress) -> bool {
    let refused = match address {
        EndpointAddress::Socket(socket) => {
            refusal(settings, &socket.ip().to_string(), Some(socket.port()))
        }
        EndpointAddress::Name { host, port } => refusal(settings, host, Some(port.value())),
    };
    refused.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_lawful_on_one_machine_only_and_never_a_proxys_port() {
        let cluster = MeshSettings::default();
        let machine = MeshSettings {
            one_machine: true,
            ..MeshSettings::default()
        };
        for (host, port, in_cluster, on_machine) in [
            ("127.80.1.1", Some(8080), false, true),
            ("127.80.1.1", None, false, true),
            ("127.80.1.1", Some(15_000), false, false),
            ("localhost", Some(8080), false, true),
            ("::ffff:127.0.0.1", Some(15_020), false, false),
            ("169.254.169.254", Some(80), false, false),
            ("0.0.0.0", Some(80), false, false),
            ("224.0.0.1", None, false, false),
            ("10.0.0.1", Some(15_000), true, true),
            ("example.com", Some(80), true, true),
        ] {
            assert_eq!(
                refusal(&cluster, host, port).is_none(),
                in_cluster,
                "{host}"
            );
            assert_eq!(
                refusal(&machine, host, port).is_none(),
                on_machine,
                "{host}"
            );
        }
    }
}
