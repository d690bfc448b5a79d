-- name: capture
-- A mission's ($2 of workspace $1) unfinished tasks in order of id, and the runs of those that are worked on.
SELECT coalesce(array_agg(id ORDER BY id) FILTER (WHERE status <> 'COMPLETED'), '{}') AS pending_tasks,
       coalesce(array_agg(run_id ORDER BY run_id) FILTER (WHERE run_id IS NOT NULL), '{}') AS open_assignments
  FROM tasks WHERE workspace_id = $1 AND mission_id = $2;

-- name: create
-- Makes a checkpoint (its columns in their order).
INSERT INTO checkpoints (workspace_id, id, mission_id, label, position, pending_tasks, open_assignments, fork_of,
                         created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
RETURNING id;

-- name: one
-- A checkpoint ($2 of workspace $1) of a mission that is there.
SELECT c.workspace_id, c.id, c.mission_id, c.label, c.position, c.pending_tasks, c.open_assignments, c.fork_of,
       c.created_by, c.created_at, m.crew_id
  FROM checkpoints AS c JOIN missions AS m ON m.workspace_id = c.workspace_id AND m.id = c.mission_id
 WHERE c.workspace_id = $1 AND c.id = $2 AND m.deleted_at IS NULL;

-- name: listed
-- The checkpoints of a mission ($2 of workspace $1), newest first, at most $3.
SELECT c.workspace_id, c.id, c.mission_id, c.label, c.position, c.pending_tasks, c.open_assignments, c.fork_of,
       c.created_by, c.created_at, m.crew_id
  FROM checkpoints AS c JOIN missions AS m ON m.workspace_id = c.workspace_id AND m.id = c.mission_id
 WHERE c.workspace_id = $1 AND c.mission_id = $2 AND m.deleted_at IS NULL
 ORDER BY c.created_at DESC, c.id DESC LIMIT $3;

-- name: present
-- Gives a row if a checkpoint ($2 of workspace $1) is there.
SELECT id FROM checkpoints WHERE workspace_id = $1 AND id = $2;

-- name: remove
-- Removes a checkpoint ($2 of workspace $1); those that were forked from it forget that.
DELETE FROM checkpoints WHERE workspace_id = $1 AND id = $2 RETURNING id;

-- name: remove_of_mission
-- Removes all checkpoints of a mission ($2 of workspace $1).
DELETE FROM checkpoints WHERE workspace_id = $1 AND mission_id = $2 RETURNING id;
