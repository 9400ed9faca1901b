// Sets artist_count and label_count of all genres and styles; each of $counts is [label, name, artists, labels].
MATCH (kind:Genre|Style)
WITH kind, head([each IN $counts WHERE each[0] = head(labels(kind)) AND each[1] = kind.name]) AS counts
WHERE coalesce(kind.artist_count, 0) <> coalesce(counts[2], 0)
  OR coalesce(kind.label_count, 0) <> coalesce(counts[3], 0)
SET kind.artist_count = counts[2], kind.label_count = counts[3]
