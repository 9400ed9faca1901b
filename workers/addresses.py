"""Checks of server addresses in the settings.

They refuse addresses that would end in a traceback, and parts that nobody would heed. A password joins its address in
memory only.
"""

import re
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from redis import Redis
from redis.exceptions import RedisError


def check_neo4j(uri: str) -> None:
    """Refuse a Neo4j address that the driver refuses. The ValueError shows nothing of it."""
    parts = _whole(uri, {f"{name}{suffix}" for name in ("bolt", "neo4j") for suffix in ("", "+s", "+ssc")})
    if "@" in parts.netloc:
        msg = "holds a user: that is GRAPHINATOR_NEO4J_USER, the password GRAPHINATOR_NEO4J_PASSWORD"
        raise ValueError(msg)
    options = parse_qsl(parts.query, keep_blank_values=True)
    is_routed = parts.scheme.startswith("neo4j")
    if parts.query and not (
        is_routed and all(value for _, value in options) and len(dict(options)) == len(options)
    ):
        allowed = "name=value, each name once" if is_routed else f"nothing with {parts.scheme}://"
        msg = f"what follows ? should be {allowed}"
        raise ValueError(msg)


def check_redis(url: str) -> None:
    """Refuse a Redis address that redis-py or kombu refuses or misreads.

    The ValueError shows nothing of it.
    """
    parts = _whole(url, {"redis", "rediss"})
    if not re.fullmatch(r"/?\d*", parts.path) or parts.fragment:
        msg = f"should be {parts.scheme}://host:port/database, the database a number"
        raise ValueError(msg)
    try:
        Redis.from_url(url).connection_pool.make_connection()
        is_known = all(name.startswith("ssl_") for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    except (RedisError, TypeError, ValueError):
        is_known = False
    if not is_known:
        msg = "what follows ? should be options of TLS, such as rediss://host:port/0?ssl_ca_certs=FILE"
        raise ValueError(msg)


def has_password(url: str) -> bool:
    """Return True if a Redis address holds a password."""
    return urlsplit(url).password is not None


def with_password(url: str, password: str | None) -> str:
    """Return a Redis address with this password in it, as its clients want it."""
    if password is None:
        return url
    parts = urlsplit(url)
    user, _, server = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{server}").geturl()


def _whole(value: str, schemes: set[str]) -> SplitResult:
    if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        msg = f"should start with {', '.join(f'{scheme}://' for scheme in sorted(schemes))}"
        raise ValueError(msg)
    try:
        parts = urlsplit(value)
        whole = parts if parts.hostname and parts.port != 0 else None
    except ValueError:
        whole = None
    if whole is None:
        # Nothing of the value: a password with a slash in it would be taken for the port.
        scheme = value.partition(":")[0]
        msg = f"should be {scheme}://host:port, the port a number from 1 to 65535 (in a password, / is %2F)"
        raise ValueError(msg)
    return whole
