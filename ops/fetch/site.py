"""The site that has the dumps: its months, and requests that are tried again."""

import datetime
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from ops import __version__
from ops.fetch.errors import NotPublished, SiteRefused, SiteUnavailable
from pipeline.model import RecordType
from pipeline.reader.checksum import checksum_name
from workers.settings import Settings

ATTEMPTS = 10
#: The pauses between attempts double from one second up to this.
PAUSE_SECONDS = 60.0
#: Discogs asks for up to an hour after too many requests; a new request within it begins it again.
ASKED_PAUSE_SECONDS = 2 * 3600.0
#: Without a byte for so long, the site does not answer.
SILENCE_SECONDS = 60.0

_CHECKSUMS = "CHECKSUM"
_NAME = re.compile(rf"discogs_(\d{{8}})_({'|'.join(RecordType)}|{_CHECKSUMS})\.(?:xml\.gz|txt)(?![\w.])")
_PASSING = {408, 425, 429, 500, 502, 503, 504}

#: Called with the reason before each pause.
OnWait = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Month:
    """The dumps of one date; Discogs makes them once a month."""

    date: str
    record_types: frozenset[RecordType]
    has_checksums: bool

    def has(self, record_types: frozenset[RecordType]) -> bool:
        """Return True if these dumps are there and can be checked."""
        # Discogs writes the checksums last: without them, a dump may still change.
        return self.has_checksums and record_types <= self.record_types

    def dump(self, record_type: RecordType) -> str:
        """Return the name of a dump."""
        return f"discogs_{self.date}_{record_type}.xml.gz"

    @property
    def checksums(self) -> str:
        """The name of the checksum file."""
        return checksum_name(self.date)


class Site:
    """Discogs' site, or a mirror, at the addresses in the settings.

    The context manager closes its connection. `on_wait` is called before each pause.
    """

    def __init__(self, settings: Settings, on_wait: OnWait) -> None:
        self._list_url, self._url = settings.dumps_list_url, settings.dumps_url
        self._on_wait = on_wait
        self._client = httpx.Client(
            headers={"User-Agent": f"graphinator/{__version__}"},
            follow_redirects=True,
            timeout=SILENCE_SECONDS,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def months(self, year: int) -> list[Month]:
        """Return the months of a year, the oldest first.

        Their files are found by name, whatever the page is: Discogs', a list of a bucket's keys, an index of a folder.
        """
        url = self._list_url.replace("{year}", str(year))
        page = self._text(url, missing="")
        found: dict[str, set[str]] = {}
        for date, kind in _NAME.findall(page):
            found.setdefault(date, set()).add(kind)
        return [
            Month(date, frozenset(map(RecordType, kinds - {_CHECKSUMS})), _CHECKSUMS in kinds)
            for date, kinds in sorted(found.items())
            if date.startswith(str(year))
        ]

    def newest(self, record_types: frozenset[RecordType]) -> Month:
        """Return the newest month that has these dumps. Raises NotPublished."""
        years = _recent_years()
        for year in years:
            for month in reversed(self.months(year)):
                if month.has(record_types):
                    return month
        raise NotPublished(
            f"{self._host(self._list_url)} lists no complete month of {_names(record_types)} in {years[1]} or {years[0]}"
        )

    def recent(self) -> list[Month]:
        """Return the months of the newest year that has any."""
        return next(filter(None, map(self.months, _recent_years())), [])

    def month(self, year_and_month: str, record_types: frozenset[RecordType]) -> Month:
        """Return a month, given as `202611`. Raises NotPublished if it lacks one of these dumps."""
        found = [
            each for each in self.months(int(year_and_month[:4])) if each.date.startswith(year_and_month)
        ]
        complete = [each for each in found if each.has(record_types)]
        if not complete:
            fact = "is not complete" if found else "is not there"
            raise NotPublished(
                f"{year_and_month} {fact}: {self._host(self._list_url)} lists no {_names(record_types)} with checksums"
            )
        return complete[-1]

    def text(self, name: str) -> str:
        """Return a small file of text."""
        return self._text(self._address(name))

    @contextmanager
    def get(self, name: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Open a file. The status of the response is 200, 206 or 416.

        Raises SiteRefused; SiteUnavailable also while the response is read.
        """
        with self._answered(self._address(name), {**headers, "Accept-Encoding": "identity"}) as response:
            if response.status_code not in (200, 206, 416):
                raise self._refused(response)
            yield response

    def attempts(self) -> Retrying:
        """Return an iterator of attempts: another one follows each SiteUnavailable, after a pause."""
        return Retrying(
            retry=retry_if_exception_type(SiteUnavailable),
            stop=stop_after_attempt(ATTEMPTS),
            wait=_pause,
            before_sleep=self._tell,
            reraise=True,
        )

    def _text(self, url: str, missing: str | None = None) -> str:
        """Return a page; `missing` stands for one that is not there."""
        for attempt in self.attempts():
            with attempt, self._answered(url, {}) as response:
                if response.status_code == 404 and missing is not None:
                    return missing
                if response.status_code != 200:
                    raise self._refused(response)
                return response.read().decode(errors="replace")
        raise AssertionError  # the last attempt raises its error

    @contextmanager
    def _answered(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Make a request. Raises SiteUnavailable, also while the response is read."""
        host = self._host(url)
        try:
            with self._client.stream("GET", url, headers=dict(headers)) as response:
                if response.status_code in _PASSING:
                    pause = _asked_pause(response)
                    if pause is not None and pause > ASKED_PAUSE_SECONDS:
                        raise SiteRefused(
                            f"{host} asks to wait for {pause / 3600:.0f} hours ({_status(response)})"
                        )
                    raise SiteUnavailable(f"{host} does not answer ({_status(response)})", pause)
                yield response
        except (httpx.ReadError, httpx.RemoteProtocolError) as error:
            raise SiteUnavailable(f"{host} broke off its answer") from error
        except httpx.TransportError as error:
            raise SiteUnavailable(f"{host} does not answer ({str(error) or type(error).__name__})") from error
        except httpx.HTTPError as error:
            raise SiteRefused(f"{host} gives no answer that can be read ({error})") from error

    def _refused(self, response: httpx.Response) -> SiteRefused:
        return SiteRefused(f"{self._host(str(response.url))} refuses ({_status(response)})")

    def _address(self, name: str) -> str:
        year = name.removeprefix("discogs_")[:4]
        return self._url.replace("{year}", year).replace("{name}", name)

    @staticmethod
    def _host(url: str) -> str:
        """Return the host: a whole address may hold a password."""
        return httpx.URL(url).netloc.decode()

    def _tell(self, state: RetryCallState) -> None:
        at = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=state.upcoming_sleep)
        self._on_wait(f"the next attempt at {at:%H:%M:%S}: {_error(state)}")


def _pause(state: RetryCallState) -> float:
    """Return the seconds that the site asked for, or ever more."""
    error = _error(state)
    asked = error.pause_seconds if isinstance(error, SiteUnavailable) else None
    return wait_exponential(max=PAUSE_SECONDS)(state) if asked is None else asked


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _asked_pause(response: httpx.Response) -> float | None:
    """Return the seconds of Retry-After; its other form, a date, is rare."""
    asked = response.headers.get("retry-after", "")
    return float(asked) if asked.isascii() and asked.isdigit() else None


def _status(response: httpx.Response) -> str:
    return f"{response.status_code} {response.reason_phrase}".rstrip()


def _recent_years() -> tuple[int, int]:
    """Return this year and the last one."""
    # In January the newest month is one of last year for a while.
    year = datetime.datetime.now(datetime.UTC).year
    return year, year - 1


def _names(record_types: frozenset[RecordType]) -> str:
    return ", ".join(each for each in RecordType if each in record_types)
