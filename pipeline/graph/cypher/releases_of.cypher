// The releases of nodes of any label: as counted at the end of a load, else versions of a master, or a person's releases.
MATCH (n) WHERE elementId(n) IN $ids
WITH n, CASE
  WHEN n:Release THEN 1
  ELSE coalesce(n.release_count, COUNT { (n)<-[:DERIVED_FROM]-() }
    + COUNT { MATCH (n)-[:CREDITED_ON]->(release) RETURN DISTINCT release })
END AS number
RETURN collect([elementId(n), number]) AS numbers
