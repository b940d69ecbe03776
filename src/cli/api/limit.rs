//! Limits as arguments: a number or a time, or `none`, which is null in the API.

use dockhost_domain::timestamp::Timestamp;
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

/// A time, or `none`.
///
/// # Errors
/// What is expected instead.
pub fn time(text: &str) -> Result<Value, &'static str> {
    match text.parse::<Timestamp>() {
        _ if text == "none" => Ok(Value::Null),
        Ok(_) => Ok(text.into()),
        Err(_) => Err("expected a time such as 2027-07-15T18:00:00Z, or `none`"),
    }
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
