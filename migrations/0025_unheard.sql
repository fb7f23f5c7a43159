-- Hand-overs of a mail of which nobody heard whether the server has taken it (docs/MAILS.md).
alter table deliveries add column unheard integer not null default 0;
