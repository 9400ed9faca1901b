// Stored hashes of these records: one row per record.
MATCH (record:Record)
WHERE record.id IN $ids
RETURN record.id AS id, record.sha256 AS sha256
