"""How the load engine talks TLS.  Floor 5: reads certificate files."""

from __future__ import annotations

import ssl

from pytest_memory.load.messages import Tls


def make_tls_context(tls: Tls) -> ssl.SSLContext:
    """The context a job asks for.  OSError or ssl.SSLError when a file of it cannot be used."""
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.client_cert:
        context.load_cert_chain(tls.client_cert, tls.client_key)
    return context
