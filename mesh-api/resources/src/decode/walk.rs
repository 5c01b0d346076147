//! Walks a specification beside its schema, so that every unknown field and every value of the
//! wrong type is reported at once, with its path.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value};

use super::envelope::unknown_field;
use super::near::nearest;
use crate::Kind;
use crate::definition::spec_schema;
use crate::problem::{FieldPath, Problem, Severity};

/// Past this a document says enough about itself.
const MAX_PROBLEMS: usize = 100;

/// Reports what does not fit the schema of the kind.
pub(super) fn check(kind: Kind, spec: &Value, problems: &mut Vec<Problem>) {
    let Some(schema) = spec_schema(kind) else {
        return;
    };
    let mut path = FieldPath::default();
    path.push_field("spec");
    Walk { path, problems }.value(schema, spec);
}

struct Walk<'a> {
    path: FieldPath,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn value(&mut self, schema: &JSONSchemaProps, value: &Value) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        match (schema.type_.as_deref(), value) {
            (Some("object"), Value::Object(fields)) => self.object(schema, fields),
            (Some("array"), Value::Array(items)) => {
                let Some(JSONSchemaPropsOrArray::Schema(item_schema)) = &schema.items else {
                    return;
                };
                for (index, item) in items.iter().enumerate() {
                    self.path.push_index(index);
                    self.value(item_schema, item);
                    self.path.pop();
                }
            }
            (Some("string"), Value::String(text)) => self.choice(schema, text),
            (Some("integer"), Value::Number(number)) if number.is_i64() || number.is_u64() => {
                self.bounds(schema, value);
            }
            (Some("number"), Value::Number(_)) => self.bounds(schema, value),
            (Some("boolean"), Value::Bool(_)) | (None, _) => {}
            (Some(expected), found) => self.mismatch(expected, found),
        }
    }

    fn object(&mut self, schema: &JSONSchemaProps, fields: &Map<String, Value>) {
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
            for (name, value) in fields {
                self.path.push_field(name);
                self.value(values, value);
                self.path.pop();
            }
            return;
        }
        if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
            return;
        }
        let known = schema.properties.as_ref();
        for (name, value) in fields {
            self.path.push_field(name);
            match known.and_then(|known| known.get(name)) {
                Some(property) => self.value(property, value),
                None => self.unknown(schema, name),
            }
            self.path.pop();
        }
        for name in schema
            .required
            .iter()
            .flatten()
            .filter(|name| !fields.contains_key(*name))
        {
            self.path.push_field(name);
            self.report("is required", None);
            self.path.pop();
        }
        if schema.max_properties == Some(1) && fields.len() > 1 {
            let names: Vec<_> = known
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .collect();
            self.report(format!("only one of {} can be set", names.join(", ")), None);
        }
    }

    fn unknown(&mut self, schema: &JSONSchemaProps, name: &str) {
        let known = schema.properties.iter().flatten();
        let mut problem = unknown_field(
            name,
            self.path.as_str(),
            known.clone().map(|(name, _)| name.as_str()),
        );
        // A field that is right but one level too high, such as perTryTimeout beside retries.
        let inside = known
            .filter(|(_, property)| {
                property
                    .properties
                    .as_ref()
                    .is_some_and(|fields| fields.contains_key(name))
            })
            .map(|(parent, _)| format!("it belongs inside {parent:?}"))
            .next();
        if inside.is_some() {
            problem.hint = inside;
        }
        self.problems.push(problem);
    }

    fn choice(&mut self, schema: &JSONSchemaProps, text: &str) {
        let Some(choices) = &schema.enum_ else {
            return;
        };
        let names: Vec<_> = choices
            .iter()
            .filter_map(|choice| choice.0.as_str())
            .collect();
        if names.contains(&text) {
            return;
        }
        let hint = match nearest(text, names.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("use one of {}", names.join(", ")),
        };
        self.report(format!("{text:?} is not a legal value"), Some(hint));
    }

    fn bounds(&mut self, schema: &JSONSchemaProps, value: &Value) {
        let number = value.as_f64().unwrap_or(f64::NAN);
        if let Some(low) = schema.minimum
            && number < low
        {
            self.report(format!("{number} is less than {low}"), None);
        }
        if let Some(high) = schema.maximum
            && number > high
        {
            self.report(format!("{number} is more than {high}"), None);
        }
    }

    fn mismatch(&mut self, expected: &str, found: &Value) {
        let wanted = match expected {
            "object" => "an object",
            "array" => "a list",
            "string" => "text",
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "true or false",
            other => other,
        };
        let hint = match (expected, found) {
            (_, Value::Null) => Some("give it a value or remove the field"),
            ("string", Value::Number(_) | Value::Bool(_)) => Some("put the value in quotes"),
            ("array", _) => Some("write it as a list, with '- ' before each entry"),
            ("integer" | "number" | "boolean", Value::String(_)) => Some("remove the quotes"),
            _ => None,
        };
        self.report(
            format!("expected {wanted}, found {}", describe(found)),
            hint.map(str::to_owned),
        );
    }

    fn report(&mut self, message: impl Into<String>, hint: Option<String>) {
        let mut problem = Problem::new(Severity::Error, message).at(self.path.as_str());
        problem.hint = hint;
        self.problems.push(problem);
    }
}

/// What a value is, for a reader.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing (null)".to_owned(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => {
            let mut shown: String = text.chars().take(40).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            format!("the text {shown:?}")
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
