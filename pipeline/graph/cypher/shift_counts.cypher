// After releases changed: by how many their number grows, and whether the first year is an earlier one now, or must
// be looked for because a release of that year is gone. Each end is [key, change, lowest year lost, lowest gained].
UNWIND $ends AS end
MATCH (n:@label {@key: end[0]})
SET n.release_count = nullIf(coalesce(n.release_count, 0) + end[1], 0),
  n.first_year = CASE
    WHEN n.first_year IS NULL OR end[3] <= n.first_year THEN end[3]
    WHEN end[2] <= n.first_year THEN head(COLLECT {
      MATCH (n)<-[:@type]-(release:Release)
      WHERE release.year IS NOT NULL
      RETURN min(release.year)
    })
    ELSE n.first_year
  END
