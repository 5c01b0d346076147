//! What is printed and kept across installations, and that settings reach the manifests.

use clap::Parser;
use serde_json::json;

use super::*;
use crate::tools;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn settings(words: &[&str]) -> SettingArgs {
    let words = std::iter::once("deploy").chain(words.iter().copied());
    Line::try_parse_from(words).unwrap().args.settings
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let refused = |words: &[&str]| {
        let words = std::iter::once("deploy").chain(words.iter().copied());
        Line::try_parse_from(words).unwrap_err().to_string()
    };
    let replicas = refused(&["--high-availability", "--autoscaling"]);
    assert!(replicas.contains("cannot be used with"), "{replicas}");
    let import = refused(&["--import", "x {}", "--registry", "r"]);
    assert!(import.contains("cannot be used with"), "{import}");
    let kind = refused(&["--service-type", "Public"]);
    assert!(kind.contains("LoadBalancer"), "{kind}");
}

#[test]
fn settings_reach_the_manifests() {
    if tools::find("kubectl").is_none() {
        eprintln!("SKIPPED: deploy settings: kubectl is not installed");
        return;
    }
    let kubectl = Kubectl::new("kubectl", Vec::new());
    let words = [
        "--profile",
        "minimal",
        "--autoscaling",
        "--set",
        "istiod.maxReplicas=9",
    ];
    let objects = render(&kubectl, &settings(&words)).unwrap();
    let scalers: Vec<&Value> = objects
        .iter()
        .filter(|object| kind_of(object) == "HorizontalPodAutoscaler")
        .collect();
    assert_eq!(
        scalers.len(),
        1,
        "no autoscaler for a gateway that is not there"
    );
    assert_eq!(scalers[0]["spec"]["maxReplicas"], 9);
    let words = ["--service-type", "LoadBalancer", "--high-availability"];
    let objects = render(&kubectl, &settings(&words)).unwrap();
    let service = objects
        .iter()
        .find(|one| kind_of(one) == "Service" && name_of(one) == "istio-ingressgateway");
    assert_eq!(service.unwrap()["spec"]["type"], "LoadBalancer");
}

#[test]
fn the_entrance_is_an_address_if_there_is_one_else_a_port_of_a_node() {
    let nodes = json!({"items": [{"status": {"addresses": [
        {"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.7"}
    ]}}]});
    let mut service = json!({
        "metadata": {"name": "istio-ingressgateway"},
        "spec": {"ports": [{"name": "http2", "port": 80, "nodePort": 31080}]},
    });
    let line = entrance(&service, &nodes).unwrap();
    assert_eq!(line, "istio-ingressgateway: http://10.0.0.7:31080");
    service["status"] = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}});
    let line = entrance(&service, &nodes).unwrap();
    assert_eq!(line, "istio-ingressgateway: http://203.0.113.9");
    assert_eq!(
        entrance(&json!({"metadata": {"name": "istiod"}}), &nodes),
        None
    );
}

#[test]
fn an_image_folder_must_be_complete() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("images.json"), "[]").unwrap();
    let args = ImageArgs {
        images: Some(folder.path().to_owned()),
        ..ImageArgs::default()
    };
    let message = images(&args).unwrap_err().to_string();
    assert!(message.contains("lacks mesh-proxy"), "{message}");
}
