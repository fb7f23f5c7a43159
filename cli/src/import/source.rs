//! Where accounts are read from: a table or a file. Either can be read twice.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use doorbook_core::service::import::row::{Column, RawRow};
use doorbook_core::store::foreign::ForeignTable;

use super::file::{Csv, Ndjson};

/// `NAME=COLUMN` of the command line; `NAME=-` says that there is none.
pub fn mapping(text: &str) -> Result<(Column, Option<String>), String> {
    let (name, column) = text.split_once('=').ok_or("must be NAME=COLUMN")?;
    let names = Column::ALL.map(Column::name);
    let known = Column::ALL.into_iter().find(|known| known.name() == name);
    let known = known.ok_or_else(|| format!("NAME must be one of {}", names.join(", ")))?;
    match column {
        "" => Err("COLUMN is missing; - says that there is none".to_owned()),
        "-" => Ok((known, None)),
        column => Ok((known, Some(column.to_owned()))),
    }
}

/// Which column of the source each of ours is read from.
pub struct Columns {
    /// In the order of `Column::ALL`.
    names: [Option<String>; Column::ALL.len()],
    /// Named on the command line, so it must be there.
    asked: [bool; Column::ALL.len()],
    /// What the source has, once that is known; a file of objects tells it row by row.
    present: Option<Vec<String>>,
    /// What objects were seen to have.
    seen: [bool; Column::ALL.len()],
    /// Names in objects that nothing is read from.
    others: BTreeSet<String>,
}

impl Columns {
    pub fn new(mappings: &[(Column, Option<String>)]) -> anyhow::Result<Self> {
        let mut columns = Self {
            names: Column::ALL.map(|column| Some(column.name().to_owned())),
            asked: [false; Column::ALL.len()],
            present: None,
            seen: [false; Column::ALL.len()],
            others: BTreeSet::new(),
        };
        for (column, name) in mappings {
            if std::mem::replace(&mut columns.asked[*column as usize], true) {
                bail!("--column {} is given twice", column.name());
            }
            columns.names[*column as usize].clone_from(name);
        }
        Ok(columns)
    }

    /// Takes what the source has. A column that was asked for by name must be among it.
    pub fn found(&mut self, present: Vec<String>) -> anyhow::Result<()> {
        for (name, asked) in self.names.iter_mut().zip(self.asked) {
            match name.as_ref().filter(|name| !present.contains(name)) {
                Some(missing) if asked => bail!("the source has no column {missing}"),
                Some(_) => *name = None,
                None => {}
            }
        }
        self.present = Some(present);
        Ok(())
    }

    /// Names in the source, in the order of `Column::ALL`.
    pub fn names(&self) -> &[Option<String>] {
        &self.names
    }

    /// What nothing can be read from.
    pub fn missing(&self) -> Vec<Column> {
        Column::ALL.into_iter().filter(|column| self.names[*column as usize].is_none()).collect()
    }

    /// Whether the source is known to have it, or is said to. Of a file of objects that is known when it has been read.
    pub fn has(&self, column: Column) -> bool {
        let at = column as usize;
        self.names[at].is_some() && (self.present.is_some() || self.asked[at] || self.seen[at])
    }

    /// An object has this one.
    pub fn note_seen(&mut self, at: usize) {
        self.seen[at] = true;
    }

    /// Columns of the source that nothing is read from.
    pub fn ignored(&self) -> Vec<String> {
        let read = |name: &&String| self.names.iter().flatten().any(|read| read == *name);
        let present = self.present.iter().flatten().filter(|name| !read(name));
        present.chain(&self.others).cloned().collect()
    }

    pub fn note_other(&mut self, name: &str) {
        /// Names that are kept: a file may hold any number of them.
        const OTHERS_MAX: usize = 100;
        if self.others.len() < OTHERS_MAX && !self.others.contains(name) {
            self.others.insert(name.to_owned());
        }
    }
}

pub enum Source {
    Database(Box<ForeignTable>, Columns),
    Csv(Csv, Columns),
    Ndjson(Ndjson, Columns),
}

impl Source {
    pub async fn database(url: &str, table: &str, mut columns: Columns) -> anyhow::Result<Self> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            bail!("the source must be a postgresql:// URL; export what another database holds as CSV");
        }
        let mut opened = ForeignTable::open(url, table).await?;
        columns.found(std::mem::take(&mut opened.columns))?;
        let mut source = Self::Database(Box::new(opened), columns);
        source.rewind().await?;
        Ok(source)
    }

    pub fn csv(path: &Path, mut columns: Columns) -> anyhow::Result<Self> {
        let (opened, header) = Csv::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        columns.found(header)?;
        Ok(Self::Csv(opened, columns))
    }

    pub fn ndjson(path: &Path, columns: Columns) -> anyhow::Result<Self> {
        let opened = Ndjson::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::Ndjson(opened, columns))
    }

    pub fn columns(&self) -> &Columns {
        match self {
            Self::Database(_, columns) | Self::Csv(_, columns) | Self::Ndjson(_, columns) => columns,
        }
    }

    /// Begins anew.
    pub async fn rewind(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Database(table, columns) => {
                // Without an id there is no order to read in; the caller has refused or will.
                if columns.names[Column::Id as usize].is_some() {
                    table.select(columns.names()).await?;
                }
                Ok(())
            }
            Self::Csv(file, _) => file.rewind(),
            Self::Ndjson(file, _) => file.rewind(),
        }
    }

    /// The next rows, at most `limit`; `None` at the end.
    pub async fn page(&mut self, limit: u16) -> anyhow::Result<Option<Vec<RawRow>>> {
        let rows = match self {
            Self::Database(table, _) => table.page(limit).await?.into_iter().map(of_table).collect(),
            Self::Csv(file, columns) => file.page(limit, columns)?,
            Self::Ndjson(file, columns) => file.page(limit, columns)?,
        };
        Ok(Some(rows).filter(|rows: &Vec<RawRow>| !rows.is_empty()))
    }
}

fn of_table(texts: Vec<Option<String>>) -> RawRow {
    let mut row = RawRow::default();
    for (value, text) in row.values.iter_mut().zip(texts) {
        *value = text;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(mappings: &[&str]) -> Columns {
        Columns::new(&mappings.iter().map(|text| mapping(text).unwrap()).collect::<Vec<_>>()).unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_mapping_names_one_of_our_columns_and_one_of_theirs() {
        assert_eq!(mapping("email=username"), Ok((Column::Email, Some("username".to_owned()))));
        assert_eq!(mapping("is_active=-"), Ok((Column::IsActive, None)));
        for wrong in ["email", "e-mail=x", "email="] {
            assert!(mapping(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_column_that_was_asked_for_must_be_there_and_none_is_named_twice() {
        let mut asked = columns(&["email=username"]);
        assert!(asked.found(names(&["id", "email"])).is_err());
        assert!(Columns::new(&[(Column::Id, None), (Column::Id, None)]).is_err());
    }

    #[test]
    fn what_is_missing_and_what_is_not_read_is_known() {
        let mut found = columns(&["email=username"]);
        found.found(names(&["id", "username", "password", "is_active", "email", "phone"])).unwrap();
        let missing = found.missing();
        assert!(missing.contains(&Column::DateJoined) && !missing.contains(&Column::Email), "{missing:?}");
        assert_eq!(found.ignored(), ["email", "phone"]);
        assert!(!found.has(Column::EmailVerified) && found.has(Column::IsActive));
    }
}
