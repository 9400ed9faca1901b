// Releases that are no more; their relationships are gone already, and nothing refers to a release.
UNWIND $ids AS id
MATCH (release:Release {id: id})
DELETE release
