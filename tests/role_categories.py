"""The category that a credited role must get, written by hand for clear roles.

The table has common roles of the sample dumps. For every other role any category will do.
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

#: Role, in lower case, to its category.
CATEGORY_OF_ROLE = {
    role.strip().lower(): category
    for category, roles in _CLEAR.items()
    for role in re.split(r"[|\n]", roles)
    if role.strip()
}
