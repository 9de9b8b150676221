#!/bin/bash
# Puts WordPress into its volume and tells it where its database is, from the environment:
# WORDPRESS_DB_HOST, _USER, _PASSWORD, _NAME, WORDPRESS_TABLE_PREFIX, or the variables of a link called mysql.
set -euo pipefail
site=/var/www/html

if [ "${1:-}" = apache2-foreground ]; then
    if [ ! -e "$site/index.php" ]; then
        echo >&2 "WordPress not found in $site - copying now..."
        cp -a /usr/share/wordpress/. "$site/"
        # Debian keeps what people add elsewhere; here all of it belongs into the volume.
        rm -rf "$site/wp-content" "$site/wp-config.php" "$site/.htaccess"
        cp -aL /usr/share/wordpress/wp-content "$site/wp-content"
        chown -R www-data:www-data "$site/wp-content"
        echo >&2 "Complete! WordPress has been successfully copied to $site"
    fi
    if [ -n "${MYSQL_PORT_3306_TCP_ADDR:-}" ]; then
        : "${WORDPRESS_DB_HOST:=$MYSQL_PORT_3306_TCP_ADDR:${MYSQL_PORT_3306_TCP_PORT:-3306}}"
        : "${WORDPRESS_DB_USER:=${MYSQL_ENV_MYSQL_USER:-root}}"
        if [ "$WORDPRESS_DB_USER" = root ]; then
            : "${WORDPRESS_DB_PASSWORD:=${MYSQL_ENV_MYSQL_ROOT_PASSWORD:-}}"
        else
            : "${WORDPRESS_DB_PASSWORD:=${MYSQL_ENV_MYSQL_PASSWORD:-}}"
        fi
        : "${WORDPRESS_DB_NAME:=${MYSQL_ENV_MYSQL_DATABASE:-wordpress}}"
    fi
    export WORDPRESS_DB_HOST="${WORDPRESS_DB_HOST:-}" WORDPRESS_DB_USER="${WORDPRESS_DB_USER:-root}"
    export WORDPRESS_DB_PASSWORD="${WORDPRESS_DB_PASSWORD:-}" WORDPRESS_DB_NAME="${WORDPRESS_DB_NAME:-wordpress}"
    [ -z "$WORDPRESS_DB_HOST" ] || php /usr/src/wordpress/configure.php "$site/wp-config.php"
fi
exec "$@"
