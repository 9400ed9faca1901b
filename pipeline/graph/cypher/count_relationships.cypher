MATCH ()-[:@type]->()
RETURN count(*) AS number
