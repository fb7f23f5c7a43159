//! Backups of schema `keys`, which plain dumps leave out.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorbook_core::key_backup::{Head, Reader, Writer};
use doorbook_core::store::keys::backup::{self, Restored, Row};
use doorbook_core::store::keys::{self};
use doorbook_core::store::query;
use zeroize::Zeroizing;

use crate::settings;

#[derive(clap::Args)]
pub struct Recipient {
    /// File with the key of the backup: 32 random bytes in base64, as `openssl rand -base64 32` prints them
    #[arg(long, value_name = "FILE")]
    recipient_key_file: PathBuf,
}

impl Recipient {
    fn key(&self) -> anyhow::Result<Zeroizing<[u8; 32]>> {
        let shown = self.recipient_key_file.display();
        let text = Zeroizing::new(
            fs::read_to_string(&self.recipient_key_file).with_context(|| format!("cannot read {shown}"))?,
        );
        let bytes = STANDARD.decode(text.trim()).ok().map(Zeroizing::new);
        let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
        key.map(Zeroizing::new).with_context(|| format!("{shown} does not hold 32 bytes in base64"))
    }
}

pub async fn write(path: &Path, recipient: &Recipient, out: &mut impl Write) -> anyhow::Result<()> {
    let key = recipient.key()?;
    let settings = settings::load()?;
    let db = settings::pool(&settings).await?;
    let shown = path.display();
    // Another backup is never overwritten, and a broken one never looks whole: it lacks its last piece.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("cannot make {shown}"))?;
    let head = Head { taken_at: query::now(&db).await? };
    let mut writer = Writer::begin(BufWriter::new(file), &key, head)?;
    let (service_keys, data_keys) = backup::read(&db, |rows| anyhow::Ok(writer.rows(&rows)?)).await?;
    let file = writer.end()?.into_inner().context("cannot write the file")?;
    file.sync_all().with_context(|| format!("cannot write {shown}"))?;
    let days = settings.secrets.key_backup_age_max.as_secs() / 86_400;
    writeln!(out, "{service_keys} service keys and {data_keys} data keys. Delete it after {days} days.")?;
    Ok(())
}

pub async fn restore(
    path: &Path,
    recipient: &Recipient,
    despite_age: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let key = recipient.key()?;
    let settings = settings::load()?;
    let db = settings::owner_pool(&settings).await?;
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut reader, head) = Reader::begin(BufReader::new(file), &key)?;
    let age_max = settings.secrets.key_backup_age_max;
    if query::now(&db).await?.since(head.taken_at) > age_max && !despite_age {
        bail!(
            "the backup was taken at {}, over KEY_BACKUP_DAYS ago: it may bring back what was erased since; --despite-age takes it",
            head.taken_at.to_millisecond().rfc3339()
        );
    }
    let mut whole = Vec::new();
    while let Some(rows) = reader.rows::<Row>()? {
        whole.push(rows);
    }
    // Older keys of people without an account do not come back.
    let stranger_days = i32::try_from(settings.account.stranger_data_lifetime.as_secs() / 86_400).unwrap_or(i32::MAX);
    // Only now, when the file has turned out whole, is anything written.
    let mut restored = Restored::default();
    for rows in whole {
        backup::restore(&db, rows, stranger_days, &mut restored).await?;
    }
    let Restored { service_keys, data_keys, left_away } = restored;
    writeln!(
        out,
        "{service_keys} service keys and {data_keys} data keys were put back; {left_away} were left away: they are there, were \
         erased, or belong to nobody here."
    )?;
    let unreadable = keys::unreadable(&db, &settings::roots(&settings)).await?;
    ensure!(unreadable.is_empty(), "the settings hold no key that opens: {}", unreadable.join("; "));
    let orphans = backup::orphans(&db).await?;
    ensure!(
        orphans == 0,
        "{orphans} data keys were wrapped by keys that are neither here nor in this backup: delete those rows of keys.data_keys and \
         restore another backup"
    );
    Ok(())
}
