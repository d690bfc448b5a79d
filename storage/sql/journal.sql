-- name: page
-- Entries of a workspace's ($1) journal, newest first, below a position ($2), at most $3; not before $4 (null: from the
-- beginning), and such as journal_matches wants ($5 to $13).
SELECT e.workspace_id, e.position, e.stream_id, e.sequence, e.type, e.at, e.actor, e.crew_id, e.team_id, e.event_id,
       e.tool_call_id, e.tool_name, e.content, e.metadata
  FROM events AS e
 WHERE e.workspace_id = $1 AND e.position < $2 AND is_journal_event(e.type)
   AND e.position > (SELECT CASE WHEN $4::timestamptz IS NULL THEN 0 ELSE last_position_before($1, $4) END)
   AND journal_matches(e, $5::text[], $6::text[], $7::uuid[], $8::text[], $9::text, $10::timestamptz, $11::text,
                       $12::text[], $13::text[])
 ORDER BY e.position DESC LIMIT $3;

-- name: page_of_mission
-- The same of one mission ($14).
SELECT e.workspace_id, e.position, e.stream_id, e.sequence, e.type, e.at, e.actor, e.crew_id, e.team_id, e.event_id,
       e.tool_call_id, e.tool_name, e.content, e.metadata
  FROM events AS e
 WHERE e.workspace_id = $1 AND e.stream_id = $14 AND e.position < $2 AND is_journal_event(e.type)
   AND e.position > (SELECT CASE WHEN $4::timestamptz IS NULL THEN 0 ELSE last_position_before($1, $4) END)
   AND journal_matches(e, $5::text[], $6::text[], $7::uuid[], $8::text[], $9::text, $10::timestamptz, $11::text,
                       $12::text[], $13::text[])
 ORDER BY e.position DESC LIMIT $3;

-- name: counted
-- How many entries a workspace's ($1) journal has, not before $2, such as journal_matches wants ($3 to $11).
SELECT count(*) FROM events AS e
 WHERE e.workspace_id = $1 AND is_journal_event(e.type)
   AND e.position > (SELECT CASE WHEN $2::timestamptz IS NULL THEN 0 ELSE last_position_before($1, $2) END)
   AND journal_matches(e, $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text, $8::timestamptz, $9::text, $10::text[],
                       $11::text[]);

-- name: counted_of_mission
-- The same of one mission ($12).
SELECT count(*) FROM events AS e
 WHERE e.workspace_id = $1 AND e.stream_id = $12 AND is_journal_event(e.type)
   AND e.position > (SELECT CASE WHEN $2::timestamptz IS NULL THEN 0 ELSE last_position_before($1, $2) END)
   AND journal_matches(e, $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text, $8::timestamptz, $9::text, $10::text[],
                       $11::text[]);

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
