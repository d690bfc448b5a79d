-- name: listed
-- The crews of a workspace ($1), newest first, a page of them ($2 limit, $3 offset).
SELECT c.id, c.workspace_id, c.name, c.slug, c.description, c.color, c.icon, c.avatar_style, c.escalation_config,
       c.max_parallel_tasks, c.mission_timeout_seconds, c.auto_accept_review, c.permission_policy, c.space_id,
       c.updated_at, c.created_at,
       (SELECT count(*) FROM agents AS a
         WHERE a.workspace_id = c.workspace_id AND a.crew_id = c.id AND a.deleted_at IS NULL) AS agent_count
  FROM crews AS c
 WHERE c.workspace_id = $1 AND c.deleted_at IS NULL ORDER BY c.created_at DESC, c.id DESC LIMIT $2 OFFSET $3;

-- name: counted
-- How many crews a workspace ($1) has.
SELECT count(*) FROM crews WHERE workspace_id = $1 AND deleted_at IS NULL;

-- name: one
-- A crew ($2 of workspace $1) that is not deleted.
SELECT c.id, c.workspace_id, c.name, c.slug, c.description, c.color, c.icon, c.avatar_style, c.escalation_config,
       c.max_parallel_tasks, c.mission_timeout_seconds, c.auto_accept_review, c.permission_policy, c.space_id,
       c.updated_at, c.created_at,
       (SELECT count(*) FROM agents AS a
         WHERE a.workspace_id = c.workspace_id AND a.crew_id = c.id AND a.deleted_at IS NULL) AS agent_count
  FROM crews AS c
 WHERE c.workspace_id = $1 AND c.id = $2 AND c.deleted_at IS NULL;

-- name: create
-- Makes a crew (its columns in their order).
INSERT INTO crews (id, workspace_id, name, slug, description, color, icon, avatar_style, escalation_config,
                   max_parallel_tasks, mission_timeout_seconds, auto_accept_review,
                   permission_policy, space_id, updated_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
RETURNING id;

-- name: update
-- Changes a crew (its columns but the last) that was changed last at a time ($16); nothing if it has moved on.
UPDATE crews SET name = $3, slug = $4, description = $5, color = $6, icon = $7, avatar_style = $8, escalation_config =
                 $9, max_parallel_tasks = $10, mission_timeout_seconds = $11, auto_accept_review =
                 $12, permission_policy = $13, space_id = $14, updated_at = $15
 WHERE workspace_id = $2 AND id = $1 AND updated_at = $16 AND deleted_at IS NULL
RETURNING id;

-- name: exists
-- Gives a row if a crew ($2 of workspace $1) is there.
SELECT id FROM crews WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL;

-- name: idle
-- Gives a row unless a mission of a crew ($2 of workspace $1) is active.
SELECT 1 WHERE NOT EXISTS (
    SELECT FROM missions
     WHERE workspace_id = $1 AND crew_id = $2 AND kind = 'crew' AND phase = 'active' AND deleted_at IS NULL);

-- name: remove
-- Hides a crew ($2 of workspace $1) at a time ($3); gives nothing while it has agents.
UPDATE crews SET deleted_at = $3, updated_at = $3
 WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL
   AND NOT EXISTS (SELECT FROM agents WHERE workspace_id = $1 AND crew_id = $2 AND deleted_at IS NULL)
RETURNING id;
