-- name: page
-- Entries of a workspace's ($1) journal, newest first, below a position ($2), at most $3 and about $5 bytes of them: such
-- as journal_matches wants ($7 to $15), not before $6 (null: from the beginning). At most $4 entries are looked at.
-- `found` is how many there were before bytes were counted.
SELECT workspace_id, position, stream_id, sequence, type, at, actor, crew_id, team_id, event_id, tool_call_id,
       tool_name, content, metadata, found
  FROM (SELECT m.*, count(*) OVER () AS found, row_number() OVER (ORDER BY position DESC) AS place,
               sum(octet_length(content) + pg_column_size(metadata)) OVER (ORDER BY position DESC) AS bytes
          FROM (SELECT l.*
                  FROM (SELECT * FROM events
                         WHERE workspace_id = $1 AND position < $2 AND is_journal_event(type)
                           AND position > (SELECT CASE WHEN $6::timestamptz IS NULL THEN 0
                                                       ELSE last_position_before($1, $6) END)
                           AND position <= (SELECT CASE WHEN $12::timestamptz IS NULL THEN $2
                                                        ELSE last_position_before($1, after_moment($12)) END)
                         ORDER BY position DESC LIMIT $4) AS l
                 WHERE journal_matches(ROW(l.*)::events, $7::text[], $8::text[], $9::uuid[], $10::text[], $11::text,
                                       $12::timestamptz, $13::text, $14::text[], $15::text[])
                 ORDER BY position DESC LIMIT $3) AS m) AS sized
 WHERE bytes <= $5 OR place = 1
 ORDER BY position DESC;

-- name: page_of_mission
-- The same of one mission ($16).
SELECT workspace_id, position, stream_id, sequence, type, at, actor, crew_id, team_id, event_id, tool_call_id,
       tool_name, content, metadata, found
  FROM (SELECT m.*, count(*) OVER () AS found, row_number() OVER (ORDER BY position DESC) AS place,
               sum(octet_length(content) + pg_column_size(metadata)) OVER (ORDER BY position DESC) AS bytes
          FROM (SELECT l.*
                  FROM (SELECT * FROM events
                         WHERE workspace_id = $1 AND stream_id = $16 AND position < $2 AND is_journal_event(type)
                           AND position > (SELECT CASE WHEN $6::timestamptz IS NULL THEN 0
                                                       ELSE last_position_before($1, $6) END)
                           AND position <= (SELECT CASE WHEN $12::timestamptz IS NULL THEN $2
                                                        ELSE last_position_before($1, after_moment($12)) END)
                         ORDER BY position DESC LIMIT $4) AS l
                 WHERE journal_matches(ROW(l.*)::events, $7::text[], $8::text[], $9::uuid[], $10::text[], $11::text,
                                       $12::timestamptz, $13::text, $14::text[], $15::text[])
                 ORDER BY position DESC LIMIT $3) AS m) AS sized
 WHERE bytes <= $5 OR place = 1
 ORDER BY position DESC;

-- name: reach
-- How far $3 entries of a workspace's ($1) journal go back below a position ($2): the last one's; null if there are fewer.
-- Not before $4, not after $5, where these are not null.
SELECT (SELECT position FROM events
         WHERE workspace_id = $1 AND position < $2 AND is_journal_event(type)
           AND position > (SELECT CASE WHEN $4::timestamptz IS NULL THEN 0 ELSE last_position_before($1, $4) END)
           AND position <= (SELECT CASE WHEN $5::timestamptz IS NULL THEN $2
                                        ELSE last_position_before($1, after_moment($5)) END)
         ORDER BY position DESC OFFSET $3 - 1 LIMIT 1) AS position;

-- name: reach_of_mission
-- The same of one mission ($6).
SELECT (SELECT position FROM events
         WHERE workspace_id = $1 AND stream_id = $6 AND position < $2 AND is_journal_event(type)
           AND position > (SELECT CASE WHEN $4::timestamptz IS NULL THEN 0 ELSE last_position_before($1, $4) END)
           AND position <= (SELECT CASE WHEN $5::timestamptz IS NULL THEN $2
                                        ELSE last_position_before($1, after_moment($5)) END)
         ORDER BY position DESC OFFSET $3 - 1 LIMIT 1) AS position;

-- name: counted
-- How many of the newest $2 entries of a workspace's ($1) journal, not before $3, are such as journal_matches wants ($4 to $12).
SELECT count(*)
  FROM (SELECT * FROM events
         WHERE workspace_id = $1 AND is_journal_event(type)
           AND position > (SELECT CASE WHEN $3::timestamptz IS NULL THEN 0 ELSE last_position_before($1, $3) END)
           AND position <= (SELECT CASE WHEN $9::timestamptz IS NULL THEN 9223372036854775807
                                        ELSE last_position_before($1, after_moment($9)) END)
         ORDER BY position DESC LIMIT $2) AS l
 WHERE journal_matches(ROW(l.*)::events, $4::text[], $5::text[], $6::uuid[], $7::text[], $8::text, $9::timestamptz,
                       $10::text, $11::text[], $12::text[]);

-- name: counted_of_mission
-- The same of one mission ($13).
SELECT count(*)
  FROM (SELECT * FROM events
         WHERE workspace_id = $1 AND stream_id = $13 AND is_journal_event(type)
           AND position > (SELECT CASE WHEN $3::timestamptz IS NULL THEN 0 ELSE last_position_before($1, $3) END)
           AND position <= (SELECT CASE WHEN $9::timestamptz IS NULL THEN 9223372036854775807
                                        ELSE last_position_before($1, after_moment($9)) END)
         ORDER BY position DESC LIMIT $2) AS l
 WHERE journal_matches(ROW(l.*)::events, $4::text[], $5::text[], $6::uuid[], $7::text[], $8::text, $9::timestamptz,
                       $10::text, $11::text[], $12::text[]);

-- name: one
-- The event of a workspace ($1) at a position ($2).
SELECT workspace_id, position, stream_id, sequence, type, at, actor, crew_id, team_id, event_id, tool_call_id,
       tool_name, content, metadata
  FROM events WHERE workspace_id = $1 AND position = $2;

-- name: newest_of_mission
-- The position of a mission's ($2 of workspace $1) newest entry: its facet is like one of $3.
SELECT e.position FROM events AS e
 WHERE e.workspace_id = $1 AND e.stream_id = $2 AND is_journal_event(e.type)
   AND journal_facet(e.type, e.metadata) LIKE ANY($3::text[])
 ORDER BY e.position DESC LIMIT 1;

-- name: since
-- The positions of a mission's ($2 of workspace $1) entries, a facet like one of $3, above a position ($4), ascending.
SELECT e.position FROM events AS e
 WHERE e.workspace_id = $1 AND e.stream_id = $2 AND is_journal_event(e.type)
   AND journal_facet(e.type, e.metadata) LIKE ANY($3::text[]) AND e.position > $4
 ORDER BY e.position;
