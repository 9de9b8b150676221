#!/bin/sh
# One connection: its input is the message.
echo "Sending email: $(cat)" >&3
