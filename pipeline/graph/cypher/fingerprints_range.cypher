// As `fingerprints`, for ids that lie close together: one walk along the index from $lowest to $highest.
MATCH (n:@label)
WHERE $lowest <= n.id <= $highest AND n.fingerprint IS NOT NULL
RETURN collect(n.id) AS ids, collect(n.fingerprint) AS fingerprints
