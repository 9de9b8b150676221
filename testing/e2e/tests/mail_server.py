"""A mail server (aiosmtpd) that prints what it takes, a JSON document a line: for tests of alerts.

Arguments: port, what it wants (open | login | tls), and with tls the certificate and its key.
Recipients decide what happens: never@… is refused for good, later@… the first time only.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

seen = set()


class Printer:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("never@"):
            return "550 5.1.1 nobody of that name"
        if address.startswith("later@") and address not in seen:
            seen.add(address)
            return "451 4.3.0 come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None,
            "headers": {name: str(value) for name, value in mail.items()},
            "body": mail.get_content(),
        }), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (b"me", "pässwörd@".encode())
    return AuthResult(success=good, handled=good)


async def main():
    port, wants, *files = sys.argv[1:]
    context = None
    if wants == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)

    def connection():
        login = wants == "login"
        return SMTP(Printer(), hostname="test", tls_context=context, auth_required=login,
                    authenticator=authenticate if login else None, auth_require_tls=False)

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", int(port))
    print("{}", flush=True)
    await server.serve_forever()


asyncio.run(main())
