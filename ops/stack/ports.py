"""Ports on the loopback address: the preferred one where it is free, another where it is not."""

import socket

LOOPBACK = "127.0.0.1"


def answers(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as knock:
        knock.settimeout(1)
        return knock.connect_ex((LOOPBACK, port)) == 0


def is_free(port: int) -> bool:
    """Whether nothing listens there and we may."""
    if answers(port):
        return False
    with socket.socket() as listener:
        # Connections of an earlier server linger for a minute; they do not keep a new one from listening.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose(*preferred: int | None) -> int:
    """The first free port of those preferred, else any free one."""
    for port in preferred:
        if port is not None and is_free(port):
            return port
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        chosen: int = listener.getsockname()[1]
    return chosen
