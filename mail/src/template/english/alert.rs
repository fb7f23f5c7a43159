//! What operators are told of an alert.

use super::super::{Alert, Wording};
use super::moment;

pub(super) fn wording(site: &str, alert: &Alert) -> Wording {
    let Alert { about, rule, severity, count, threshold, seconds, .. } = alert;
    let mut after = alert.subjects.clone();
    if *seconds > 0 {
        after.push(format!("Counted: {count} in {}; the threshold is {threshold}.", span(*seconds)));
    }
    after.push(format!("Its id is {}. The console has it under Alerts, with the events that it rests on.", alert.id));
    after.push("The same rule says nothing more of the same subject for a while.".to_owned());
    Wording {
        subject: format!("[{severity}] {about} at {site}"),
        before: vec![format!("{}: {about} at {site}. The rule is {rule}, the severity {severity}.", moment(alert.at))],
        action: "",
        after,
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        _ if seconds.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}
