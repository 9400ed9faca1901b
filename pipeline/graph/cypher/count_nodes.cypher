MATCH (:@label)
RETURN count(*) AS number
