-- A mail that was sent anew: each of the two names the other.
alter table deliveries add column repeats uuid;
alter table deliveries add column repeated_by uuid;
