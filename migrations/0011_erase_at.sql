-- When an account whose owner has asked for its deletion is erased; null while nobody has.
alter table accounts add column erase_at timestamptz;
alter table accounts drop constraint accounts_status_check;
alter table accounts add constraint accounts_status_check
    check (status in ('active', 'disabled', 'frozen', 'leaving', 'erased')) not valid;
