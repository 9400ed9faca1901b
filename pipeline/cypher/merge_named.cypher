// Ends of relationships that are known by name, in the order given (see `merge_numbered`).
UNWIND $names AS name
MERGE (:@label {name: name})
