//! The sizes of the streams in `docs/OPERATIONS.md` against the code.

use dockhost::broker::streams::{self, StreamOptions};

use super::text;

/// As the page writes it: `10,240 MiB`.
fn size(bytes: u64) -> String {
    let (number, unit) = if bytes >= 1 << 20 { (bytes >> 20, "MiB") } else { (bytes >> 10, "KiB") };
    let thousands = number / 1000;
    if thousands > 0 { format!("{thousands},{:03} {unit}", number % 1000) } else { format!("{number} {unit}") }
}

#[test]
fn operations_page_has_the_size_of_each_stream() {
    let page = text("docs/OPERATIONS.md");
    let (_, table) = page.split_once("| stream | at most |\n").unwrap();
    let rows: Vec<&str> = table.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    let limits = streams::size_limits(&StreamOptions::default());
    assert_eq!(rows.len(), limits.len(), "{rows:#?}");
    for (name, limit) in limits {
        let expected = limit.map_or_else(|| "no limit in bytes".to_owned(), size);
        let row = rows.iter().find(|row| row.starts_with(&format!("| `{name}` |")));
        assert!(row.is_some_and(|row| row.contains(&expected)), "{name}: {expected} is not in {row:?}");
    }
}
