-- name: claim
-- Takes a run ($1 workspace, $2 id, $3 mission, $4 owner, $5 lease in seconds, $6 backend, and of a crew's $7 agent and
-- $8 task) if nobody else ever had it: a claim whose answer was lost is made again.
INSERT INTO runs (workspace_id, id, mission_id, owner, lease_until, backend, agent_id, task_id)
VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5), $6, $7, $8)
ON CONFLICT (workspace_id, id) DO UPDATE SET lease_until = excluded.lease_until
 WHERE runs.owner = excluded.owner AND runs.ended_at IS NULL RETURNING id;

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
-- Runs that are going on, of missions and of their tasks, with the owner and lease where somebody has claimed one.
-- The partial text counts only if no event of the run has taken its place since.
SELECT o.workspace_id, o.mission_id, m.kind, o.run_id, r.owner,
       CASE WHEN NOT EXISTS (SELECT FROM events AS e
                              WHERE e.workspace_id = o.workspace_id AND e.stream_id = o.mission_id
                                AND e.sequence > r.partial_after AND e.type = 'assistant_message'
                                AND coalesce(e.metadata ->> 'run_id', o.run_id::text) = o.run_id::text)
            THEN r.partial END AS partial,
       r.used,
       coalesce(r.lease_until < now(), false) AS is_expired,
       o.updated_at < now() - interval '5 seconds' AS is_old
  FROM (SELECT workspace_id, id AS mission_id, run_id, updated_at FROM missions WHERE run_id IS NOT NULL
         UNION ALL
        SELECT workspace_id, mission_id, run_id, updated_at FROM tasks WHERE run_id IS NOT NULL) AS o
  JOIN missions AS m ON m.workspace_id = o.workspace_id AND m.id = o.mission_id AND m.deleted_at IS NULL
  LEFT JOIN runs AS r ON r.workspace_id = o.workspace_id AND r.id = o.run_id;

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
-- Missions of a kind ($1) that say active though no turn goes on and nothing waits.
SELECT workspace_id, id AS mission_id, kind FROM missions
 WHERE kind = $1 AND phase = 'active' AND run_id IS NULL AND queued = 0 AND deleted_at IS NULL;

-- name: engaged
-- Missions of a kind ($1) that an engine works and that are not reviewed already, the oldest first.
SELECT workspace_id, id AS mission_id, kind FROM missions
 WHERE kind = $1 AND phase = 'active' AND deleted_at IS NULL AND (state ->> 'is_engaged')::boolean
   AND (status = 'IN_PROGRESS' OR state ->> 'review' IS NULL OR run_id IS NOT NULL)
 ORDER BY created_at, id;

-- name: last_session
-- The newest session of a mission ($2 of workspace $1) with a backend ($3), when it was begun or last loaded, and its cost.
SELECT session_id, session_at, session_cost FROM runs
 WHERE workspace_id = $1 AND mission_id = $2 AND backend = $3 AND session_id IS NOT NULL
 ORDER BY started_at DESC LIMIT 1;
-- name: going_on
-- The run that is going on in a mission ($2 of workspace $1), and its backend; nothing between runs. Who has the token of
-- a run of a crew's agent ($3) is told of that one alone: several may go on there.
SELECT r.id, r.backend
  FROM missions AS m
  LEFT JOIN runs AS t ON t.workspace_id = m.workspace_id AND t.id = $3 AND t.mission_id = m.id
  JOIN runs AS r ON r.workspace_id = m.workspace_id AND r.id = CASE WHEN t.agent_id IS NULL THEN m.run_id ELSE t.id END
 WHERE m.workspace_id = $1 AND m.id = $2 AND m.deleted_at IS NULL
   AND (r.id = m.run_id OR EXISTS (SELECT FROM tasks AS w
                                    WHERE w.workspace_id = $1 AND w.run_id = r.id AND w.mission_id = m.id));
