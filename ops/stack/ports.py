"""Free ports on the loopback address."""

import socket

LOOPBACK = "127.0.0.1"


def answers(port: int) -> bool:
    """Return True if a server listens on the port."""
    with socket.socket() as knock:
        knock.settimeout(1)
        return knock.connect_ex((LOOPBACK, port)) == 0


def is_free(port: int) -> bool:
    """Return True if we may listen on the port."""
    if answers(port):
        return False
    with socket.socket() as listener:
        # Old connections linger for a minute and must not block a new listener.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose(*preferred: int | None) -> int:
    """Return the first free port of `preferred`, else any free port."""
    for port in preferred:
        if port is not None and is_free(port):
            return port
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        chosen: int = listener.getsockname()[1]
    return chosen
