"""Whether this machine can talk to itself: in a network namespace without any interface it cannot."""

import socket

import pytest


def need_loopback() -> None:
    """Skip the test that wants to serve on 127.0.0.1 where that cannot be reached."""
    with socket.socket() as server, socket.socket() as client:
        try:
            server.bind(("127.0.0.1", 0))
            server.listen(1)
            client.connect(server.getsockname())
        except OSError as error:
            pytest.skip(f"127.0.0.1 cannot be reached ({error.strerror}): bring up the loopback interface")
