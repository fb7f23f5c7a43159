//! Notices in Spanish.

use super::super::{Origin, Remedy, Wording};
use super::{counted, moment, on_from};

/// A notice: what has happened, and what to do about it.
fn notice(subject: String, what: String, if_you: &str, remedy: &Remedy) -> Wording {
    let (if_not, action, after) = match remedy {
        Remedy::NotMe { valid_days, .. } => (
            "Si no fuiste tú, dínoslo con este enlace: la cuenta se cierra para todos en el acto y te enviamos otro enlace \
             para elegir una contraseña nueva.",
            "No he sido yo",
            vec![format!("El enlace sirve una sola vez y es válido durante {}.", counted(*valid_days, "día", "días"))],
        ),
        Remedy::ResetPage(_) => {
            ("Si no fuiste tú, elige una contraseña nueva aquí:", "Restablecer la contraseña", vec![])
        }
    };
    Wording { subject, before: vec![what, format!("{if_you} {if_not}")], action, after }
}

pub(super) fn password_changed(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("Se ha cambiado tu contraseña de {site}"),
        format!(
            "{} se cambió la contraseña de tu cuenta en {site}. Se han cerrado todas las demás sesiones.",
            on_from(origin)
        ),
        "Si fuiste tú, no tienes que hacer nada.",
        remedy,
    )
}

pub(super) fn password_reset_done(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("Se ha restablecido tu contraseña de {site}"),
        format!(
            "{} se estableció una contraseña nueva para tu cuenta en {site} con un enlace de uno de nuestros correos. Se han \
             cerrado todas las sesiones; inicia sesión con la contraseña nueva.",
            on_from(origin)
        ),
        "Si fuiste tú, no tienes que hacer nada más. De lo contrario, es posible que alguien pueda leer tu correo: protege \
         primero tu buzón.",
        remedy,
    )
}

pub(super) fn email_change_undone(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("Se ha deshecho el cambio de tu dirección de correo en {site}"),
        format!(
            "{} se deshizo el cambio de la dirección de correo de tu cuenta en {site}. Esta dirección vuelve a ser la de la \
             cuenta y se han cerrado todas las sesiones.",
            on_from(origin)
        ),
        "Quien pidió aquel cambio conocía tu contraseña. Si fuiste tú, no tienes que hacer nada.",
        remedy,
    )
}

pub(super) fn token_reused(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("Se ha cerrado una sesión de tu cuenta en {site}"),
        format!(
            "{} se usó por segunda vez una clave de una de tus sesiones en {site}, cuando ya había sido sustituida. Puede \
             significar que alguien la copió, así que la sesión se ha cerrado en todos los dispositivos que la tenían.",
            on_from(origin)
        ),
        "Si fuiste tú, puedes volver a iniciar sesión sin más.",
        remedy,
    )
}

pub(super) fn login_new_place(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("Nuevo inicio de sesión en tu cuenta de {site}"),
        format!(
            "{} alguien que conocía la contraseña inició sesión en tu cuenta de {site}. No habíamos visto antes ese dispositivo, y \
             desde hacía 90 días nadie había entrado en la cuenta desde esa red.",
            on_from(origin)
        ),
        "Si fuiste tú, no tienes que hacer nada.",
        remedy,
    )
}

pub(super) fn login_after_failures(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("Inicio de sesión en tu cuenta de {site} tras varios intentos fallidos"),
        format!(
            "{} alguien que conocía la contraseña inició sesión en tu cuenta de {site}. Antes hubo al menos tres intentos con \
             contraseñas incorrectas.",
            on_from(origin)
        ),
        "Si fuiste tú, no tienes que hacer nada.",
        remedy,
    )
}

pub(super) fn login_blocked(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("Intentos fallidos de entrar en tu cuenta de {site}"),
        format!(
            "{} se hizo el último de varios intentos de entrar en tu cuenta de {site} con una contraseña incorrecta. Nadie entró, y \
             durante un rato nadie puede iniciar sesión, ni siquiera con la contraseña correcta. Un dispositivo que nos hayas pedido \
             recordar sí puede. Si vuelve a ocurrir hoy, no te escribiremos otra vez.",
            on_from(origin)
        ),
        "Si fuiste tú, espera un poco o pide una contraseña nueva.",
        remedy,
    )
}

pub(super) fn account_locked(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("Tu cuenta de {site} está bloqueada"),
        format!(
            "{} se hizo el último de cien intentos seguidos de entrar en tu cuenta de {site} con una contraseña incorrecta. Nadie \
             entró, y nadie puede iniciar sesión hasta que se elija una contraseña nueva.",
            on_from(origin)
        ),
        "Si fuiste tú, pide una contraseña nueva donde inicias sesión.",
        remedy,
    )
}

pub(super) fn role_granted(site: &str, origin: &Origin, role: &str, remedy: &Remedy) -> Wording {
    notice(
        format!("Tu cuenta de {site} tiene otro rol"),
        format!(
            "El {}, los responsables del servicio dieron el rol «{role}» a tu cuenta de {site}.",
            moment(origin.at)
        ),
        "Si lo sabías, no tienes que hacer nada.",
        remedy,
    )
}

pub(super) fn role_revoked(site: &str, origin: &Origin, role: &str, remedy: &Remedy) -> Wording {
    notice(
        format!("Tu cuenta de {site} ha perdido un rol"),
        format!(
            "El {}, los responsables del servicio quitaron el rol «{role}» a tu cuenta de {site}.",
            moment(origin.at)
        ),
        "Si lo sabías, no tienes que hacer nada.",
        remedy,
    )
}
