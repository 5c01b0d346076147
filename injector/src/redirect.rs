//! The init container that redirects the pod's connections to the proxy: the proxy's image in
//! another mode, with the one capability it takes.
//!
//! Clusters that let no user have that capability make an exception for this container. So its
//! image is the installation's, whatever image a pod chooses for its proxy, and nothing of it that
//! such a rule relies on can be changed by a container of that name in the pod.

use serde_json::{Value, json};

use crate::names::INIT_CONTAINER;
use crate::options::{Capture, Options};

/// The init container.
pub(crate) fn container(
    options: &Options,
    image: &str,
    capture: &Capture,
    pull_policy: &str,
) -> Value {
    let mut arguments: Vec<String> = [
        "init",
        "--inbound-port",
        "15006",
        "--outbound-port",
        "15001",
        "--uid",
        "1337",
        "--gid",
        "1337",
    ]
    .map(str::to_owned)
    .into();
    arguments.extend(capture.arguments());
    json!({
        "name": INIT_CONTAINER,
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": ["/usr/local/bin/proxy"],
        "args": arguments,
        "resources": options.resources,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "add": ["NET_ADMIN"], "drop": ["ALL"] },
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsGroup": 0,
            // Whatever the pod says of all its containers does not hold for this one.
            "runAsNonRoot": false,
            "runAsUser": 0,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
    })
}
