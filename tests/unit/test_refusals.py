"""Answers of Redis that pass, and those that do not."""

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError

from workers.refusals import is_not_now


def error_of(answer: str) -> Exception:
    """The error that redis-py raises for an answer."""
    error: Exception = BaseParser.parse_error(answer)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    return error


@pytest.mark.parametrize(
    "answer",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "MISCONF Errors writing to the AOF file: No space left on device",
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
        "BUSY Redis is busy running a script.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "CLUSTERDOWN The cluster is down",
        "NOREPLICAS Not enough good replicas to write.",
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        "EXECABORT Transaction discarded because of: MISCONF Errors writing to the AOF file",
    ],
    ids=lambda answer: answer.split()[0],
)
def test_answers_that_mean_not_now_pass(answer: str) -> None:
    error = error_of(answer)
    assert is_not_now(error)
    assert is_not_now(type(error)(f"Command # 1 (ZADD key 1 a) of pipeline caused error: {error}"))


@pytest.mark.parametrize(
    "answer",
    [
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "BUSYGROUP Consumer Group name already exists",
        "ERR unknown command 'MISCONF'",
        "NOPERM this user has no permissions",
        "EXECABORT Transaction discarded because of previous errors.",
    ],
    ids=lambda answer: answer.split()[0],
)
def test_other_answers_do_not_pass(answer: str) -> None:
    assert not is_not_now(error_of(answer))


def test_a_lost_connection_is_no_answer() -> None:
    assert not is_not_now(RedisConnectionError("gone"))
