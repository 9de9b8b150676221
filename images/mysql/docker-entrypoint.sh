#!/bin/bash
# Makes the system's tables the first time, with the passwords and the database that the environment asks for.
set -euo pipefail
data=/var/lib/mysql

# A value as SQL's text.
text() { local value=${1//\\/\\\\}; printf "'%s'" "${value//\'/\\\'}"; }

# A value as SQL's name.
name() { printf '`%s`' "${1//\`/\`\`}"; }

initialise() {
    if [ -z "${MYSQL_ROOT_PASSWORD:-}${MYSQL_ALLOW_EMPTY_PASSWORD:-}${MYSQL_RANDOM_ROOT_PASSWORD:-}" ]; then
        echo >&2 'error: database is uninitialized and password option is not specified'
        echo >&2 '  You need to specify one of MYSQL_ROOT_PASSWORD, MYSQL_ALLOW_EMPTY_PASSWORD and MYSQL_RANDOM_ROOT_PASSWORD'
        exit 1
    fi
    if [ -n "${MYSQL_RANDOM_ROOT_PASSWORD:-}" ]; then
        MYSQL_ROOT_PASSWORD=$(head -c 18 /dev/urandom | base64)
        echo "GENERATED ROOT PASSWORD: $MYSQL_ROOT_PASSWORD"
    fi
    echo 'Initializing database'
    mariadb-install-db --user=mysql --datadir="$data" --auth-root-authentication-method=normal --skip-test-db >/dev/null
    {
        echo 'FLUSH PRIVILEGES;'
        echo "ALTER USER root@localhost IDENTIFIED BY $(text "${MYSQL_ROOT_PASSWORD:-}");"
        echo "CREATE OR REPLACE USER root@'%' IDENTIFIED BY $(text "${MYSQL_ROOT_PASSWORD:-}");"
        echo "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;"
        [ -z "${MYSQL_DATABASE:-}" ] || echo "CREATE DATABASE IF NOT EXISTS $(name "$MYSQL_DATABASE");"
        if [ -n "${MYSQL_USER:-}" ]; then
            echo "CREATE OR REPLACE USER $(text "$MYSQL_USER")@'%' IDENTIFIED BY $(text "${MYSQL_PASSWORD:-}");"
            [ -z "${MYSQL_DATABASE:-}" ] || echo "GRANT ALL ON $(name "$MYSQL_DATABASE").* TO $(text "$MYSQL_USER")@'%';"
        fi
    } | mysqld --user=mysql --datadir="$data" --bootstrap --silent-startup
    touch "$data/initialized"
    echo 'Database initialized'
}

case ${1:-} in
    -*) set -- mysqld "$@" ;;
esac
if [ "${1:-}" = mysqld ]; then
    chown mysql:mysql "$data" /run/mysqld
    # Half of a database, from a container that was killed meanwhile, is none.
    [ -e "$data/initialized" ] || { find "$data" -mindepth 1 -delete; initialise; }
    set -- "$@" --user=mysql --datadir="$data" --skip-name-resolve
fi
exec "$@"
