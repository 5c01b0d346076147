//! The two tools of this crate as processes: what their flags promise.
#![expect(clippy::expect_used, reason = "a failed test may end in a panic")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use examples::mesh::{fetch, post, wait_until};

/// A shop on a port that was free a moment ago.
async fn shop(arguments: &[&str]) -> (Child, std::net::SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let address = address.expect("loopback works");
    let child = Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(["store", "--listen", &address.to_string(), "--version", "v7"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the shop starts");
    let ready = wait_until("the shop", Duration::from_secs(10), async || {
        Ok(fetch(address, "/control").await.ok().map(|_page| ()))
    });
    ready.await.expect("the shop answers");
    (child, address)
}

async fn ended(child: &mut Child) -> std::process::ExitStatus {
    wait_until("the process to end", Duration::from_secs(10), async || {
        Ok(child.try_wait()?)
    })
    .await
    .expect("it ends")
}

#[tokio::test]
async fn load_reports_as_json_and_by_its_exit_code() {
    let (mut shop, address) = shop(&[]).await;
    let load = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_load"))
            .args(["--to", &address.to_string(), "-o", "json", "-n", "200"])
            .args(arguments)
            .output()
            .unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report)
    };
    let (code, report) = load(&["--share-header", "x-shop-version", "--path", "/echo"]);
    assert_eq!(
        (code, &report["requests"]),
        (Some(0), &200.into()),
        "{report}"
    );
    assert_eq!(report["shares"]["v7"], 200);
    let flags = [
        "--http2",
        "--share-field",
        "/headers/x-color",
        "-H",
        "x-color: blue",
    ];
    let (code, report) = load(&flags);
    assert_eq!(
        (code, &report["shares"]["blue"]),
        (Some(0), &200.into()),
        "{report}"
    );

    post(
        address,
        "/control",
        r#"{"fail_status": 503, "fail_times": 5}"#,
    )
    .await
    .unwrap();
    let (code, report) = load(&["--number-header", "x-shop-id"]);
    assert_eq!((code, &report["failed"]), (Some(1), &5.into()), "{report}");
    let counters = fetch(address, "/control/counters")
        .await
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(
        (&counters["ids"], &counters["requests"]),
        (&200.into(), &600.into())
    );
    assert_eq!(counters["repeated_ids"], serde_json::json!({}));
    shop.kill().unwrap();
    shop.wait().unwrap();
}

#[tokio::test]
async fn the_shop_finishes_what_it_began_when_told_to_stop() {
    let (mut shop, address) = shop(&[]).await;
    let slow = tokio::spawn(async move { fetch(address, "/delay/500").await });
    tokio::time::sleep(Duration::from_millis(150)).await;
    let pid = shop.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(slow.await.unwrap().unwrap().status, 200);
    assert!(ended(&mut shop).await.success());
}

#[tokio::test]
async fn the_shop_ends_with_its_standard_input_if_told_so() {
    let (mut shop, _address) = shop(&["--exit-on-stdin-close"]).await;
    drop(shop.stdin.take());
    assert!(ended(&mut shop).await.success());
}

#[test]
fn the_demo_names_what_is_missing() {
    let empty = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let (code, error) = failing_demo(empty.path());
    assert_eq!(code, Some(2));
    assert!(error.contains("control-plane is missing"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_demo_names_a_busy_port_and_its_holder() {
    // If somebody else has the port, as a demo left running, the message names that one.
    let held = TcpListener::bind("127.80.0.2:15012");
    let folder = tempfile::tempdir().unwrap();
    for binary in ["control-plane", "proxy", "shop"] {
        std::fs::write(folder.path().join(binary), "never started").unwrap();
    }
    let (code, error) = failing_demo(folder.path());
    assert_eq!(code, Some(2));
    assert!(
        error.contains("port 15012 of 127.80.0.2 is in use by"),
        "{error}"
    );
    if held.is_ok() {
        assert!(
            error.contains(&format!("(pid {})", std::process::id())),
            "{error}"
        );
    }
}

/// The exit code and the error of a demo that cannot start.
fn failing_demo(binaries: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .arg("--binaries")
        .arg(binaries)
        .output()
        .expect("the demo starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = said
        .lines()
        .find(|line| line.contains("error:"))
        .unwrap_or_default();
    (output.status.code(), error.to_owned())
}
