#!/bin/sh
# Runs once, when the database is made: the roles as deploy/README.md has them.
set -eu
psql -v ON_ERROR_STOP=1 -U postgres -v owner="$XUNGENG_OWNER_PASSWORD" -v web="$XUNGENG_WEB_PASSWORD" <<'SQL'
create role xungeng_owner login password :'owner';
create role xungeng_app nologin;
create role xungeng_auditor nologin;
grant xungeng_app, xungeng_auditor to xungeng_owner with admin option;
create role xungeng_web login password :'web' in role xungeng_app;
create database xungeng owner xungeng_owner;
\connect xungeng
create extension postgis;
SQL
