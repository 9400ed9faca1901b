// Holds still the styles of which a record begins to say that they belong to a genre. It may do so by losing its other genre,
// without a new relationship of the style's; a transaction in which another record ends to say so must wait and look again.
UNWIND $names AS name
MATCH (style:Style {name: name})
SET style:Style
