CALL db.index.fulltext.queryNodes($index, $words, {limit: $limit}) YIELD node
RETURN collect(node) AS nodes
