"""The Celery app is configured as its page says."""

import re
from pathlib import Path

from kombu.transport import TRANSPORT_ALIASES

from workers.app import configuration
from workers.settings import load_settings

PAGE = Path(__file__).parents[2] / "docs" / "decisions" / "celery-settings.md"


def test_the_page_has_every_setting_and_no_other() -> None:
    given = configuration(load_settings(redis_url="rediss://host"))
    rows = re.findall(r"^\| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    transport = given.pop("broker_transport_options")
    assert sorted(named) == sorted([*given, *transport, "TRANSPORT_ALIASES"])
    assert TRANSPORT_ALIASES["redis"] == TRANSPORT_ALIASES["rediss"] == "workers.celery_redis:Transport"
