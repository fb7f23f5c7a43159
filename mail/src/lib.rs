//! The mails of Doorbook: their wording ([`Template`]), their form as messages ([`OutgoingMail`]) and their way out
//! ([`Transport`]). Knows neither the database nor the accounts: everything comes in as an argument, the time too.

mod message;
mod own;
mod template;
mod transport;

pub use message::{MessageError, MessageId, OutgoingMail, Sender};
pub use own::{OwnFault, OwnFaults, OwnWording};
pub use template::{Alert, Device, Link, Locale, Origin, Recipient, Remedy, RenderError, Rendered, Template};
pub use transport::{
    Accepted, COMMAND_TIMEOUT, CONNECTIONS_MAX, ConfigError, Login, Security, SendError, SmtpConfig, Transport,
};
