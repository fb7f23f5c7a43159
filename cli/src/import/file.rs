//! Files of accounts: CSV, and a JSON object a line. A row that cannot be read is a row, so that it is reported and not passed over.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _};
use std::path::Path;

use csv::{ByteRecord, Reader, ReaderBuilder};
use doorbook_core::service::import::row::RawRow;
use serde_json::{Map, Value};

use super::source::Columns;

/// Longest row, in bytes: an account takes less than a thousand.
const ROW_BYTES_MAX: usize = 64 * 1024;

const NOT_UTF8: &str = "is not UTF-8";

pub struct Csv {
    reader: Reader<File>,
    header: Vec<String>,
}

impl Csv {
    /// With the names of its columns.
    pub fn open(path: &Path) -> anyhow::Result<(Self, Vec<String>)> {
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(File::open(path)?);
        let header: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
        let repeated = header.iter().enumerate().find(|(at, name)| header[..*at].contains(name));
        if let Some((_, name)) = repeated {
            anyhow::bail!("the column {name} stands twice in the first line");
        }
        Ok((Self { reader, header: header.clone() }, header))
    }

    pub fn rewind(&mut self) -> anyhow::Result<()> {
        self.reader.seek(csv::Position::new())?;
        // The first line is a row again after a seek to it.
        self.reader.read_byte_record(&mut ByteRecord::new())?;
        Ok(())
    }

    pub fn page(&mut self, limit: u16, columns: &Columns) -> anyhow::Result<Vec<RawRow>> {
        let mut rows = Vec::new();
        let mut record = ByteRecord::new();
        while rows.len() < usize::from(limit) && self.reader.read_byte_record(&mut record)? {
            rows.push(self.row(&record, columns));
        }
        Ok(rows)
    }

    fn row(&self, record: &ByteRecord, columns: &Columns) -> RawRow {
        let mut row = RawRow { line: record.position().map(csv::Position::line), ..RawRow::default() };
        let field = |name: &String| record.get(self.header.iter().position(|column| column == name)?);
        for (value, name) in row.values.iter_mut().zip(columns.names()) {
            match name.as_ref().and_then(field).map(str::from_utf8) {
                Some(Ok(text)) => *value = Some(text.to_owned()),
                Some(Err(_)) => row.broken = Some(NOT_UTF8),
                None => {}
            }
        }
        if record.as_slice().len() > ROW_BYTES_MAX {
            row.broken = Some("is longer than an account can be: a quotation mark may be missing");
        } else if record.len() != self.header.len() {
            row.broken = Some("has more or fewer fields than the first line");
        }
        row
    }
}

pub struct Ndjson {
    reader: BufReader<File>,
    line: u64,
}

impl Ndjson {
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { reader: BufReader::new(File::open(path)?), line: 0 })
    }

    pub fn rewind(&mut self) -> anyhow::Result<()> {
        self.reader.rewind()?;
        self.line = 0;
        Ok(())
    }

    pub fn page(&mut self, limit: u16, columns: &mut Columns) -> anyhow::Result<Vec<RawRow>> {
        let mut rows = Vec::new();
        while rows.len() < usize::from(limit) {
            let mut line = Vec::new();
            let bound = u64::try_from(ROW_BYTES_MAX)?;
            if self.reader.by_ref().take(bound).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            self.line += 1;
            let mut row = RawRow { line: Some(self.line), ..RawRow::default() };
            if line.len() == ROW_BYTES_MAX && !line.ends_with(b"\n") {
                skip_line(&mut self.reader)?;
                row.broken = Some("is longer than an account can be");
            } else if line.trim_ascii().is_empty() {
                continue;
            } else if let Err(broken) = object(&line, columns, &mut row) {
                row.broken = Some(broken);
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let (used, over) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(used);
        if over {
            return Ok(());
        }
    }
}

fn object(line: &[u8], columns: &mut Columns, row: &mut RawRow) -> Result<(), &'static str> {
    let text = str::from_utf8(line).map_err(|_| NOT_UTF8)?;
    let object: Map<String, Value> = serde_json::from_str(text).map_err(|_| "is no JSON object")?;
    for (key, value) in object {
        let Some(at) = columns.names().iter().position(|name| name.as_ref() == Some(&key)) else {
            columns.note_other(&key);
            continue;
        };
        columns.note_seen(at);
        row.values[at] = match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Number(number) => Some(number.to_string()),
            Value::Array(_) | Value::Object(_) => return Err("holds a list or an object where a value belongs"),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lines: &[u8]) -> Vec<Result<Vec<String>, &'static str>> {
        let mut columns = Columns::new(&[]).unwrap();
        let read = |line: &[u8]| {
            let mut row = RawRow::default();
            object(line, &mut columns, &mut row).map(|()| row.values.into_iter().flatten().collect())
        };
        lines.split(|byte| *byte == b'\n').map(read).collect()
    }

    #[test]
    fn values_of_an_object_become_text_and_other_lines_are_refused() {
        let lines = b"{\"id\":7,\"email\":\"ana@example.com\",\"is_active\":true,\"last_login\":null,\"x\":[]}\n[]\n{\n{\"id\":[]}\n\xff";
        let read = rows(lines);
        assert_eq!(read[0].as_deref(), Ok(["7", "ana@example.com", "true"].map(str::to_owned).as_slice()));
        assert!(read[1..].iter().all(Result::is_err), "{read:?}");
    }

    #[test]
    fn the_rest_of_an_overlong_line_is_no_row_of_its_own() {
        let mut reader = io::Cursor::new(b"rest of it\nnext\n".to_vec());
        skip_line(&mut reader).unwrap();
        let mut next = String::new();
        reader.read_line(&mut next).unwrap();
        assert_eq!(next, "next\n");
        skip_line(&mut reader).unwrap();
    }
}
