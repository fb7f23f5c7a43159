//! Wording and layout of an operator's own: a folder of templates that stand in for the built-in ones, each tried with every mail
//! that it is for before any mail is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use minijinja::{Environment, UndefinedBehavior};
use time::OffsetDateTime;
use url::Url;

use crate::template::{Locale, MARK, Recipient, RenderError, Rendered, Template, Words};

/// Largest template, and largest mail that one makes, in bytes. Source: ours; mail programs cut HTML off at some 100 KB.
const SIZE_MAX: usize = 100 * 1024;
/// Longest subject, in characters: one header line. Source: RFC 5322, 2.1.1.
const SUBJECT_MAX: usize = 200;
/// Steps of one rendering: thousands of times what a mail needs, and over in a few milliseconds.
const FUEL: u64 = 200_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Subject,
    Text,
    Html,
}

impl Part {
    const ALL: [Self; 3] = [Self::Subject, Self::Text, Self::Html];

    const fn extension(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Text => "txt",
            Self::Html => "html",
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum OwnFault {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is the part of no mail: it must be mail.txt, mail.html or LANGUAGE/TEMPLATE.subject, .txt or .html")]
    Unknown,
    #[error("holds more than {SIZE_MAX} bytes")]
    TooLarge,
    #[error("{0}")]
    Template(#[from] minijinja::Error),
    #[error("does not show the link of {template} in {language}")]
    Linkless { template: &'static str, language: &'static str },
    #[error("makes a subject that is empty, has several lines or more than {SUBJECT_MAX} characters")]
    Subject,
    #[error("makes a mail of more than {SIZE_MAX} bytes")]
    Endless,
}

/// All of them, by file.
#[derive(Debug)]
pub struct OwnFaults(BTreeMap<String, OwnFault>);

impl std::error::Error for OwnFaults {}

impl fmt::Display for OwnFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (file, fault)) in self.0.iter().enumerate() {
            write!(f, "{}{file} {fault}", if index > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

/// The templates of a folder; by default none.
#[derive(Default)]
pub struct OwnWording {
    templates: Environment<'static>,
}

impl OwnWording {
    /// Reads the folder and tries each template with every mail that it is for.
    pub fn read(folder: &Path) -> Result<Self, OwnFaults> {
        let mut faults = BTreeMap::new();
        let mut templates = Environment::new();
        // A misspelt name must not become a gap in a mail.
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_fuel(Some(FUEL));
        let examples = examples();
        for (name, text) in files(folder, &examples, &mut faults) {
            let added = text.and_then(|text| Ok(templates.add_template_owned(name.clone(), text)?));
            if let Err(fault) = added {
                faults.insert(name, fault);
            }
        }
        let own = Self { templates };
        own.try_with(&examples, &mut faults);
        if faults.is_empty() { Ok(own) } else { Err(OwnFaults(faults)) }
    }

    /// Puts a mail into words: by its own templates where there are some, by the built-in ones elsewhere.
    pub fn render(
        &self,
        template: &Template,
        locale: Locale,
        recipient: &Recipient<'_>,
        site_name: &str,
    ) -> Result<Rendered, RenderError> {
        let mut words = template.words(locale, recipient, site_name);
        let refused = |(file, fault): (String, OwnFault)| RenderError::Own(format!("{file} {fault}"));
        // The layouts show it too.
        if let Some((_, subject)) = self.part(Part::Subject, &words).map_err(refused)? {
            words.subject = subject;
        }
        let (text, html) =
            (self.part(Part::Text, &words).map_err(refused)?, self.part(Part::Html, &words).map_err(refused)?);
        let text = text.map_or_else(|| words.text(), |(_, text)| Ok(text))?;
        let html = html.map_or_else(|| words.html(), |(_, html)| Ok(html))?;
        Ok(Rendered { subject: words.subject, text, html })
    }

    /// A part by the template of this mail and language, or by the layout for all mails, and the file that made it.
    fn part(&self, part: Part, words: &Words<'_>) -> Result<Option<(String, String)>, (String, OwnFault)> {
        let own = format!("{}/{}.{}", words.language, words.template, part.extension());
        let names = [own, format!("mail.{}", part.extension())];
        let found = names.into_iter().find_map(|name| self.templates.get_template(&name).ok().map(|it| (name, it)));
        let Some((name, template)) = found else { return Ok(None) };
        let rendered = template.render(words).map_err(OwnFault::from).and_then(|text| fit(part, text));
        match rendered {
            Ok(text) => Ok(Some((name, text))),
            Err(fault) => Err((name, fault)),
        }
    }

    fn try_with(&self, examples: &[Template], faults: &mut BTreeMap<String, OwnFault>) {
        for template in examples {
            for (locale, first_name) in Locale::ALL.into_iter().flat_map(|it| [(it, Some("Ana")), (it, None)]) {
                let words = template.words(locale, &Recipient { first_name }, "app.example.com");
                for part in Part::ALL {
                    match self.part(part, &words) {
                        Ok(Some((file, text)))
                            if part != Part::Subject && words.link.contains(MARK) && !text.contains(MARK) =>
                        {
                            let (template, language) = (words.template, words.language);
                            faults.entry(file).or_insert(OwnFault::Linkless { template, language });
                        }
                        Ok(_) => {}
                        Err((file, fault)) => {
                            faults.entry(file).or_insert(fault);
                        }
                    }
                }
            }
        }
    }
}

fn examples() -> Vec<Template> {
    // A constant that is a URL.
    Url::parse("https://app.example.com")
        .map(|site| Template::examples(&site, OffsetDateTime::UNIX_EPOCH))
        .unwrap_or_default()
}

/// What a part may be.
fn fit(part: Part, text: String) -> Result<String, OwnFault> {
    if part == Part::Subject {
        let subject = text.trim();
        let fits = !subject.is_empty() && !subject.chars().any(char::is_control);
        return if fits && subject.chars().count() <= SUBJECT_MAX {
            Ok(subject.to_owned())
        } else {
            Err(OwnFault::Subject)
        };
    }
    if text.len() > SIZE_MAX { Err(OwnFault::Endless) } else { Ok(text) }
}

/// Every file of the folder by its name, with its text; hidden files are left alone.
fn files(
    folder: &Path,
    examples: &[Template],
    faults: &mut BTreeMap<String, OwnFault>,
) -> Vec<(String, Result<String, OwnFault>)> {
    let mut found = Vec::new();
    for (at, prefix) in [(folder.to_owned(), String::new())].into_iter().chain(languages(folder)) {
        let entries = match fs::read_dir(&at).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => {
                faults.insert(at.display().to_string(), error.into());
                continue;
            }
        };
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || (prefix.is_empty() && entry.path().is_dir() && is_language(&name)) {
                continue;
            }
            let name = format!("{prefix}{name}");
            let text = if is_known(&name, examples) { text_of(&entry.path()) } else { Err(OwnFault::Unknown) };
            found.push((name, text));
        }
    }
    found
}

fn languages(folder: &Path) -> impl Iterator<Item = (std::path::PathBuf, String)> {
    let folders = Locale::ALL.map(|locale| (folder.join(locale.as_str()), format!("{}/", locale.as_str())));
    folders.into_iter().filter(|(path, _)| path.is_dir())
}

fn is_language(name: &str) -> bool {
    Locale::ALL.iter().any(|locale| locale.as_str() == name)
}

fn is_known(name: &str, examples: &[Template]) -> bool {
    match name.split_once('/') {
        None => ["mail.txt", "mail.html"].contains(&name),
        Some((language, file)) => file.rsplit_once('.').is_some_and(|(template, extension)| {
            examples.iter().any(|it| it.name() == template && is_written_in(it, language))
                && Part::ALL.iter().any(|part| part.extension() == extension)
        }),
    }
}

/// Whether anybody gets it in this language: operators are told in one.
fn is_written_in(template: &Template, language: &str) -> bool {
    Locale::ALL.iter().any(|locale| template.locale(*locale).as_str() == language)
}

fn text_of(path: &Path) -> Result<String, OwnFault> {
    if fs::metadata(path)?.len() > SIZE_MAX as u64 {
        return Err(OwnFault::TooLarge);
    }
    Ok(fs::read_to_string(path)?)
}
