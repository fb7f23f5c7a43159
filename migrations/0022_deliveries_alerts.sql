-- What is told of an alert goes to an address of ALERT_EMAILS, of which the row holds a digest, or to ALERT_WEBHOOK_URL: to no account. Rows of
-- earlier releases hold to the wider rules, so nothing is read to prove it.
alter table deliveries alter column account_id drop not null;
alter table deliveries add column address_digest bytea;
alter table deliveries drop constraint deliveries_recipient_check;
alter table deliveries add constraint deliveries_recipient_check check (recipient in ('account', 'token', 'operator', 'webhook')) not valid;
alter table deliveries add constraint deliveries_addressee check (
    (recipient in ('operator', 'webhook')) = (account_id is null)
    and (recipient = 'operator') = (address_digest is not null)
    and (address_digest is null or octet_length(address_digest) = 32)) not valid;
