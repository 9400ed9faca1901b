// The single-property keys that a uniqueness constraint of the graph guards, as ["Artist.id", …].
SHOW CONSTRAINTS YIELD type, entityType, labelsOrTypes, properties
WHERE entityType = "NODE" AND type IN ["NODE_PROPERTY_UNIQUENESS", "UNIQUENESS", "NODE_KEY"]
  AND size(labelsOrTypes) = 1 AND size(properties) = 1
RETURN collect(labelsOrTypes[0] + "." + properties[0]) AS names
