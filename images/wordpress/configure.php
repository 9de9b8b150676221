<?php
// Writes wp-config.php from the environment, and makes the database when it is not there yet.

const ATTEMPTS = 30; // A database that is being initialised takes seconds to listen; one a second.

function variable(string $name, string $default = ''): string {
    $value = getenv($name);
    return $value === false || $value === '' ? $default : $value;
}

[$host, $port] = explode(':', variable('WORDPRESS_DB_HOST') . ':3306');
$user = variable('WORDPRESS_DB_USER');
$password = variable('WORDPRESS_DB_PASSWORD');
$name = variable('WORDPRESS_DB_NAME');

// Where the database is may change from start to start, what cookies are signed with may not.
$keys = ['AUTH_KEY', 'SECURE_AUTH_KEY', 'LOGGED_IN_KEY', 'NONCE_KEY', 'AUTH_SALT', 'SECURE_AUTH_SALT', 'LOGGED_IN_SALT', 'NONCE_SALT'];
$file = $argv[1];
$before = is_file($file) ? file_get_contents($file) : '';
$constants = ['DB_HOST' => "$host:$port", 'DB_USER' => $user, 'DB_PASSWORD' => $password, 'DB_NAME' => $name, 'DB_CHARSET' => 'utf8mb4', 'DB_COLLATE' => ''];
foreach ($keys as $key) {
    $known = preg_match("/^define\('$key', '([0-9a-f]+)'\);\$/m", $before, $match) ? $match[1] : bin2hex(random_bytes(32));
    $constants[$key] = variable("WORDPRESS_$key", $known);
}
$text = "<?php\n";
foreach ($constants as $constant => $value) {
    $text .= "define('$constant', " . var_export($value, true) . ");\n";
}
$text .= '$table_prefix = ' . var_export(variable('WORDPRESS_TABLE_PREFIX', 'wp_'), true) . ";\n";
$text .= "define('WP_DEBUG', false);\n";
$text .= "if (!defined('ABSPATH')) { define('ABSPATH', __DIR__ . '/'); }\n";
$text .= "require_once ABSPATH . 'wp-settings.php';\n";
file_put_contents("$file.new", $text);
chmod("$file.new", 0640);
chgrp("$file.new", 'www-data');
rename("$file.new", $file);

mysqli_report(MYSQLI_REPORT_OFF);
for ($attempt = 1; ; $attempt++) {
    $database = @new mysqli($host, $user, $password, '', (int) $port);
    if (!$database->connect_error) {
        break;
    }
    fwrite(STDERR, "MySQL Connection Error: {$database->connect_error}\n");
    if ($attempt === ATTEMPTS) {
        fwrite(STDERR, "WARNING: unable to establish a database connection to '$host'\n  continuing anyways (which might have unexpected results)\n");
        exit;
    }
    sleep(1);
}
$quoted = str_replace('`', '``', $name);
if (!$database->query("CREATE DATABASE IF NOT EXISTS `$quoted`")) {
    fwrite(STDERR, "MySQL \"CREATE DATABASE\" Error: {$database->error}\n");
}
