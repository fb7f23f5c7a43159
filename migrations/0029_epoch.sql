-- Each event asks for its epoch. A function in SQL that is no plain expression is planned anew by every statement that calls it, a tenth of
-- what an append costs; one in PL/pgSQL keeps its plan.
create or replace function log_epoch() returns integer
    language plpgsql stable parallel safe
    as $$ begin return (select max(epoch) from public.epochs); end $$;
