//! What a restart of the control plane must not change: what is held back, and settings that
//! cannot be read. In folder mode, with real processes.
#![expect(clippy::unwrap_used, reason = "a failed test may end in a panic")]

use std::time::Duration;

use examples::load::{Amount, Plan, Tally, run, run_with};
use examples::mesh::{Mesh, MeshOptions, wait_until};
use mesh_runtime::Drain;

const HOST: &str = "shop.example.com";
const CONTROL_PLANE: &str = "control-plane";
const FILE: &str = "canary-routing.yaml";
const SOON: Duration = Duration::from_secs(15);

fn plan(mesh: &Mesh) -> Plan {
    Plan::new(mesh.gateway(), HOST, "/").share_by_header("x-shop-tier-backend")
}

/// Waits until the control plane says all of this about its input, or none of it.
async fn says(mesh: &Mesh, parts: &[&str], wanted: bool) {
    wait_until(&format!("{parts:?}: {wanted}"), SOON, async || {
        let page = mesh.control_plane("/debug/diagnostics").await?;
        let said = parts.iter().all(|part| page.body.contains(part));
        Ok((said == wanted).then_some(()))
    })
    .await
    .unwrap();
}

/// Waits until a text is among what is kept: that is stored beside the pushes, a moment later.
async fn keeps(mesh: &Mesh, part: &str) {
    let kept = mesh.config_dir().with_file_name(".config.state");
    let kept = kept.join("kept-configuration.json");
    wait_until(&format!("kept: {part}"), SOON, async || {
        let text = std::fs::read_to_string(&kept).unwrap_or_default();
        Ok(text.contains(part).then_some(()))
    })
    .await
    .unwrap();
}

/// Kills the control plane and a proxy that keeps nothing itself, and starts both again.
async fn restart_all(mesh: &mut Mesh, proxy: &str) {
    mesh.kill(CONTROL_PLANE).unwrap();
    mesh.kill(proxy).unwrap();
    for part in [CONTROL_PLANE, proxy] {
        mesh.start_part(part).unwrap();
        mesh.wait_ready(part).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_is_held_back_survives_a_restart() {
    let mut mesh = Mesh::start(MeshOptions::story("canary")).await.unwrap();
    let routing = mesh.read_config(FILE).unwrap();
    let ahead = routing.replace("subset: v2", "subset: not-yet");
    mesh.write_config(FILE, &ahead).unwrap();
    says(&mesh, &["MESH0104", "not-yet"], true).await;
    let calls = async |mesh: &Mesh| {
        let report = run(plan(mesh).requests(1000).connections(4)).await;
        assert_eq!(report.failed, 0, "{report}");
        assert!((report.share("v2") - 10.0).abs() <= 5.0, "{report}");
    };
    calls(&mesh).await;
    for _ in 0..2 {
        restart_all(&mut mesh, "frontend-1").await;
        says(&mesh, &["MESH0104", "not-yet"], true).await;
        calls(&mesh).await;
    }
    mesh.write_config(FILE, &routing).unwrap();
    says(&mesh, &["MESH0104"], false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_read_survives_a_restart_in_its_last_good_form() {
    let mut mesh = Mesh::start(MeshOptions::story("canary")).await.unwrap();
    let routing = mesh.read_config(FILE).unwrap();
    let (rule, route) = routing.split_once("\n---\n").unwrap();
    let refused = format!("{rule}\n---\n{}", route.replace("http:", "htpp:"));
    let held = ["VirtualService", "its last good version stays in force"];
    for (broken, told, former) in [
        (refused, held, "\"kind\":\"VirtualService\""),
        (
            routing.replace("kind:", "kind"),
            ["not YAML", "held back"],
            "\"kind\":\"DestinationRule\"",
        ),
    ] {
        mesh.write_config(FILE, &broken).unwrap();
        says(&mesh, &told, true).await;
        keeps(&mesh, former).await;
        for _ in 0..2 {
            restart_all(&mut mesh, "frontend-1").await;
            says(&mesh, &told, true).await;
            let report = run(plan(&mesh).requests(1000).connections(4)).await;
            assert_eq!(report.failed, 0, "{report}");
            assert!((report.share("v2") - 10.0).abs() <= 5.0, "{report}");
        }
    }
    mesh.write_config(FILE, &routing).unwrap();
    says(&mesh, &["held back"], false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subsets_are_renamed_in_alphabetical_order_without_a_failed_request() {
    let mut mesh = Mesh::start(MeshOptions::story("canary")).await.unwrap();
    let routing = mesh.read_config(FILE).unwrap();
    let (rule, route) = routing.split_once("\n---\n").unwrap();
    mesh.write_config("1-destination-rule.yaml", rule).unwrap();
    mesh.write_config("2-virtual-service.yaml", route).unwrap();
    mesh.remove_config(FILE).unwrap();
    says(&mesh, &["is also defined in"], false).await;

    let mut endless = plan(&mesh).connections(8);
    endless.amount = Amount::UntilStopped;
    let (tally, drain) = (Tally::default(), Drain::new());
    let (watched, stop) = (tally.clone(), drain.watch());
    let load = tokio::spawn(async move { run_with(endless, &watched, stop).await });
    let renamed = |text: &str| {
        text.replace("name: v1", "name: stable")
            .replace("name: v2", "name: next")
            .replace("subset: v1", "subset: stable")
            .replace("subset: v2", "subset: next")
    };
    mesh.write_config("1-destination-rule.yaml", &renamed(rule))
        .unwrap();
    says(&mesh, &["MESH0104", "subset v1"], true).await;
    // Not even a restart in between.
    mesh.restart(CONTROL_PLANE).await.unwrap();
    says(&mesh, &["MESH0104", "subset v1"], true).await;
    mesh.write_config("2-virtual-service.yaml", &renamed(route))
        .unwrap();
    says(&mesh, &["MESH0104"], false).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    drain.trigger();
    load.await.unwrap();
    let report = tally.snapshot();
    assert_eq!(report.failed, 0, "{report}");
    assert!(report.requests > 100, "{report}");
    assert!((report.share("v2") - 10.0).abs() <= 5.0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_nobody_can_read_keep_their_last_good_value() {
    let mut mesh = Mesh::start(MeshOptions::default()).await.unwrap();
    let settings = |text: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\n\
             data:\n  mesh: |\n    {text}\n"
        )
    };
    let kept = mesh.config_dir().with_file_name(".config.state");
    let kept = kept.join("kept-configuration.json");
    let file = "mesh-config.yaml";
    let good = settings("outboundTrafficPolicy: {mode: REGISTRY_ONLY}");
    mesh.write_config(file, &good).unwrap();
    keeps(&mesh, "REGISTRY_ONLY").await;
    let typo = settings("outboundTrafficPolicy: {mode: REGISTRY_ONLLY}");
    mesh.write_config(file, &typo).unwrap();
    let told = ["did you mean REGISTRY_ONLY?", "keeps its last good value"];
    says(&mesh, &told, true).await;
    mesh.restart(CONTROL_PLANE).await.unwrap();
    says(&mesh, &told, true).await;
    assert!(
        std::fs::read_to_string(&kept)
            .unwrap()
            .contains("REGISTRY_ONLY")
    );

    // Whoever never had any is not ready, and says why.
    mesh.kill(CONTROL_PLANE).unwrap();
    std::fs::remove_file(&kept).unwrap();
    mesh.start_part(CONTROL_PLANE).unwrap();
    let told = ["did you mean REGISTRY_ONLY?", "nothing is pushed until it"];
    says(&mesh, &told, true).await;
    let ready = mesh.control_plane("/ready").await.unwrap();
    assert_eq!(ready.status, 503, "{}", ready.body);
    mesh.write_config(file, &good).unwrap();
    mesh.wait_ready(CONTROL_PLANE).await.unwrap();
}
