//! What a browser sends: the fields of a query or of a form. An empty field is one that was not filled in.

use poem::{
    Request,
    http::{HeaderMap, header},
};
use serde::de::DeserializeOwned;

use crate::{body, problem::Problem};

const FORM: &str = "application/x-www-form-urlencoded";

#[derive(Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    pub fn of_query(request: &Request) -> Result<Self, Problem> {
        Self::parse(request.uri().query().unwrap_or_default().as_bytes())
    }

    /// The fields of a form, within the bounds of any body.
    pub async fn of_form(request: &mut Request) -> Result<Self, Problem> {
        if !is_form(request.headers()) {
            return Err(Problem::unsupported_media_type());
        }
        let deadline = body::deadline(request);
        let bytes = body::read(request.take_body(), deadline).await?;
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(bytes).map_err(|_| Problem::bad_request())?;
        Ok(Self(fields.into_iter().filter(|(_, value)| !value.is_empty()).collect()))
    }

    /// The first field of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// All of them as one value, unknown ones left out.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_urlencoded::from_str(&self.query(&[])).map_err(|_| Problem::bad_request())
    }

    /// As a query again, with these fields instead of those that were there.
    pub fn query(&self, others: &[(&str, &str)]) -> String {
        let kept = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let kept = kept.filter(|(name, _)| others.iter().all(|(other, _)| other != name));
        let fields: Vec<_> = kept.chain(others.iter().copied()).filter(|(_, value)| !value.is_empty()).collect();
        serde_urlencoded::to_string(fields).unwrap_or_default()
    }

    /// Those of these names, to be carried on by another form.
    pub fn of<'a>(&'a self, names: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        names.iter().filter_map(|name| Some((*name, self.get(name)?)))
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else { return false };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(FORM) && !headers.contains_key(header::CONTENT_ENCODING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_field_is_none_and_a_query_is_written_as_it_was_read() {
        let fields = Fields::parse(b"type=LoggedIn&email=&from=2026-01-01T00%3A00%3A00Z").unwrap();
        assert_eq!((fields.get("type"), fields.get("email")), (Some("LoggedIn"), None));
        assert_eq!(fields.query(&[]), "type=LoggedIn&from=2026-01-01T00%3A00%3A00Z");
        assert_eq!(fields.query(&[("type", ""), ("cursor", "a b")]), "from=2026-01-01T00%3A00%3A00Z&cursor=a+b");
    }

    #[test]
    fn only_a_form_is_read_as_one() {
        for (value, expected) in [(FORM, true), ("application/json", false), ("text/plain", false)] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]);
            assert_eq!(is_form(&headers), expected, "{value}");
        }
        assert!(!is_form(&HeaderMap::new()));
    }
}
