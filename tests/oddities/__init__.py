"""Dumps that are valid and odd, and files that are broken, written into a folder of the caller's.

`handmade` are the four readable templates beside this module, `large` are dumps whose oddity is their size,
`broken` are files that are no dumps or stop being one. All of them are small in what they say: the point is how.
"""

from tests.oddities.broken import BROKEN, Broken, broken
from tests.oddities.handmade import Oddity, Planted, handmade
from tests.oddities.large import borders, oversized, two_members

__all__ = [
    "BROKEN",
    "Broken",
    "Oddity",
    "Planted",
    "borders",
    "broken",
    "handmade",
    "oversized",
    "two_members",
]
