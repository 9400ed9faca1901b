"""Valid but odd dumps, and broken files, written into the caller's folder.

`handmade` are the four readable templates beside this module, `large` are dumps whose oddity is their size,
`broken` are files that are no dumps or stop being one. All of them have little content in an odd form.
"""

from tests.oddities.broken import BROKEN, Broken, broken
from tests.oddities.handmade import Oddity, Planted, handmade
from tests.oddities.large import borders, many_tracks, oversized, two_members

__all__ = [
    "BROKEN",
    "Broken",
    "Oddity",
    "Planted",
    "borders",
    "broken",
    "handmade",
    "many_tracks",
    "oversized",
    "two_members",
]
