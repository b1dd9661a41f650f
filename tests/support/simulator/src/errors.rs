//! Refusals as the documents' error tables have them.

use serde_json::{Value, json};

/// A reply that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: Option<String>,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl ApiError {
    /// `{"error_code","error_msg"}`
    pub(crate) fn new(status: u16, code: &str, message: impl Into<Value>) -> Self {
        let body = json!({"error_code": code, "error_msg": message.into()}).to_string();
        Self { code: Some(code.to_owned()), ..Self::raw(status, "application/json", &body) }
    }

    pub(crate) fn raw(status: u16, content_type: &'static str, body: &str) -> Self {
        Self { status, code: None, content_type, headers: Vec::new(), body: body.to_owned() }
    }

    /// `{"error":{"code","message","title"}}`, as IAM has them; without an `error_code`.
    pub(crate) fn iam(status: u16, title: &str, message: &str) -> Self {
        let body = json!({"error": {"code": status, "message": message, "title": title}}).to_string();
        Self::raw(status, "application/json", &body)
    }

    pub(crate) fn header(mut self, name: &str, value: u64) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn invalid(what: &str) -> Self {
        Self::new(400, "iMetal.0001", format!("request parameter invalid/unsupported: {what}"))
    }

    pub(crate) fn missing(what: &str) -> Self {
        Self::new(400, "iMetal.0002", format!("missing required parameters: {what}"))
    }

    pub(crate) fn instances_not_found(ids: &[String]) -> Self {
        Self::new(404, "iMetal.0200", format!("Instances not found: [{}]", ids.join(", ")))
    }

    /// An access key that failed too often.
    pub(crate) fn key_locked() -> Self {
        let text = "Incorrect IAM authentication information: AK access failed to reach the limit,forbidden.";
        Self::new(401, "APIGW.0301", text)
    }

    /// Only the code and the first two letters of the text are known; the rest is worded like iMetal.0101. Whether it names
    /// the instances is unknown too.
    pub(crate) fn instances_not_ready(ids: &[String], named: bool) -> Self {
        let named = if named { format!(": [{}]", ids.join(", ")) } else { String::new() };
        Self::new(400, "iMetal.0201", format!("Instances state is not ready{named}"))
    }

    pub(crate) fn servers_not_found(ids: &[String]) -> Self {
        Self::new(404, "iMetal.0100", format!("Physical servers ID not found: [{}]", ids.join(", ")))
    }

    pub(crate) fn servers_not_ready(ids: &[String]) -> Self {
        Self::new(400, "iMetal.0101", format!("Physical servers state is not ready: [{}]", ids.join(", ")))
    }

    pub(crate) fn not_published() -> Self {
        Self::new(404, "APIGW.0101", "The API does not exist or has not been published in the environment.")
    }
}
