-- name: head
-- Epoch, floor and head of a workspace ($1), in one reading.
SELECT w.epoch, w.floor, h.head
  FROM workspaces AS w JOIN workspace_heads AS h ON h.workspace_id = w.id WHERE w.id = $1;

-- name: floor
-- The position up to which retention removed a workspace's ($1) events.
SELECT floor FROM workspaces WHERE id = $1;

-- name: heads
-- Epoch, floor, head and rights version of many workspaces ($1 ids).
SELECT w.id, w.epoch, w.floor, h.head, w.rights_version
  FROM workspaces AS w JOIN workspace_heads AS h ON h.workspace_id = w.id WHERE w.id = ANY($1::uuid[]);

-- name: of_workspace
-- Events of a workspace ($1) with positions in ($2, $3], at most $4 of them and about $5 bytes of content.
SELECT workspace_id, position, stream_id, sequence, type, at, actor, crew_id, team_id, event_id, tool_call_id,
       tool_name, content, metadata
  FROM (SELECT e.*, sum(octet_length(content) + pg_column_size(metadata)) OVER (ORDER BY position) AS bytes,
               row_number() OVER (ORDER BY position) AS place
          FROM (SELECT * FROM events WHERE workspace_id = $1 AND position > $2 AND position <= $3
                 ORDER BY position LIMIT $4) AS e) AS sized
 WHERE bytes <= $5 OR place = 1
 ORDER BY position;

-- name: of_stream
-- The same for one stream ($6): the place of $2 in it is found by halving.
SELECT workspace_id, position, stream_id, sequence, type, at, actor, crew_id, team_id, event_id, tool_call_id,
       tool_name, content, metadata
  FROM (SELECT e.*, sum(octet_length(content) + pg_column_size(metadata)) OVER (ORDER BY sequence) AS bytes,
               row_number() OVER (ORDER BY sequence) AS place
          FROM (SELECT * FROM events
                 WHERE workspace_id = $1 AND stream_id = $6
                   AND sequence >= (SELECT first_sequence_after($1, $6, $2))
                   AND position <= $3
                 ORDER BY sequence LIMIT $4) AS e) AS sized
 WHERE bytes <= $5 OR place = 1
 ORDER BY sequence;

-- name: of_crew
-- The same for one crew ($6).
SELECT workspace_id, position, stream_id, sequence, type, at, actor, crew_id, team_id, event_id, tool_call_id,
       tool_name, content, metadata
  FROM (SELECT e.*, sum(octet_length(content) + pg_column_size(metadata)) OVER (ORDER BY position) AS bytes,
               row_number() OVER (ORDER BY position) AS place
          FROM (SELECT * FROM events
                 WHERE workspace_id = $1 AND crew_id = $6 AND position > $2 AND position <= $3
                 ORDER BY position LIMIT $4) AS e) AS sized
 WHERE bytes <= $5 OR place = 1
 ORDER BY position;

-- name: of_team
-- The same for one team ($6).
SELECT workspace_id, position, stream_id, sequence, type, at, actor, crew_id, team_id, event_id, tool_call_id,
       tool_name, content, metadata
  FROM (SELECT e.*, sum(octet_length(content) + pg_column_size(metadata)) OVER (ORDER BY position) AS bytes,
               row_number() OVER (ORDER BY position) AS place
          FROM (SELECT * FROM events
                 WHERE workspace_id = $1 AND team_id = $6 AND position > $2 AND position <= $3
                 ORDER BY position LIMIT $4) AS e) AS sized
 WHERE bytes <= $5 OR place = 1
 ORDER BY position;

-- name: before_in_stream
-- The position of the last event of a stream ($2) of a workspace ($1) at or below $3, 0 if there is none; and the floor.
SELECT coalesce((SELECT position FROM events
                  WHERE workspace_id = $1 AND stream_id = $2 AND sequence = (SELECT first_sequence_after($1, $2, $3) - 1)), 0) AS position,
       (SELECT floor FROM workspaces WHERE id = $1) AS floor;

-- name: before_in_crew
-- The same for a crew ($2).
SELECT coalesce((SELECT max(position) FROM events WHERE workspace_id = $1 AND crew_id = $2 AND position <= $3), 0) AS position,
       (SELECT floor FROM workspaces WHERE id = $1) AS floor;

-- name: before_in_team
-- The same for a team ($2).
SELECT coalesce((SELECT max(position) FROM events WHERE workspace_id = $1 AND team_id = $2 AND position <= $3), 0) AS position,
       (SELECT floor FROM workspaces WHERE id = $1) AS floor;

-- name: place
-- Where a sequence ($3) of a stream ($2) of a workspace ($1) stands: the stream's head, the first sequence that is kept
-- (head + 1 if none is), and the position of this one if it is.
SELECT s.head,
       coalesce((SELECT min(sequence) FROM events WHERE workspace_id = $1 AND stream_id = $2), s.head + 1) AS first,
       (SELECT position FROM events WHERE workspace_id = $1 AND stream_id = $2 AND sequence = $3) AS position
  FROM streams AS s WHERE s.workspace_id = $1 AND s.id = $2;

-- name: sequence_at
-- The sequence of a stream's ($2 of workspace $1) last event at or below a position ($3); 0 if there is none.
SELECT first_sequence_after($1, $2, $3) - 1;

-- name: piece
-- Events of a stream ($2 of workspace $1) with sequences in ($3, $4], of types $5 (null: all), at most $6 of them and
-- about $7 bytes of content.
SELECT workspace_id, position, stream_id, sequence, type, at, actor, crew_id, team_id, event_id, tool_call_id,
       tool_name, content, metadata
  FROM (SELECT e.*, sum(octet_length(content) + pg_column_size(metadata)) OVER (ORDER BY sequence) AS bytes,
               row_number() OVER (ORDER BY sequence) AS place
          FROM (SELECT * FROM events
                 WHERE workspace_id = $1 AND stream_id = $2 AND sequence > $3 AND sequence <= $4
                   AND ($5::text[] IS NULL OR type = ANY($5))
                 ORDER BY sequence LIMIT $6) AS e) AS sized
 WHERE bytes <= $7 OR place = 1
 ORDER BY sequence;

-- name: newest
-- The newest events of a stream ($2 of workspace $1) from sequence $3 on, of types $4, at most $5 of them and about $6
-- bytes of content; newest first.
SELECT workspace_id, position, stream_id, sequence, type, at, actor, crew_id, team_id, event_id, tool_call_id,
       tool_name, content, metadata
  FROM (SELECT e.*, sum(octet_length(content) + pg_column_size(metadata)) OVER (ORDER BY sequence DESC) AS bytes,
               row_number() OVER (ORDER BY sequence DESC) AS place
          FROM (SELECT * FROM events
                 WHERE workspace_id = $1 AND stream_id = $2 AND sequence >= $3 AND type = ANY($4::text[])
                 ORDER BY sequence DESC LIMIT $5) AS e) AS sized
 WHERE bytes <= $6 OR place = 1
 ORDER BY sequence DESC;

-- name: skipped
-- The sequence of the $5th event above sequence $3 of a stream ($2 of workspace $1), of types $4 (null: all).
SELECT sequence FROM events
 WHERE workspace_id = $1 AND stream_id = $2 AND sequence > $3 AND ($4::text[] IS NULL OR type = ANY($4))
 ORDER BY sequence OFFSET $5::bigint - 1 LIMIT 1;

-- name: nearest_below
-- The span of the $5 events nearest below sequence $3, skipping $6, of types $4 (null: all).
SELECT min(sequence) AS first, max(sequence) AS last
  FROM (SELECT sequence FROM events
         WHERE workspace_id = $1 AND stream_id = $2 AND sequence < $3 AND ($4::text[] IS NULL OR type = ANY($4))
         ORDER BY sequence DESC LIMIT $5 OFFSET $6) AS wanted;

-- name: question
-- The mission in which an interactive tool call ($2) of a workspace ($1) was opened.
SELECT stream_id FROM events
 WHERE workspace_id = $1 AND tool_call_id = $2 AND type = 'tool_call'
   AND (tool_name IN ('question', 'AskUserQuestion') OR tool_name LIKE 'ui\_%')
 ORDER BY position DESC LIMIT 1;

-- name: open_questions
-- The questions of a run ($4) of a mission ($1 workspace, $2 mission) asked after a sequence ($3) that have no result.
SELECT asked.tool_call_id FROM events AS asked
 WHERE asked.workspace_id = $1 AND asked.stream_id = $2 AND asked.sequence > $3
   AND asked.type = 'tool_call' AND asked.tool_name = 'AskUserQuestion' AND asked.tool_call_id IS NOT NULL
   AND coalesce(asked.metadata ->> 'run_id', $4) = $4
   AND NOT EXISTS (SELECT FROM events AS answer
                    WHERE answer.workspace_id = $1 AND answer.stream_id = $2 AND answer.sequence > asked.sequence
                      AND answer.type = 'tool_result' AND answer.tool_call_id = asked.tool_call_id)
 ORDER BY asked.sequence;
