// Adds to a genre's or style's counts, or with $sign -1 takes away, those of the given artists and labels that have a
// release of it now. The search starts at the end with fewer relationships, and stops at the first release.
UNWIND $pairs AS pair
MATCH (kind:@kind {name: pair[0]})
WITH kind,
  COUNT {
    UNWIND pair[1] AS id
    MATCH (artist:Artist {id: id})
    WHERE CASE WHEN COUNT { (artist)<-[:BY]-() } < COUNT { (kind)<-[:IS]-() }
      THEN EXISTS { MATCH (artist)<-[:BY]-(release:Release) WHERE EXISTS { (release)-[:IS]->(kind) } }
      ELSE EXISTS { MATCH (kind)<-[:IS]-(release:Release) WHERE EXISTS { (release)-[:BY]->(artist) } }
    END
  } AS artists,
  COUNT {
    UNWIND pair[2] AS id
    MATCH (label:Label {id: id})
    WHERE CASE WHEN COUNT { (label)<-[:ON]-() } < COUNT { (kind)<-[:IS]-() }
      THEN EXISTS { MATCH (label)<-[:ON]-(release:Release) WHERE EXISTS { (release)-[:IS]->(kind) } }
      ELSE EXISTS { MATCH (kind)<-[:IS]-(release:Release) WHERE EXISTS { (release)-[:ON]->(label) } }
    END
  } AS labels
SET kind.artist_count = nullIf(coalesce(kind.artist_count, 0) + $sign * artists, 0),
  kind.label_count = nullIf(coalesce(kind.label_count, 0) + $sign * labels, 0)
