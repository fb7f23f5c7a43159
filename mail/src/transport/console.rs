//! Mails on standard output.

use tokio::io::AsyncWriteExt as _;

use super::{Accepted, SendError};
use crate::message::OutgoingMail;

pub(super) async fn send(mail: &OutgoingMail) -> Result<Accepted, SendError> {
    let mut out = tokio::io::stdout();
    let written = async {
        // In one write, so that mails sent side by side do not mix.
        out.write_all(readable(mail).as_bytes()).await?;
        out.flush().await
    };
    match written.await {
        Ok(()) => Ok(Accepted { server_answer: "printed".to_owned() }),
        Err(error) => Err(SendError::Deferred { answer: format!("standard output: {error}") }),
    }
}

/// The mail as a person reads it: no encodings, the link whole.
fn readable(mail: &OutgoingMail) -> String {
    format!(
        "\n----- mail {id} -----\nTo: {to}\nSubject: {subject}\n\n{text}\n----- end of mail -----\n",
        id = mail.message_id.as_str(),
        to = mail.recipient,
        subject = mail.subject,
        text = mail.text.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;
    use crate::{Link, Locale, MessageId, Recipient, Sender, Template};

    #[test]
    fn the_printed_mail_has_the_link_on_a_line_of_its_own() {
        let link = "https://app.example.com/reset-password?token=abc".parse::<url::Url>().unwrap();
        let template = Template::Reset { link: Link::from(link), valid_hours: 1 };
        let rendered = template.render(Locale::Es, &Recipient { first_name: Some("José") }, "app.example.com").unwrap();
        let sender = Sender::parse("auth@example.com").unwrap();
        let id = MessageId::for_delivery(Uuid::nil(), &sender);
        let mail =
            OutgoingMail::compose(&sender, "jose@example.com", &id, OffsetDateTime::UNIX_EPOCH, &rendered).unwrap();

        let printed = readable(&mail);

        assert!(printed.contains("\nTo: jose@example.com\n"));
        assert!(printed.contains("\nHola, José:\n"));
        assert!(printed.contains("\nhttps://app.example.com/reset-password?token=abc\n"));
    }
}
