"""The server itself: a socket, the routes, and an end that leaves nobody waiting."""

import errno
import os
import socket
from typing import Any

import uvicorn

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.student.serve.app import LOCAL_HOSTS, Behind, Desk, make_app

LAST_WORDS_S = 5  # for answers to be sent that were ended
_BACKLOG = 256


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises UsageError for a host that is none of this machine's,
    DuomemError for a port that is taken."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "that is no name of a host"
        raise UsageError(f"There is no host {host!r} to serve on: {reason}.", "Try 127.0.0.1.") from None
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        other = "--host, one of this machine's" if error.errno == errno.EADDRNOTAVAIL else "--port"
        raise DuomemError(f"{host}:{port} cannot be served on: {reason}.", f"Name another {other}.") from None


def is_local(host: str) -> bool:
    """Whether nobody but this machine reaches a server on this host."""
    return host in LOCAL_HOSTS or host == "::1" or host.startswith("127.")


class Server(uvicorn.Server):
    """Serves on `host` until it is told to stop, by Ctrl-C or `should_exit`; who is still answered is then told so."""

    def __init__(self, desk: Desk, host: str = LOCAL_HOSTS[0]) -> None:
        super().__init__(
            uvicorn.Config(
                make_app(desk, (*LOCAL_HOSTS, host) if is_local(host) else None),
                log_level="error",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=LAST_WORDS_S,
            )
        )
        self._behind: Behind = desk.behind

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._behind.close()
        await super().shutdown(sockets)

    def serve_on(self, sock: socket.socket) -> Any:
        """Raises KeyboardInterrupt when it was Ctrl-C that stopped it."""
        with sock:
            return self.run(sockets=[sock])
