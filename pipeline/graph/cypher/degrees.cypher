// Degrees are stored with the node: nothing is walked.
MATCH (centre:@label {@key: $key})
RETURN [@degrees] AS degrees
