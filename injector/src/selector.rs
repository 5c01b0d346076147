//! Kubernetes label selectors: all labels and all requirements must hold.

use crate::Labels;

/// A label selector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Labels that must be there with exactly these values.
    pub match_labels: Labels,
    /// Further requirements.
    pub match_expressions: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What must hold of it.
    pub operator: Operator,
}

/// What must hold of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// It has one of these values.
    In(Vec<String>),
    /// It has none of these values, or is absent.
    NotIn(Vec<String>),
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}

impl Selector {
    /// Whether it asks for nothing. Such a selector would match every pod, which nobody means in
    /// a list of exceptions.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether these labels are selected. An empty selector selects nothing.
    pub fn matches(&self, labels: &Labels) -> bool {
        !self.is_empty()
            && self
                .match_labels
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requiring(operator: Operator) -> Selector {
        let requirement = Requirement {
            key: "app".to_owned(),
            operator,
        };
        Selector {
            match_expressions: vec![requirement],
            ..Selector::default()
        }
    }

    #[test]
    fn each_operator_with_the_label_present_and_absent() {
        let shop = Labels::from([("app".to_owned(), "shop".to_owned())]);
        let none = Labels::new();
        let values = |value: &str| vec![value.to_owned()];
        for (operator, present, absent) in [
            (Operator::In(values("shop")), true, false),
            (Operator::In(values("bank")), false, false),
            (Operator::NotIn(values("shop")), false, true),
            (Operator::NotIn(values("bank")), true, true),
            (Operator::Exists, true, false),
            (Operator::DoesNotExist, false, true),
        ] {
            let selector = requiring(operator);
            assert_eq!(selector.matches(&shop), present, "{selector:?}");
            assert_eq!(selector.matches(&none), absent, "{selector:?}");
        }
    }

    #[test]
    fn labels_and_requirements_must_all_hold() {
        let mut selector = requiring(Operator::Exists);
        selector
            .match_labels
            .insert("tier".to_owned(), "web".to_owned());
        let mut labels = Labels::from([("app".to_owned(), "shop".to_owned())]);
        assert!(!selector.matches(&labels));
        labels.insert("tier".to_owned(), "web".to_owned());
        assert!(selector.matches(&labels));
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        assert!(!Selector::default().matches(&Labels::new()));
    }
}
