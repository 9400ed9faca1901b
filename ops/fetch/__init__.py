"""Dumps from Discogs: what its site lists, downloads that go on where they broke off."""
