// Stored hashes of these releases: one row per release.
MATCH (release:Release)
WHERE release.id IN $ids
RETURN release.id AS id, release.sha256 AS sha256
