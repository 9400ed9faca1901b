"""Answers by which Redis refuses a command for now."""

import re

from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

#: redis-py takes the code of these answers out of their text.
_CLASSES = (BusyLoadingError, ClusterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)
_CODE = re.compile(
    r"-?(OOM|MISCONF|LOADING|READONLY|BUSY|TRYAGAIN|MASTERDOWN|CLUSTERDOWN|NOREPLICAS|UNBLOCKED)\b"
)
#: redis-py and Redis put the answer to one command of a transaction behind these words.
_BEFORE = re.compile(r"caused error: |because of: ")


def is_not_now(error: BaseException) -> bool:
    """Return True for an answer of Redis that passes: full memory or disk, loading, failover."""
    if isinstance(error, _CLASSES):
        return True
    return isinstance(error, ResponseError) and _CODE.match(_BEFORE.split(str(error))[-1]) is not None
