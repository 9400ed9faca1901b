"""Dumps of odd size: records across block borders, a long line, an oversized record."""

import gzip
from pathlib import Path

from tests.oddities.handmade import Oddity, Planted

#: Longest record that a reader must accept is below this.
_BEYOND_BYTES = 5 * 1024 * 1024


def borders(folder: Path, records: int = 400) -> Oddity:
    """Releases of about 10 KB on one line, so that block borders fall anywhere.

    Each has another length. Wherever a reader's blocks end, some do so within a tag, an attribute value with `>`, a
    comment, CDATA, a character reference, and a character of several bytes.
    """
    dump = b"<releases>" + b"".join(_dense(number) for number in range(1, records + 1)) + b"</releases>"
    path = folder / "borders_releases.xml"
    path.write_bytes(dump)
    return Oddity(path, "releases", records)


def _dense(number: int) -> bytes:
    """A record of mostly mark-up, a prime number of bytes longer than its predecessor."""
    piece = "<!-- </release> --><![CDATA[</release>]]>é&#233;&amp;東"
    labels = "".join(f'<label catno="&gt; {i} >" name=\'L > {i}\' id="{i}"/>' for i in range(1, 20))
    return (
        f'<release  status="a > b"\n id="{number}"><title>Border {number}</title><labels>{labels}</labels>'
        f"<notes>{'x' * (number * 7 % 101)}{piece * 130}</notes></release>"
    ).encode()


def many_tracks(folder: Path, tracks: int = 6666) -> Oddity:
    """A release of so many tracks, as there are some, between two small ones.

    Each track has two artists, one of them of every track, and two credits, one of them that of every track.
    """
    artist = "<artist><id>{0}</id><name>Artist {0}</name><anv>A{0}</anv>{1}</artist>".format
    tracklist = "".join(
        f"<track><position>{number}</position><title>Track {number}</title><duration>0:01</duration>"
        f"<artists>{artist(1, '')}{artist(number + 1, '')}</artists><extraartists>"
        f"{artist(1, '<role>Producer</role>')}{artist(number + 1, '<role>Remix [Dub], Vocals</role>')}"
        "</extraartists></track>"
        for number in range(1, tracks + 1)
    )
    small = "<release id='{0}'><title>Release {0}</title></release>".format
    path = folder / "tracks_releases.xml"
    path.write_text(
        f"<releases>\n{small(1)}\n<release id='2'><title>Many Tracks</title><tracklist>{tracklist}</tracklist></release>\n"
        f"{small(3)}\n</releases>\n"
    )
    return Oddity(path, "releases", 3)


def oversized(folder: Path) -> Oddity:
    """Three artists; the second exceeds the 5 MiB that a reader has to accept.

    A reader may set aside only the beginning of it.
    """
    big = b"<artist><id>2</id><name>Big</name><profile>" + b"x" * _BEYOND_BYTES + b"</profile></artist>"
    small = [b"<artist><id>%d</id><name>Small %d</name></artist>" % (i, i) for i in (1, 3)]
    path = folder / "oversized_artists.xml"
    path.write_bytes(b"<artists>\n%b\n%b\n%b\n</artists>\n" % (small[0], big, small[1]))
    return Oddity(path, "artists", 2, (Planted("longer than the largest record", big),))


def two_members(folder: Path) -> Oddity:
    """A gzip file of two members, as parallel compressors write; a record spans both."""
    dump = b"<labels>\n<label><id>1</id><name>In Two Mem" + b"bers</name></label>\n</labels>\n"
    cut = dump.index(b"bers")
    path = folder / "members_labels.xml.gz"
    path.write_bytes(gzip.compress(dump[:cut]) + gzip.compress(dump[cut:]))
    return Oddity(path, "labels", 1)
