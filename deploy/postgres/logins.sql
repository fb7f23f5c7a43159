-- The logins of a deployment. Run once by a superuser with psql, in the database that shall be Doorbook's; running it again
-- gives the logins the passwords that the files hold by then. In a container of the official image it runs by itself when the
-- data folder is made. On a server of your own: put the passwords into files, change the three paths, and run
--     psql --dbname doorbook --file logins.sql
-- as a superuser. No password is an argument of a program or a part of this file.
--
-- The owner migrates and is used by nothing else. The api and the worker have what the roles doorbook_api and doorbook_worker
-- have, whose rights `doorbook migrate` grants (`doorbook roles --sql` prints them).
\set ON_ERROR_STOP on
\set owner_password `cat /run/secrets/owner_password`
\set api_password `cat /run/secrets/api_password`
\set worker_password `cat /run/secrets/worker_password`

select format('create role %I nologin', name)
from unnest(array['doorbook_api', 'doorbook_worker', 'doorbook_auditor', 'doorbook_shredder']) name
where not exists (select from pg_roles where rolname = name)
\gexec

select format('create role %I', name)
from unnest(array['doorbook_owner', 'doorbook_api_login', 'doorbook_worker_login']) name
where not exists (select from pg_roles where rolname = name)
\gexec

alter role doorbook_owner login nosuperuser nocreatedb nocreaterole noreplication nobypassrls password :'owner_password';
alter role doorbook_api_login login nosuperuser nocreatedb nocreaterole noreplication nobypassrls password :'api_password';
alter role doorbook_worker_login login nosuperuser nocreatedb nocreaterole noreplication nobypassrls password :'worker_password';
grant doorbook_api to doorbook_api_login;
grant doorbook_worker to doorbook_worker_login;

alter database :"DBNAME" owner to doorbook_owner;
revoke connect, temporary on database :"DBNAME" from public;
grant connect on database :"DBNAME" to doorbook_owner, doorbook_api, doorbook_worker, doorbook_auditor, doorbook_shredder;
