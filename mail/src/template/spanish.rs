//! The mails in Spanish.

mod notices;

use time::{Month, OffsetDateTime, UtcOffset};

use super::{Device, Origin, Template, Wording, masked};

pub(super) fn greeting(name: Option<&str>) -> String {
    name.map_or_else(|| "Hola:".to_owned(), |name| format!("Hola, {name}:"))
}

pub(super) fn footer(site: &str) -> String {
    format!("Enviado automáticamente por {site}. Nadie lee las respuestas a este correo.")
}

pub(super) fn wording(template: &Template, site: &str) -> Wording {
    match template {
        Template::Verify { origin, valid_hours, .. } => verify(site, origin, *valid_hours),
        Template::RegistrationAttempt { origin, .. } => registration_attempt(site, origin),
        Template::RegistrationUnverified { origin, valid_hours, .. } => {
            registration_unverified(site, origin, *valid_hours)
        }
        Template::Reset { valid_hours, .. } => reset(site, *valid_hours),
        Template::ResetForced { valid_hours, .. } => reset_forced(site, *valid_hours),
        Template::ResetFrozen { valid_hours, .. } => reset_frozen(site, *valid_hours),
        Template::PasswordChanged { origin, remedy } => notices::password_changed(site, origin, remedy),
        Template::PasswordResetDone { origin, remedy } => notices::password_reset_done(site, origin, remedy),
        Template::EmailChangeConfirm { valid_hours, .. } => email_change_confirm(site, *valid_hours),
        Template::EmailChangeNotice { origin, new_address, valid_days, .. } => {
            email_change_notice(site, origin, &masked(new_address), *valid_days)
        }
        Template::EmailChanged { origin, new_address, .. } => email_changed(site, origin, &masked(new_address)),
        Template::EmailChangeUndone { origin, remedy } => notices::email_change_undone(site, origin, remedy),
        Template::DeletionRequested { origin, valid_days, .. } => deletion_requested(site, origin, *valid_days),
        Template::TokenReused { origin, remedy } => notices::token_reused(site, origin, remedy),
        Template::LoginNewPlace { origin, remedy } => notices::login_new_place(site, origin, remedy),
        Template::LoginAfterFailures { origin, remedy } => notices::login_after_failures(site, origin, remedy),
        Template::LoginBlocked { origin, remedy } => notices::login_blocked(site, origin, remedy),
        Template::AccountLocked { origin, remedy } => notices::account_locked(site, origin, remedy),
        Template::RoleGranted { origin, role, remedy } => notices::role_granted(site, origin, role, remedy),
        Template::RoleRevoked { origin, role, remedy } => notices::role_revoked(site, origin, role, remedy),
        // Operators read English.
        Template::SecurityAlert(_) => super::english::wording(template, site),
    }
}

fn verify(site: &str, origin: &Origin, valid_hours: u32) -> Wording {
    Wording {
        subject: format!("Confirma tu dirección de correo para {site}"),
        before: vec![format!(
            "Se ha registrado una cuenta en {site} con esta dirección de correo. {} se pidió este mensaje. Para confirmar que \
             la dirección es tuya, abre este enlace:",
            on_from(origin)
        )],
        action: "Confirmar la dirección",
        after: vec![
            format!("El enlace es válido durante {}.", hours(valid_hours)),
            "Si no fuiste tú, no tienes que hacer nada: la dirección quedará sin confirmar.".to_owned(),
        ],
    }
}

fn registration_attempt(site: &str, origin: &Origin) -> Wording {
    Wording {
        subject: format!("Alguien intentó registrar tu dirección en {site}"),
        before: vec![
            format!(
                "{} alguien intentó registrar una cuenta nueva en {site} con tu dirección de correo. Ya tienes una \
                 cuenta, así que no se ha creado ni cambiado nada.",
                on_from(origin)
            ),
            "Si fuiste tú y no recuerdas tu contraseña, puedes elegir una nueva aquí:".to_owned(),
        ],
        action: "Restablecer la contraseña",
        after: vec![
            "Si no fuiste tú, no tienes que hacer nada. Nuestra respuesta no reveló que tienes una cuenta.".to_owned(),
        ],
    }
}

fn registration_unverified(site: &str, origin: &Origin, valid_hours: u32) -> Wording {
    Wording {
        subject: format!("Termina tu registro en {site}"),
        before: vec![
            format!(
                "{} alguien se registró en {site} con tu dirección de correo. La dirección ya se había registrado \
                 antes, pero nunca se confirmó.",
                on_from(origin)
            ),
            "Si fuiste tú, elige tu contraseña y confirma tu dirección aquí:".to_owned(),
        ],
        action: "Elegir contraseña y confirmar la dirección",
        after: vec![
            format!(
                "El enlace es válido durante {}. La contraseña que elijas sustituirá a cualquier otra anterior y se \
                 cerrarán todas las sesiones abiertas de la cuenta.",
                hours(valid_hours)
            ),
            "Si no fuiste tú, no tienes que hacer nada: la dirección quedará sin confirmar.".to_owned(),
        ],
    }
}

fn reset(site: &str, valid_hours: u32) -> Wording {
    Wording {
        subject: format!("Restablece tu contraseña de {site}"),
        before: vec![format!(
            "Alguien, esperamos que tú, ha pedido restablecer la contraseña de tu cuenta en {site}. Para elegir una \
             contraseña nueva, abre este enlace:"
        )],
        action: "Elegir una contraseña nueva",
        after: vec![
            format!("El enlace sirve una sola vez y es válido durante {}.", hours(valid_hours)),
            "Si no lo has pedido tú, no tienes que hacer nada: tu contraseña no cambia.".to_owned(),
        ],
    }
}

fn reset_forced(site: &str, valid_hours: u32) -> Wording {
    Wording {
        subject: format!("Elige una contraseña nueva para {site}"),
        before: vec![
            format!(
                "Para proteger tu cuenta en {site}, los responsables del servicio la han cerrado hasta que elijas una \
                 contraseña nueva. Se han cerrado todas las sesiones y tu contraseña anterior ya no sirve."
            ),
            "Para elegir una contraseña nueva, abre este enlace:".to_owned(),
        ],
        action: "Elegir una contraseña nueva",
        after: vec![
            format!(
                "El enlace sirve una sola vez y es válido durante {}. Después, pide otro donde inicias sesión, como si \
                 hubieras olvidado la contraseña.",
                hours(valid_hours)
            ),
            "Si usas la contraseña anterior en otros sitios, cámbiala también allí.".to_owned(),
        ],
    }
}

fn reset_frozen(site: &str, valid_hours: u32) -> Wording {
    Wording {
        subject: format!("Tu cuenta en {site} está cerrada hasta que elijas una contraseña nueva"),
        before: vec![
            format!(
                "Nos has dicho que no eras tú quien usaba tu cuenta en {site}. Se han cerrado todas las sesiones, se ha \
                 descartado cualquier cambio pendiente y nadie puede entrar hasta que elijas una contraseña nueva."
            ),
            "Para elegirla, abre este enlace:".to_owned(),
        ],
        action: "Elegir una contraseña nueva",
        after: vec![
            format!(
                "El enlace sirve una sola vez y es válido durante {}. Después, pide otro donde inicias sesión, como si \
                 hubieras olvidado la contraseña.",
                hours(valid_hours)
            ),
            "Si usas la contraseña anterior en otros sitios, cámbiala también allí.".to_owned(),
        ],
    }
}

fn deletion_requested(site: &str, origin: &Origin, valid_days: u32) -> Wording {
    let days = counted(valid_days, "día", "días");
    Wording {
        subject: format!("Tu cuenta en {site} se va a eliminar"),
        before: vec![
            format!(
                "{} alguien que conocía tu contraseña pidió eliminar tu cuenta en {site}. Se han cerrado todas las \
                 sesiones, ya nadie puede entrar y dentro de {days} se borrará para siempre todo lo que sabemos de ti.",
                on_from(origin)
            ),
            "Si quieres irte, no tienes que hacer nada. Si quieres conservar la cuenta, abre este enlace:".to_owned(),
        ],
        action: "Conservar mi cuenta",
        after: vec![
            format!("El enlace es válido durante {days}. Después nadie podrá recuperar la cuenta."),
            "Si no fuiste tú quien lo pidió, elige una contraseña nueva en cuanto hayas conservado la cuenta."
                .to_owned(),
        ],
    }
}

fn email_change_confirm(site: &str, valid_hours: u32) -> Wording {
    Wording {
        subject: format!("Confirma tu nueva dirección de correo para {site}"),
        before: vec![format!(
            "Se ha indicado esta dirección de correo como la nueva dirección de una cuenta en {site}. Para confirmar \
             el cambio, abre este enlace:"
        )],
        action: "Confirmar la dirección nueva",
        after: vec![
            format!("El enlace es válido durante {}.", hours(valid_hours)),
            "Si no sabes de qué se trata, no tienes que hacer nada: sin tu confirmación la dirección no se utilizará."
                .to_owned(),
        ],
    }
}

fn email_change_notice(site: &str, origin: &Origin, new_address: &str, valid_days: u32) -> Wording {
    Wording {
        subject: format!("Una nueva dirección de correo para tu cuenta en {site}"),
        before: vec![
            format!(
                "{} se pidió cambiar la dirección de correo de tu cuenta en {site} a {new_address}.",
                on_from(origin)
            ),
            "Si fuiste tú, no tienes que hacer nada. Si no fuiste tú, deshaz el cambio aquí:".to_owned(),
        ],
        action: "Deshacer el cambio",
        after: vec![format!(
            "El enlace es válido durante {}, también después de que se confirme la dirección nueva.",
            counted(valid_days, "día", "días")
        )],
    }
}

fn email_changed(site: &str, origin: &Origin, new_address: &str) -> Wording {
    Wording {
        subject: format!("Se ha cambiado la dirección de correo de tu cuenta en {site}"),
        before: vec![
            format!(
                "{} se cambió la dirección de correo de tu cuenta en {site} a {new_address}. A partir de ahora, inicia \
                 sesión con la dirección nueva.",
                on_from(origin)
            ),
            "Si fuiste tú, no tienes que hacer nada más. Si no fuiste tú, protege tu cuenta ahora:".to_owned(),
        ],
        action: "Restablecer contraseña",
        after: vec![],
    }
}

fn hours(count: u32) -> String {
    counted(count, "hora", "horas")
}

fn counted(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Opens a sentence with when and from where.
fn on_from(origin: &Origin) -> String {
    let (at, with) =
        (moment(origin.at), origin.device.map(|device| format!(" ({})", named(device))).unwrap_or_default());
    match origin.address {
        Some(address) => format!("El {at}, desde la dirección IP {address}{with},"),
        None => format!("El {at}, desde una dirección IP desconocida{with},"),
    }
}

fn named(device: Device) -> String {
    match (device.program, device.system) {
        (Some(program), Some(system)) => format!("{program} en {system}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "dispositivo desconocido".to_owned(),
    }
}

/// In UTC and said so: the reader's zone is unknown.
fn moment(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let month = match at.month() {
        Month::January => "enero",
        Month::February => "febrero",
        Month::March => "marzo",
        Month::April => "abril",
        Month::May => "mayo",
        Month::June => "junio",
        Month::July => "julio",
        Month::August => "agosto",
        Month::September => "septiembre",
        Month::October => "octubre",
        Month::November => "noviembre",
        Month::December => "diciembre",
    };
    format!("{} de {month} de {} a las {:02}:{:02} UTC", at.day(), at.year(), at.hour(), at.minute())
}
