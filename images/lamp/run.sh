#!/bin/sh
# The first time: the database's own tables, without a password for this container's root. Then the supervisor.
set -eu
if [ ! -d /var/lib/mysql/mysql ]; then
    echo "=> Initializing the database in /var/lib/mysql"
    mariadb-install-db --user=mysql --datadir=/var/lib/mysql --auth-root-authentication-method=normal --skip-test-db >/dev/null
fi
exec supervisord --nodaemon --configuration /etc/supervisor/supervisord.conf
