// Which of these releases are there, and what they were made from: one row a release.
MATCH (release:Release)
WHERE release.id IN $ids
RETURN release.id AS id, release.sha256 AS sha256
