-- The oldest build that this schema still serves: it must know the migration of this number. A migration that takes away what older
-- builds use (docs/adr/0014) raises it in the same transaction; processes of builds below it are not ready any more.
create table schema_floor (
    version bigint not null,
    is_only boolean primary key default true check (is_only)
);
insert into schema_floor (version) values (0);
