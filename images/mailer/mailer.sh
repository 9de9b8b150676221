#!/bin/sh
# Waits for messages, each a connection; 3 is this script's output where 1 is the connection.
trap 'exit 0' TERM
echo "CH2 Example Mailer has started."
nc -ll -p 33333 -e /mailer/receive.sh 3>&1 &
wait
