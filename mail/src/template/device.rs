//! What a client says it is, in words of ours: nothing that a stranger can type gets into a mail.

/// Program and system, each where its name is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    pub(super) program: Option<&'static str>,
    pub(super) system: Option<&'static str>,
}

/// What stands in a user agent, and whose it is. The first that is found counts: most programs name others that they are like.
const PROGRAMS: [(&str, &str); 11] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("python", "Python"),
];

const SYSTEMS: [(&str, &str); 7] = [
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Macintosh", "Mac"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
];

impl Device {
    /// `None`: it says nothing of itself.
    pub fn of(user_agent: &str) -> Option<Self> {
        let find = |names: &[(&str, &'static str)]| {
            names.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name)
        };
        (!user_agent.is_empty()).then(|| Self { program: find(&PROGRAMS), system: find(&SYSTEMS) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(user_agent: &str) -> (Option<&str>, Option<&str>) {
        let device = Device::of(user_agent).unwrap();
        (device.program, device.system)
    }

    #[test]
    fn programs_and_systems_are_known_by_what_they_send() {
        for (user_agent, program, system) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox", "Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
                "Edge",
                "Windows",
            ),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
                "Chrome",
                "Android",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
                "Safari",
                "iPhone",
            ),
        ] {
            assert_eq!(named(user_agent), (Some(program), Some(system)), "{user_agent}");
        }
        assert_eq!(named("curl/8.5.0"), (Some("curl"), None));
    }

    #[test]
    fn nothing_of_an_unknown_one_is_repeated() {
        for user_agent in
            ["test", "visit evil.example now\r\nBcc: eve@evil.example", "<script>", &"x".repeat(64 * 1024)]
        {
            assert_eq!(named(user_agent), (None, None));
        }
        assert_eq!(Device::of(""), None);
    }
}
