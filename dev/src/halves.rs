//! What one statement writes together, asked for as what must never be in a database.

/// Half states, and how many there are of each.
pub const HALVES: [(&str, &str); 10] = [
    (
        "accounts without credential, address or data key",
        "select count(*) from accounts a where a.status <> 'erased'
             and (not exists (select 1 from credentials c where c.account_id = a.account_id)
             or not exists (select 1 from account_emails e where e.account_id = a.account_id and e.state = 'current')
             or not exists (select 1 from keys.data_keys k where k.account_id = a.account_id))",
    ),
    (
        "erased accounts of which more is left than their row",
        "select count(*) from accounts a where a.status = 'erased' and (a.profile is not null
             or exists (select 1 from keys.data_keys k where k.account_id = a.account_id)
             or exists (select 1 from account_emails e where e.account_id = a.account_id)
             or exists (select 1 from credentials c where c.account_id = a.account_id)
             or exists (select 1 from sessions s where s.account_id = a.account_id)
             or exists (select 1 from devices d where d.account_id = a.account_id)
             or exists (select 1 from tokens t where t.account_id = a.account_id and t.detail is not null)
             or not exists (select 1 from events e where e.stream_id = a.account_id and e.type = 'AccountErased'))",
    ),
    (
        "account streams without an account",
        "select count(*) from streams s where s.kind = 'account'
             and not exists (select 1 from accounts a where a.account_id = s.stream_id)",
    ),
    (
        "streams whose versions are not dense",
        "select count(*) from streams s
         left join (select stream_id, count(*) n, max(version) top from events group by stream_id) e using (stream_id)
         where s.version is distinct from e.top or s.version is distinct from e.n",
    ),
    (
        "events without a stream",
        "select count(*) from events e where not exists (select 1 from streams s where s.stream_id = e.stream_id)",
    ),
    (
        "queued mails without delivery or job",
        "select count(*) from events e where e.type = 'MailQueued' and not exists (
             select 1 from deliveries d join jobs j on j.ref = d.delivery_id where d.delivery_id = e.stream_id)
             and not exists (select 1 from accounts a where a.account_id = e.subject_id and a.status = 'erased')",
    ),
    (
        "mail jobs without an event",
        "select count(*) from jobs j where j.kind = 'mail' and not exists (
             select 1 from events e where e.stream_id = j.ref and e.type = 'MailQueued')",
    ),
    (
        "sessions without a login or logins without a session",
        "select count(*) from sessions s full join (select * from events where type = 'LoggedIn') e
             on e.stream_id = s.session_id where e.event_id is null or (s.session_id is null and not exists (
                 select 1 from accounts a where a.account_id = e.subject_id and a.status = 'erased'))",
    ),
    (
        "requested links without a token",
        "select count(*) from events e where e.payload ? 'token' and e.type like '%Requested'
             and not exists (select 1 from tokens t where t.token_id::text = e.payload ->> 'token')
             and not exists (select 1 from accounts a where a.account_id = e.subject_id and a.status = 'erased')",
    ),
    (
        "credentials that are not the newest their events name",
        "select count(*) from credentials c join (
             select stream_id, max((payload ->> 'version')::int) top from events
             where type in ('PasswordChanged', 'PasswordReset', 'PasswordRehashed') group by stream_id) e
             on e.stream_id = c.account_id where c.version <> e.top",
    ),
];
