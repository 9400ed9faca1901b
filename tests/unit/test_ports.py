"""A port that is taken is left alone."""

import socket

from ops.stack.ports import LOOPBACK, answers, choose, is_free


def test_a_taken_port_gives_way_to_the_next_preferred_or_a_free_one() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        taken = listener.getsockname()[1]
        assert answers(taken)
        assert not is_free(taken)
        free = choose(None, taken)
        assert free != taken
        assert choose(taken, free) == free


def test_a_port_that_is_bound_but_does_not_listen_is_taken_too() -> None:
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        assert not is_free(bound.getsockname()[1])


def test_a_free_port_that_is_preferred_is_taken_again_right_after_use() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)):
            listener.accept()[0].close()
    assert choose(port) == port
