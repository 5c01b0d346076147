//! The manifests of `deploy/` as values: rendered by kustomize, with the images that were built.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::kubectl::{Kubectl, SHORT, name_of, text_at};
use super::target::relative;

/// The label by which an installation knows its own objects, and its value.
pub(crate) const OWNER_LABEL: &str = "app.kubernetes.io~1managed-by";
pub(crate) const OWNER: &str = "mesh";
/// The same for kubectl.
pub(crate) const OWNER_SELECTOR: &str = "app.kubernetes.io/managed-by=mesh";
/// Where the control plane and the gateways live.
pub(crate) const NAMESPACE: &str = "istio-system";
/// Where the injector lives: nobody else may write there.
pub(crate) const INJECTOR_NAMESPACE: &str = "istio-injector";
/// Where the mesh lives.
pub(crate) const NAMESPACES: [&str; 2] = [NAMESPACE, INJECTOR_NAMESPACE];
/// The ConfigMap of the injector's values: the one it reads, and a copy of it for tools.
pub(crate) const INJECTOR_VALUES: &str = "istio-sidecar-injector";
const PLACEHOLDER: &str = "localhost/mesh-";

/// Whether an object is ours.
pub(crate) fn is_ours(object: &Value) -> bool {
    text_at(object, &format!("/metadata/labels/{OWNER_LABEL}")) == Some(OWNER)
}

/// The kind of an object.
pub(crate) fn kind_of(object: &Value) -> &str {
    text_at(object, "/kind").unwrap_or_default()
}

/// An object as people write it: `deployment/istiod`.
pub(crate) fn spelled(object: &Value) -> String {
    let kind = kind_of(object).to_lowercase();
    match text_at(object, "/metadata/namespace") {
        Some(namespace) if namespace != NAMESPACE => {
            format!("{kind}/{} in {namespace}", name_of(object))
        }
        _ => format!("{kind}/{}", name_of(object)),
    }
}

/// Lets kustomize put a profile together, with more components if any.
pub(crate) fn render(
    kubectl: &Kubectl,
    folder: &Path,
    profile: &str,
    components: &[&str],
) -> Result<Vec<Value>> {
    read(&kustomize(kubectl, folder, profile, components)?)
}

fn kustomize(
    kubectl: &Kubectl,
    folder: &Path,
    profile: &str,
    components: &[&str],
) -> Result<String> {
    let profile = folder.join("profiles").join(profile);
    let workshop = tempfile::tempdir().context("temporary folder")?;
    let resource = relative(workshop.path(), &profile)?;
    let mut kustomization = format!("resources:\n  - {}\n", resource.display());
    if !components.is_empty() {
        kustomization.push_str("components:\n");
    }
    for component in components {
        let path = relative(workshop.path(), &folder.join("components").join(component))?;
        kustomization.push_str("  - ");
        kustomization.push_str(&path.to_string_lossy());
        kustomization.push('\n');
    }
    fs::write(workshop.path().join("kustomization.yaml"), kustomization)
        .context("temporary kustomization")?;
    let path = workshop.path().to_string_lossy();
    kubectl
        .succeed(&["kustomize", &path], None, SHORT)
        .with_context(|| format!("the manifests in {} do not render", folder.display()))
}

/// The objects of a stream of YAML documents.
pub(crate) fn read(text: &str) -> Result<Vec<Value>> {
    // Definitions are long; each document is far below what a reader should refuse.
    let mut objects = Vec::new();
    for document in text.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document).context("rendered manifests")?;
        if !object.is_null() {
            objects.push(object);
        }
    }
    Ok(objects)
}

/// Names the images that were built, wherever a placeholder stands.
///
/// `images` has the full name of each image by its short one (`mesh-proxy`).
pub(crate) fn set_images(objects: &mut [Value], images: &BTreeMap<String, String>) -> Result<()> {
    for object in objects {
        let what = spelled(object);
        for pointer in [
            "/spec/template/spec/containers",
            "/spec/template/spec/initContainers",
        ] {
            let containers = object.pointer_mut(pointer).and_then(Value::as_array_mut);
            for image in containers
                .into_iter()
                .flatten()
                .filter_map(|one| one.get_mut("image"))
            {
                replace(image, images).with_context(|| what.clone())?;
            }
        }
        if kind_of(object) == "ConfigMap" && name_of(object) == INJECTOR_VALUES {
            edit_values(object, |values| {
                let proxy = values.pointer_mut("/global/proxy/image");
                replace(proxy.context("no global.proxy.image")?, images)
            })?;
        }
    }
    Ok(())
}

fn replace(image: &mut Value, images: &BTreeMap<String, String>) -> Result<()> {
    let Some(name) = image.as_str().filter(|name| name.starts_with(PLACEHOLDER)) else {
        return Ok(());
    };
    let short = name.strip_prefix("localhost/").unwrap_or(name);
    let (short, _) = short.split_once(':').unwrap_or((short, ""));
    match images.get(short) {
        Some(built) => *image = built.as_str().into(),
        None => bail!("image {short} was not built; `cargo xtask image` builds all"),
    }
    Ok(())
}

/// Changes the JSON document inside the injector's ConfigMap.
pub(crate) fn edit_values(
    object: &mut Value,
    edit: impl FnOnce(&mut Value) -> Result<()>,
) -> Result<()> {
    let text = object
        .pointer_mut("/data/values")
        .context("ConfigMap istio-sidecar-injector has no key `values`")?;
    let mut values: Value = serde_json::from_str(text.as_str().unwrap_or_default())
        .context("key `values` of ConfigMap istio-sidecar-injector is not JSON")?;
    edit(&mut values).context("values of the injector")?;
    *text = serde_json::to_string_pretty(&values)?.into();
    Ok(())
}

/// Changes the YAML document inside the ConfigMap of the mesh.
pub(crate) fn edit_mesh(object: &mut Value, edit: impl FnOnce(&mut Value)) -> Result<()> {
    let text = object
        .pointer_mut("/data/mesh")
        .context("ConfigMap istio has no key `mesh`")?;
    let mut mesh: Value = serde_saphyr::from_str(text.as_str().unwrap_or_default())
        .context("key `mesh` of ConfigMap istio is not YAML")?;
    edit(&mut mesh);
    *text = serde_saphyr::to_string(&mesh)?.into();
    Ok(())
}

/// When an object is applied: what others need comes before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Definitions of the mesh's kinds.
    Definitions,
    /// The control plane, the injector and everything they need.
    Core,
    /// Gateways, which need the control plane's root certificate to start.
    Gateways,
}

/// When an object is applied.
pub(crate) fn phase(object: &Value) -> Phase {
    match kind_of(object) {
        "CustomResourceDefinition" => Phase::Definitions,
        "Deployment" if name_of(object).ends_with("gateway") => Phase::Gateways,
        _ => Phase::Core,
    }
}

/// Puts the objects of a phase into one list that kubectl applies at once.
pub(crate) fn list<'v>(objects: impl IntoIterator<Item = &'v Value>) -> Result<Vec<u8>> {
    let items: Vec<&Value> = objects.into_iter().collect();
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
    Ok(serde_json::to_vec(&list)?)
}

#[cfg(test)]
pub(super) mod tests;
