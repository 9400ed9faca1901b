// Sets release_count and first_year of the nodes of one label. A degree tells which nodes no release can refer to;
// they are skipped unless a release did when they were counted last.
MATCH (n:@label)
WHERE EXISTS { (n)<-[:@type]-() } OR n.release_count IS NOT NULL
CALL (n) {
  OPTIONAL MATCH (n)<-[:@type]-(release:Release)
  WITH n, nullIf(count(release), 0) AS releases, min(release.year) AS year
  WHERE coalesce(n.release_count, 0) <> coalesce(releases, 0) OR coalesce(n.first_year, 0) <> coalesce(year, 0)
  SET n.release_count = releases, n.first_year = year
} IN TRANSACTIONS OF 1000 ROWS
