"""The category that a credited role must get, written by hand for clear roles.

`category` of a credit is "read off the role text, brackets and multiple comma-separated roles included". The table
says what that is for common roles of the sample dumps. What stands in brackets describes the role and does not
change it; of several roles the category is that of one of them. For every other role any category will do.
"""

import re

#: The eight categories of the graph model.
CATEGORIES = frozenset(
    {"production", "engineering", "mastering", "performance", "writing", "design", "management", "other"}
)

_CLEAR = {
    "production": """
        Producer | Co-producer | Executive-Producer | Executive Producer | Compilation Producer | Produced By
    """,
    "engineering": """
        Engineer | Mixed By | Recorded By | Recording Engineer
    """,
    "mastering": """
        Mastered By | Remastered By | Lacquer Cut By
    """,
    "performance": """
        Vocals | Lead Vocals | Backing Vocals | Tenor Vocals | Soprano Vocals | Harmony Vocals | Rap | Performer
        Guitar | Acoustic Guitar | Electric Guitar | Lead Guitar | Rhythm Guitar | Bass | Bass Guitar | Electric Bass
        Double Bass | Drums | Percussion | Congas | Keyboards | Piano | Electric Piano | Organ | Synthesizer
        Harpsichord | Accordion | Violin | Viola | Cello | Fiddle | Banjo | Mandolin | Flute | Clarinet | Oboe
        Bassoon | Saxophone | Alto Saxophone | Tenor Saxophone | Soprano Saxophone | Baritone Saxophone | Trumpet
        Trombone | Tuba | Horn | Harmonica | Orchestra | Choir
    """,
    "writing": """
        Written-By | Written By | Composed By | Lyrics By | Music By | Words By | Songwriter | Libretto By
    """,
    "design": """
        Artwork | Artwork By | Art Direction | Design | Graphic Design | Graphics | Layout | Cover | Illustration
        Photography | Photography By
    """,
    "management": """
        Management | A&R | Booking
    """,
}

#: Role, in lower case and without brackets, to its category.
CATEGORY_OF_ROLE = {
    role.strip().lower(): category
    for category, roles in _CLEAR.items()
    for role in re.split(r"[|\n]", roles)
    if role.strip()
}

_BRACKETS = re.compile(r"\[[^\]]*\]")


def expected_categories(role: str) -> frozenset[str]:
    """The categories allowed for a credit's role text: one for roles in the table."""
    parts = [part.strip().lower() for part in _BRACKETS.sub("", role).split(",")]
    if all(part in CATEGORY_OF_ROLE for part in parts):
        return frozenset(CATEGORY_OF_ROLE[part] for part in parts)
    return CATEGORIES
