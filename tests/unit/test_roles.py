"""Single roles and their category are read off the text of a credit."""

import gzip
import xml.etree.ElementTree as ET
from pathlib import Path

from pipeline.roles import CATEGORIES, category, roles
from tests.role_categories import CATEGORIES as EXPECTED_CATEGORIES
from tests.role_categories import CATEGORY_OF_ROLE

SAMPLE = Path(__file__).parents[2] / "ops" / "sample" / "discogs_20200806_releases.xml.gz"


def sample_roles() -> list[tuple[str, str | None]]:
    root = ET.fromstring(gzip.decompress(SAMPLE.read_bytes()))
    return [
        role for text in root.iterfind("release//extraartists/artist/role") for role in roles(text.text or "")
    ]


#: Text of a credit, and its roles with the text in their brackets.
TEXTS = {
    "Producer": [("Producer", None)],
    "Mixed By [Additional Mix, Dub], Producer": [("Mixed By", "Additional Mix, Dub"), ("Producer", None)],
    " Vocals ,  Lead \n Guitar ,": [("Vocals", None), ("Lead Guitar", None)],
    "Guitar [ Lead ] [Uncredited]": [("Guitar", "Lead, Uncredited")],
    "[35 mm] Photography By": [("Photography By", "35 mm")],
    "Guitar [Lead [Solo], Slide] Solo, Bass": [("Guitar Solo", "Lead [Solo], Slide"), ("Bass", None)],
    "Guitar [Lead, Bass": [("Guitar", "Lead, Bass")],
    "Guitar [Lead [Solo], Bass": [("Guitar", "Lead [Solo], Bass")],
    "Guitar], Bass]]": [("Guitar", None), ("Bass", None)],
    "Bass []": [("Bass", None)],
    "[Legal], , [": [],
    "": [],
}


def test_commas_outside_of_brackets_part_roles() -> None:
    assert {text: [*roles(text)] for text in TEXTS} == TEXTS


def test_categories_are_those_of_the_contract() -> None:
    assert set(CATEGORIES) == EXPECTED_CATEGORIES


def test_a_common_role_has_its_category_in_any_spelling() -> None:
    for role, expected in CATEGORY_OF_ROLE.items():
        for spelling in (role, role.title(), role.upper()):
            assert category(spelling) == category(spelling, "Engineer, Photos") == expected, spelling


def test_few_roles_of_the_samples_are_other() -> None:
    found = sample_roles()
    assert sum(category(*role) == "other" for role in found) < len(found) / 100


#: Phrases and words are weighed; what stands in brackets counts where the role has no category.
ROLES = {
    "Mastering Engineer": "mastering",
    "Recording Supervisor": "engineering",
    "Vocal Producer": "production",
    "Horn Arrangements": "writing",
    "Guitar Technician": "engineering",
    "Sound Designer": "engineering",
    "Chorus Master": "performance",
    "Production Manager": "management",
    "Film Director": "other",
    "Twelve-String Guitar": "performance",
    "DJ Mix": "production",
    "A&R": "management",
    "Plated By": "mastering",
    "Read By": "performance",
    "Reader": "other",
    "": "other",
    "Crew [Spirits Lifted By]": "other",
    "Arranged By [Strings, Horns]": "writing",
    "Other [Legal, Clearance]": "management",
    "Other [Mastering": "mastering",
    "Violin [Engineer]": "performance",
}


def test_the_category_of_a_role_follows_its_words() -> None:
    assert {text: category(*(*roles(text), ("",))[0]) for text in ROLES} == ROLES
