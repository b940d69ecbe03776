//! Limits of a quota as arguments: a number, or `none`, which is null in the API.

use serde_json::Value;

/// A whole number, or `none`.
///
/// # Errors
/// What is expected instead.
pub fn whole(text: &str) -> Result<Value, &'static str> {
    limit::<u32>(text).ok_or("expected a whole number, or `none`")
}

/// A number of processors, or `none`.
///
/// # Errors
/// What is expected instead.
pub fn processors(text: &str) -> Result<Value, &'static str> {
    limit::<f64>(text).ok_or("expected a number of processors such as 1.5, or `none`")
}

fn limit<N: std::str::FromStr + Into<Value>>(text: &str) -> Option<Value> {
    if text == "none" {
        return Some(Value::Null);
    }
    // What JSON has no number for, such as infinity, is null.
    text.parse::<N>().ok().map(Into::into).filter(|number| !number.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limit_is_a_number_or_none() {
        assert_eq!([whole("3"), whole("none")], [Ok(json!(3)), Ok(Value::Null)]);
        assert_eq!(
            [processors("1.5"), processors("2"), processors("none")],
            [json!(1.5), json!(2.0), Value::Null].map(Ok)
        );
        for text in ["", "-", "x", "inf", "NaN"] {
            assert!(whole(text).is_err() && processors(text).is_err(), "{text}");
        }
        assert!(whole("1.5").is_err() && whole("-1").is_err());
    }
}
