//! What a parameter breaks, in our words. Those of the framework quote the value, or name its own types.

/// The rule behind the framework's reason: a validator's, or that of the type.
pub(super) fn rule(reason: &str) -> String {
    if let Some(validator) = reason.strip_prefix("verification failed. ") {
        return validated(validator).unwrap_or_else(|| UNKNOWN.to_owned());
    }
    // The type stands before whatever was said of the value.
    let of = reason.split(':').next().unwrap_or_default();
    let rule =
        [("integer", "must be a whole number"), ("uuid", "must be a UUID"), ("boolean", "must be true or false")];
    rule.into_iter().find(|(name, _)| of.contains(name)).map_or(UNKNOWN, |(_, rule)| rule).to_owned()
}

/// Where nothing better is known: the API's document has the rule.
const UNKNOWN: &str = "This parameter is not valid.";

/// From `maximum(100, exclusive: false)` and the like.
fn validated(validator: &str) -> Option<String> {
    let (name, rest) = validator.split_once('(')?;
    let bound = rest.split([',', ')']).next().filter(|bound| bound.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(match name {
        "minimum" => format!("must be at least {bound}"),
        "maximum" => format!("must be at most {bound}"),
        "minLength" => format!("must have at least {bound} characters"),
        "maxLength" => format!("must have at most {bound} characters"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::rule;

    #[test]
    fn a_rule_is_told_and_the_value_is_not() {
        for (reason, told) in [
            ("verification failed. minimum(1, exclusive: false)", "must be at least 1"),
            ("verification failed. maximum(100, exclusive: false)", "must be at most 100"),
            ("verification failed. maxLength(255)", "must have at most 255 characters"),
            ("verification failed. pattern(\"^canary$\")", "This parameter is not valid."),
            ("failed to parse \"integer(uint32)\": invalid digit found in string", "must be a whole number"),
            ("failed to parse \"string(uuid)\": invalid character: found `canary`", "must be a UUID"),
            ("failed to parse \"Status\": canary integer", "This parameter is not valid."),
        ] {
            assert_eq!(rule(reason), told, "{reason}");
        }
    }
}
