"""Downloads of dumps into a folder: resumed, checked, and renamed only when right.

`NAME.part` holds the bytes that have arrived, `NAME.part.json` the version of the file that they belong to.
"""

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import msgspec
from rich.filesize import decimal

from ops.fetch.errors import FetchBusy, FetchError, SiteUnavailable
from ops.fetch.site import Month, Site
from ops.stack.files import exclusive
from pipeline.errors import shown
from pipeline.model import RecordType
from pipeline.reader.checksum import read_checksums, sha256_of

if TYPE_CHECKING:
    from hashlib import _Hash

_LOCK = ".graphinator-fetch.lock"
_GZIP = b"\x1f\x8b"
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")

#: Called with a dump, its type, the bytes done, all its bytes if known, and those that have arrived by now.
OnProgress = Callable[[Path, RecordType, int, int | None, int], None]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A dump that is in the folder and right."""

    record_type: RecordType
    path: Path
    sha256: str
    #: Bytes that were downloaded; 0 if it was there.
    received: int
    seconds: float


class _Version(msgspec.Struct, frozen=True):
    """The version of a file on the site."""

    #: A strong ETag or a Last-Modified date.
    validator: str
    size: int | None


def fetch(
    site: Site, month: Month, record_types: Sequence[RecordType], folder: Path, on_progress: OnProgress
) -> Iterator[Fetched]:
    """Download dumps of a month, and its checksums, into a folder. Yield each dump.

    One that is there and right is not downloaded again.

    Raises:
        FetchBusy: another process downloads into the folder.
        FetchError: the site does not have, or does not give, the right files.
        OSError: the folder cannot be written, or its disk is full.
    """
    with _locked(folder):
        checksums = _fetch_checksums(site, month, folder)
        for record_type in record_types:
            name = month.dump(record_type)
            if name not in checksums:
                raise FetchError(f"{month.checksums} has no checksum of {name}")
            started = time.monotonic()
            download = _Download(site, folder / name, record_type, on_progress)
            sha256 = download.existing()
            if sha256 != checksums[name]:
                sha256 = download.run(checksums[name])
                if sha256 != checksums[name]:
                    # A dump that was replaced meanwhile has other checksums, too.
                    checksums = _fetch_checksums(site, month, folder)
                    if sha256 != checksums.get(name):
                        download.discard()
                        raise FetchError(
                            f"{name} arrived with another sha256 than {month.checksums} has, and was removed"
                        )
                download.finish()
            download.discard()
            yield Fetched(record_type, folder / name, sha256, download.received, time.monotonic() - started)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder. Raises FetchBusy."""
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(folder / _LOCK, wait=False))
        except BlockingIOError as error:
            raise FetchBusy(folder) from error
        yield


def _fetch_checksums(site: Site, month: Month, folder: Path) -> dict[str, str]:
    """Download the checksums of a month. Raises FetchError if the file has no checksum."""
    text = site.text(month.checksums)
    checksums = read_checksums(text)
    if not checksums:
        raise FetchError(f"{month.checksums} has no checksums: {shown(text)}")
    part = folder / f"{month.checksums}.part"
    part.write_text(text, encoding="utf-8")
    part.replace(folder / month.checksums)
    return checksums


class _Download:
    """One dump on its way into a folder."""

    def __init__(self, site: Site, path: Path, record_type: RecordType, on_progress: OnProgress) -> None:
        self._site = site
        self._path, self._record_type = path, record_type
        self._part = path.with_name(f"{path.name}.part")
        self._version_file = path.with_name(f"{path.name}.part.json")
        self._on_progress = on_progress
        #: Bytes that have arrived in all attempts.
        self.received = 0

    def existing(self) -> str:
        """Return the sha256 of the dump that is there; "" for a missing one."""
        if not self._path.exists():
            return ""
        return self._hash(self._path, self._path.stat().st_size).hexdigest()

    def run(self, expected: str) -> str:
        """Download until all has arrived; return its sha256, which should be `expected`.

        Raises SiteUnavailable after too many attempts; what has arrived stays.
        """
        for attempt in self._site.attempts():
            with attempt:
                return self._attempt(expected)
        raise AssertionError  # the last attempt raises its error

    def finish(self) -> None:
        """Put what has arrived into its place."""
        self._part.replace(self._path)

    def discard(self) -> None:
        """Remove what has arrived and is not in its place."""
        self._part.unlink(missing_ok=True)
        self._version_file.unlink(missing_ok=True)

    def _attempt(self, expected: str) -> str:
        version = self._stored_version()
        sha256, done = hashlib.sha256(), 0
        headers = {}
        if version is not None:
            sha256, done = self._hash(self._part, version.size), self._part.stat().st_size
            if sha256.hexdigest() == expected:
                return expected  # only its renaming is missing
            headers = {"Range": f"bytes={done}-", "If-Range": version.validator}
        with self._site.get(self._path.name, headers) as response:
            blocks = response.iter_raw()
            if response.status_code == 200:
                first = next(blocks, b"")
                self._refuse_page(first)  # before what has arrived is given up for it
                version, sha256, done = self._begin(response), hashlib.sha256(), 0
                blocks = chain([first], blocks)
            elif version is None or not _continues(response, done):
                self.discard()
                raise SiteUnavailable(f"{self._path.name}: the site sent another part than it was asked for")
            self._check_space(version, done)
            self._receive(blocks, sha256, done, version.size)
        return sha256.hexdigest()

    def _stored_version(self) -> _Version | None:
        """Return the version of what has arrived; None if nothing can be resumed."""
        try:
            version = msgspec.json.decode(self._version_file.read_bytes(), type=_Version)
            return version if version.validator and self._part.stat().st_size else None
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _begin(self, response: httpx.Response) -> _Version:
        """Begin with the first byte, whatever has arrived before."""
        self._part.write_bytes(b"")
        etag = response.headers.get("etag", "")
        size = response.headers.get("content-length")
        version = _Version(
            # A weak ETag does not promise the same bytes.
            response.headers.get("last-modified", "") if etag.startswith("W/") or not etag else etag,
            None if size is None else int(size),
        )
        self._version_file.write_bytes(msgspec.json.encode(version))
        return version

    def _check_space(self, version: _Version, done: int) -> None:
        missing = (version.size or done) - done
        free = shutil.disk_usage(self._part.parent).free
        if missing > free:
            raise OSError(
                errno.ENOSPC,
                f"{decimal(missing)} of {self._path.name} are missing, and {decimal(free)} are free; "
                "free some space, then run the same command again",
                str(self._part.parent),
            )

    def _refuse_page(self, beginning: bytes) -> None:
        """Raise SiteUnavailable for a page in place of the dump."""
        if not _GZIP.startswith(beginning[: len(_GZIP)]):
            page = shown(beginning.decode(errors="replace"))
            raise SiteUnavailable(f"{self._path.name}: the site sent no gzip file, but {page}")

    def _receive(self, blocks: Iterable[bytes], sha256: "_Hash", done: int, size: int | None) -> None:
        with self._part.open("ab") as file:
            for data in blocks:
                try:
                    file.write(data)
                except OSError as error:
                    raise OSError(error.errno, error.strerror, str(self._part)) from error
                sha256.update(data)
                done += len(data)
                self.received += len(data)
                self._on_progress(self._path, self._record_type, done, size, self.received)
            file.flush()
            os.fsync(file.fileno())

    def _hash(self, path: Path, size: int | None) -> "_Hash":
        return sha256_of(
            path, lambda done: self._on_progress(self._path, self._record_type, done, size, self.received)
        )


def _continues(response: httpx.Response, done: int) -> bool:
    """Return True if the response goes on after `done` bytes."""
    place = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    return response.status_code == 206 and place is not None and int(place[1]) == done
