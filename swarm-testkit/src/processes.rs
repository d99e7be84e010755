//! The machine's process table, read from /proc.

use std::fs;

/// One row of the process table.
#[derive(Debug)]
pub struct Row {
    pub pid: i32,
    pub parent: i32,
    /// At most 15 bytes, as the kernel keeps it.
    pub name: String,
    pub arguments: Vec<String>,
}

/// Every process that is not a zombie.
pub fn table() -> anyhow::Result<Vec<Row>> {
    let mut table = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process may end between two reads.
        if let Some(row) = read_row(pid) {
            table.push(row);
        }
    }
    Ok(table)
}

fn read_row(pid: i32) -> Option<Row> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let mut fields = after.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = arguments
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    (state != "Z").then_some(Row {
        pid,
        parent,
        name,
        arguments,
    })
}

/// The processes of a program that have an argument naming something below a folder.
pub fn of_program(name: &str, folder: &std::path::Path) -> anyhow::Result<Vec<Row>> {
    let below = format!("{}/", folder.display());
    let is_it =
        |row: &Row| row.name == name && row.arguments.iter().any(|word| word.contains(&below));
    Ok(table()?.into_iter().filter(is_it).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_in_the_table() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(table().unwrap().iter().any(|row| row.pid == own));
    }
}
