-- name: claim
-- Takes a run ($1 workspace, $2 id, $3 mission, $4 owner, $5 lease in seconds, $6 backend) if nobody ever had it.
INSERT INTO runs (workspace_id, id, mission_id, owner, lease_until, backend)
VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5), $6)
ON CONFLICT (workspace_id, id) DO NOTHING RETURNING id;

-- name: renew
-- Prolongs a lease ($1 workspace, $2 id, $3 owner, $4 seconds) and keeps the text said so far ($5) after a sequence ($6),
-- the session ($7, $8, $9, as in keep_session; a null changes nothing), what was used ($10), and what the agent
-- got around it ($11, null while there is none).
UPDATE runs SET lease_until = now() + make_interval(secs => $4), partial = $5, partial_after = $6,
       session_id = coalesce($7, session_id), session_at = coalesce($8, session_at),
       session_cost = CASE WHEN $7 IS NULL THEN session_cost ELSE $9 END, used = $10::json,
       sandbox = coalesce($11, sandbox)
 WHERE workspace_id = $1 AND id = $2 AND owner = $3 AND ended_at IS NULL RETURNING id;

-- name: keep_session
-- Keeps the session of a run ($1 workspace, $2 id): its name with its backend ($3), when it was begun or loaded ($4), and
-- what it has cost by the agent's own count ($5).
UPDATE runs SET session_id = $3, session_at = $4, session_cost = $5 WHERE workspace_id = $1 AND id = $2;

-- name: finish
-- Ends a run ($1 workspace, $2 id) with its outcome ($3), cost in cents ($4), usage ($5), and sandbox ($6, null: as it was).
UPDATE runs SET ended_at = now(), outcome = $3, cost_cents = $4, usage = $5::json, partial = '',
       sandbox = coalesce($6, sandbox)
 WHERE workspace_id = $1 AND id = $2 AND ended_at IS NULL;

-- name: open
-- Missions whose turn is going on, with the run's owner and lease where somebody has claimed it.
-- The partial text counts only if no event has taken its place since.
SELECT m.workspace_id, m.id AS mission_id, m.kind, m.run_id, m.status, m.updated_at, r.owner,
       CASE WHEN NOT EXISTS (SELECT FROM events AS e
                              WHERE e.workspace_id = m.workspace_id AND e.stream_id = m.id
                                AND e.sequence > r.partial_after AND e.type = 'assistant_message')
            THEN r.partial END AS partial,
       r.used,
       coalesce(r.lease_until < now(), false) AS is_expired,
       m.updated_at < now() - interval '5 seconds' AS is_old
  FROM missions AS m LEFT JOIN runs AS r ON r.workspace_id = m.workspace_id AND r.id = m.run_id
 WHERE m.run_id IS NOT NULL AND m.deleted_at IS NULL;

-- name: unfinished
-- Runs that have ended for their missions, though the process that ran them did not get to say so in its own row.
SELECT r.workspace_id, r.mission_id, r.id AS run_id, r.owner, r.lease_until < now() AS is_expired
  FROM runs AS r JOIN missions AS m ON m.workspace_id = r.workspace_id AND m.id = r.mission_id
 WHERE r.ended_at IS NULL AND m.run_id IS DISTINCT FROM r.id;

-- name: waiting
-- Missions with queued messages and no turn, the longest waiting first; at most $1.
SELECT workspace_id, id AS mission_id, kind FROM missions
 WHERE run_id IS NULL AND queued > 0 AND deleted_at IS NULL ORDER BY updated_at LIMIT $1;

-- name: stranded
-- Missions that say active though no turn goes on and nothing waits.
SELECT workspace_id, id AS mission_id, kind FROM missions
 WHERE phase = 'active' AND run_id IS NULL AND queued = 0 AND deleted_at IS NULL;

-- name: last_session
-- The newest session of a mission ($2 of workspace $1) with a backend ($3), when it was begun or last loaded, and its cost.
SELECT session_id, session_at, session_cost FROM runs
 WHERE workspace_id = $1 AND mission_id = $2 AND backend = $3 AND session_id IS NOT NULL
 ORDER BY started_at DESC LIMIT 1;
-- name: going_on
-- The run that is going on in a mission ($2 of workspace $1), and its backend; nothing between runs.
SELECT r.id, r.backend FROM missions AS m JOIN runs AS r ON r.workspace_id = m.workspace_id AND r.id = m.run_id
 WHERE m.workspace_id = $1 AND m.id = $2 AND m.deleted_at IS NULL;
