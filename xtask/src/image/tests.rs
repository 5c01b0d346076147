//! An image holds its programs, belongs to nobody who may do harm, and is the same each time.

use super::*;

fn binaries() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in Name::value_variants() {
        for program in name.recipe().programs {
            fs::write(folder.path().join(program), program).unwrap();
        }
    }
    folder
}

#[test]
fn packing_twice_gives_the_same_bytes() {
    let binaries = binaries();
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in Name::value_variants() {
        let one = pack(*name, binaries.path(), first.path()).unwrap();
        let two = pack(*name, binaries.path(), second.path()).unwrap();
        assert_eq!(
            fs::read(&one.archive).unwrap(),
            fs::read(&two.archive).unwrap()
        );
        assert_eq!(one.reference, two.reference);
        assert_eq!(one.digest, two.digest);
    }
}

#[test]
fn another_program_is_another_image() {
    let binaries = binaries();
    let folder = tempfile::tempdir().unwrap();
    let before = pack(Name::Proxy, binaries.path(), folder.path()).unwrap();
    fs::write(binaries.path().join("proxy"), "changed").unwrap();
    let after = pack(Name::Proxy, binaries.path(), folder.path()).unwrap();
    assert_ne!(before.reference, after.reference);
    assert!(after.digest.contains(after.tag()), "{after:?}");
}

#[test]
fn no_image_runs_as_root_and_each_starts_its_program() {
    for name in Name::value_variants() {
        let image = image(*name, Path::new("/bin"));
        assert!(!image.user.starts_with('0'), "{image:?}");
        let [layer] = image.layers.as_slice() else {
            panic!("{image:?}");
        };
        assert!(layer.iter().any(|entry| entry.path == image.entrypoint[0]));
    }
}

#[test]
fn the_proxy_answers_to_the_name_tools_call_it_by() {
    let image = image(Name::Proxy, Path::new("/bin"));
    let paths: Vec<&str> = image.layers[0]
        .iter()
        .map(|entry| entry.path.as_str())
        .collect();
    assert_eq!(
        paths[..2],
        ["/usr/local/bin/proxy", "/usr/local/bin/pilot-agent"]
    );
    assert_eq!(image.user, "1337:1337");
}

#[test]
fn a_list_is_read_back_wherever_the_folder_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let image = Built {
        name: "mesh-proxy".to_owned(),
        reference: "localhost/mesh-proxy:abc".to_owned(),
        digest: "sha256:abcdef".to_owned(),
        archive: "/elsewhere/mesh-proxy.tar".into(),
        size: 3,
    };
    let text = serde_json::to_string(&[&image]).unwrap();
    fs::write(folder.path().join(LIST), text).unwrap();
    let missing = list(folder.path()).unwrap_err().to_string();
    assert!(missing.contains("mesh-proxy.tar is missing"), "{missing}");
    fs::write(folder.path().join("mesh-proxy.tar"), "abc").unwrap();
    let found = list(folder.path()).unwrap();
    assert_eq!(found[0].archive, folder.path().join("mesh-proxy.tar"));
    assert_eq!(found[0].tag(), "abc");
}

#[test]
fn a_folder_without_images_names_the_way_out() {
    let message = list(Path::new("/no/such/folder")).unwrap_err().to_string();
    assert!(message.contains("cargo xtask image"), "{message}");
}

#[test]
fn sizes_are_for_people() {
    assert_eq!(megabytes(12_345_678), "12.3 MB");
}
