//! The fields of the custom resources, from their CRDs.

use serde_json::Value;

use crate::{Error, cell};

/// The page of one of them.
pub fn page(crd: &impl serde::Serialize) -> Result<String, Error> {
    let crd = serde_json::to_value(crd)?;
    let version = &crd["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let names = &crd["spec"]["names"];
    let mut page = format!(
        "# {}\n\n<!-- Written by `make generate` from the CRD. Do not edit. -->\n\n\
         `apiVersion: {}/{}`, `kind: {}`, {}. Short name `{}`, category `{}`. In a cluster: `kubectl explain {}`.\n\n",
        text(&names["kind"]),
        text(&crd["spec"]["group"]),
        text(&version["name"]),
        text(&names["kind"]),
        if crd["spec"]["scope"] == "Namespaced" { "namespaced" } else { "cluster-scoped" },
        text(&names["shortNames"][0]),
        text(&names["categories"][0]),
        text(&names["singular"]),
    );
    for part in ["spec", "status"] {
        let schema = &schema["properties"][part];
        if schema.is_null() {
            continue;
        }
        page += &format!("## {part}\n\n{}\n\n", cell(text(&schema["description"])));
        page += "| field | type | meaning |\n|---|---|---|\n";
        rows(part, schema, &mut page);
        let mut refusals = String::new();
        refusals_of(part, schema, &mut refusals);
        if !refusals.is_empty() {
            page += "\n### What the API server refuses\n\n| field | message |\n|---|---|\n";
            page += &refusals;
        }
        page.push('\n');
    }
    page += "## Columns of `kubectl get`\n\n| column | shows | field |\n|---|---|---|\n";
    for column in version["additionalPrinterColumns"].as_array().into_iter().flatten() {
        let wide = if column["priority"] == 1 { ", with `-o wide`" } else { "" };
        page += &format!(
            "| {} | {}{wide} | `{}` |\n",
            text(&column["name"]),
            cell(text(&column["description"])),
            cell(text(&column["jsonPath"]))
        );
    }
    Ok(page)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Rows of the fields below a path, each with its own below it.
fn rows(path: &str, schema: &Value, page: &mut String) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().map(text).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        // In a status nobody writes a field by hand.
        let required =
            if path.starts_with("spec") && required.contains(&name.as_str()) { ", required" } else { "" };
        let description = cell(text(&field["description"]));
        page.push_str(&format!("| `{path}` | {}{required} | {description} |\n", kind(field)));
        let items = &field["items"];
        if items["type"] == "object" {
            rows(&format!("{path}[]"), items, page);
        } else {
            rows(&path, field, page);
        }
    }
}

/// The type of a field with its bounds.
fn kind(field: &Value) -> String {
    let mut kind = match (text(&field["type"]), text(&field["format"])) {
        ("string", "date-time") => "time".to_owned(),
        ("array", _) => format!("list of {}", kind(&field["items"])),
        (plain, _) => plain.to_owned(),
    };
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<String> = values.iter().map(|value| format!("`{}`", text(value))).collect();
        kind = format!("one of {}", values.join(", "));
    }
    // Bounds that say no more than the type does are left out.
    let number = |key: &str| field[key].as_f64().filter(|n| *n < f64::from(i32::MAX) && *n != 0.0);
    for (key, word) in
        [("minimum", "at least"), ("maximum", "at most"), ("minItems", "at least"), ("maxItems", "at most")]
    {
        if let Some(n) = number(key) {
            kind += &format!(", {word} {n}");
        }
    }
    kind
}

/// Rows of the messages with which the API server refuses a field.
fn refusals_of(path: &str, schema: &Value, page: &mut String) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        page.push_str(&format!("| `{path}` | {} |\n", cell(text(&rule["message"]))));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        refusals_of(&format!("{path}.{name}"), field, page);
    }
}

#[cfg(test)]
mod tests {
    use instance_deletion_controller::api::crds;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_type_is_shown_with_its_bounds() {
        let table = [
            (json!({"type": "string"}), "string"),
            (json!({"type": "string", "format": "date-time"}), "time"),
            (json!({"type": "string", "enum": ["A", "B"]}), "one of `A`, `B`"),
            (json!({"type": "integer", "minimum": 0.0, "maximum": 2_147_483_647.0}), "integer"),
            (
                json!({"type": "integer", "minimum": 1.0, "maximum": 100.0}),
                "integer, at least 1, at most 100",
            ),
            (
                json!({"type": "array", "minItems": 1, "items": {"type": "string"}}),
                "list of string, at least 1",
            ),
        ];
        for (field, expected) in table {
            assert_eq!(kind(&field), expected);
        }
    }

    #[test]
    fn every_field_of_the_spec_has_a_row_with_a_meaning() {
        let [deletions, guards] = crds();
        let page_of_guards = page(&guards).unwrap();
        assert!(page_of_guards.contains("| `spec.protected.instances[].reason` | string, required | "));
        let page = page(&deletions).unwrap();
        for field in ["region", "instanceIDs", "credentialsSecretRef.name", "ttlSecondsAfterFinished"] {
            assert!(page.contains(&format!("| `spec.{field}` | ")), "{field}");
        }
        assert!(page.contains("| `status.batches[].claim` | string | "), "fields of rows too");
        assert!(page.contains("| `spec.region` | region is immutable"), "refusals too");
    }
}
