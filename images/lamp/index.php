<html>
<head><title>Hello world!</title></head>
<body>
<h1>Hello world!</h1>
<?php
mysqli_report(MYSQLI_REPORT_OFF);
$database = @new mysqli('localhost', 'root', '', '', 0, '/run/mysqld/mysqld.sock');
echo $database->connect_error ? '<p>MySQL: ' . htmlspecialchars($database->connect_error) . '</p>' : '<p>MySQL ' . $database->server_info . '</p>';
?>
</body>
</html>
