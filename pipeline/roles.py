"""Roles of credits: single ones out of what Discogs prints, and their category."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

#: Every category a credit can have; the last one where the role says none of the others.
CATEGORIES = (
    "production", "engineering", "mastering", "performance", "writing", "design", "management", "other",
)  # fmt: skip

# Phrases come before words, and of several words in a role the category listed first wins:
# a mastering engineer masters, a vocal producer produces, a horn arrangement is written.
_PHRASES = {
    "mastering": ("cut by", "glass master", "direct metal"),
    "engineering": ("sound design", "sound designer", "sound effects", "sound mix", "field recording"),
    "production": ("dj mix", "post production", "executive production", "music supervisor"),
    "writing": (
        "music by", "text by", "words by", "liner notes", "sleeve notes", "booklet editor", "story by",
    ),
    "design": (
        "art direction", "art director", "creative director", "creative direction", "design concept",
        "make up", "image editor", "cgi artist", "set designer", "visual effects",
    ),
    "management": (
        "a&r", "a & r", "public relations", "production manager", "production coordinator",
        "production supervisor", "product manager", "project manager", "executive assistant",
    ),
    "performance": (
        "music director", "musical director", "directed by", "chorus master", "read by", "steel drums",
        "accompanied by", "all sounds", "toy", "voice actor", "musical box", "music box", "hurdy gurdy",
    ),
    "other": ("film director", "film editor", "film technician", "video editor"),
}  # fmt: skip
_WORDS = {
    "mastering": "mastered mastering remastered remastering remaster lacquer lathe plated",
    "engineering": """engineer engineered engineering recorded recording mixed mixing mix mixer technician tech
        transferred tracking editing edited overdubbed restoration restored digitized tuner tonmeister""",
    "production": """producer producers produced production coproducer remix remixed rework
        compiled compilation compiler supervised supervisor""",
    "writing": """written writer songwriter composed composer lyrics lyricist words libretto author
        arranged arranger arrangement arrangements orchestrated orchestration score translated translation
        transcription transcribed adapted adaptation notes text copyist poem poetry screenwriter""",
    "design": """design designer designed artwork art cover graphics graphic illustration illustrated illustrator
        layout photography photographer photo photos photograph painting sleeve typography lithography
        lettering calligraphy drawing package packaging logo sculpture styling stylist costume collage
        assemblage animation""",
    "management": """management manager managed booking coordinator coordination coordinated administrator
        administration legal consultant promotion promoter marketing publisher contractor advisor agent""",
    "performance": """performer performed musician instruments instrument instrumental featuring guest leader
        presenter vocals vocal vocalist voice voices lead singer rap rapper mc toasting beatbox humming
        whistling whistle yodeling scat choir chorus harmony narrator narration spoken speech dialog recitation
        actor orchestra ensemble band strings brass woodwind woodwinds reeds horn horns conductor
        concertmaster soloist backing accompaniment solo soprano alto tenor baritone contralto countertenor
        guitar guitars guitarist bass drum drums drummer percussion keyboards keyboard piano pianoforte organ
        synthesizer synthesizers synth synths flute piccolo violin viola violone cello contrabass trumpet
        trombone tuba cornet flugelhorn euphonium saxophone saxophones sax saxello clarinet oboe bassoon
        recorder harmonica accordion concertina melodica bandoneon bagpipes pipes chanter uilleann
        banjo mandolin mandola ukulele lute oud zither dulcimer psaltery autoharp harp harpsichord clavinet
        clavichord celesta mellotron fiddle viol gamba sitar sarod tabla tambura bouzouki balalaika charango
        koto shamisen erhu pipa kora dobro lyre theremin vocoder talkbox sampler sampled samples turntables
        turntable scratches scratch loops beats programmed programming electronics computer effects sounds
        noises gameboy glockenspiel vibraphone vibes xylophone marimba bells chimes gong timpani timbales
        tympani cymbal cymbals congas conga bongos bongo cowbell claves maracas shaker tambourine triangle
        djembe darbuka cajon handclaps claps clapping fingersnaps kalimba chapman didgeridoo
        ocarina shawm crumhorn serpent spinet virginal wurlitzer rhodes moog slide steel bodhran washboard
        spoons kazoo jug nyckelharpa guitarron cuatro tres requinto cavaquinho surdo cuica
        pandeiro agogo guiro berimbau udu dj""",
}
_BY_PHRASE = {phrase: name for name, phrases in _PHRASES.items() for phrase in phrases}
_BY_WORD = {word: name for name, words in reversed(_WORDS.items()) for word in words.split()}
_RANK = {name: rank for rank, name in enumerate(_WORDS)}

_PART = re.compile(r"[\[\],]|[^\[\],]+")
_WORD = re.compile(r"[^\W_]+(?:&[^\W_]+)?|&")


def each_role(credit: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Split a credit into one for each of its roles, each with its detail.

    A detail that the credit has by itself counts for roles without brackets.
    """
    name, text, detail, *others = credit
    for role, in_brackets in roles(text or ""):
        yield name, role, in_brackets or detail, *others


@lru_cache(maxsize=1 << 14)
def roles(text: str) -> tuple[tuple[str, str | None], ...]:
    """Return the roles in a text, each with the text in its brackets.

    Commas outside of brackets part them. An open bracket lasts to the end. A role without text outside of brackets is left out.
    """
    found: list[tuple[str, str | None]] = []
    role: list[str] = []
    details: list[str] = []
    inside: list[str] = []
    depth = 0
    for part in (*_PART.findall(text), None):
        if part is None or (part == "," and not depth):
            details.append("".join(inside))
            if name := " ".join("".join(role).split()):
                found.append((name, ", ".join(filter(None, map(str.strip, details))) or None))
            role, details = [], []
        elif depth:
            depth += (part == "[") - (part == "]")
            if depth:
                inside.append(part)
            else:
                details.append("".join(inside))
                inside = []
        elif part == "[":
            depth = 1
        elif part != "]":
            role.append(part)
    return tuple(found)


@lru_cache(maxsize=1 << 14)
def category(role: str, detail: str | None = None) -> str:
    """Return the category of a role, else of its detail: `Other [Legal]`."""
    return _of_words(role) or _of_words(detail or "") or "other"


def _of_words(text: str) -> str | None:
    words = _WORD.findall(text.lower())
    spaced = f" {' '.join(words)} "
    for phrase, name in _BY_PHRASE.items():
        if f" {phrase} " in spaced:
            return name
    return min((_BY_WORD[word] for word in words if word in _BY_WORD), key=_RANK.__getitem__, default=None)
