// Who a credited name is, wherever a credit says so; pairs distinct and sorted.
UNWIND $pairs AS pair
MATCH (person:Person {name: pair.name})
MATCH (artist:Artist {id: pair.artist_id})
MERGE (person)-[:SAME_AS]->(artist)
RETURN count(*) AS found
