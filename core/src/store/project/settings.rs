use crate::store::write::Write;

impl Write {
    /// Guard: processes of this kind run with these settings from now on; conflict when they did so before.
    pub fn load_settings(&mut self, process: &str, hash: &str) {
        let (process, hash) = (self.bind(process.to_owned()), self.bind(hash.to_owned()));
        self.guard(
            "load_settings",
            &format!(
                "insert into loaded_settings as l (process, hash) select {process}, {hash} where {{after}}
                 on conflict (process) do update set hash = excluded.hash where l.hash <> excluded.hash returning 1"
            ),
        );
    }
}
