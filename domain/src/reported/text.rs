//! Short texts for people.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Invalid, text_type};

/// At most 256 characters, of which none controls how others are shown: no control characters (C0, DEL, C1), line or
/// paragraph separators, or marks that change the direction of writing. It may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShortText(String);

text_type!(ShortText);

/// Whether a character changes how the text around it is shown.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl FromStr for ShortText {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.chars().count() > Self::MAX_CHARS {
            return Err(Invalid("is longer than 256 characters"));
        }
        if text.chars().any(is_control) {
            return Err(Invalid("contains control characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl ShortText {
    /// The most characters.
    pub const MAX_CHARS: usize = 256;

    /// The nearest short text: a space in place of each run of control characters and spaces, and an ellipsis in place
    /// of what is too long.
    #[must_use]
    pub fn cleaned(text: &str) -> Self {
        let words: Vec<&str> =
            text.split(|c: char| is_control(c) || c == ' ').filter(|word| !word.is_empty()).collect();
        let mut text = words.join(" ");
        if let Some((cut, _)) = text.char_indices().nth(Self::MAX_CHARS) {
            // One character less, for the ellipsis.
            let last = text[..cut].char_indices().next_back().map_or(0, |(last, _)| last);
            text.truncate(last);
            text.push('…');
        }
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_text_with_control_characters_or_too_long_is_rejected() {
        for text in [
            "a\nb",
            "a\rb",
            "a\tb",
            "\u{0}",
            "\u{1b}[31m",
            "\u{7f}",
            "\u{85}",
            "\u{9b}31m",
            "\u{2028}",
            "\u{2029}",
            "\u{202e}txt",
            "\u{2066}",
            "\u{200f}",
            "\u{61c}",
        ] {
            assert!(text.parse::<ShortText>().is_err(), "{text:?} was accepted");
        }
        assert!("ä".repeat(257).parse::<ShortText>().is_err());
        assert!("ä".repeat(256).parse::<ShortText>().is_ok());
        for text in ["", "no free ports", "Kein Platz – „voll“", "日本語", "👩‍🔧"] {
            assert_eq!(text.parse::<ShortText>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn cleaned_keeps_words_and_shortens() {
        assert_eq!(ShortText::cleaned("no\r\n\u{1b}[31mspace  left").as_str(), "no [31mspace left");
        let long = ShortText::cleaned(&"ä".repeat(300));
        assert_eq!((long.as_str().chars().count(), long.as_str().chars().last()), (256, Some('…')));
        assert_eq!(ShortText::cleaned(&"ä".repeat(256)).as_str(), "ä".repeat(256));
    }

    proptest! {
        #[test]
        fn cleaned_text_is_valid(text in r"(?s:.{0,300})") {
            let cleaned = ShortText::cleaned(&text);
            prop_assert_eq!(cleaned.as_str().parse::<ShortText>().unwrap(), cleaned);
        }
    }
}
