// Locks styles whose PART_OF a changed record begins to imply. It may do so by losing its other genre, without a new
// relationship of its own; a transaction that withdraws the last other reason must wait and look again.
UNWIND $names AS name
MATCH (style:Style {name: name})
SET style:Style
