//! Small scripts that talk to this cluster whatever else is installed: `kubectl`, `ctr`, and a
//! `microk8s` that knows what `cargo xtask deploy` asks of the real one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::assets::Assets;
use super::configuration::write_file;
use super::layout::{self, Layout};

/// Writes the scripts.
pub(super) fn write(layout: &Layout, assets: &Assets, ctr: &Path) -> Result<()> {
    let kubectl = assets.program("kubectl").display().to_string();
    let kubeconfig = layout.kubeconfig().display().to_string();
    let socket = layout.containerd_socket().display().to_string();
    let ctr = ctr.display().to_string();
    let scripts = [
        ("kubectl", kubectl_script(&kubectl, &kubeconfig)),
        ("ctr", ctr_script(&ctr, &socket)),
        (
            "microk8s",
            microk8s_script(&kubectl, &kubeconfig, &ctr, &socket),
        ),
    ];
    for (name, script) in scripts {
        let path = layout.bin().join(name);
        write_file(&path, &script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn kubectl_script(kubectl: &str, kubeconfig: &str) -> String {
    format!(
        "#!/bin/sh\n\
         : \"${{KUBECONFIG:={kubeconfig}}}\"\n\
         export KUBECONFIG\n\
         exec {kubectl} \"$@\"\n"
    )
}

fn ctr_script(ctr: &str, socket: &str) -> String {
    format!("#!/bin/sh\nexec {ctr} --address {socket} --namespace k8s.io \"$@\"\n")
}

fn microk8s_script(kubectl: &str, kubeconfig: &str, ctr: &str, socket: &str) -> String {
    let node = layout::NODE;
    format!(
        r#"#!/bin/sh
# Stands in for the snap: the same words, this cluster.
ready() {{
    {kubectl} --kubeconfig {kubeconfig} --request-timeout 5s wait \
        --for=condition=Ready node/{node} --timeout=0s >/dev/null 2>&1
}}
command=$1
[ $# -gt 0 ] && shift
case $command in
kubectl)
    exec {kubectl} --kubeconfig {kubeconfig} "$@"
    ;;
ctr)
    exec {ctr} --address {socket} --namespace k8s.io "$@"
    ;;
status)
    wait=
    timeout=0
    while [ $# -gt 0 ]; do
        case $1 in
        --wait-ready) wait=yes ;;
        --timeout|-t) timeout=$2; shift ;;
        --timeout=*) timeout=${{1#*=}} ;;
        *) echo "microk8s status: unknown argument $1" >&2; exit 2 ;;
        esac
        shift
    done
    started=$(date +%s)
    until ready; do
        now=$(date +%s)
        if [ -z "$wait" ] || {{ [ "$timeout" -gt 0 ] && [ $((now - started)) -ge "$timeout" ]; }}; then
            echo "microk8s is not running. Use microk8s inspect for a deeper inspection."
            exit 1
        fi
        sleep 1
    done
    echo "microk8s is running"
    echo "high-availability: no"
    echo "addons:"
    echo "  enabled:"
    echo "    dns                  # (core) CoreDNS"
    echo "  disabled:"
    echo "    istio                # (community) Core Istio service mesh services"
    echo "    metallb              # (core) Loadbalancer for your Kubernetes cluster"
    ;;
*)
    echo "microk8s: this stand-in knows kubectl, ctr and status, not '$command'" >&2
    exit 2
    ;;
esac
"#
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What the scripts print when the programs behind them are `echo`.
    fn run(script: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new("sh")
            .args(["-c", script, "microk8s"])
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    }

    #[test]
    fn microk8s_maps_exactly_what_it_knows() {
        let script = microk8s_script("echo K", "/c", "echo C", "/s");
        let (_, kubectl) = run(&script, &["kubectl", "get", "pods"]);
        assert_eq!(kubectl, "K --kubeconfig /c get pods\n");
        let (_, ctr) = run(&script, &["ctr", "images", "ls"]);
        assert_eq!(ctr, "C --address /s --namespace k8s.io images ls\n");
        let (code, status) = run(&script, &["status", "--wait-ready", "--timeout", "3"]);
        assert_eq!(code, Some(0));
        assert!(status.starts_with("microk8s is running\n"), "{status}");
        assert_eq!(run(&script, &["enable", "dns"]).0, Some(2));
        assert_eq!(run(&script, &[]).0, Some(2));
    }

    #[test]
    fn microk8s_says_when_the_cluster_does_not_run() {
        let script = microk8s_script("false", "/c", "false", "/s");
        let (code, status) = run(&script, &["status"]);
        assert_eq!(code, Some(1));
        assert!(status.contains("not running"), "{status}");
        let (code, _) = run(&script, &["status", "--wait-ready", "--timeout=1"]);
        assert_eq!(code, Some(1));
    }

    #[test]
    fn kubectl_uses_the_cluster_unless_another_is_chosen() {
        let script = kubectl_script("env", "/c").replace("exec env \"$@\"", "echo $KUBECONFIG");
        let chosen = Command::new("sh")
            .args(["-c", &script])
            .env("KUBECONFIG", "/mine")
            .output()
            .unwrap();
        assert_eq!(chosen.stdout, b"/mine\n");
        let usual = Command::new("sh")
            .args(["-c", &script])
            .env_remove("KUBECONFIG")
            .output()
            .unwrap();
        assert_eq!(usual.stdout, b"/c\n");
    }
}
