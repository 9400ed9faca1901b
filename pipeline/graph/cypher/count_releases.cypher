// On each node: how many releases refer to it, and the year of the first one; what is right already is not written.
MATCH (n:@label)
CALL (n) {
  OPTIONAL MATCH (n)<-[:@type]-(release:Release)
  WITH n, nullIf(count(release), 0) AS releases, min(release.year) AS year
  WHERE coalesce(n.release_count, 0) <> coalesce(releases, 0) OR coalesce(n.first_year, 0) <> coalesce(year, 0)
  SET n.release_count = releases, n.first_year = year
} IN TRANSACTIONS OF 1000 ROWS
