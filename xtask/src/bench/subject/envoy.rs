//! Envoy with one worker, one listener and one cluster; its default statistics, nothing else.

use std::path::Path;

use anyhow::Result;

use super::{BACKEND, HOST, PROXY_CPU, Running, write};
use crate::bench::process::{Process, answers};

const ADDRESS: &str = "127.90.4.1:15001";

pub(super) fn start(folder: &Path, program: &Path) -> Result<Running> {
    let config = write(folder, "envoy.yaml", &configuration())?;
    let arguments = [
        "-c",
        &config,
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "error",
    ];
    let log = folder.join("envoy.log");
    let mut proxy = Process::start(program, &arguments, PROXY_CPU, &log)?;
    proxy.wait_until("answer", || answers(ADDRESS, HOST, "/"))?;
    Ok(Running::alone(proxy, ADDRESS, ADDRESS))
}

fn configuration() -> String {
    let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let (listen, backend) = (socket_address(ADDRESS), socket_address(BACKEND));
    // The limits of a cluster are 1,024 by default, which is not what is compared here.
    format!(
        "\
static_resources:
  listeners:
  - address: {listen}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": {manager}
          stat_prefix: bench
          codec_type: AUTO
          route_config:
            virtual_hosts:
            - name: bench
              domains: [\"*\"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: bench, timeout: 0s}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{\"@type\": {router}}}
  clusters:
  - name: bench
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - {{max_connections: 10000, max_pending_requests: 10000, max_requests: 10000}}
    load_assignment:
      cluster_name: bench
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {backend}}}
"
    )
}

fn socket_address(address: &str) -> String {
    let (host, port) = address.split_once(':').unwrap_or((address, "0"));
    format!("{{socket_address: {{address: {host}, port_value: {port}}}}}")
}
