//! The OpenAPI document: what the framework knows of the handlers, completed by what happens around them.

use std::collections::BTreeSet;

use poem_openapi::{OpenApi, OpenApiService, registry::Registry};
use serde_json::{Map, Value, json};

use crate::{
    middleware::paths::documented,
    problem::{self, MEDIA_TYPE},
};

mod additions;

pub const TITLE: &str = "Doorbook";
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Problems of single operations, beyond those that follow from what an operation takes (`implied`).
const PROBLEMS: &[(&str, &[u16])] = &[
    ("post /api/auth/register/", &[409, 429]),
    ("post /api/auth/email/verify/", &[409, 429]),
    ("post /api/auth/email/verify/resend/", &[409, 429]),
    ("post /api/auth/login/", &[401, 429]),
    ("post /api/auth/token/refresh/", &[401, 429]),
    ("post /api/auth/token/verify/", &[401]),
    ("post /api/auth/logout/", &[401, 429]),
    ("get /api/auth/csrf/", &[401]),
    ("post /api/auth/logout/all/", &[409, 429]),
    ("patch /api/auth/profile/", &[409, 429]),
    ("delete /api/auth/profile/", &[409, 429]),
    ("post /api/auth/profile/deletion/cancel/", &[409, 429]),
    ("post /api/auth/password/change/", &[409, 429]),
    ("post /api/auth/password/reset/", &[409, 429]),
    ("post /api/auth/password/reset/confirm/", &[409, 429]),
    ("post /api/auth/email/change/", &[409, 429]),
    ("post /api/auth/email/change/confirm/", &[409, 429]),
    ("post /api/auth/email/change/undo/", &[409, 429]),
    ("post /api/auth/not-me/", &[409, 429]),
    ("delete /api/auth/sessions/{id}/", &[409]),
    ("get /api/admin/audit/export/", &[429]),
    ("get /api/admin/audit/events/stream/", &[422, 429]),
    ("get /api/admin/audit/events/{id}/proof/", &[409]),
    ("post /api/admin/step-up/", &[429]),
    ("post /api/admin/accounts/{id}/disable/", &[409]),
    ("post /api/admin/accounts/{id}/enable/", &[409]),
    ("post /api/admin/accounts/{id}/unlock/", &[409]),
    ("post /api/admin/accounts/{id}/force-reset/", &[409]),
    ("post /api/admin/accounts/{id}/sessions/revoke/", &[409]),
    ("delete /api/admin/accounts/{id}/sessions/{session}/", &[409]),
    ("post /api/admin/accounts/{id}/roles/grant/", &[409]),
    ("post /api/admin/accounts/{id}/roles/revoke/", &[409]),
    ("post /api/admin/accounts/{id}/erase/", &[409]),
    ("post /api/admin/deliveries/{id}/resend/", &[409]),
    ("post /api/admin/deliveries/{id}/cancel/", &[409]),
];

/// The service whose routes and document belong together.
pub fn service<A: OpenApi>(api: A) -> OpenApiService<A, ()> {
    OpenApiService::new(api, TITLE, VERSION)
        .description("Accounts, sessions and their history. Errors are problems as RFC 9457 describes them.")
        .server("/")
}

/// The document as it is served and checked in.
pub fn document<A: OpenApi>(service: &OpenApiService<A, ()>) -> serde_json::Result<Value> {
    let mut document: Value = serde_json::from_str(&service.spec())?;
    let mut registry = Registry::new();
    problem::register_schema(&mut registry);
    let mut schemas = serde_json::to_value(&registry.schemas)?;
    let paths = std::mem::take(&mut document["paths"]);
    let spelt =
        paths.as_object().into_iter().flatten().map(|(path, operations)| (documented(path), operations.clone()));
    document["paths"] = spelt.collect::<Map<_, _>>().into();
    let mut statuses = BTreeSet::new();
    let mut bodies = Vec::new();
    for (path, operations) in entries(&mut document["paths"]) {
        for (method, operation) in entries(operations) {
            plain_media_types(operation);
            collect_references(&operation["requestBody"], &mut bodies);
            let key = format!("{method} {path}");
            let listed = PROBLEMS.iter().filter(|(name, _)| *name == key).flat_map(|(_, statuses)| statuses.iter());
            let possible: BTreeSet<u16> = implied(path, operation).into_iter().chain(listed.copied()).collect();
            for status in &possible {
                let reference = json!({ "$ref": format!("#/components/responses/Problem{status}") });
                operation["responses"][status.to_string()] = reference;
            }
            statuses.extend(possible);
        }
    }
    let components = &mut document["components"];
    for (name, schema) in entries(&mut components["schemas"]) {
        schemas[name.as_str()] = schema.take();
    }
    close(&mut schemas, bodies);
    components["schemas"] = schemas;
    components["responses"] =
        statuses.iter().map(|status| (format!("Problem{status}"), response(*status))).collect::<Map<_, _>>().into();
    components["securitySchemes"]["bearer"] = json!({ "type": "http", "scheme": "bearer", "bearerFormat": "JWT" });
    additions::add(&mut document);
    Ok(document)
}

/// The document for `openapi/doorbook.v1.yaml`.
pub fn openapi<A: OpenApi>(service: &OpenApiService<A, ()>) -> serde_json::Result<String> {
    let mut yaml = String::new();
    write_yaml(&document(service)?, 0, &mut yaml);
    Ok(yaml)
}

fn entries(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

/// What any operation of this shape can answer: host and https rules, limits of the body, parameters, a token.
fn implied(path: &str, operation: &Value) -> Vec<u16> {
    let mut statuses = vec![500, 503];
    if !path.starts_with("/health") {
        statuses.extend([400, 403]);
    }
    if operation.get("requestBody").is_some() {
        statuses.extend([408, 413, 415, 422]);
    }
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        statuses.push(if parameter["in"] == "path" { 404 } else { 422 });
    }
    if operation.get("security").is_some() {
        statuses.push(401);
    }
    statuses
}

fn response(status: u16) -> Value {
    let description = poem::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut response = json!({
        "description": description.unwrap_or("Problem"),
        "content": { MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    if matches!(status, 429 | 503) {
        response["headers"]["Retry-After"] = json!({ "schema": { "type": "integer", "minimum": 0 } });
    }
    response
}

/// The framework writes `charset` into the key of its JSON answers, which no generator expects there.
fn plain_media_types(operation: &mut Value) {
    for (_, response) in entries(&mut operation["responses"]) {
        let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) else { continue };
        if let Some(json) = content.remove("application/json; charset=utf-8") {
            content.insert("application/json".to_owned(), json);
        }
    }
}

fn collect_references(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(|name| name.as_str()?.strip_prefix("#/components/schemas/"));
            names.extend(name.map(str::to_owned));
            map.values().for_each(|value| collect_references(value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, names)),
        _ => {}
    }
}

/// Bodies refuse unknown fields (`body::Strict`), and so do the objects in them.
fn close(schemas: &mut Value, mut names: Vec<String>) {
    while let Some(name) = names.pop() {
        let Some(schema) = schemas.get_mut(&name) else { continue };
        if schema["type"] != "object" || schema.get("additionalProperties").is_some() {
            continue;
        }
        collect_references(schema, &mut names);
        schema["additionalProperties"] = Value::Bool(false);
    }
}

/// Block style, keys sorted: the same document is the same file, whatever order the maps of a build keep.
fn write_yaml(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            let sorted: std::collections::BTreeMap<_, _> = map.iter().collect();
            for (key, value) in sorted {
                out.push_str(&indent);
                out.push_str(&yaml_key(key));
                out.push(':');
                write_yaml_child(value, depth, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&indent);
                out.push('-');
                write_yaml_child(item, depth, out);
            }
        }
        scalar => {
            // JSON's scalars and empty collections are YAML as they stand.
            out.push_str(&scalar.to_string());
            out.push('\n');
        }
    }
}

fn write_yaml_child(value: &Value, depth: usize, out: &mut String) {
    let nested =
        value.as_object().is_some_and(|map| !map.is_empty()) || value.as_array().is_some_and(|items| !items.is_empty());
    out.push(if nested { '\n' } else { ' ' });
    write_yaml(value, depth + 1, out);
}

/// Plain where no YAML reader could take it for anything but a string.
fn yaml_key(key: &str) -> String {
    let word = key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key.chars().all(|char| char.is_ascii_alphanumeric() || char == '_' || char == '-');
    let keyword = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    if word && !keyword.contains(&key.to_ascii_lowercase().as_str()) {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;
    use poem_openapi::{Object, payload::Json};
    use serde::Deserialize;

    use super::*;
    use crate::{body::Strict, problem::Problem, routes::health::Readiness, server};

    #[derive(Object, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Note {
        text: String,
        inner: Inner,
    }

    #[derive(Object, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        count: u32,
    }

    struct Notes;

    #[OpenApi]
    #[expect(clippy::unused_async, reason = "the framework takes async handlers only")]
    impl Notes {
        #[oai(path = "/api/notes/", method = "post")]
        async fn add(&self, Strict(note): Strict<Note>) -> Result<Json<u32>, Problem> {
            Ok(Json(note.inner.count + u32::try_from(note.text.len()).unwrap_or(0)))
        }
    }

    #[test]
    fn an_operation_lists_the_problems_it_can_answer() {
        let document = document(&service(Notes)).unwrap();
        let responses = &document["paths"]["/api/notes/"]["post"]["responses"];
        let statuses: Vec<_> = responses.as_object().unwrap().keys().cloned().collect();
        assert_eq!(statuses, ["200", "400", "403", "408", "413", "415", "422", "500", "503"]);
        assert_eq!(responses["422"]["$ref"], "#/components/responses/Problem422");
        let problem = &document["components"]["responses"]["Problem422"]["content"][MEDIA_TYPE]["schema"]["$ref"];
        assert_eq!(problem, "#/components/schemas/Problem");
        assert!(document["components"]["schemas"]["Problem"]["properties"]["type"].is_object());
        assert!(document["components"]["schemas"]["FieldError"].is_object());
        assert!(responses["200"]["content"]["application/json"].is_object());
    }

    #[test]
    fn request_bodies_are_closed_to_unknown_fields() {
        let document = document(&service(Notes)).unwrap();
        for name in ["Note", "Inner"] {
            assert_eq!(document["components"]["schemas"][name]["additionalProperties"], false, "{name}");
        }
        assert!(document["components"]["schemas"]["Problem"].get("additionalProperties").is_none());
    }

    /// Two API structs that share a path would overwrite each other in the document.
    fn count<A: OpenApi>(service: &OpenApiService<A, ()>) -> (usize, usize) {
        let document = document(service).unwrap();
        let written = document["paths"].as_object().unwrap().values();
        let registered = A::meta().into_iter().flat_map(|api| api.paths);
        (written.map(|path| path.as_object().unwrap().len()).sum(), registered.map(|path| path.operations.len()).sum())
    }

    #[test]
    fn every_route_is_in_the_document_and_every_listed_problem_has_its_route() {
        let service = service(server::routes(Arc::new(|| async { Readiness::Ready }.boxed())));
        let (written, registered) = count(&service);
        assert_eq!(written, registered);
        let document = document(&service).unwrap();
        assert_eq!(additions::unbounded(&document), Vec::<String>::new(), "every string that is sent is bounded");
        for (key, _) in PROBLEMS {
            let (method, path) = key.split_once(' ').unwrap();
            assert!(document["paths"][path][method].is_object(), "{key}");
        }
    }

    #[test]
    fn yaml_keeps_strings_strings() {
        let mut yaml = String::new();
        let value = json!({ "on": "yes", "200": { "a": [], "b": [1, { "c": null }] }, "x-y": "a: \"b\"\n" });
        write_yaml(&value, 0, &mut yaml);
        let expected =
            "\"200\":\n  a: []\n  b:\n    - 1\n    -\n      c: null\n\"on\": \"yes\"\nx-y: \"a: \\\"b\\\"\\n\"\n";
        assert_eq!(yaml, expected);
    }
}
