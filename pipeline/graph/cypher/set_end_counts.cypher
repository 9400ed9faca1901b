// The numbers of artists and labels on all genres, or styles, each [name, artists, labels]; none where it is not listed.
MATCH (kind:@kind)
WITH kind, head([each IN $counts WHERE each[0] = kind.name]) AS counts
WHERE coalesce(kind.artist_count, 0) <> coalesce(counts[1], 0)
  OR coalesce(kind.label_count, 0) <> coalesce(counts[2], 0)
SET kind.artist_count = counts[1], kind.label_count = counts[2]
