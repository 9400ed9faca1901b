// What the records just written assert of relationships that two records share. Run after their fingerprints
// are set, and after `withdraw_shared`. `sole` is the id of the one record of this batch that asserts the pair, null
// where both of its ends do; `both` says that both of its ends are records of this batch, so that nothing else counts.
UNWIND $pairs AS pair
MATCH (start:@label {id: pair.start})
MATCH (end:@label {id: pair.end})
MERGE (start)-[shared:@type]->(end)
ON CREATE SET shared.asserted_by =
  CASE WHEN start.fingerprint IS NOT NULL AND end.fingerprint IS NOT NULL THEN pair.sole END
ON MATCH SET shared.asserted_by =
  CASE WHEN pair.both OR shared.asserted_by = pair.sole THEN pair.sole END
