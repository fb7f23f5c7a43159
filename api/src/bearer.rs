//! The access token of a request.

use poem::{Request, http::header};

use crate::problem::Problem;

/// Longest token looked at, in bytes; a JWT with RSA-4096 signature and our claims stays under 1.5 KiB.
const TOKEN_MAX: usize = 4096;

/// The token of the one `Authorization: Bearer …` header. Missing, repeated, another scheme or a character that
/// RFC 6750, section 2.1, does not know: 401.
pub fn bearer_token(request: &Request) -> Result<&str, Problem> {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Problem::unauthorized()) };
    let value = value.to_str().map_err(|_| Problem::unauthorized())?;
    let (scheme, token) = value.split_once(' ').ok_or_else(Problem::unauthorized)?;
    let token = token.trim_start_matches(' ');
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !scheme.eq_ignore_ascii_case("bearer")
        || token.is_empty()
        || token.len() > TOKEN_MAX
        || !token.bytes().all(known)
    {
        return Err(Problem::unauthorized());
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(values: &[&str]) -> Option<String> {
        let mut request = Request::default();
        for value in values {
            request.headers_mut().append(header::AUTHORIZATION, value.parse().unwrap());
        }
        bearer_token(&request).ok().map(str::to_owned)
    }

    #[test]
    fn only_one_well_formed_bearer_header_counts() {
        assert_eq!(token(&["Bearer a.b-c_d"]).as_deref(), Some("a.b-c_d"));
        assert_eq!(token(&["bearer a"]).as_deref(), Some("a"));
        for refused in [&[][..], &["Bearer a", "Bearer a"], &["Basic a"], &["Bearer "], &["Bearer"], &["Bearer a b"]] {
            assert_eq!(token(refused), None, "{refused:?}");
        }
        assert_eq!(token(&[&format!("Bearer {}", "a".repeat(TOKEN_MAX + 1))]), None);
    }
}
