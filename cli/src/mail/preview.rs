//! What a mail looks like, with example values and by the templates in force. Sends nothing.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use doorbook_core::config::Process;
use doorbook_core::config::check::Parts;
use doorbook_mail::{Locale, OwnWording, Recipient, Rendered, Template};
use time::OffsetDateTime;
use url::Url;

use crate::settings;

/// When everything in the examples has happened: the second of January 2026, 09:30 UTC.
const AT_SECONDS: i64 = 1_767_346_200;
/// What examples link to where FRONTEND_URL says nothing.
const SITE: &str = "https://app.example.com";

#[derive(clap::Args)]
pub struct Args {
    /// Which mail, as it is named in docs/MAILS.md
    #[arg(value_parser = PossibleValuesParser::new(names()))]
    template: String,
    /// In which language
    #[arg(long, default_value = Locale::En.as_str(), value_parser = locale())]
    locale: Locale,
    /// Its text part alone
    #[arg(long, conflicts_with = "html")]
    text: bool,
    /// Its HTML part alone
    #[arg(long)]
    html: bool,
    /// A folder of templates of your own, instead of MAIL_TEMPLATES_DIR
    #[arg(long, value_name = "DIR")]
    templates: Option<PathBuf>,
    /// Write a file a part into this folder instead of printing them
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn locale() -> impl TypedValueParser<Value = Locale> {
    PossibleValuesParser::new(Locale::ALL.map(Locale::as_str))
        .try_map(|name| Locale::ALL.into_iter().find(|locale| locale.as_str() == name).ok_or("no such language"))
}

fn names() -> Vec<&'static str> {
    examples(SITE).unwrap_or_default().iter().map(Template::name).collect()
}

fn examples(site: &str) -> anyhow::Result<Vec<Template>> {
    Ok(Template::examples(&Url::parse(site)?, OffsetDateTime::from_unix_timestamp(AT_SECONDS)?))
}

pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let rendered = render(args)?;
    let Rendered { subject, text, html } = rendered;
    let parts =
        [(".subject", subject, !args.text && !args.html), (".txt", text, !args.html), (".html", html, !args.text)];
    let wanted = parts.into_iter().filter(|(.., wanted)| *wanted).map(|(extension, text, _)| (extension, text));
    match &args.out {
        Some(folder) => write(folder, args, wanted, out),
        None => print(wanted, out),
    }
}

fn render(args: &Args) -> anyhow::Result<Rendered> {
    let parts = Parts::read(&settings::environment()?, Process::Worker);
    let folder = match (&args.templates, &parts.mail) {
        (Some(folder), _) => Some(folder),
        (None, Some(mail)) => mail.templates_dir.as_ref(),
        (None, None) => {
            bail!("a setting of mail was refused (`doorbook check` says which): name a folder by --templates")
        }
    };
    let own = folder.map(|folder| OwnWording::read(folder)).transpose().context("these templates cannot be used")?;
    let site = parts.http.as_ref().map_or(SITE, |http| &http.frontend_url);
    let template = examples(site)?.into_iter().find(|template| template.name() == args.template);
    let template = template.ok_or_else(|| anyhow!("there is no such mail"))?;
    let host = Url::parse(site)?.host_str().unwrap_or(SITE).to_owned();
    let reader = Recipient { first_name: Some("Ana") };
    Ok(own.unwrap_or_default().render(&template, args.locale, &reader, &host)?)
}

fn print(parts: impl Iterator<Item = (&'static str, String)>, out: &mut impl Write) -> anyhow::Result<()> {
    for (index, (extension, text)) in parts.enumerate() {
        let name = if extension == ".subject" { "Subject: " } else { "" };
        writeln!(out, "{}{name}{}", if index > 0 { "\n" } else { "" }, text.trim_end())?;
    }
    Ok(())
}

fn write(
    folder: &Path,
    args: &Args,
    parts: impl Iterator<Item = (&'static str, String)>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for (extension, text) in parts {
        let path = folder.join(format!("{}-{}{extension}", args.locale.as_str(), args.template));
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}
