//! Every column that the migrations make is declared in `store::columns`, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use doorbook_core::store::columns::TABLES;

use crate::root;

type Schema = BTreeMap<String, BTreeSet<String>>;

/// Words that begin a constraint of a table instead of a column.
const CONSTRAINTS: [&str; 6] = ["check", "constraint", "exclude", "foreign", "primary", "unique"];

/// Tables and columns after these statements. Panics at a change of a table that it cannot follow.
fn schema(sql: &str, schema: &mut Schema) {
    for statement in statements(sql) {
        let words: Vec<&str> = statement.split_whitespace().collect();
        match words.as_slice() {
            ["create", "table", name, second, ..] if *second != "partition" => {
                let body = statement.split_once('(').unwrap_or_else(|| panic!("a table without columns: {name}")).1;
                let columns = top_level(body).into_iter().filter(|column| !CONSTRAINTS.contains(&column.as_str()));
                let name = name.split('(').next().unwrap_or(name);
                assert!(schema.insert(name.to_owned(), columns.collect()).is_none(), "{name} is made twice");
            }
            ["alter", "table", name, "add", "column", column, ..] => {
                assert!(schema.entry((*name).to_owned()).or_default().insert((*column).to_owned()), "{name}.{column}");
            }
            ["alter", "table", name, "drop", "column", column] => {
                assert!(schema.entry((*name).to_owned()).or_default().remove(*column), "{name}.{column}");
            }
            ["alter", "table", _, "add", "constraint" | "check" | "unique", ..]
            | ["alter", "table", _, "drop", "constraint", ..]
            | ["alter", "table", _, "alter", "column", _, "drop", "not", "null"]
            | ["alter", "table", _, "enable" | "disable" | "set" | "reset", ..] => {}
            ["drop", "table", name] => assert!(schema.remove(*name).is_some(), "{name}"),
            ["alter" | "drop", "table", ..] => panic!("teach this test to follow: {statement}"),
            _ => {}
        }
    }
}

/// Statements in lower case without comments; the bodies of functions, and with them what those do, are left out.
fn statements(sql: &str) -> Vec<String> {
    let uncommented: Vec<&str> = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let uncommented = uncommented.join("\n").to_lowercase();
    let outside: Vec<&str> = uncommented.split("$$").step_by(2).collect();
    outside.join(" ").split(';').map(|statement| statement.trim().to_owned()).collect()
}

/// First word of each part between the commas of the parenthesis that `body` begins in.
fn top_level(body: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0_usize, vec![String::new()]);
    for c in body.chars() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => break,
            ')' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {}
        }
        if let Some(part) = parts.last_mut().filter(|_| c != ',' || depth > 0) {
            part.push(c);
        }
    }
    let word = |part: &String| {
        part.split(|c: char| c.is_whitespace() || c == '(').find(|word| !word.is_empty()).map(str::to_owned)
    };
    parts.iter().filter_map(word).collect()
}

fn migrated() -> Schema {
    let mut files: Vec<_> =
        fs::read_dir(root().join("migrations")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut migrated = Schema::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "sql")) {
        schema(&fs::read_to_string(file).unwrap(), &mut migrated);
    }
    migrated
}

#[test]
fn every_column_is_declared_derived_or_kept_once() {
    let mut declared = Schema::new();
    for table in TABLES {
        let columns = declared.entry(table.name.to_owned()).or_default();
        let kept = table.kept.iter().flat_map(|kept| kept.columns);
        for column in table.derived.iter().chain(kept) {
            assert!(columns.insert((*column).to_owned()), "{}.{column} is declared twice", table.name);
        }
        assert!(table.kept.iter().all(|kept| !kept.because.is_empty()), "{}: a reason is missing", table.name);
    }
    assert_eq!(migrated(), declared);
}

#[test]
fn the_reader_of_migrations_follows_changes_of_tables() {
    let mut read = Schema::new();
    schema(
        "-- create table no (x int);
         create table a (b int check (b in (1, 2)), c numeric(3, 1) default f(1, 2), primary key (b, c), unique(c));
         create function g() returns void as $$ begin create table no (x int); end $$;
         create table d partition of a for values in ('x');
         ALTER TABLE a add column e int; alter table a drop column b; create table h (i int); drop table h;",
        &mut read,
    );
    assert_eq!(read, Schema::from([("a".to_owned(), BTreeSet::from(["c".to_owned(), "e".to_owned()]))]));
}

#[test]
#[should_panic(expected = "teach this test")]
fn the_reader_of_migrations_does_not_pass_over_what_it_cannot_follow() {
    schema("alter table a rename column b to c;", &mut Schema::new());
}
