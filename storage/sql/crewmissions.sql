-- name: found
-- The crew and the status of a crew mission ($2 of workspace $1); of one crew's only, if $3 is not null.
SELECT crew_id, status FROM missions
 WHERE workspace_id = $1 AND id = $2 AND kind = 'crew' AND deleted_at IS NULL AND ($3::uuid IS NULL OR crew_id = $3);

-- name: one
-- A crew mission ($2 of workspace $1; of one crew's only, if $3 is not null) with what its LEAD is called.
SELECT m.state, a.name AS lead_name, a.slug AS lead_slug
  FROM missions AS m
  LEFT JOIN agents AS a ON a.workspace_id = m.workspace_id AND a.id = (m.state ->> 'lead_agent_id')::uuid
 WHERE m.workspace_id = $1 AND m.id = $2 AND m.kind = 'crew' AND m.deleted_at IS NULL
   AND ($3::uuid IS NULL OR m.crew_id = $3);

-- name: listed
-- Crew missions of a workspace ($1) with what their LEADs are called, newest first; $2 status (null: any), $3 limit,
-- $4 offset.
SELECT m.state, a.name AS lead_name, a.slug AS lead_slug
  FROM (SELECT workspace_id, id, created_at, state FROM missions
         WHERE workspace_id = $1 AND kind = 'crew' AND deleted_at IS NULL AND ($2::text IS NULL OR status = $2)
         ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4) AS m
  LEFT JOIN agents AS a ON a.workspace_id = m.workspace_id AND a.id = (m.state ->> 'lead_agent_id')::uuid
 ORDER BY m.created_at DESC, m.id DESC;

-- name: of_crew
-- The same of one crew ($5).
SELECT m.state, a.name AS lead_name, a.slug AS lead_slug
  FROM (SELECT workspace_id, id, created_at, state FROM missions
         WHERE workspace_id = $1 AND crew_id = $5 AND kind = 'crew' AND deleted_at IS NULL
           AND ($2::text IS NULL OR status = $2)
         ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4) AS m
  LEFT JOIN agents AS a ON a.workspace_id = m.workspace_id AND a.id = (m.state ->> 'lead_agent_id')::uuid
 ORDER BY m.created_at DESC, m.id DESC;

-- name: tasks
-- The tasks of missions ($2 of workspace $1), as they were made, with what their agents are called.
SELECT t.mission_id, t.state, a.name AS agent_name, a.slug AS agent_slug
  FROM tasks AS t LEFT JOIN agents AS a ON a.workspace_id = t.workspace_id AND a.id = t.agent_id
 WHERE t.workspace_id = $1 AND t.mission_id = ANY($2::uuid[])
 ORDER BY t.mission_id, t.number;

-- name: agent_of_task
-- What the agent of a task ($3 of mission $2 of workspace $1) is called.
SELECT a.name, a.slug FROM tasks AS t JOIN agents AS a ON a.workspace_id = t.workspace_id AND a.id = t.agent_id
 WHERE t.workspace_id = $1 AND t.mission_id = $2 AND t.id = $3;

-- name: agent_of_workspace
-- Gives a row if an agent ($2 of workspace $1) is there.
SELECT id FROM agents WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL;

-- name: agent_of_crew
-- Gives a row if an agent ($3) is in a crew ($2 of workspace $1), and both are there.
SELECT a.id FROM agents AS a JOIN crews AS c ON c.workspace_id = a.workspace_id AND c.id = a.crew_id
 WHERE a.workspace_id = $1 AND a.crew_id = $2 AND a.id = $3 AND a.deleted_at IS NULL AND c.deleted_at IS NULL;

-- name: agent_in_role
-- Gives a row if an agent ($2 of workspace $1) has a role ($3).
SELECT id FROM agents WHERE workspace_id = $1 AND id = $2 AND agent_role = $3 AND deleted_at IS NULL;

-- name: metrics
-- How a workspace's ($1) crew missions do: counts of all, and sums over what happened since a moment ($2).
WITH every AS (
    SELECT count(*) AS total, count(*) FILTER (WHERE phase IN ('pending', 'active')) AS active
      FROM missions WHERE workspace_id = $1 AND kind = 'crew' AND deleted_at IS NULL
), changed AS (
    SELECT phase, created_at, (state ->> 'completed_at')::timestamptz AS completed_at
      FROM missions
     WHERE workspace_id = $1 AND kind = 'crew' AND deleted_at IS NULL
       AND updated_at >= $2 AND updated_second >= $2 - interval '1 second'
       AND phase IN ('completed', 'failed')
), ended AS (
    SELECT count(*) FILTER (WHERE phase = 'completed' AND completed_at >= $2) AS completed,
           count(*) FILTER (WHERE phase = 'failed') AS failed,
           avg(extract(epoch FROM completed_at - created_at) * 1000)
               FILTER (WHERE phase = 'completed' AND completed_at >= $2) AS milliseconds
      FROM changed
), finished AS (
    SELECT coalesce(sum(t.token_count), 0) AS tokens, coalesce(sum(t.estimated_cost), 0) AS cost,
           count(*) FILTER (WHERE t.status = 'COMPLETED') AS completed
      FROM tasks AS t JOIN missions AS m ON m.workspace_id = t.workspace_id AND m.id = t.mission_id
     WHERE t.workspace_id = $1 AND t.completed_at >= $2 AND m.deleted_at IS NULL
), broken AS (
    SELECT count(*) AS failed
      FROM tasks AS t JOIN missions AS m ON m.workspace_id = t.workspace_id AND m.id = t.mission_id
     WHERE t.workspace_id = $1 AND t.status = 'FAILED' AND t.updated_at >= $2 AND m.deleted_at IS NULL
)
SELECT every.total AS total_missions, every.active AS active_missions, ended.completed AS completed_24h,
       ended.failed AS failed_24h, finished.tokens::bigint AS total_tokens_24h,
       round(finished.cost::numeric, 6)::double precision AS total_cost_24h,
       coalesce(round(ended.milliseconds), 0)::bigint AS avg_completion_time_ms,
       finished.completed AS tasks_completed_24h, broken.failed AS tasks_failed_24h
  FROM every, ended, finished, broken;
