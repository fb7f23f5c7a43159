//! What the framework cannot be told: examples, links from answers to the requests that follow, and the cookie.

use serde_json::{Value, json};

use super::entries;

/// Example of a body, by its schema.
fn examples() -> [(&'static str, Value); 11] {
    let (email, password) = ("ana@example.com", "violet harbour 73");
    let token = |prefix: &str| format!("{prefix}{}", "A".repeat(70));
    [
        ("RegisterBody", json!({ "email": email, "password": password, "password_confirm": password })),
        ("LoginBody", json!({ "email": email, "password": password })),
        ("RefreshBody", json!({ "refresh": token("dbr_") })),
        ("MailedToken", json!({ "token": token("dbv_") })),
        ("EmailBody", json!({ "email": email })),
        ("ProfileBody", json!({ "first_name": "Ana", "locale": "es" })),
        ("EmailChangeBody", json!({ "password": password, "new_email": "ana@example.org" })),
        ("ReasonBody", json!({ "reason": "asked for by telephone, ticket 4711" })),
        ("RoleBody", json!({ "role": "auditor", "reason": "joins the audit team" })),
        ("StepUpBody", json!({ "password": password })),
        ("VerifyBody", json!({ "token": "eyJhbGciOiJIUzI1NiJ9.e30.AAAA" })),
    ]
}

/// Links: from the answer of one operation to the request of another, with what the request takes from it.
fn links() -> [(&'static str, &'static str, &'static str, &'static str, Value); 12] {
    let refresh = json!({ "requestBody": { "refresh": "$response.body#/refresh" } });
    let login = json!({
        "requestBody": { "email": "$request.body#/email", "password": "$request.body#/password" }
    });
    let check = json!({ "requestBody": { "token": "$response.body#/access" } });
    let session = json!({ "parameters": { "id": "$response.body#/sessions/0/id" } });
    let page = json!({ "parameters": { "before": "$response.body#/next" } });
    let trail = json!({ "parameters": { "cursor": "$response.body#/next" } });
    let account = json!({ "parameters": { "id": "$response.body#/accounts/0/id" } });
    let again = json!({ "requestBody": { "email": "$request.body#/email" } });
    [
        ("/api/auth/register/", "post", "201", "login", login),
        ("/api/auth/register/", "post", "201", "resend_verification", again),
        ("/api/auth/login/", "post", "200", "refresh", refresh.clone()),
        ("/api/auth/login/", "post", "200", "logout", refresh.clone()),
        ("/api/auth/login/", "post", "200", "verify_token", check),
        ("/api/auth/token/refresh/", "post", "200", "refresh", refresh.clone()),
        ("/api/auth/token/refresh/", "post", "200", "logout", refresh),
        ("/api/auth/sessions/", "get", "200", "end_session", session),
        ("/api/auth/events/", "get", "200", "list_events", page.clone()),
        ("/api/admin/accounts/", "get", "200", "read_account", account),
        ("/api/admin/accounts/", "get", "200", "list_accounts", page),
        ("/api/admin/audit/events/", "get", "200", "search_audit", trail),
    ]
}

/// Answers that leave an optional field out; in all others it is there and null.
const LEAVE_OUT: [&str; 4] = ["Problem", "TokenAnswer", "HistoryAnswer", "AccountsAnswer"];

/// The framework documents an optional field as one that may be left out, and then writes it as null.
fn nullable(name: &str, schema: &mut Value) {
    // Request bodies are closed, and take no null.
    if LEAVE_OUT.contains(&name) || schema.get("additionalProperties").is_some() {
        return;
    }
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |name: &String| required.as_array().is_some_and(|names| names.iter().any(|known| known == name));
    for (field, property) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        if !is_required(field) {
            // Beside a reference nothing is read: OpenAPI 3.0.3, Reference Object.
            if property.get("$ref").is_some() {
                *property = json!({ "allOf": [property.take()] });
            }
            property["nullable"] = true.into();
        }
    }
}

/// An export takes what a search takes, and the form of the file instead of a page.
fn share_search(document: &mut Value) {
    let search = document["paths"]["/api/admin/audit/events/"]["get"]["parameters"].clone();
    let Some(export) = document["paths"].get_mut("/api/admin/audit/export/") else { return };
    let is_of_pages = |parameter: &&Value| parameter["name"] == "cursor" || parameter["name"] == "limit";
    let fields = search.as_array().into_iter().flatten().filter(|parameter| !is_of_pages(parameter)).cloned();
    let format = json!({
        "name": "format", "in": "query", "required": true, "explode": true,
        "schema": { "type": "string", "enum": ["ndjson", "csv"] },
    });
    export["get"]["parameters"] = std::iter::once(format).chain(fields).collect();
    export["get"]["responses"]["422"] = json!({ "$ref": "#/components/responses/Problem422" });
}

/// A stream takes what a search takes but for pages, a span of time and a mailbox, and says the events of a page one by one.
fn share_stream(document: &mut Value) {
    const LEFT_OUT: [&str; 5] = ["cursor", "limit", "from", "to", "email"];
    let search = document["paths"]["/api/admin/audit/events/"]["get"]["parameters"].clone();
    let Some(stream) = document["paths"].get_mut("/api/admin/audit/events/stream/") else { return };
    let is_left_out = |parameter: &&Value| LEFT_OUT.iter().any(|name| parameter["name"] == *name);
    let resume = json!({
        "name": "Last-Event-ID", "in": "header", "required": false, "explode": true, "deprecated": false,
        "description": "`id` of the last message of an earlier stream: this one goes on behind it.",
        "schema": { "type": "string", "maxLength": 64 },
    });
    let fields = search.as_array().into_iter().flatten().filter(|parameter| !is_left_out(parameter)).cloned();
    stream["get"]["parameters"] = fields.chain([resume]).collect();
    stream["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"] = json!({
        "type": "array", "format": "event-stream", "items": { "$ref": "#/components/schemas/TrailEvent" },
    });
}

/// Completes a document that has the routes these are about; others are left as they are.
pub fn add(document: &mut Value) {
    for (name, example) in examples() {
        if let Some(schema) = document["components"]["schemas"].get_mut(name) {
            schema["example"] = example;
        }
    }
    for (path, method, status, target, mut link) in links() {
        if let Some(operation) = document["paths"].get_mut(path).and_then(|path| path.get_mut(method)) {
            link["operationId"] = target.into();
            operation["responses"][status]["links"][target] = link;
        }
    }
    for (schema_name, schema) in entries(&mut document["components"]["schemas"]) {
        nullable(schema_name, schema);
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (name, property) in properties.into_iter().flatten() {
            // An answer repeats what was accepted; what is asked for must look like an address.
            if matches!(name.as_str(), "email" | "new_email") && property.get("maxLength").is_some() {
                property["format"] = "email".into();
            }
        }
    }
    share_search(document);
    share_stream(document);
    if let Some(csrf) = document["paths"].get_mut("/api/auth/csrf/") {
        csrf["get"]["security"] = json!([{ "refreshCookie": [] }]);
        document["components"]["securitySchemes"]["refreshCookie"] = json!({
            "type": "apiKey",
            "in": "cookie",
            "name": "__Host-doorbook-refresh",
            "description": "Set by a login with `\"transport\": \"cookie\"`.",
        });
    }
}

/// Strings of request bodies and parameters that nothing bounds.
#[cfg(test)]
pub fn unbounded(document: &Value) -> Vec<String> {
    let is_bounded = |schema: &Value| {
        schema["type"] != "string"
            || ["maxLength", "enum", "format"]
                .iter()
                .any(|bound| schema.get(*bound).is_some_and(|bound| *bound != "email"))
    };
    let mut found = Vec::new();
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        for operation in operations.as_object().into_iter().flat_map(|operations| operations.values()) {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                found.extend((!is_bounded(&parameter["schema"])).then(|| format!("{path} {}", parameter["name"])));
            }
            let reference = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let Some(name) = reference.as_str().and_then(|name| name.rsplit('/').next()) else { continue };
            let properties = document["components"]["schemas"][name]["properties"].as_object();
            for (property, schema) in properties.into_iter().flatten() {
                found.extend((!is_bounded(schema)).then(|| format!("{path} {property}")));
            }
        }
    }
    found
}
