//! A serde deserializer over the members of a JSON object that says which member an error belongs to.
//!
//! `serde_json` has this in the text of its messages only. Messages here are written for the API's callers and never
//! quote a value: it may be a password.

use std::cell::Cell;
use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, Unexpected, Visitor};
use serde_json::{Map, Value};

/// Why an object is not a request.
#[derive(Debug, PartialEq, Eq)]
pub struct MemberError {
    /// The member; empty while the error is on its way out of the member's value.
    pub member: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for MemberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.member, self.problem)
    }
}

impl std::error::Error for MemberError {}

impl Error for MemberError {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self { member: String::new(), problem: problem.to_string() }
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("must be {}", name_of(&expected.to_string())))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("must be one of: {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self { member: field.to_owned(), problem: "is not a field of this request".to_owned() }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { member: field.to_owned(), problem: "is missing".to_owned() }
    }
}

/// JSON's name for what serde expects.
fn name_of(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        other => other,
    }
}

/// Deserializes a struct from an object.
pub struct Members<'de> {
    object: &'de Map<String, Value>,
    /// Set to the struct's fields, in their order.
    fields: &'de Cell<&'static [&'static str]>,
}

impl<'de> Members<'de> {
    /// Over this object.
    pub const fn new(object: &'de Map<String, Value>, fields: &'de Cell<&'static [&'static str]>) -> Self {
        Self { object, fields }
    }
}

impl<'de> Deserializer<'de> for Members<'de> {
    type Error = MemberError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, MemberError> {
        visitor.visit_map(Access { members: self.object.iter(), next: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, MemberError> {
        self.fields.set(fields);
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Access<'de> {
    members: serde_json::map::Iter<'de>,
    next: Option<(&'de str, &'de Value)>,
}

impl<'de> MapAccess<'de> for Access<'de> {
    type Error = MemberError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, MemberError> {
        self.next = self.members.next().map(|(member, value)| (member.as_str(), value));
        self.next.map(|(member, _)| seed.deserialize(member.into_deserializer())).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, MemberError> {
        let (member, value) = self.next.ok_or_else(|| MemberError::custom("has no value"))?;
        seed.deserialize(Member(value)).map_err(|error| match value {
            Value::Null => MemberError { member: member.to_owned(), problem: "is missing".to_owned() },
            _ => MemberError { member: member.to_owned(), problem: error.problem },
        })
    }
}

/// A member's value.
#[derive(Clone, Copy)]
struct Member<'de>(&'de Value);

impl<'de> IntoDeserializer<'de, MemberError> for Member<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Member<'de> {
    type Error = MemberError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, MemberError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            Value::String(text) if text.chars().any(is_refused) => {
                Err(MemberError::custom("must not contain control characters"))
            }
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(values) => visitor.visit_seq(SeqDeserializer::new(values.iter().map(Member))),
            Value::Object(members) => visitor
                .visit_map(MapDeserializer::new(members.iter().map(|(name, value)| (name.as_str(), Member(value))))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, MemberError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, MemberError> {
        visitor.visit_newtype_struct(self)
    }

    /// Enums without content only: their words.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, MemberError> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => Err(MemberError::unknown_variant("", words)),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// Control characters are refused in every text, line ends apart.
fn is_refused(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\r'
}
