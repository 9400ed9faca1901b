// Members of groups.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (other:Artist {id: row.id})
ON CREATE SET other.name = row.name
MERGE (other)-[:MEMBER_OF]->(record)
