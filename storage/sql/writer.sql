-- name: lock
-- Locks streams in order of id ($1 workspace, $2 ids). All that the writer trusts stands in the locked row itself:
-- a joined row could be older than the lock.
SELECT id, head, state_version, closed, counts, crew_id, team_id
  FROM streams WHERE workspace_id = $1 AND id = ANY($2::uuid[]) ORDER BY id FOR UPDATE;

-- name: answered
-- The stored answers of idempotent requests ($1 workspace, $2 scopes, $3 keys, in parallel).
SELECT a.scope, a.key, a.fingerprint, a.answer
  FROM answers AS a JOIN unnest($2::text[], $3::text[]) AS asked (scope, key) USING (scope, key)
 WHERE a.workspace_id = $1;

-- name: known
-- Events that already carry one of these dedupe keys ($1 workspace, $2 streams, $3 keys, in parallel).
SELECT e.position, e.stream_id, e.sequence, e.dedupe_key, e.type, e.event_id, e.tool_call_id, e.tool_name,
       e.content, e.metadata
  FROM events AS e JOIN unnest($2::uuid[], $3::text[]) AS asked (stream_id, dedupe_key) USING (stream_id, dedupe_key)
 WHERE e.workspace_id = $1;

-- name: states
-- The states of missions ($1 workspace, $2 ids).
SELECT id, kind, state_version, state FROM missions WHERE workspace_id = $1 AND id = ANY($2::uuid[]);

-- name: parts
-- The parts of missions ($1 workspace, $2 ids) in their order.
SELECT mission_id, id, state FROM tasks WHERE workspace_id = $1 AND mission_id = ANY($2::uuid[]) ORDER BY mission_id, number;

-- name: open_streams
-- Makes the rows of new streams ($1 workspace, $2 ids, $3 crews, $4 teams, in parallel).
INSERT INTO streams (workspace_id, id, crew_id, team_id)
SELECT $1, n.id, n.crew_id, n.team_id
  FROM unnest($2::uuid[], $3::uuid[], $4::uuid[]) AS n (id, crew_id, team_id);

-- name: save_answers
-- Stores first answers ($1 workspace, $2 at, then scopes, keys, fingerprints, answers, in parallel).
INSERT INTO answers (workspace_id, scope, key, fingerprint, answer, at)
SELECT $1, n.scope, n.key, n.fingerprint, n.answer::json, $2
  FROM unnest($3::text[], $4::text[], $5::text[], $6::text[]) AS n (scope, key, fingerprint, answer)
 ORDER BY n.scope, n.key;

-- name: append
-- Appends the batch's events; see the function. Gives the position before the first one. Lists of numbers come as
-- text, with commas.
SELECT append_events($1, $2, $3, string_to_array($4, ',')::bigint[],
                     string_to_array($5, ',')::bigint[], string_to_array($6, ',')::bigint[], $7, $8,
                     string_to_array($9, ',')::int[], string_to_array($10, ',')::bigint[],
                     $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) AS base;

-- name: append_decided
-- Appends as `append` does ($1 to $20) and writes the projections of the missions that were decided ($21 on: a column
-- each, in parallel), with the parts of them that changed ($35, a JSON array or null). One statement, so that it can be
-- a transaction of its own; the streams' locks come first.
WITH saved AS (
    INSERT INTO missions (workspace_id, id, kind, status, phase, title, crew_id, parent_id, run_id, queued,
                          state_version, state, created_at, updated_at, deleted_at)
    SELECT $1, n.id, n.kind, n.status, n.phase, n.title, n.crew_id, n.parent_id, n.run_id, n.queued,
           n.state_version, n.state::json, n.created_at, n.updated_at, n.deleted_at
      FROM unnest($21::uuid[], $22::text[], $23::text[], $24::text[], $25::text[], $26::uuid[], $27::uuid[], $28::uuid[],
                  $29::int[], $30::bigint[], $31::text[], $32::timestamptz[], $33::timestamptz[], $34::timestamptz[])
           AS n (id, kind, status, phase, title, crew_id, parent_id, run_id, queued,
                 state_version, state, created_at, updated_at, deleted_at)
    ON CONFLICT (workspace_id, id) DO UPDATE SET
        status = excluded.status, phase = excluded.phase, title = excluded.title, crew_id = excluded.crew_id,
        parent_id = excluded.parent_id, run_id = excluded.run_id, queued = excluded.queued,
        state_version = excluded.state_version, state = excluded.state, updated_at = excluded.updated_at,
        deleted_at = excluded.deleted_at
), parts AS (
    INSERT INTO tasks (workspace_id, mission_id, id, status, number, created_at, updated_at, agent_id, run_id, token_count,
                       estimated_cost, completed_at, state)
    SELECT $1, n.*
      FROM json_to_recordset($35::json)
           AS n (mission_id uuid, id uuid, status text, number int, created_at timestamptz, updated_at timestamptz,
                 agent_id uuid, run_id uuid, token_count bigint, estimated_cost double precision,
                 completed_at timestamptz, state json)
    ON CONFLICT (workspace_id, mission_id, id) DO UPDATE SET
        status = excluded.status, number = excluded.number, updated_at = excluded.updated_at,
        agent_id = excluded.agent_id, run_id = excluded.run_id, token_count = excluded.token_count,
        estimated_cost = excluded.estimated_cost, completed_at = excluded.completed_at, state = excluded.state
)
SELECT append_events($1, $2, $3, string_to_array($4, ',')::bigint[],
                     string_to_array($5, ',')::bigint[], string_to_array($6, ',')::bigint[], $7, $8,
                     string_to_array($9, ',')::int[], string_to_array($10, ',')::bigint[],
                     $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) AS base;

-- name: settled
-- Waits until no transaction that has appended to a workspace ($1) is under way: each holds this row until its end.
SELECT head FROM workspace_heads WHERE workspace_id = $1 FOR UPDATE;

-- name: position_of
-- The position of this very event, if it is in the log ($1 workspace, $2 stream, $3 sequence, $4 at, $5 type, $6 content).
-- It may have been erased by now, which leaves its numbers and its time.
SELECT position FROM events
 WHERE workspace_id = $1 AND stream_id = $2 AND sequence = $3 AND at = $4
   AND (type = $5 AND content = $6 OR type = 'erased');

-- name: has_answer
-- Whether this very answer is stored ($1 workspace, $2 scope, $3 key, $4 at).
SELECT EXISTS (SELECT FROM answers WHERE workspace_id = $1 AND scope = $2 AND key = $3 AND at = $4);
