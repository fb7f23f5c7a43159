-- no-transaction
create index concurrently if not exists accounts_unverified on accounts (account_id)
    where email_verified_at is null and last_login_at is null and status = 'active';
