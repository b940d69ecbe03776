//! The commands that the pages and the units name are commands of this program.

use std::path::Path;

use clap::CommandFactory;

use super::Cli;

const PAGES: [&str; 7] = [
    "README.md",
    "docs/API.md",
    "docs/BACKUP.md",
    "docs/EVENTS.md",
    "docs/OPERATIONS.md",
    "deploy/README.md",
    "deploy/systemd/dockhost-backup.service",
];
/// In place of what the reader has to write.
const PLACEHOLDERS: [(&str, &str); 1] = [("ID", "0193b3a0-0000-7000-8000-000000000001")];

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of the blocks of commands, and of a unit's commands; a line that goes on is one.
fn lines(text: &str) -> Vec<String> {
    let (mut lines, mut is_block) = (Vec::new(), false);
    for line in text.replace("\\\n", " ").lines().map(str::trim) {
        match line.strip_prefix("```") {
            Some(language) => is_block = language == "sh",
            None if is_block => lines.push(line.to_owned()),
            None => lines.extend(line.strip_prefix("ExecStart=").map(str::to_owned)),
        }
    }
    lines
}

/// The arguments of each `dockhost` in a line, up to what ends a command of the shell.
fn commands(line: &str) -> Vec<Vec<String>> {
    let words = shlex::split(line).unwrap_or_default();
    let is_program = |word: &str| word == "dockhost" || word.ends_with("/dockhost");
    let is_end = |word: &&String| ["|", "&&", "||", ";", ">", ">>", "<", "&", "2>&1"].contains(&word.as_str());
    let starts = (0..words.len()).filter(|at| {
        // `cat dockhost` and `apt install dockhost` are other programs' arguments.
        is_program(&words[*at]) && (*at == 0 || is_end(&&words[at - 1]) || words[at - 1].contains('='))
    });
    starts.map(|at| words[at + 1..].iter().take_while(|word| !is_end(word)).cloned().collect()).collect()
}

#[test]
fn documented_commands_are_valid() {
    let mut count = 0;
    for page in PAGES {
        for line in lines(&text(page)) {
            for mut arguments in commands(&line) {
                for argument in &mut arguments {
                    if let Some((_, value)) = PLACEHOLDERS.iter().find(|(name, _)| argument == name) {
                        *argument = (*value).to_owned();
                    }
                }
                let words = std::iter::once("dockhost".to_owned()).chain(arguments);
                if let Err(error) = Cli::command().try_get_matches_from(words)
                    && error.use_stderr()
                {
                    panic!("{page}: {line}\n{error}");
                }
                count += 1;
            }
        }
    }
    assert!(count >= 60, "the search missed commands: {count}");
}
