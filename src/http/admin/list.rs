//! Lists in pages: `limit` and `cursor` of the request, `items` and `nextCursor` of the answer; or an array, whose next page is
//! in `Link`.

use std::str::FromStr;

use dockhost_projections::store::Page;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::consistency::Stale;
use crate::http::extract::Query;
use crate::http::response::details::FieldProblem;
use crate::http::response::{ApiError, Code, Details};

/// Items of a page, if the caller does not choose.
const DEFAULT_LIMIT: u32 = 50;
/// The most items of a page.
pub const MAX_LIMIT: u32 = 200;

/// In characters; the longest email address has 254.
const MAX_SEARCH_LENGTH: usize = 256;

/// A page of a list, in the order of creation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    items: Vec<T>,
    /// Send it as `cursor` to get the next page; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
    /// Only if events are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stale: Option<Stale>,
}

impl<T> List<T> {
    /// A page that ends where the query says.
    pub const fn with_cursor(items: Vec<T>, next_cursor: Option<String>) -> Self {
        Self { items, next_cursor, stale: None }
    }

    /// The page, without what the query returned beyond it.
    pub fn new<D, Id: ToString>(
        page: &Page<Id>,
        documents: Vec<D>,
        stale_since: Option<u64>,
        id: impl Fn(&D) -> Id,
        view: impl FnMut(D) -> T,
    ) -> Self {
        let (documents, last) = cut(page, documents, id);
        let next_cursor = last.map(|id| id.to_string());
        let stale = stale_since.map(|since| Stale { since });
        Self { items: documents.into_iter().map(view).collect(), next_cursor, stale }
    }

    /// The page of all items of an aggregate, which are in the order of their ids.
    pub fn of_all<D, Id: ToString + Ord>(
        page: &Page<Id>,
        all: impl Iterator<Item = D>,
        id: impl Fn(&D) -> Id,
        view: impl FnMut(D) -> T,
    ) -> Self {
        Self::new(page, beyond(page, all, |item, after| id(item) > *after), None, id, view)
    }
}

/// The items after a page's cursor, up to one more than the page has.
fn beyond<D, Id>(page: &Page<Id>, all: impl Iterator<Item = D>, is_after: impl Fn(&D, &Id) -> bool) -> Vec<D> {
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let is_after = |item: &D| page.after.as_ref().is_none_or(|after| is_after(item, after));
    all.filter(is_after).take(limit.saturating_add(1)).collect()
}

/// The items without those beyond the page; and if there are some, the id of the page's last one.
pub fn cut<D, Id>(page: &Page<Id>, mut items: Vec<D>, id: impl Fn(&D) -> Id) -> (Vec<D>, Option<Id>) {
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let has_more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| has_more).map(id);
    (items, last)
}

/// The part of a list that answers with an array: all of it, unless the request asks for a page.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ArrayPage {
    /// The most items of the answer. Without this and `cursor`, it has all.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The one in the `Link` of the page before.
    #[param(value_type = Option<Uuid>)]
    cursor: Option<String>,
}

impl ArrayPage {
    /// What a handler that uses another's answer asks for: all items.
    pub fn all() -> Query<Self> {
        Query(Self::default())
    }

    /// The page; none for all items.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn page<Id: FromStr>(&self) -> Result<Option<Page<Id>>, ApiError> {
        let is_page = self.limit.is_some() || self.cursor.is_some();
        is_page.then(|| page(self.limit, self.cursor.as_deref())).transpose()
    }
}

/// What a page has of all items, which are in the order that `is_after` says; and the cursor of the next page.
pub fn part<D, Id>(
    page: Option<&Page<Id>>,
    all: impl Iterator<Item = D>,
    id: impl Fn(&D) -> Id,
    is_after: impl Fn(&D, &Id) -> bool,
) -> (Vec<D>, Option<Id>) {
    match page {
        None => (all.collect(), None),
        Some(page) => cut(page, beyond(page, all, is_after), id),
    }
}

/// The page that a request asks for.
///
/// # Errors
/// `validation_failed`.
pub fn page<Id: FromStr>(limit: Option<u32>, cursor: Option<&str>) -> Result<Page<Id>, ApiError> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(invalid("limit", format!("must be 1 to {MAX_LIMIT}")));
    }
    let after = cursor.map(|cursor| parameter("cursor", cursor, "is not the nextCursor of a page")).transpose()?;
    Ok(Page { after, limit })
}

/// Parses a parameter.
///
/// # Errors
/// `validation_failed` with the problem.
pub fn parameter<T: FromStr>(name: &str, text: &str, problem: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| invalid(name, problem.to_owned()))
}

/// A text to search for.
///
/// # Errors
/// `validation_failed` if it is too long or has control characters.
pub fn search(text: Option<String>) -> Result<Option<String>, ApiError> {
    self::text("search", text)
}

/// A parameter that is any text.
///
/// # Errors
/// As [`search`].
pub fn text(name: &str, text: Option<String>) -> Result<Option<String>, ApiError> {
    let problem = text.as_ref().and_then(|text| {
        if text.chars().count() > MAX_SEARCH_LENGTH {
            Some(format!("must have at most {MAX_SEARCH_LENGTH} characters"))
        } else {
            text.chars().any(char::is_control).then(|| "must not contain control characters".to_owned())
        }
    });
    problem.map_or(Ok(text), |problem| Err(invalid(name, problem)))
}

/// Whether a text contains what is searched for, whatever the case of its letters; if nothing is, it does.
pub fn contains(text: &str, searched: Option<&str>) -> bool {
    searched.is_none_or(|searched| text.to_lowercase().contains(&searched.to_lowercase()))
}

/// A parameter with a problem.
pub fn invalid(name: &str, problem: String) -> ApiError {
    let problem = FieldProblem { field: name.to_owned(), problem };
    ApiError::new(Code::ValidationFailed, "a parameter is invalid").with(Details::Fields(vec![problem]))
}
