#!/bin/sh
# Brings Temporal's two databases to the schema of this version of its server. Safe to repeat.
# SQL_PLUGIN, SQL_HOST, SQL_PORT, SQL_USER and SQL_PASSWORD are read by temporal-sql-tool itself.
set -eu

schema=/etc/temporal/schema/postgresql/v12

prepare() {
    temporal-sql-tool --db "$1" create
    temporal-sql-tool --db "$1" setup-schema --version 0.0
    temporal-sql-tool --db "$1" update-schema --schema-dir "$schema/$2/versioned"
}

prepare temporal temporal
prepare temporal_visibility visibility
