//! What an API server asks: an `AdmissionReview`, as far as it matters.

use mesh_runtime::json::{MOST_VALUES, values};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A request that is no review, and so has no uid to answer to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAReview(String);

/// The versions of reviews we know, which are the same to us.
const VERSIONS: [&str; 2] = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];

/// A review's request. Everything but the uid may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Question {
    pub(super) uid: String,
    pub(super) operation: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) sub_resource: String,
    pub(super) kind: AskedKind,
    pub(super) object: Value,
    pub(super) old_object: Value,
    /// The version of the review itself.
    #[serde(skip)]
    pub(super) review_version: String,
    /// Why the rest could not be read.
    #[serde(skip)]
    pub(super) unreadable: Option<String>,
}

/// What kind of object a review is about.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AskedKind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

impl Question {
    /// Reads the body of a request.
    pub(super) fn read(body: &[u8]) -> Result<Self, NotAReview> {
        let values = values(body);
        if values > MOST_VALUES {
            return Err(NotAReview(format!(
                "the body has {values} values; a review of more than {MOST_VALUES} is not read"
            )));
        }
        let mut review: Value = serde_json::from_slice(body)
            .map_err(|error| NotAReview(format!("the body is no JSON: {error}")))?;
        let text = |key: &str| review.get(key).and_then(Value::as_str).unwrap_or_default();
        let (kind, version) = (text("kind").to_owned(), text("apiVersion").to_owned());
        if kind != "AdmissionReview" || !VERSIONS.contains(&version.as_str()) {
            return Err(NotAReview(format!(
                "expected an AdmissionReview of {}, not kind {kind:?} of {version:?}",
                VERSIONS.join(" or ")
            )));
        }
        let mut request = review
            .get_mut("request")
            .map(Value::take)
            .unwrap_or_default();
        if let Value::Object(fields) = &mut request {
            // Null and absent are the same.
            fields.retain(|_, value| !value.is_null());
        }
        let uid = request.get("uid").and_then(Value::as_str);
        let Some(uid) = uid.filter(|uid| !uid.is_empty()).map(str::to_owned) else {
            return Err(NotAReview(
                "the AdmissionReview has no request with a uid".to_owned(),
            ));
        };
        let mut question = serde_json::from_value(request).unwrap_or_else(|error| Self {
            uid,
            unreadable: Some(error.to_string()),
            ..Self::default()
        });
        question.review_version = version;
        Ok(question)
    }

    /// Whether the update changes nothing that is checked here: labels, finalizers or the status
    /// of an object whose specification was stored before, or an object that is on its way out.
    /// Such an update must always pass, or an object could not even be removed.
    pub(super) fn leaves_spec_alone(&self) -> bool {
        if self.operation != "UPDATE" {
            return false;
        }
        let deleted = self.metadata("deletionTimestamp").is_some();
        deleted || self.object.get("spec") == self.old_object.get("spec")
    }

    /// The object as it will be stored. Names an API server has yet to fill in are filled in.
    pub(super) fn document(&self) -> Value {
        let mut document = self.object.clone();
        let Some(metadata) = document
            .as_object_mut()
            .map(|fields| fields.entry("metadata"))
            .map(|entry| entry.or_insert_with(|| Value::Object(Map::new())))
            .and_then(Value::as_object_mut)
        else {
            return document;
        };
        let absent = |metadata: &Map<String, Value>, field: &str| {
            metadata
                .get(field)
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
        };
        if !self.namespace.is_empty() && absent(metadata, "namespace") {
            metadata.insert("namespace".to_owned(), Value::from(self.namespace.clone()));
        }
        let prefix = metadata.get("generateName").and_then(Value::as_str);
        let generated = prefix.map(|prefix| format!("{prefix}x"));
        if absent(metadata, "name")
            && let Some(name) = generated
        {
            metadata.insert("name".to_owned(), Value::from(name));
        }
        document
    }

    /// Namespace and name, for people.
    pub(super) fn about(&self) -> String {
        let found = [self.name.as_str()]
            .into_iter()
            .chain(self.metadata("name"))
            .chain(self.metadata("generateName"))
            .find(|name| !name.is_empty());
        format!("{}/{}", self.namespace, found.unwrap_or_default())
    }

    fn metadata(&self, field: &str) -> Option<&str> {
        self.object.get("metadata")?.get(field)?.as_str()
    }
}
