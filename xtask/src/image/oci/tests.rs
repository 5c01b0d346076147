//! Two writings of an image are equal, and every digest in it is that of the bytes it names.

use std::io::Read;

use super::*;

fn bytes(path: &str, content: &str) -> Entry {
    Entry {
        path: path.to_owned(),
        mode: 0o644,
        content: Content::Bytes(content.as_bytes().to_vec()),
    }
}

fn sample(entries: Vec<Entry>) -> Image {
    Image {
        name: "sample".to_owned(),
        layers: vec![entries],
        entrypoint: vec!["/usr/bin/a".to_owned()],
        user: "1:2".to_owned(),
        labels: BTreeMap::from([("key".to_owned(), "value".to_owned())]),
    }
}

/// The files of an archive by their paths.
fn unpack(file: &[u8]) -> BTreeMap<String, (Header, Vec<u8>)> {
    let mut archive = tar::Archive::new(file);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let header = entry.header().clone();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (path, (header, content))
        })
        .collect()
}

fn written(image: &Image) -> (String, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deeper/image.tar");
    let archive = image.archive().unwrap();
    archive.write_to(&path).unwrap();
    (archive.reference().to_owned(), fs::read(path).unwrap())
}

#[test]
fn the_order_of_the_input_does_not_matter() {
    let (first, second) = (bytes("/usr/bin/a", "A"), bytes("/b", "B"));
    let forth = written(&sample(vec![first.clone(), second.clone()]));
    let back = written(&sample(vec![second, first]));
    assert_eq!(forth, back);
    let other = written(&sample(vec![bytes("/usr/bin/a", "another")]));
    assert_ne!(forth.0, other.0, "another content has another name");
}

#[test]
fn every_digest_and_size_is_that_of_the_blob() {
    let (reference, file) = written(&sample(vec![bytes("/usr/bin/a", "A")]));
    let files = unpack(&file);
    let parse = |path: &str| -> Value { serde_json::from_slice(&files[path].1).unwrap() };
    let blob = |described: &Value| {
        let digest = described["digest"].as_str().unwrap();
        let path = digest.replace("sha256:", "blobs/sha256/");
        let content = &files[&path].1;
        assert_eq!(
            format!("sha256:{}", Blob::new(content.clone()).digest),
            digest
        );
        assert_eq!(described["size"], content.len());
        path
    };
    let index = parse("index.json");
    let manifest = &index["manifests"][0];
    assert_eq!(
        manifest["annotations"]["io.containerd.image.name"],
        reference.as_str()
    );
    let tag = reference.strip_prefix("localhost/sample:").unwrap();
    let digest = manifest["digest"].as_str().unwrap();
    assert!(digest.starts_with(&format!("sha256:{tag}")), "{digest}");
    let manifest = parse(&blob(manifest));
    let config = parse(&blob(&manifest["config"]));
    let layer = &manifest["layers"][0];
    assert_eq!(config["rootfs"]["diff_ids"][0], layer["digest"]);
    assert_eq!(config["config"]["User"], "1:2");
    assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/a");
    let inside = unpack(&files[&blob(layer)].1);
    assert_eq!(inside["usr/bin/a"].1, b"A");
    assert_eq!(inside["usr/bin/a"].0.mode().unwrap(), 0o644);
    assert_eq!(inside["usr/bin/a"].0.mtime().unwrap(), 0);
    assert_eq!(inside["usr/"].0.entry_type(), EntryType::Directory);
}

#[test]
fn the_digest_is_sha_256() {
    let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(Blob::new(b"abc".to_vec()).digest, of_abc);
}

#[test]
fn a_link_points_where_it_should_and_a_program_can_be_run() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("p");
    fs::write(&program, "machine code").unwrap();
    let entries = [
        Entry::program("/bin/p", &program),
        Entry::link("/bin/q", "p"),
    ];
    let inside = unpack(&layer(&entries).unwrap());
    assert_eq!(inside["bin/p"].1, b"machine code");
    assert_eq!(inside["bin/p"].0.mode().unwrap(), 0o755);
    let target = inside["bin/q"].0.link_name().unwrap().unwrap();
    assert_eq!(target.to_string_lossy(), "p");
}

#[test]
fn a_path_that_leads_elsewhere_is_refused() {
    for path in ["relative", "/", "/a/../b", "/a//b", "/a/"] {
        let message = layer(&[bytes(path, "")]).unwrap_err().to_string();
        assert!(message.contains(path), "{message}");
    }
    let twice = layer(&[bytes("/a", ""), bytes("/a", "")]).unwrap_err();
    assert!(twice.to_string().contains("twice"), "{twice}");
    let both = layer(&[bytes("/a", ""), bytes("/a/b", "")]).unwrap_err();
    assert!(both.to_string().contains("a file and a folder"), "{both}");
}

#[test]
fn a_file_that_is_missing_is_named() {
    let entries = vec![Entry::program("/p", "/no/such/file")];
    let message = format!("{:#}", sample(entries).archive().err().unwrap());
    assert!(message.contains("image sample"), "{message}");
    assert!(message.contains("/no/such/file"), "{message}");
}

#[test]
fn another_tag_names_the_same_image() {
    let archive = sample(vec![bytes("/a", "A")]).archive().unwrap();
    let own = archive.reference().to_owned();
    let digest = archive.digest().to_owned();
    let archive = archive.tagged("dev");
    let index: Value = serde_json::from_slice(&archive.index().unwrap()).unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    let named: Vec<_> = manifests
        .iter()
        .map(|entry| {
            assert_eq!(entry["digest"], digest.as_str());
            entry["annotations"]["io.containerd.image.name"]
                .as_str()
                .unwrap()
        })
        .collect();
    assert_eq!(named, [own.as_str(), "localhost/sample:dev"]);
}
