"""The category of a credit is read off its role."""

import gzip
import xml.etree.ElementTree as ET
from pathlib import Path

from pipeline.roles import CATEGORIES, category
from tests.role_categories import CATEGORIES as EXPECTED_CATEGORIES
from tests.role_categories import CATEGORY_OF_ROLE, expected_categories

SAMPLE = Path(__file__).parents[2] / "ops" / "sample" / "discogs_20200806_releases.xml.gz"


def sample_roles() -> list[str]:
    root = ET.fromstring(gzip.decompress(SAMPLE.read_bytes()))
    return [role.text or "" for role in root.iterfind("release/extraartists/artist/role")]


def test_categories_are_those_of_the_contract() -> None:
    assert set(CATEGORIES) == EXPECTED_CATEGORIES


def test_a_common_role_has_its_category_in_any_spelling() -> None:
    for role, expected in CATEGORY_OF_ROLE.items():
        for spelling in (role, role.title(), role.upper(), f" {role} [Side A, B]", f"{role}, Other"):
            assert category(spelling) == expected, spelling


def test_every_role_of_the_samples_has_a_category_that_is_allowed() -> None:
    for role in sample_roles():
        assert category(role) in expected_categories(role)


def test_few_roles_of_the_samples_are_other() -> None:
    roles = sample_roles()
    assert sum(category(role) == "other" for role in roles) < len(roles) / 100


#: Phrases and words are weighed; of several roles the first with a category counts.
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
    "A&R [Direction]": "management",
    "Plated By": "mastering",
    "Read By": "performance",
    "Reader": "other",
    "": "other",
    ",,[": "other",
    "Vocals, Producer": "performance",
    "Producer, Vocals": "production",
    "Crew, Other [Spirits Lifted By], Drums": "performance",
    "Arranged By [Strings, Horns], Piano": "writing",
    "Other [Legal, Clearance]": "management",
    "Other [Mastering": "mastering",
    "Violin [Engineer]": "performance",
}


def test_the_category_of_a_role_follows_its_words() -> None:
    assert {role: category(role) for role in ROLES} == ROLES
