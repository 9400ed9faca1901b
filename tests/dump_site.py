"""A local site of dumps, which can misbehave."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

#: Addresses below the site's own, for GRAPHINATOR_DUMPS_LIST_URL and GRAPHINATOR_DUMPS_URL.
LAYOUTS = {
    "Discogs": ("?prefix=data%2F{year}%2F", "?download=data%2F{year}%2F{name}"),
    "bucket": ("?list-type=2&prefix=data/{year}/", "data/{year}/{name}"),
    "folder": ("dumps/", "dumps/{name}"),
}


@dataclass
class DumpSite:
    """Files by name, the faults of the next requests for dumps, and all requests."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    #: Files without a checksum of their own in their month's file.
    unlisted: set[str] = field(default_factory=set)
    has_ranges: bool = True
    faults: list[Callable[["Request"], None]] = field(default_factory=list)
    #: Name and Range of each request; "" for a list.
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def publish(self, date: str, *types: str, body: bytes = b"", checksums: bool = True) -> None:
        """Add dumps of a date, and their checksums."""
        for kind in types:
            self.files[f"discogs_{date}_{kind}.xml.gz"] = body or _body(date, kind)
        self.files.pop(f"discogs_{date}_CHECKSUM.txt", None)
        if checksums:
            listed = [name for name in self.files if f"_{date}_" in name]
            lines = [f"{hashlib.sha256(self.files[name]).hexdigest()} {name}\n" for name in listed]
            self.files[f"discogs_{date}_CHECKSUM.txt"] = "".join(lines).encode()

    def settings(self, layout: str = "Discogs") -> dict[str, str]:
        """Return the settings that name this site."""
        listing, file = LAYOUTS[layout]
        return {"dumps_list_url": self.url + listing, "dumps_url": self.url + file}

    def asked_for(self, text: str) -> list[str | None]:
        """Return the Range of each request for a file with this in its name."""
        return [range_ for name, range_ in self.asked if text in name]


def _body(date: str, kind: str) -> bytes:
    """Return bytes that begin like a gzip file and that nobody can compress."""
    seed = f"{date} {kind}".encode()
    blocks = (hashlib.sha512(seed + number.to_bytes(4)).digest() for number in range(3000))
    return b"\x1f\x8b" + b"".join(blocks)


class Request(BaseHTTPRequestHandler):
    """A request for one file, or for the list of a year."""

    site: DumpSite
    body: bytes

    @override
    def log_message(self, *arguments: object) -> None: ...

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = {name: value for name, (value, *_) in parse_qs(address.query).items()}
        name = (query.get("download") or address.path).rpartition("/")[2]
        self.site.asked.append((name, self.headers["Range"]))
        if not name:
            self.send(200, self._list(query))
        elif name not in self.site.files:
            self.send(404)
        else:
            self.body = self.site.files[name]
            if name.endswith(".gz") and self.site.faults:
                self.site.faults.pop(0)(self)
            else:
                self.serve()

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a whole response."""
        self.begin(status, len(body), **headers)
        self.wfile.write(body)

    def begin(self, status: int, size: int, **headers: str) -> None:
        """Send the head of a response."""
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def serve(self, share: float = 1.0) -> None:
        """Send the file, or the part that was asked for, or a share of that."""
        etag = f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'
        start, status, headers = 0, 200, {"ETag": etag}
        if self.site.has_ranges and self.headers["Range"] and self.headers["If-Range"] in (None, etag):
            start, status = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0]), 206
            headers["Content_Range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        if start >= len(self.body):
            self.send(416, Content_Range=f"bytes */{len(self.body)}")
            return
        rest = self.body[start:]
        self.begin(status, len(rest), **headers)
        self.wfile.write(rest[: int(len(rest) * share)])
        self.wfile.flush()

    def _list(self, query: dict[str, str]) -> bytes:
        prefix = query.get("prefix", "data/")
        names = [name for name in self.site.files if f"data/{name[8:12]}/{name}".startswith(prefix)]
        if "list-type" in query:
            keys = "".join(f"<Contents><Key>{prefix}{name}</Key><Size>1</Size></Contents>" for name in names)
            return f"<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>".encode()
        links = (f'<a href="?download={prefix}{name}">{name}</a>\n'.replace("/", "%2F", 2) for name in names)
        return f"<html><pre>{''.join(links)}</pre></html>".encode()


def cut(request: Request) -> None:
    """Send half of what was asked for, then close the connection."""
    request.serve(0.5)


def busy(request: Request) -> None:
    """Ask for another attempt at once."""
    request.send(503, Retry_After="0")


def forbidden(request: Request) -> None:
    """Refuse."""
    request.send(403, b"<html>Just a moment...</html>")


def too_large(request: Request) -> None:
    """Begin to send more than any disk can hold."""
    request.begin(200, 10**18)
    request.wfile.write(request.body)


def error_page(request: Request) -> None:
    """Send an error as if it were the file."""
    request.send(200, b"<?xml version='1.0'?><Error><Code>InternalError</Code></Error>")


@contextmanager
def dump_site() -> Iterator[DumpSite]:
    """Serve a site on a free port."""
    site = DumpSite()
    handler = type("Handler", (Request,), {"site": site})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
