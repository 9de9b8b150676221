#!/bin/sh
# Where to ask and where to mail, the links `insideweb` and `insidemailer` say.
trap 'exit 0' TERM
while true; do
    answer=$(printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 2 "$INSIDEWEB_PORT_80_TCP_ADDR" "$INSIDEWEB_PORT_80_TCP_PORT" 2>/dev/null |
        head -n 1)
    case $answer in
        *' 200 '*) echo "System up." ;;
        *)
            printf 'To: admin@work  Message: The service is down!' |
                nc -w 5 "$INSIDEMAILER_PORT_33333_TCP_ADDR" "$INSIDEMAILER_PORT_33333_TCP_PORT"
            break
            ;;
    esac
    sleep 1
done
